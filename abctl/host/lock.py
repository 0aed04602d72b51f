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

from abctl.core.holder import Holder
from abctl.errors import Busy, DiskUnusable, WriteFailed
from abctl.host.small_files import read_small

_HOST_LOCK = "abctl-host.lock"
_PAUSE = 0.05  # seconds between two tries
_START_TIME = 19  # place of starttime among the fields
# Only root makes files there; and who cannot open one cannot hold it, and so keep a host from its upgrade.
_HOST_FOLDER = Path("/run")
_OWN = 0o600
_DEVICE_FOLDER = Path("/run/lock")


@contextmanager
def lock_host(folder: Path = _HOST_FOLDER) -> Iterator[None]:
    """Keep every other abctl from changing the running host; raise Busy where one does already."""
    with lock_file(folder / _HOST_LOCK, "this host"):
        yield


@contextmanager
def lock_disk(path: Path, folder: Path = _DEVICE_FOLDER) -> Iterator[None]:
    """Keep every other abctl from changing a disk image or device; raise Busy where one does already.

    An image is locked itself, so that nothing is left beside it. A device is not, for udev locks
    devices too: its lock is a file named after its number, whatever the device is called.
    """
    try:
        file, create = _lock_of(path, folder)
    except OSError as error:
        raise DiskUnusable(f"{path} cannot be used: {error.strerror}") from error
    with _locked(_open(file, str(path), create=create), str(path)):
        yield


def _lock_of(path: Path, folder: Path) -> tuple[Path, bool]:
    """Return the file that is locked for a disk, and whether it is made for that; raise OSError."""
    status = path.stat()
    if not stat.S_ISBLK(status.st_mode):
        return path, False
    return folder / f"abctl-{os.major(status.st_rdev)}-{os.minor(status.st_rdev)}.lock", True


@contextmanager
def lock_file(path: Path, what: str) -> Iterator[None]:
    """Keep every other abctl from ``what``, by a file made for it; raise Busy where one does it already."""
    try:
        fd = open_own(path)
    except OSError as error:
        raise DiskUnusable(f"{what} cannot be locked ({path}): {error.strerror}; run as root") from error
    with _locked(fd, what):
        yield


@contextmanager
def wait_for_file(path: Path, seconds: float, busy: str) -> Iterator[None]:
    """Lock a file made for it as soon as nobody else has it; raise Busy, saying ``busy``, or WriteFailed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = open_own(path)
    except OSError as error:
        raise WriteFailed(f"{path} cannot be opened: {error.strerror}; run as root") from error
    try:
        wait_for_lock(fd, seconds, busy)
        yield
    finally:
        os.close(fd)


def open_own(path: Path) -> int:
    """Open or make a file that only its owner can open; raise OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY, _OWN)
    try:
        if stat.S_IMODE(os.fstat(fd).st_mode) != _OWN:
            os.fchmod(fd, _OWN)
    except OSError:
        os.close(fd)
        raise
    return fd


@contextmanager
def _locked(fd: int, what: str) -> Iterator[None]:
    """Lock an open file, and close it in the end; raise Busy where somebody else has it."""
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK:
                raise DiskUnusable(f"{what} cannot be locked: {error.strerror}") from error
            raise Busy(_say_busy(fd, what)) from error
        yield
    finally:
        os.close(fd)


def wait_for_lock(fd: int, seconds: float, busy: str) -> None:
    """Lock an open file as soon as nobody else has it; raise Busy, saying ``busy``, after ``seconds``."""
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK or time.monotonic() >= until:
                raise Busy(busy) from error
        time.sleep(_PAUSE)


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


def find_holder(disk: Path | None) -> Holder | None:
    """Return who keeps others from changing a disk, or the running host; None where nobody else does.

    The lock is not taken: that would keep others out meanwhile.
    """
    try:
        path = _HOST_FOLDER / _HOST_LOCK if disk is None else _lock_of(disk, _DEVICE_FOLDER)[0]
        pid = _find_holder(path.stat())
    except OSError:
        return None
    return None if pid is None or pid == os.getpid() else _look_at(pid)


def _say_busy(fd: int, what: str) -> str:
    pid = _find_holder(os.fstat(fd))
    holder = None if pid is None else _look_at(pid)
    if holder and holder.stopped:
        return (
            f"{holder.sentence} was stopped in the middle of its work on {what}: let it go on with "
            f"'kill -CONT {holder.pid}'"
        )
    return f"{holder.sentence if holder else 'another abctl'} works on {what}: wait until it has ended"


def _look_at(pid: int) -> Holder:
    """Return what is known of a process; only its number where it has ended."""
    # Those from the state on, of proc_pid_stat(5).
    fields = read_small(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    up = read_small(Path("/proc/uptime")).split()[:1]
    if len(fields) <= _START_TIME or not up:
        return Holder(pid)
    age = float(up[0]) - int(fields[_START_TIME]) / os.sysconf("SC_CLK_TCK")
    since = datetime.fromtimestamp(time.time() - age, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Holder(pid, since, age, stopped=fields[0] in ("T", "t"))


def _find_holder(status: os.stat_result) -> int | None:
    """Return the process that holds the lock; None where it is outside of what this process can see."""
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in read_small(Path("/proc/locks")).splitlines():
        fields = line.split()
        if fields[1:2] == ["FLOCK"] and fields[5:6] == [wanted] and int(fields[4]) > 0:
            return int(fields[4])
    return None
