"""What is different between a disk and a layout, each difference as a sentence."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from abctl.core.found import FoundPartition, FoundVolume, Group, PartitionTable
from abctl.core.layout import ALIGNMENT_SECTORS, Layout, LogicalVolume, Partition, VolumeGroup
from abctl.core.units import format_size
from abctl.errors import BadLayout


class Severity(StrEnum):
    """Whether the disk has another layout, or is only worth a word."""

    DIFFERENCE = "difference"
    REMARK = "remark"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference of the thing ``name``; ``text`` is a sentence without its full stop.

    A ``grave`` one keeps the host from booting or from being upgraded; ``missing`` is not there at all.
    ``in_group`` says that it is the volume group or a volume of it.
    """

    name: str
    text: str
    severity: Severity = Severity.DIFFERENCE
    grave: bool = False
    missing: bool = False
    in_group: bool = False


def find_differences(table: PartitionTable, group: Group | None, layout: Layout) -> tuple[Difference, ...]:
    """Return what is different, in the order of the disk; ``group`` is None where it could not be read."""
    return tuple(_differences(table, group, layout))


def _differences(table: PartitionTable, group: Group | None, layout: Layout) -> Iterator[Difference]:
    fitted = layout
    try:
        fitted = layout.fit_to(table.disk_size)
    except BadLayout as error:
        yield Difference("disk", str(error), grave=True)
    for remark in table.remarks:
        yield Difference("disk", remark, Severity.REMARK)
    if layout.disk_uuid and table.disk_uuid != layout.disk_uuid:
        text = f"the disk has the UUID {table.disk_uuid}, not {layout.disk_uuid}"
        yield Difference("disk", text, Severity.REMARK)
    yield from _compare_partitions(table, layout, fitted)
    if group and fitted.volume_group:
        for difference in _compare_group(group, fitted.volume_group, fitted):
            yield replace(difference, in_group=True)


def _compare_partitions(table: PartitionTable, layout: Layout, fitted: Layout) -> Iterator[Difference]:
    for wanted in fitted.partitions:
        found = table.find(wanted.name)
        if found is None:
            text = f"there is no partition {wanted.name}"
            yield Difference(wanted.name, text, grave=True, missing=True)
        else:
            yield from _compare_partition(found, wanted, layout, fitted)
    known = {partition.name for partition in layout.partitions}
    for extra in table.partitions:
        if extra.name not in known:
            yield _extra("partition", extra.name, layout)


def _extra(kind: str, name: str, layout: Layout) -> Difference:
    later = name in layout.made_later
    text = f"there is a {kind} {name or 'without a name'}, which the layout does not have"
    if later:
        text = f"there is a {kind} {name}, which the system made at its first boot"
    return Difference(name, text, Severity.REMARK if later else Severity.DIFFERENCE)


def _compare(name: str, what: str, found: object, wanted: object, unit: str = "") -> Iterator[Difference]:
    if found != wanted:
        yield Difference(name, f"the {what} of {name} is {found}{unit}, not {wanted}{unit}")


def _compare_size(name: str, found: int, wanted: int, unit: str) -> Iterator[Difference]:
    """What is too small may not take a release; what is too large only wastes room."""
    for difference in _compare(name, "size", found, wanted, unit):
        yield replace(difference, grave=found < wanted)


def _compare_partition(
    found: FoundPartition, wanted: Partition, layout: Layout, fitted: Layout
) -> Iterator[Difference]:
    name = wanted.name
    yield from _compare(name, "number", found.number, fitted.number_of(wanted))
    yield from _compare(name, "start", found.start_sector, wanted.start_sector, " sectors")
    if not wanted.grow:
        yield from _compare_size(name, found.sectors, wanted.sectors, " sectors")
    elif found.sectors < layout.least_sectors(wanted):
        least = layout.least_sectors(wanted)
        text = f"the size of {name} is {found.sectors} sectors, at least {least} are needed"
        yield Difference(name, text, grave=True)
    elif found.sectors + ALIGNMENT_SECTORS < wanted.sectors:
        text = f"{name} could grow from {found.sectors} to {wanted.sectors} sectors on this disk"
        yield Difference(name, text, Severity.REMARK)
    yield from _compare(name, "type", found.type, wanted.type)
    yield from _compare(name, "UUID", found.uuid, wanted.uuid)


def _compare_group(found: Group, wanted: VolumeGroup, fitted: Layout) -> Iterator[Difference]:
    name = wanted.name
    yield from _compare(name, "UUID", found.uuid, wanted.uuid)
    yield from _compare(name, "physical volume's UUID", found.pv_uuid, wanted.pv_uuid)
    yield from _compare(name, "extent size", found.extent_size, wanted.extent_size, " bytes")
    yield from _compare(name, "start of the data", found.data_start, wanted.data_start, " bytes")
    for volume in wanted.volumes:
        match = found.find(volume.name)
        if match is None:
            text = f"there is no logical volume {volume.name}"
            yield Difference(volume.name, text, grave=True, missing=True)
        else:
            yield from _compare_volume(match, volume, fitted)
    known = {volume.name for volume in wanted.volumes}
    for extra in found.volumes:
        if extra.name not in known:
            yield _extra("logical volume", extra.name, fitted)
    yield from _compare_reserve(found, wanted, fitted)


def _compare_volume(found: FoundVolume, wanted: LogicalVolume, fitted: Layout) -> Iterator[Difference]:
    name = wanted.name
    if found.problem:
        yield Difference(name, f"{name} cannot be used: {found.problem}", grave=True)
    elif found.segments:
        yield from _compare(name, "start", found.segments[0].physical_start, wanted.start_extent, " extents")
    if not wanted.grow:
        yield from _compare_size(name, found.size, fitted.size_of(wanted), " bytes")
    yield from _compare(name, "UUID", found.uuid, wanted.uuid)
    if len(found.segments) > 1:
        text = f"{name} lies in {len(found.segments)} segments: it was extended or moved"
        yield Difference(name, text, Severity.REMARK)


def _compare_reserve(found: Group, wanted: VolumeGroup, fitted: Layout) -> Iterator[Difference]:
    last = max(volume.end_extent for volume in wanted.volumes)
    # On a small disk the layout itself leaves less than its reserve.
    room = (fitted.group_extents - last) * wanted.extent_size
    reserve = min(wanted.reserve, room)
    free = found.free_extents * found.extent_size
    if free < reserve:
        kept = f"only {format_size(free)}" if free else "nothing"
        yield Difference(
            wanted.name,
            f"volume group {wanted.name} has {kept} free, and the layout keeps {format_size(reserve)} "
            "for snapshots of /var",
        )
