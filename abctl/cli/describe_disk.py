"""Make the reports of a disk from what was found on it. Nothing here looks at a disk."""

from collections.abc import Sequence
from dataclasses import dataclass

from abctl.cli.report_disk import (
    CheckReport,
    DifferenceReport,
    DiskReport,
    PartitionReport,
    PlaceReport,
    SlotReport,
    VolumeGroupReport,
    VolumeReport,
)
from abctl.core.bootenv import BootEnv, SlotState
from abctl.core.compare import Difference, Severity
from abctl.core.found import Extent, FoundPartition, Group, PartitionTable
from abctl.core.layout import Layout, Role
from abctl.core.slot import ALL_SLOTS, Part, Slot, SlotName
from abctl.core.units import format_size


@dataclass(frozen=True, slots=True)
class FoundSlot:
    """The volume or partition of a slot; size in bytes."""

    on: str
    size: int
    places: tuple[PlaceReport, ...]


def describe_disk(
    disk: str,
    layout: Layout,
    table: PartitionTable,
    group: Group | None,
    env: BootEnv | None,
    *,
    booted: SlotName | None = None,
) -> DiskReport:
    """Return what is where on ``disk``; ``layout`` names the slots, ``env`` is None where it is lost."""
    home = _find_home(layout, table) if group else None
    start = home.extent.offset if home else 0
    slots = _find_slots(layout, table, group, start)
    return DiskReport(
        disk=disk,
        layout=layout.name,
        size=table.disk_size,
        uuid=table.disk_uuid,
        partitions=tuple(_describe_partition(layout, item) for item in table.partitions),
        volume_group=_describe_group(layout, group, home, start) if group and home else None,
        slots=tuple(_describe_slot(slot, found, env) for slot, found in slots.items()),
        primary=env.primary if env else None,
        booted=booted,
        remarks=(*table.remarks, *_find_reserve_remarks(layout, group)),
    )


def _find_home(layout: Layout, table: PartitionTable) -> FoundPartition | None:
    home = layout.find_role(Role.VOLUME_GROUP)
    return table.find(home.name) if home else None


def _describe_partition(layout: Layout, found: FoundPartition) -> PartitionReport:
    return PartitionReport(
        number=found.number,
        name=found.name,
        offset=found.extent.offset,
        size=found.extent.length,
        type=found.type,
        uuid=found.uuid,
        role=_role_of(layout, found.name),
        slot=_slot_of(layout, found.name),
    )


def _role_of(layout: Layout, name: str) -> Role | None:
    return next((volume.role for volume in layout.volumes if volume.name == name), None)


def _slot_of(layout: Layout, name: str) -> str | None:
    slot = next((volume.slot for volume in layout.volumes if volume.name == name), None)
    return slot.name if slot else None


def _describe_group(layout: Layout, group: Group, home: FoundPartition, start: int) -> VolumeGroupReport:
    return VolumeGroupReport(
        name=group.name,
        uuid=group.uuid,
        partition=home.name,
        extent_size=group.extent_size,
        size=group.extents * group.extent_size,
        free=group.free_extents * group.extent_size,
        reserve=layout.volume_group.reserve if layout.volume_group else None,
        volumes=tuple(
            VolumeReport(
                name=volume.name,
                uuid=volume.uuid,
                size=volume.size,
                places=_places(group.places_of(volume), start),
                role=_role_of(layout, volume.name),
                slot=_slot_of(layout, volume.name),
                problem=volume.problem,
            )
            for volume in group.volumes
        ),
    )


def _places(extents: Sequence[Extent], start: int) -> tuple[PlaceReport, ...]:
    return tuple(PlaceReport(offset=start + extent.offset, size=extent.length) for extent in extents)


def _describe_slot(slot: Slot, found: FoundSlot | None, env: BootEnv | None) -> SlotReport:
    state = env[slot.slot_set].state if env else None
    # Var holds what the system wrote there, not a part of the release.
    holds = slot.part is not Part.VAR and state is not SlotState.EMPTY
    return SlotReport(
        name=slot.name,
        slot_set=slot.slot_set,
        part=slot.part,
        on=found.on if found else None,
        size=found.size if found else None,
        places=found.places if found else (),
        version=env[slot.slot_set].version if env and holds else None,
        state=state,
    )


def _find_slots(
    layout: Layout, table: PartitionTable, group: Group | None, start: int
) -> dict[Slot, FoundSlot | None]:
    return {slot: _find_slot(layout.find_slot(slot).name, table, group, start) for slot in ALL_SLOTS}


def _find_slot(name: str, table: PartitionTable, group: Group | None, start: int) -> FoundSlot | None:
    if group is None:
        partition = table.find(name)
        places = _places([partition.extent], 0) if partition else ()
        return (
            FoundSlot(f"partition {partition.number}", partition.extent.length, places) if partition else None
        )
    volume = group.find(name)
    if volume is None:
        return None
    return FoundSlot(f"{group.name}/{name}", volume.size, _places(group.places_of(volume), start))


def _find_reserve_remarks(layout: Layout, group: Group | None) -> tuple[str, ...]:
    wanted = (layout.volume_group.reserve or 0) if layout.volume_group else 0
    if group is None or group.free_extents * group.extent_size >= wanted:
        return ()
    free = format_size(group.free_extents * group.extent_size)
    return (
        f"volume group {group.name} has {free} free, and layout {layout.name} keeps {format_size(wanted)} in "
        "reserve for snapshots: shrink a volume to get it back",
    )


def describe_check(disk: str, layout: str, differences: Sequence[Difference]) -> CheckReport:
    """Return how ``disk`` differs from the layout of this name."""
    reports = {
        severity: tuple(
            DifferenceReport(name=item.name, sentence=item.text)
            for item in differences
            if item.severity is severity
        )
        for severity in Severity
    }
    return CheckReport(
        disk=disk,
        layout=layout,
        same=not reports[Severity.DIFFERENCE],
        differences=reports[Severity.DIFFERENCE],
        remarks=reports[Severity.REMARK],
    )
