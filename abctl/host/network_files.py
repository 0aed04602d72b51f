"""abctl's files of systemd-networkd, below /run: they are made anew at each boot."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from abctl.errors import ToolFailed, WriteFailed
from abctl.host.replace import replace_file
from abctl.host.run import run

log = logging.getLogger(__name__)

FOLDER = "run/systemd/network"


def write_network_files(files: Mapping[str, str], prefix: str, root: Path = Path("/")) -> tuple[str, ...]:
    """Write the files that differ, remove those with ``prefix`` that are not among them; return the changed.

    Raise WriteFailed.
    """
    folder = root / FOLDER
    changed = []
    for name, text in files.items():
        if _read(folder / name) != text:
            replace_file(folder / name, text.encode())
            changed.append(name)
    for path in sorted(folder.glob(f"{prefix}*")):
        if path.name not in files:
            _remove(path)
            changed.append(path.name)
    return tuple(changed)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise WriteFailed(f"{path} cannot be removed: {error.strerror}") from error


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return None


def reload_networkd(run: Callable[..., str] = run) -> bool:
    """Let systemd-networkd read its files anew where it runs already; return whether it does.

    Raise ToolFailed where it does not take them.
    """
    try:
        run("systemctl", "is-active", "--quiet", "systemd-networkd.service", timeout=10)
    except ToolFailed as error:
        log.info("systemd-networkd does not run: %s", error)
        return False
    run("networkctl", "reload", timeout=30)
    return True
