"""One abctl at a time on a host or a disk. The kernel gives a lock back when its process ends."""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from abctl.errors import Busy, DiskUnusable

_HOST_FOLDER = Path("/run")  # only root writes there, so nobody else can keep a host from its upgrade
_DEVICE_FOLDER = Path("/run/lock")


@contextmanager
def lock_host(folder: Path = _HOST_FOLDER) -> Iterator[None]:
    """Keep every other abctl from changing the running host; raise Busy where one does already."""
    with _lock(folder / "abctl-host.lock", "this host", create=True):
        yield


@contextmanager
def lock_disk(path: Path, folder: Path = _DEVICE_FOLDER) -> Iterator[None]:
    """Keep every other abctl from changing a disk image or device; raise Busy where one does already.

    An image is locked itself, so that nothing is left beside it. A device is not, for udev locks
    devices too: its lock is a file named after its number, whatever the device is called.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DiskUnusable(f"{path} cannot be used: {error.strerror}") from error
    if stat.S_ISBLK(status.st_mode):
        number = f"{os.major(status.st_rdev)}-{os.minor(status.st_rdev)}"
        with _lock(folder / f"abctl-{number}.lock", str(path), create=True):
            yield
    else:
        with _lock(path, str(path), create=False):
            yield


@contextmanager
def _lock(path: Path, what: str, *, create: bool) -> Iterator[None]:
    fd = _open(path, what, create=create)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK:
                raise DiskUnusable(f"{what} cannot be locked: {error.strerror}") from error
            raise Busy(f"{_say_holder(fd)} works on {what}: wait until it has ended") from error
        yield
    finally:
        os.close(fd)


def _open(path: Path, what: str, *, create: bool) -> int:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY
    try:
        if not create:
            return os.open(path, flags)
        with suppress(FileNotFoundError):
            # The kernel lets nobody create what is there already in a folder for everyone.
            return os.open(path, flags | os.O_NOFOLLOW)
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CREAT, 0o644)
    except OSError as error:
        raise DiskUnusable(f"{what} cannot be locked ({path}): {error.strerror}; run as root") from error


def _say_holder(fd: int) -> str:
    pid = _find_holder(fd)
    if pid is None:
        return "another abctl"
    since = _find_start(pid)
    return f"another abctl (pid {pid}{f', since {since}' if since else ''})"


def _find_holder(fd: int) -> int | None:
    """Return the process that holds the lock; None where it is outside of what this process can see."""
    status = os.fstat(fd)
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in _read("/proc/locks").splitlines():
        fields = line.split()
        if fields[1:2] == ["FLOCK"] and fields[5:6] == [wanted] and int(fields[4]) > 0:
            return int(fields[4])
    return None


def _find_start(pid: int) -> str:
    """Return when a process was started, ``2026-11-22 20:11:05 UTC``; nothing where it has ended."""
    ticks = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()[19:20]  # starttime, proc_pid_stat(5)
    up = _read("/proc/uptime").split()[:1]
    if not ticks or not up:
        return ""
    ago = float(up[0]) - int(ticks[0]) / os.sysconf("SC_CLK_TCK")
    return datetime.fromtimestamp(time.time() - ago, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
