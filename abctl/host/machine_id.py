"""The machine-id, kept on the config volume so that both slot sets are the same machine to every program.

systemd reads /etc/machine-id first of all, when the config volume is not mounted yet. So the initramfs puts
the kept one there (scripts/local-bottom/abctl), out of a file for shells; the settings have it too.
"""

import logging
from pathlib import Path

from abctl.core.settings import parse_machine_id
from abctl.errors import BadIdentity
from abctl.host.live import LivePaths
from abctl.host.replace import replace_file

log = logging.getLogger(__name__)

PATH = "abctl/machine-id"  # on the config volume
_RUNNING = "etc/machine-id"


def read_machine_id(paths: LivePaths) -> str | None:
    """Return the machine-id of the running system; None where it has none yet."""
    return _read(paths / _RUNNING)


def read_kept_machine_id(paths: LivePaths) -> str | None:
    """Return the machine-id that the next boot gets; None where nothing whole is kept."""
    return _read(paths / f"{paths.config}/{PATH}")


def keep_machine_id(machine_id: str, paths: LivePaths) -> None:
    """Let every later boot have this machine-id; raise WriteFailed."""
    replace_file(paths / f"{paths.config}/{PATH}", f"{machine_id}\n".encode(), durable=True)


def _read(path: Path) -> str | None:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return parse_machine_id(file.read(64).strip())
    except (OSError, BadIdentity) as error:
        log.info("%s holds no machine-id: %s", path, error)
        return None
