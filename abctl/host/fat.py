"""Where a file is inside a FAT file system, without mounting it (Microsoft's FAT specification, 1.03).

A damaged or hostile file system ends in DiskUnusable: every number is checked before it is used.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from abctl.core.found import Extent, join_extents
from abctl.core.units import MIB
from abctl.errors import DiskUnusable
from abctl.host.block import ExtentVolume

_ENTRY_SIZE = 32
_DIRECTORY_MAX = 2 * MIB  # 65,536 entries, the limit of the format
_LABEL, _DIRECTORY, _LONG_NAME = 0x08, 0x10, 0x0F
_SMALL_CLUSTERS, _MEDIUM_CLUSTERS = 4085, 65525  # fewer than these: FAT12, FAT16
_SECTOR_SIZES = (512, 1024, 2048, 4096)


@dataclass(frozen=True, slots=True)
class _Entry:
    names: tuple[str, ...]  # in lower case: FAT does not tell cases apart
    is_directory: bool
    cluster: int
    size: int


def find_in_fat(volume: ExtentVolume, path: str) -> tuple[Extent, ...] | None:
    """Return where the bytes of the file ``path`` are in ``volume``, or None where there is no such file."""
    return _Fat(volume).find(path)


class _Fat:
    def __init__(self, volume: ExtentVolume) -> None:
        self._volume = volume
        boot = volume.read(0, 512) if volume.size >= 512 else b""
        if boot[510:] != b"\x55\xaa":
            raise self._damaged("it has no boot sector")
        sector, self._per_cluster, reserved, fats, root_entries, total = struct.unpack_from(
            "<HBHBHH", boot, 11
        )
        fat_size = struct.unpack_from("<H", boot, 22)[0] or struct.unpack_from("<I", boot, 36)[0]
        total = total or struct.unpack_from("<I", boot, 32)[0]
        if sector not in _SECTOR_SIZES or not self._per_cluster or not reserved or not fats or not fat_size:
            raise self._damaged("its boot sector makes no sense")
        self._fat_at = reserved * sector
        self._root = Extent((reserved + fats * fat_size) * sector, root_entries * _ENTRY_SIZE)
        self._data_at = self._root.offset + -(-self._root.length // sector) * sector
        self._cluster_size = self._per_cluster * sector
        self._clusters = (total * sector - self._data_at) // self._cluster_size
        self._bits = (
            12 if self._clusters < _SMALL_CLUSTERS else 16 if self._clusters < _MEDIUM_CLUSTERS else 32
        )
        self._root_cluster = struct.unpack_from("<I", boot, 44)[0] if self._bits == 32 else 0
        too_short = fat_size * sector * 8 < (self._clusters + 2) * self._bits
        if self._clusters < 1 or total * sector > volume.size or too_short:
            raise self._damaged("its sizes do not fit together")

    def find(self, path: str) -> tuple[Extent, ...] | None:
        entry = _Entry((), is_directory=True, cluster=self._root_cluster, size=0)
        for name in path.strip("/").lower().split("/"):
            if not entry.is_directory:
                return None
            found = next((item for item in self._entries(entry.cluster) if name in item.names), None)
            if found is None:
                return None
            entry = found
        return None if entry.is_directory else self._places(entry)

    def _damaged(self, why: str) -> DiskUnusable:
        return DiskUnusable(f"the FAT file system on {self._volume.name} is damaged: {why}")

    def _places(self, entry: _Entry) -> tuple[Extent, ...]:
        places: list[Extent] = []
        left = entry.size
        for cluster in self._chain(entry.cluster) if left else ():
            length = min(left, self._cluster_size)
            places.append(Extent(self._data_at + (cluster - 2) * self._cluster_size, length))
            left -= length
            if not left:
                break
        if left:
            raise self._damaged(f"{entry.names[-1]} is shorter than its directory says")
        return join_extents(places)

    def _chain(self, cluster: int) -> Iterator[int]:
        end = (1 << min(self._bits, 28)) - 8
        seen: set[int] = set()
        while cluster < end or not seen:
            if not 2 <= cluster < self._clusters + 2:
                raise self._damaged(f"a file leads to cluster {cluster} of {self._clusters}")
            if cluster in seen:
                raise self._damaged("a file leads back to itself")
            seen.add(cluster)
            yield cluster
            cluster = self._next(cluster)

    def _next(self, cluster: int) -> int:
        bit = cluster * self._bits
        value = int.from_bytes(
            self._volume.read(self._fat_at + bit // 8, 4 if self._bits == 32 else 2), "little"
        )
        # Three bytes hold two entries of 12 bits, and the top 4 of 32 bits mean nothing.
        return value >> bit % 8 & (1 << min(self._bits, 28)) - 1

    def _directory(self, cluster: int) -> Iterator[bytes]:
        if not cluster:
            yield self._volume.read(self._root.offset, self._root.length)
            return
        for count, item in enumerate(self._chain(cluster)):
            if count * self._cluster_size > _DIRECTORY_MAX:
                raise self._damaged("a directory is too long")
            yield self._volume.read(self._data_at + (item - 2) * self._cluster_size, self._cluster_size)

    def _entries(self, cluster: int) -> Iterator[_Entry]:
        long_name: dict[int, str] = {}
        for block in self._directory(cluster):
            for start in range(0, len(block), _ENTRY_SIZE):
                raw = block[start : start + _ENTRY_SIZE]
                if raw[0] == 0:
                    return
                attributes = raw[11] & 0x3F
                if attributes == _LONG_NAME and raw[0] != 0xE5:
                    long_name[raw[0] & 0x3F] = (raw[1:11] + raw[14:26] + raw[28:32]).decode(
                        "utf-16-le", "replace"
                    )
                    continue
                if raw[0] != 0xE5 and not attributes & _LABEL:
                    yield _parse_entry(raw, long_name, wide=self._bits == 32)
                long_name = {}


def _parse_entry(raw: bytes, long_name: dict[int, str], *, wide: bool) -> _Entry:
    stem, suffix = (part.decode("ascii", "replace").rstrip() for part in (raw[:8], raw[8:11]))
    names = [f"{stem}.{suffix}" if suffix else stem]
    if long_name:
        names.append("".join(long_name[number] for number in sorted(long_name)).partition("\0")[0])
    high, low, size = struct.unpack("<20xH4xHI", raw)
    return _Entry(
        names=tuple(name.lower() for name in names),
        is_directory=bool(raw[11] & _DIRECTORY),
        cluster=(high << 16 if wide else 0) | low,
        size=size,
    )
