"""Who else uses a range of a disk: mounts, device-mapper devices, programs that hold it, virtual machines."""

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from abctl.core.found import SECTOR, Extent
from abctl.errors import DiskUnusable, InUse, WriteFailed
from abctl.host.block import kernel_name, list_partitions
from abctl.host.mounts import read_mounts

_SYS_BLOCK = Path("/sys/class/block")
_MOUNTS = Path("/proc/self/mountinfo")
_GET_LOCK = 36  # F_OFD_GETLK
_FLOCK = struct.Struct("=hh4xqqi4x")


@dataclass(frozen=True, slots=True)
class _Device:
    """A block device that shows part of the disk; ``place`` is on the disk, in bytes."""

    name: str
    place: Extent

    @property
    def folder(self) -> Path:
        return _SYS_BLOCK / self.name

    @property
    def node(self) -> Path:
        return Path("/dev") / self.name.replace("!", "/")


def check_unused(path: Path, places: tuple[Extent, ...], name: str, mapped: str | None = None) -> None:
    """Raise InUse where someone has ``places`` of the image or device ``path`` mounted or open.

    ``name`` is for the message. ``mapped`` is the device mapper's name of the one logical volume that
    matters, where they are in a volume group; "" where none of it does. Raise DiskUnusable where /sys does
    not tell.
    """
    if _is_locked(path):
        raise InUse(f"{path} is open in another program, such as a virtual machine: stop that first")
    mounts = _read_mounts()
    for device in _shown_by(path):
        if any(place.offset < device.place.end and device.place.offset < place.end for place in places):
            _check_device(device, name, mapped, mounts)


@contextmanager
def claimed(device: Path, name: str) -> Iterator[None]:
    """Keep others from mounting or claiming a block device meanwhile; raise InUse where one has it."""
    try:
        fd = os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise InUse(
                f"{name} is in use ({device}): unmount it, deactivate the volumes on it with 'vgchange -an', "
                "or stop what has it open"
            ) from error
        raise WriteFailed(f"{name} cannot be opened ({device}): {error.strerror}") from error
    try:
        yield
    finally:
        os.close(fd)


def _check_device(device: _Device, name: str, mapped: str | None, mounts: dict[str, str]) -> None:
    where = mounts.get(_read(device.folder / "dev"))
    if where:
        raise InUse(f"{name} is mounted on {where} (by {device.node}): unmount it first")
    holders = sorted(path.name for path in (device.folder / "holders").glob("*"))
    for holder in holders:
        label = _read(_SYS_BLOCK / holder / "dm" / "name")
        above = _Device(holder, device.place)
        # The origin of a snapshot is below both, under a name of its own.
        if mapped and label in (mapped, f"{mapped}-real"):
            _check_device(above, name, None, mounts)
        # A volume group holds its disk all the time; only this volume of it matters.
        elif mapped is None or not _read(_SYS_BLOCK / holder / "dm" / "uuid").startswith("LVM-"):
            _check_device(above, name, mapped, mounts)
    if not holders and not _has_parts(device) and _is_busy(device.node):
        raise InUse(f"{name} is open in another program (by {device.node}): stop that first")


def _shown_by(path: Path) -> Iterator[_Device]:
    """Yield the block devices that show ``path``: itself, its partitions, and loop devices on it."""
    status = path.stat()
    if stat.S_ISBLK(status.st_mode):
        whole = kernel_name(path)
        if whole is None:
            raise DiskUnusable(
                f"who uses {path} cannot be known, for /sys does not show it: mount /sys first"
            )
        yield from _with_parts(_Device(whole, Extent(0, _size(_SYS_BLOCK / whole))))
    for loop in _SYS_BLOCK.glob("loop*/loop"):
        # A device that can only be read is another abctl that looks at the disk; a mount of it matters.
        if _is_same(_read(loop / "backing_file"), status):
            offset, limit = int(_read(loop / "offset")), int(_read(loop / "sizelimit"))
            size = limit or _size(loop.parent)
            yield from _with_parts(_Device(loop.parent.name, Extent(offset, size)))


def _with_parts(device: _Device) -> Iterator[_Device]:
    yield device
    for name, place in list_partitions(device.folder):
        yield _Device(name, Extent(device.place.offset + place.offset, place.length))


def _has_parts(device: _Device) -> bool:
    return any(device.folder.glob("*/start"))


def _size(folder: Path) -> int:
    return int(_read(folder / "size") or 0) * SECTOR


def _is_same(backing: str, status: os.stat_result) -> bool:
    try:
        found = Path(backing).stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino)


def _read_mounts() -> dict[str, str]:
    """Return where each device is mounted, by ``major:minor``."""
    return {mount.device: mount.point for mount in read_mounts(_MOUNTS)}


def _is_busy(device: Path) -> bool:
    """Say whether another program has claimed the block device for itself, as mounting does."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        return error.errno == errno.EBUSY
    return False


def _is_locked(path: Path) -> bool:
    """Say whether another program has locked any byte, as QEMU does with its disks."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        answer = fcntl.fcntl(fd, _GET_LOCK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(fd)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "surrogateescape").strip()
    except OSError:
        return ""
