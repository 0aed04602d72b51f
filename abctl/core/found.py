"""What was found on a disk: its partition table and its volume group, as read by the adapters."""

from collections.abc import Iterable
from dataclasses import dataclass

from abctl.core.units import Bytes

SECTOR = 512  # bytes, the unit of a partition table


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """A range of bytes."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.length


def join_extents(extents: Iterable[Extent]) -> tuple[Extent, ...]:
    """Return the ranges with those that follow each other made one."""
    joined: list[Extent] = []
    for extent in extents:
        if joined and joined[-1].end == extent.offset:
            joined[-1] = Extent(joined[-1].offset, joined[-1].length + extent.length)
        else:
            joined.append(extent)
    return tuple(joined)


@dataclass(frozen=True, slots=True)
class FoundPartition:
    """One partition; ``type`` and ``uuid`` in lower case, places in 512-byte sectors."""

    number: int
    name: str
    start_sector: int
    sectors: int
    type: str
    uuid: str

    @property
    def extent(self) -> Extent:
        return Extent(self.start_sector * SECTOR, self.sectors * SECTOR)


@dataclass(frozen=True, slots=True)
class PartitionTable:
    """A GPT. Usable sectors are from ``first_sector`` to ``last_sector``, both included.

    ``remarks`` are sentences about damage that does not stop anything.
    """

    disk_uuid: str
    disk_size: Bytes
    first_sector: int
    last_sector: int
    partitions: tuple[FoundPartition, ...]
    remarks: tuple[str, ...] = ()

    def find(self, name: str) -> FoundPartition | None:
        return next((partition for partition in self.partitions if partition.name == name), None)


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of extents: ``start`` counts in the volume, ``physical_start`` on the disk."""

    start: int
    physical_start: int
    extents: int


@dataclass(frozen=True, slots=True)
class FoundVolume:
    """One logical volume; size in bytes.

    ``problem`` says why its bytes cannot be reached by their place on this disk. ``is_open`` is None
    where the kernel was not asked, as for an image. ``is_snapped`` where it has a snapshot, or is one.
    """

    name: str
    uuid: str
    size: Bytes
    segments: tuple[Segment, ...]
    problem: str | None = None
    is_open: bool | None = None
    is_snapped: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A volume group and its first physical volume; ``data_start`` is in bytes from the start of that."""

    name: str
    uuid: str
    pv_uuid: str
    extent_size: Bytes
    data_start: Bytes
    extents: int
    free_extents: int
    volumes: tuple[FoundVolume, ...]

    def find(self, name: str) -> FoundVolume | None:
        return next((volume for volume in self.volumes if volume.name == name), None)

    def places_of(self, volume: FoundVolume) -> tuple[Extent, ...]:
        """Return where the bytes of ``volume`` are, counted from the start of the physical volume."""
        return tuple(
            Extent(
                self.data_start + segment.physical_start * self.extent_size,
                segment.extents * self.extent_size,
            )
            for segment in volume.segments
        )
