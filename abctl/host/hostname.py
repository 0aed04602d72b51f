"""The name of the running host: in the kernel, and in a file that stands in for /etc/hostname.

The root file system is read-only, so the file lies in /run, and etc-hostname.mount puts it over
/etc/hostname. It is overwritten in place: a bind mount shows the file that was there when it was made,
whatever comes to have its name.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from abctl.errors import ToolFailed, WriteFailed
from abctl.host.run import run
from abctl.host.small_files import read_small

log = logging.getLogger(__name__)

FILE = "run/abctl/hostname"
_NAME_MAX = 256  # characters; a name has at most 64
SHOWN = "etc/hostname"
MOUNT = "etc-hostname.mount"
SERVICE = "abctl-identity.service"
_KERNEL = "proc/sys/kernel/hostname"


def read_hostname(root: Path = Path("/")) -> str:
    """Return the name that the kernel has."""
    return read_small(root / _KERNEL, _NAME_MAX)


def set_hostname(name: str, root: Path = Path("/"), run: Callable[..., str] = run) -> bool:
    """Give the running host this name, and return whether it had another; raise WriteFailed."""
    if is_set(name, root):
        return False
    try:
        _overwrite(root / FILE, f"{name}\n".encode())
        # The file and not sethostname(2), which needs the right to do nearly everything.
        (root / _KERNEL).write_text(f"{name}\n")
    except OSError as error:
        raise WriteFailed(
            f"the hostname cannot be set to {name} ({error.filename}): {error.strerror}"
        ) from error
    if read_small(root / SHOWN, _NAME_MAX) != name:
        _show(run)
    return True


def is_set(name: str, root: Path = Path("/")) -> bool:
    """Whether the host has this name everywhere."""
    return all(read_small(root / place, _NAME_MAX) == name for place in (_KERNEL, FILE, SHOWN))


def _overwrite(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.pwrite(fd, data, 0)
        os.ftruncate(fd, len(data))
        os.fchmod(fd, 0o644)
    finally:
        os.close(fd)


def _show(run: Callable[..., str]) -> None:
    """Have the file put over /etc/hostname; at a boot systemd does so when this service has ended."""
    try:
        run("systemctl", "--no-block", "start", MOUNT, timeout=10)
    except ToolFailed as error:
        log.warning("/etc/hostname does not show the name: %s", error)


def ask_service(run: Callable[..., str] = run) -> None:
    """Let systemd set the name, for a program that has not the rights to; raise ToolFailed."""
    run("systemctl", "--no-block", "restart", SERVICE, timeout=10)
