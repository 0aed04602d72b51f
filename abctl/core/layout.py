"""What a disk looks like, as data: partitions, a volume group, and where each slot is.

Slots are logical volumes (hostos) or partitions (guestos). Sizes are in 512-byte sectors and in
extents, as in the older system's ``partitions.csv`` and ``volumes.csv``, so that no rounding can hide.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any

from abctl.core.found import SECTOR
from abctl.core.slot import ALL_SLOTS, Part, Slot, SlotName
from abctl.core.units import Bytes, parse_size
from abctl.errors import BadLayout

GPT_SECTORS = 34  # protective MBR, header and entries; the copy at the end has no MBR
ALIGNMENT_SECTORS = 2048
EXTENT_SECTORS = 8192
_NO_RESERVE = Bytes(0)


class Filesystem(StrEnum):
    """What a volume is formatted with when a disk is made."""

    VFAT = "vfat"
    EXT4 = "ext4"


class Role(StrEnum):
    """What abctl needs a volume for."""

    ESP = "esp"
    GRUB = "grub"
    CONFIG = "config"
    VOLUME_GROUP = "volume-group"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Volume:
    """What partitions and logical volumes share: a name, and perhaps a slot, a role, a file system."""

    name: str
    uuid: str
    slot: Slot | None = None
    role: Role | None = None
    filesystem: Filesystem | None = None
    grow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition(_Volume):
    """One partition; with ``grow`` its size is the least, and it takes what the disk has."""

    start_sector: int
    sectors: int
    type: str

    @property
    def end_sector(self) -> int:
        """The first sector after it."""
        return self.start_sector + self.sectors


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalVolume(_Volume):
    """One logical volume; with ``grow`` it also takes what is free beyond the group's reserve."""

    start_extent: int
    extents: int

    @property
    def end_extent(self) -> int:
        """The first extent after it."""
        return self.start_extent + self.extents


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeGroup:
    """The volume group on the partition whose role is ``volume-group``; ``reserve`` bytes are kept free."""

    name: str
    uuid: str
    pv_uuid: str
    volumes: tuple[LogicalVolume, ...]
    extent_sectors: int = EXTENT_SECTORS
    data_start_sector: int = ALIGNMENT_SECTORS
    reserve: Bytes = _NO_RESERVE

    @property
    def extent_size(self) -> Bytes:
        return Bytes(self.extent_sectors * SECTOR)

    @property
    def data_start(self) -> Bytes:
        """Where the first extent begins, from the start of the physical volume."""
        return Bytes(self.data_start_sector * SECTOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A whole disk of ``size`` bytes; ``made_later`` names what the system adds after its first boot."""

    name: str
    size: Bytes
    partitions: tuple[Partition, ...]
    disk_uuid: str | None = None
    volume_group: VolumeGroup | None = None
    made_later: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = _find_problems(self)
        if problems:
            raise BadLayout(f"layout {self.name}: {'; '.join(problems)}")

    @property
    def volumes(self) -> tuple[Partition | LogicalVolume, ...]:
        """Partitions and logical volumes, in the order of the disk."""
        return (*self.partitions, *(self.volume_group.volumes if self.volume_group else ()))

    @property
    def home(self) -> Partition:
        """The partition that holds the volume group; only for layouts that have one."""
        return next(partition for partition in self.partitions if partition.role is Role.VOLUME_GROUP)

    @property
    def group_extents(self) -> int:
        """How many extents the volume group has; only for layouts that have one."""
        assert self.volume_group is not None
        return (self.home.sectors - self.volume_group.data_start_sector) // self.volume_group.extent_sectors

    def least_sectors(self, partition: Partition) -> int:
        """Return what a growing partition must hold: its contents, not the size it had in the image."""
        group = self.volume_group
        if partition.role is not Role.VOLUME_GROUP or group is None:
            return partition.sectors
        return group.data_start_sector + max(item.end_extent for item in group.volumes) * group.extent_sectors

    def number_of(self, partition: Partition) -> int:
        """Return the partition's number in the table: they are numbered as they stand in the layout."""
        return self.partitions.index(partition) + 1

    def size_of(self, volume: Partition | LogicalVolume) -> Bytes:
        if isinstance(volume, Partition):
            return Bytes(volume.sectors * SECTOR)
        assert self.volume_group is not None
        return Bytes(volume.extents * self.volume_group.extent_size)

    def start_of(self, partition: Partition) -> Bytes:
        return Bytes(partition.start_sector * SECTOR)

    def find_role(self, role: Role) -> Partition | LogicalVolume | None:
        return next((volume for volume in self.volumes if volume.role is role), None)

    def find_slot(self, slot: Slot) -> Partition | LogicalVolume:
        return next(volume for volume in self.volumes if volume.slot == slot)

    def slot_size(self, slot: Slot) -> Bytes:
        return self.size_of(self.find_slot(slot))

    def fit_to(self, size: Bytes) -> "Layout":
        """Return the layout with its growing partition and volume fitted to a disk of ``size`` bytes.

        The volumes never shrink: where both do not fit, the group's reserve gives way. Raise BadLayout
        where not even the volumes fit.
        """
        size = Bytes(size // SECTOR * SECTOR)
        fitted = replace(self, size=size, partitions=_grow_partitions(self, size))
        group = self.volume_group
        if group is None:
            return fitted
        volumes = _grow_volumes(group, fitted.group_extents)
        return replace(fitted, volume_group=replace(group, volumes=volumes))


def _find_problems(layout: Layout) -> list[str]:
    problems = []
    names = [volume.name for volume in layout.volumes]
    problems += [f"{name} stands twice" for name in sorted(set(names)) if names.count(name) > 1]
    uuids = [volume.uuid for volume in layout.volumes]
    problems += [f"UUID {uuid} stands twice" for uuid in sorted(set(uuids)) if uuids.count(uuid) > 1]
    by_sector = sorted(layout.partitions, key=lambda item: item.start_sector)
    problems += [
        f"partitions {left.name} and {right.name} overlap"
        for left, right in pairwise(by_sector)
        if left.end_sector > right.start_sector
    ]
    problems += [f"{left.name} grows but is not the last partition" for left in by_sector[:-1] if left.grow]
    if (by_sector[-1].end_sector + GPT_SECTORS - 1) * SECTOR > layout.size:
        problems.append(f"{by_sector[-1].name} ends after the disk of {layout.size} bytes")
    if layout.volume_group:
        problems += _find_group_problems(layout, layout.volume_group)
    problems += _find_role_problems(layout)
    return problems


def _find_group_problems(layout: Layout, group: VolumeGroup) -> list[str]:
    by_extent = sorted(group.volumes, key=lambda item: item.start_extent)
    problems = [
        f"volumes {left.name} and {right.name} overlap"
        for left, right in pairwise(by_extent)
        if left.end_extent > right.start_extent
    ]
    problems += [f"{left.name} grows but is not the last volume" for left in by_extent[:-1] if left.grow]
    homes = [partition for partition in layout.partitions if partition.role is Role.VOLUME_GROUP]
    if len(homes) != 1:
        return [*problems, f"volume group {group.name} needs one partition with role volume-group"]
    needed = group.data_start_sector + by_extent[-1].end_extent * group.extent_sectors
    if not homes[0].grow and needed > homes[0].sectors:
        problems.append(f"volume {by_extent[-1].name} ends after partition {homes[0].name}")
    return problems


def _find_role_problems(layout: Layout) -> list[str]:
    problems = []
    for role in (Role.GRUB, Role.CONFIG):
        if sum(volume.role is role for volume in layout.volumes) != 1:
            problems.append(f"needs one volume with role {role}")
    grub = layout.find_role(Role.GRUB)
    if grub and not isinstance(grub, Partition):
        problems.append("GRUB cannot write to a logical volume: role grub needs a partition")
    slots = [volume.slot for volume in layout.volumes if volume.slot]
    for slot in ALL_SLOTS:
        if slots.count(slot) != 1:
            problems.append(f"needs one volume for slot {slot}, not {slots.count(slot)}")
    return problems


def _grow_partitions(layout: Layout, size: Bytes) -> tuple[Partition, ...]:
    last_sector = (size // SECTOR - GPT_SECTORS) // ALIGNMENT_SECTORS * ALIGNMENT_SECTORS
    partitions = tuple(
        replace(partition, sectors=max(last_sector - partition.start_sector, layout.least_sectors(partition)))
        if partition.grow
        else partition
        for partition in layout.partitions
    )
    last = max(partitions, key=lambda partition: partition.end_sector)
    needed = (last.end_sector + GPT_SECTORS - 1) * SECTOR
    if needed > size:
        raise BadLayout(
            f"layout {layout.name} needs a disk of {needed} bytes, this one has {size}: "
            f"partition {last.name} does not fit"
        )
    return partitions


def _grow_volumes(group: VolumeGroup, room: int) -> tuple[LogicalVolume, ...]:
    """Return the volumes in a group of ``room`` extents, which is no less than they need."""
    reserve = -(-group.reserve // group.extent_size)
    return tuple(
        replace(volume, extents=max(volume.extents, room - reserve - volume.start_extent))
        if volume.grow
        else volume
        for volume in group.volumes
    )


def make_layout(values: Mapping[str, Any]) -> Layout:
    """Return the layout that stands in a TOML file of the form that ``layout_file`` checks.

    Raise BadLayout where its parts do not go together.
    """
    group = values.get("volume_group")
    return Layout(
        **_typed(values)
        | {
            "partitions": tuple(Partition(**_typed(item)) for item in values["partitions"]),
            "volume_group": _make_group(group) if group else None,
            "made_later": tuple(values.get("made_later", ())),
        }
    )


def _make_group(values: Mapping[str, Any]) -> VolumeGroup:
    volumes = tuple(LogicalVolume(**_typed(item)) for item in values["volumes"])
    return VolumeGroup(**_typed(values) | {"volumes": volumes})


def _typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with the types of this module."""
    typed: dict[str, Any] = dict(values)
    for name in typed.keys() & _TYPES.keys():
        typed[name] = _TYPES[name](typed[name])
    slot_set, part = typed.pop("slot_set", None), typed.pop("part", None)
    if slot_set and part:
        typed["slot"] = Slot(SlotName(slot_set), Part(part))
    return typed


def _parse_size(value: int | str) -> Bytes:
    return parse_size(value) if isinstance(value, str) else Bytes(value)


_TYPES: dict[str, Callable[[Any], Any]] = {
    "size": _parse_size,
    "reserve": _parse_size,
    "type": str.lower,
    "role": Role,
    "filesystem": Filesystem,
}
