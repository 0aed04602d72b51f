"""The bytes of a volume, wherever they are: in ranges of an image, of a block device, or of a file."""

import contextlib
import ctypes
import errno
import mmap
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from abctl.core.found import SECTOR, Extent
from abctl.core.units import MIB
from abctl.errors import DiskUnusable, WriteFailed
from abctl.host.small_files import read_small

_BLOCK = 4096  # what direct I/O and zeroing align to; a multiple of every sector size
_ZEROS = bytes(MIB)

_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 0x01, 0x02, 0x10  # linux/falloc.h
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]

_REASONS = {
    errno.ENOSPC: "no space is left; free some and try again",
    errno.EDQUOT: "no space is left in the quota; free some and try again",
    errno.EROFS: "it is on a read-only file system",
    errno.EACCES: "permission denied; run as root",
    errno.EPERM: "it is read-only",
    errno.EBADF: "it was opened for reading only",
    errno.EIO: "the disk reports an I/O error; check its health",
}


class ExtentVolume:
    """A volume that lies in one or more ranges of the file or block device ``path``.

    Implements ports.Volume. Offsets and lengths are in bytes; a range outside the volume is a
    ValueError, every failure a WriteFailed. Several threads may use it at once.
    """

    def __init__(self, path: Path, extents: Iterable[Extent], name: str, *, writable: bool = False) -> None:
        """Open ``path``; raise DiskUnusable, or WriteFailed where only writing is not possible."""
        self.name = name
        self.path = path
        self.extents = tuple(extents)
        self.size = sum(extent.length for extent in self.extents)
        self._fd = _open(path, name, writable=writable)
        self._is_device = stat.S_ISBLK(os.fstat(self._fd).st_mode)
        self._direct: int | None = None
        # Not every file system takes direct I/O.
        with contextlib.suppress(OSError):
            mode = os.O_RDWR if writable else os.O_RDONLY
            self._direct = os.open(f"/proc/self/fd/{self._fd}", mode | os.O_DIRECT)

    def close(self) -> None:
        for fd in (self._fd, self._direct):
            if fd is not None and fd >= 0:
                os.close(fd)
        self._fd, self._direct = -1, None

    def __enter__(self) -> "ExtentVolume":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def part(self, extents: Iterable[Extent], name: str, *, writable: bool = False) -> "ExtentVolume":
        """Open the given ranges of this volume as a volume of their own."""
        places = [place for extent in extents for place, _ in self._places(extent.offset, extent.length)]
        return ExtentVolume(self.path, places, name, writable=writable)

    def read(self, offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        self._fill(offset, memoryview(buffer))
        return bytes(buffer)

    def write(self, offset: int, data: memoryview) -> None:
        data = memoryview(data).cast("B")
        for place, start in self._places(offset, len(data)):
            piece = data[start : start + place.length]
            if self._direct is not None and _is_aligned(place, piece):
                self._write_all(self._direct, place.offset, piece)
            else:
                self._write_all(self._fd, place.offset, piece)

    def write_zeros(self, offset: int, length: int) -> None:
        for place, _ in self._places(offset, length):
            self._zero(place)

    def flush(self) -> None:
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._failure("flushed", error) from error

    def read_back(self, offset: int, buffer: memoryview) -> None:
        buffer = memoryview(buffer).cast("B")
        if self._direct is None:
            self._forget_cache(offset, len(buffer))
            self._fill(offset, buffer)
            return
        for place, start in self._places(offset, len(buffer)):
            self._read_direct(place, buffer[start : start + place.length])

    def _places(self, offset: int, length: int) -> Iterator[tuple[Extent, int]]:
        """Yield where the range is in ``path``, each with its distance from ``offset``."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise ValueError(f"{offset} + {length} is outside {self.name} with its {self.size} bytes")
        before = 0
        for extent in self.extents:
            start, end = max(offset, before), min(offset + length, before + extent.length)
            if start < end:
                yield Extent(extent.offset + start - before, end - start), start - offset
            before += extent.length

    def _fill(self, offset: int, buffer: memoryview) -> None:
        for place, start in self._places(offset, len(buffer)):
            self._read_all(self._fd, place.offset, buffer[start : start + place.length])

    def _read_all(self, fd: int, position: int, buffer: memoryview) -> None:
        while buffer:
            try:
                count = os.preadv(fd, [buffer], position)
            except OSError as error:
                raise self._failure("read", error) from error
            if not count:
                raise WriteFailed(f"{self.name} cannot be read: {self.path} ends at byte {position}")
            buffer, position = buffer[count:], position + count

    def _write_all(self, fd: int, position: int, data: memoryview) -> None:
        while data:
            try:
                count = os.pwrite(fd, data, position)
            except OSError as error:
                raise self._failure("written", error) from error
            data, position = data[count:], position + count

    def _zero(self, place: Extent) -> None:
        first, last = -(-place.offset // _BLOCK) * _BLOCK, place.end // _BLOCK * _BLOCK
        if first >= last or not self._zero_blocks(first, last - first):
            first = last = place.end
        for start, end in ((place.offset, first), (last, place.end)):
            for position in range(start, end, len(_ZEROS)):
                self._write_all(self._fd, position, memoryview(_ZEROS)[: end - position])

    def _zero_blocks(self, position: int, length: int) -> bool:
        """Zero whole blocks without writing them; False where the disk cannot do that."""
        mode = _ZERO_RANGE if self._is_device else _PUNCH_HOLE
        while _libc.fallocate(self._fd, mode | _KEEP_SIZE, position, length):
            code = ctypes.get_errno()
            if code in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV):
                return False
            if code != errno.EINTR:
                raise self._failure("zeroed", OSError(code, os.strerror(code)))
        return True

    def _read_direct(self, place: Extent, buffer: memoryview) -> None:
        assert self._direct is not None
        if _is_aligned(place, buffer):
            self._read_all(self._direct, place.offset, buffer)
            return
        with mmap.mmap(-1, min(-(-place.length // _BLOCK) * _BLOCK + _BLOCK, MIB)) as bounce:
            position = place.offset
            while position < place.end:
                start = position // _BLOCK * _BLOCK
                count = min(place.end, start + len(bounce)) - position
                self._read_blocks(start, position - start + count, bounce)
                done = position - place.offset
                buffer[done : done + count] = bounce[position - start : position - start + count]
                position += count

    def _read_blocks(self, start: int, needed: int, bounce: mmap.mmap) -> None:
        """Fill the first ``needed`` bytes of ``bounce`` from ``start``, in whole blocks."""
        assert self._direct is not None
        whole = min(-(-needed // _BLOCK) * _BLOCK, len(bounce))
        with memoryview(bounce) as view, view[:whole] as blocks:
            try:
                count = os.preadv(self._direct, [blocks], start)
            except OSError as error:
                raise self._failure("read back", error) from error
        if count < needed:
            raise WriteFailed(f"{self.name} cannot be read back: {self.path} ends at byte {start + count}")

    def _forget_cache(self, offset: int, length: int) -> None:
        self.flush()
        for place, _ in self._places(offset, length):
            os.posix_fadvise(self._fd, place.offset, place.length, os.POSIX_FADV_DONTNEED)

    def _failure(self, done: str, error: OSError) -> WriteFailed:
        return WriteFailed(f"{self.name} on {self.path} cannot be {done}: {_reason(error)}")


def _open(path: Path, name: str, *, writable: bool) -> int:
    try:
        return os.open(path, os.O_RDWR if writable else os.O_RDONLY)
    except FileNotFoundError as error:
        raise DiskUnusable(f"{path} does not exist") from error
    except OSError as error:
        if writable:
            raise WriteFailed(f"{name} on {path} cannot be opened for writing: {_reason(error)}") from error
        raise DiskUnusable(f"{path} cannot be read: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


def _is_aligned(place: Extent, buffer: memoryview) -> bool:
    if buffer.readonly or (place.offset | place.length) % _BLOCK:
        return False
    address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    return not address % _BLOCK


def size_of(path: Path) -> int:
    """Return the size of an image or block device in bytes; raise DiskUnusable."""
    fd = _open(path, str(path), writable=False)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise DiskUnusable(f"{path} is neither a disk image nor a block device")
        return os.lseek(fd, 0, os.SEEK_END)
    finally:
        os.close(fd)


def find_partition(disk: Path, place: Extent, system: Path = Path("/sys")) -> Path | None:
    """Return the kernel's device of the partition that is exactly ``place`` of ``disk``; None for none."""
    name = kernel_name(disk, system)
    parts = list_partitions(system / "class/block" / name) if name else ()
    return next((Path("/dev", part) for part, found in parts if found == place), None)


def kernel_name(device: Path, system: Path = Path("/sys")) -> str | None:
    """Return how the kernel calls a block device, whatever its node is called; None where /sys lacks it."""
    number = device.stat().st_rdev
    folder = system / f"dev/block/{os.major(number)}:{os.minor(number)}"
    return folder.resolve().name if folder.exists() else None


def list_partitions(disk: Path) -> Iterator[tuple[str, Extent]]:
    """Yield the partitions of a disk by its folder in /sys: the kernel's name, and the place on the disk."""
    for start in disk.glob("*/start"):
        sectors = (int(read_small(start.parent / name) or 0) for name in ("start", "size"))
        yield start.parent.name, Extent(*(count * SECTOR for count in sectors))


def overwrite_in_place(file: ExtentVolume, offset: int, data: bytes) -> None:
    """Write, flush, and read back from the medium; raise WriteFailed."""
    file.write(offset, memoryview(data))
    file.flush()
    found = bytearray(len(data))
    file.read_back(offset, memoryview(found))
    if found != data:
        raise WriteFailed(f"{file.name} on {file.path} holds something else than was written: check the disk")
