"""Where a file is inside an ext2, ext3 or ext4 file system, and what stands in it, without mounting it.

The journal is not replayed, as in GRUB: what abctl writes in place never moves. A damaged or hostile
file system ends in DiskUnusable: every number is checked before it is used.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from abctl.core.found import Extent, join_extents
from abctl.core.units import MIB
from abctl.errors import DiskUnusable
from abctl.host.block import ExtentVolume

_SUPERBLOCK = Extent(1024, 1024)
_MAGIC, _EXTENT_MAGIC = 0xEF53, 0xF30A
_ROOT = 2
_HAS_64BIT = 0x80
# File types, journal to replay, extents, 64 bit, flexible groups, checksum seed, large directories.
_KNOWN_FEATURES = 0x0002 | 0x0004 | 0x0040 | _HAS_64BIT | 0x0200 | 0x2000 | 0x4000
_EXTENTS_FLAG, _UNREADABLE_FLAGS = 0x80000, 0x10000000 | 0x800  # inline data, encrypted
_TYPE, _DIRECTORY, _FILE, _LINK = 0xF000, 0x4000, 0x8000, 0xA000
_UNWRITTEN = 32768
_DEPTH_MAX, _LINKS_MAX = 5, 8
_DIRECTORY_MAX = 16 * MIB
_MAP_BLOCKS_MAX = 4096  # of all files met on the way; a hostile map could name the same block for ever
_TEXT_IN_INODE = 60
_MEASURED_MAX = 20_000  # files below one folder


@dataclass(frozen=True, slots=True)
class _Inode:
    mode: int
    size: int
    flags: int
    map: bytes

    @property
    def kind(self) -> int:
        return self.mode & _TYPE


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder by its name, and the bytes of all that is in it."""

    name: str
    size: int
    is_folder: bool


@dataclass(frozen=True, slots=True)
class _Run:
    """Blocks of a file that follow each other; ``start`` is None where they read as zeros."""

    logical: int
    start: int | None
    blocks: int


def find_in_ext4(volume: ExtentVolume, path: str) -> tuple[Extent, ...] | None:
    """Return where the bytes of the file ``path`` are in ``volume``, or None where there is no such file.

    Raise DiskUnusable for a file with holes: it cannot be overwritten in place.
    """
    system = _Ext4(volume)
    inode = system.find(path)
    return system.places(inode, path) if inode else None


def read_from_ext4(volume: ExtentVolume, path: str, limit: int) -> bytes | None:
    """Return the first ``limit`` bytes of the file ``path``, or None where there is no such file."""
    system = _Ext4(volume)
    inode = system.find(path)
    return system.read(inode, limit) if inode else None


def measure_ext4(volume: ExtentVolume) -> Iterator[Entry]:
    """Yield what lies in the topmost folder: files, and folders with all that is below them."""
    system = _Ext4(volume)
    for number, name in system.list_folder(_ROOT):
        kind, size = system.measure(number)
        if kind in (_DIRECTORY, _FILE):
            yield Entry(name, size, kind == _DIRECTORY)


def is_ext4(volume: ExtentVolume) -> bool:
    """Say whether ``volume`` has the mark of an ext2, ext3 or ext4 file system."""
    return volume.size >= _SUPERBLOCK.end and volume.read(_SUPERBLOCK.offset + 0x38, 2) == _MAGIC.to_bytes(
        2, "little"
    )


class _Ext4:
    def __init__(self, volume: ExtentVolume) -> None:
        self._volume = volume
        self._map_blocks = 0
        if not is_ext4(volume):
            raise self._damaged("it has no superblock")
        block = volume.read(_SUPERBLOCK.offset, _SUPERBLOCK.length)
        self._inodes, blocks_low = struct.unpack_from("<II", block, 0)
        first, log_size = struct.unpack_from("<II", block, 0x14)
        (self._inodes_per_group,) = struct.unpack_from("<I", block, 0x28)
        (revision,) = struct.unpack_from("<I", block, 0x4C)
        (inode_size,) = struct.unpack_from("<H", block, 0x58)
        (features,) = struct.unpack_from("<I", block, 0x60)
        (descriptor_size,) = struct.unpack_from("<H", block, 0xFE)
        (blocks_high,) = struct.unpack_from("<I", block, 0x150)
        if features & ~_KNOWN_FEATURES:
            raise self._damaged(f"abctl does not know its features {features & ~_KNOWN_FEATURES:#x}")
        wide = bool(features & _HAS_64BIT)
        self._block_size = 1024 << min(log_size, 6)
        self._blocks = blocks_low | (blocks_high << 32 if wide else 0)
        self._inode_size = inode_size if revision else 128
        self._descriptor_size = descriptor_size if wide else 32
        self._descriptors_at = (first + 1) * self._block_size
        if self._blocks * self._block_size > volume.size:
            raise self._damaged("it is larger than the volume")
        if (
            not self._inodes_per_group
            or not 128 <= self._inode_size <= self._block_size
            or not 32 <= self._descriptor_size <= 1024
        ):
            raise self._damaged("its superblock makes no sense")

    def find(self, path: str) -> _Inode | None:
        """Return the file ``path``; symbolic links are followed."""
        names, links = _split(path), 0
        inode, trail = self._inode(_ROOT), [_ROOT]
        while names:
            name = names.pop(0)
            if inode.kind != _DIRECTORY:
                return None
            number = trail[-2] if name == ".." and len(trail) > 1 else self._look_up(inode, name)
            if number is None:
                return None
            inode = self._inode(number)
            if inode.kind == _LINK:
                links += 1
                if links > _LINKS_MAX:
                    raise self._damaged(f"{path} is a chain of too many symbolic links")
                target = self._link_target(inode)
                names = _split(target) + names
                trail = [_ROOT] if target.startswith("/") else trail
                inode = self._inode(trail[-1])
            else:
                trail = trail[:-1] if name == ".." else [*trail, number]
        return inode if inode.kind == _FILE else None

    def places(self, inode: _Inode, path: str) -> tuple[Extent, ...]:
        places: list[Extent] = []
        covered = 0
        if inode.size > self._volume.size:
            raise self._damaged(f"{path} is larger than the volume")
        for run in self._runs(inode, inode.size):
            start, length = run.logical * self._block_size, run.blocks * self._block_size
            if run.start is None or start != covered:
                break
            length = min(length, inode.size - start)
            if length > 0:
                places.append(Extent(run.start * self._block_size, length))
            covered = start + length
        if covered < inode.size:
            raise DiskUnusable(f"{path} on {self._volume.name} has holes: it cannot be overwritten in place")
        return join_extents(places)

    def read(self, inode: _Inode, limit: int) -> bytes:
        wanted = min(limit, inode.size)
        data = bytearray(wanted)
        for run in self._runs(inode, wanted):
            start = run.logical * self._block_size
            length = min(run.blocks * self._block_size, wanted - start)
            if run.start is not None and length > 0:
                data[start : start + length] = self._volume.read(run.start * self._block_size, length)
        return bytes(data)

    def _damaged(self, why: str) -> DiskUnusable:
        return DiskUnusable(f"the ext4 file system on {self._volume.name} cannot be used: {why}")

    def _read_at(self, offset: int, length: int) -> bytes:
        if offset + length > self._volume.size:
            raise self._damaged(f"it leads to byte {offset} of {self._volume.size}")
        return self._volume.read(offset, length)

    def _inode(self, number: int) -> _Inode:
        if not 1 <= number <= self._inodes:
            raise self._damaged(f"it leads to inode {number} of {self._inodes}")
        group, index = divmod(number - 1, self._inodes_per_group)
        descriptor = self._read_at(
            self._descriptors_at + group * self._descriptor_size, self._descriptor_size
        )
        (table,) = struct.unpack_from("<I", descriptor, 8)
        if self._descriptor_size >= 64:
            table |= struct.unpack_from("<I", descriptor, 0x28)[0] << 32
        raw = self._read_at(table * self._block_size + index * self._inode_size, 128)
        mode, _, low = struct.unpack_from("<HHI", raw, 0)
        (flags,) = struct.unpack_from("<I", raw, 0x20)
        (high,) = struct.unpack_from("<I", raw, 0x6C)
        if flags & _UNREADABLE_FLAGS:
            raise self._damaged("a file is encrypted or stands in its inode")
        size = low | (0 if mode & _TYPE == _DIRECTORY else high << 32)
        return _Inode(mode, size, flags, raw[0x28:0x64])

    def _link_target(self, inode: _Inode) -> str:
        if inode.size < _TEXT_IN_INODE and not inode.flags & _EXTENTS_FLAG:
            return inode.map[: inode.size].decode("utf-8", "replace")
        return self.read(inode, self._block_size).decode("utf-8", "replace")

    def _look_up(self, directory: _Inode, name: str) -> int | None:
        wanted = name.encode()
        return next((number for number, found in self._entries(directory) if found == wanted), None)

    def _entries(self, directory: _Inode) -> Iterator[tuple[int, bytes]]:
        if directory.size > _DIRECTORY_MAX:
            raise self._damaged("a directory is too long")
        data = self.read(directory, directory.size)
        position = 0
        while position + 8 <= len(data):
            number, length, name_length = struct.unpack_from("<IHB", data, position)
            if length < 8 or length % 4 or position % self._block_size + length > self._block_size:
                raise self._damaged("a directory entry makes no sense")
            if number:
                yield int(number), data[position + 8 : position + 8 + name_length]
            position += length

    def list_folder(self, number: int) -> Iterator[tuple[int, str]]:
        """Yield the entries of a folder, by the number of its inode, without itself and the one above."""
        for child, name in self._entries(self._inode(number)):
            if name not in (b".", b".."):
                yield child, name.decode("utf-8", "replace")

    def measure(self, number: int) -> tuple[int, int]:
        """Return what kind of file an inode is, and its bytes; a folder counts what is below it too."""
        top, size, folders, seen, waiting = self._inode(number), 0, 0, {number}, [number]
        while waiting:
            inode = self._inode(at := waiting.pop())
            size += inode.size
            if inode.kind != _DIRECTORY:
                continue
            folders += inode.size
            if folders > _DIRECTORY_MAX or len(seen) > _MEASURED_MAX:
                raise self._damaged("it holds too many files to be counted")
            found = {child for child, _ in self.list_folder(at)} - seen
            seen |= found
            waiting += found
        return top.kind, size

    def _runs(self, inode: _Inode, length: int) -> Iterator[_Run]:
        """Yield the blocks of the first ``length`` bytes in order, without those never allocated."""
        runs = (
            self._extents(inode.map, _DEPTH_MAX) if inode.flags & _EXTENTS_FLAG else self._mapped(inode.map)
        )
        expected = 0
        for run in runs:
            if run.logical < expected:
                raise self._damaged("the blocks of a file are out of order")
            expected = run.logical + run.blocks
            if run.start is not None and run.start + run.blocks > self._blocks:
                raise self._damaged(f"a file leads to block {run.start} of {self._blocks}")
            if run.logical * self._block_size >= length:
                return
            yield run

    def _map_block(self, number: int) -> bytes:
        self._map_blocks += 1
        if self._map_blocks > _MAP_BLOCKS_MAX:
            raise self._damaged("the block map of a file is too long")
        return self._read_at(number * self._block_size, self._block_size)

    def _extents(self, node: bytes, depth_max: int) -> Iterator[_Run]:
        magic, entries, _, depth = struct.unpack_from("<HHHH", node, 0)
        if magic != _EXTENT_MAGIC or depth > depth_max or 12 + entries * 12 > len(node):
            raise self._damaged("the block map of a file makes no sense")
        for position in range(12, 12 + entries * 12, 12):
            if depth:
                _, low, high = struct.unpack_from("<IIH", node, position)
                yield from self._extents(self._map_block(low | high << 32), depth - 1)
            else:
                logical, count, high, low = struct.unpack_from("<IHHI", node, position)
                written = count <= _UNWRITTEN
                start = low | high << 32 if written else None
                yield _Run(logical, start, count if written else count - _UNWRITTEN)

    def _mapped(self, numbers: bytes) -> Iterator[_Run]:
        """Yield the blocks of a file without extents: 12 by number, then blocks of numbers, three deep."""
        logical = 0
        for index, number in enumerate(struct.unpack("<15I", numbers)):
            depth = max(0, index - 11)
            yield from self._indirect(number, depth, logical)
            logical += (self._block_size // 4) ** depth

    def _indirect(self, number: int, depth: int, logical: int) -> Iterator[_Run]:
        if not number:
            return
        if not depth:
            yield _Run(logical, number, 1)
            return
        step = (self._block_size // 4) ** (depth - 1)
        for index, (child,) in enumerate(struct.iter_unpack("<I", self._map_block(number))):
            yield from self._indirect(child, depth - 1, logical + index * step)


def _split(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]
