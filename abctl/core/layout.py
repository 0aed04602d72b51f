"""What a disk looks like, as data: partitions, a volume group, and where each slot is.

Slots are logical volumes (hostos) or partitions (guestos). Sizes are in 512-byte sectors and in
extents, as in the older system's ``partitions.csv`` and ``volumes.csv``, so that no rounding can hide.
"""

import re
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from abctl.core.release import describe_problem
from abctl.core.slot import ALL_SLOTS, Part, Slot, SlotName
from abctl.core.units import Bytes, parse_size
from abctl.errors import BadLayout

SECTOR = 512
GPT_SECTORS = 34  # header and entries, at either end of the disk
ALIGNMENT_SECTORS = 2048

_FROZEN = ConfigDict(extra="forbid", strict=True, frozen=True)


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


def _parse_uuid(text: str) -> str:
    return str(UUID(text))


def _parse_lvm_uuid(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z]{6}(-[0-9A-Za-z]{4}){5}-[0-9A-Za-z]{6}", text):
        raise ValueError(f"not an LVM UUID: {text[:60]!r}")
    return text


def _size_from_text(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


GptUuid = Annotated[str, AfterValidator(_parse_uuid)]
LvmUuid = Annotated[str, AfterValidator(_parse_lvm_uuid)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,35}$")]
Size = Annotated[int, BeforeValidator(_size_from_text), Field(gt=0, json_schema_extra={"type": ["integer", "string"]})]


class _Volume(BaseModel):
    """What partitions and logical volumes share: a name, and perhaps a slot, a role, a file system."""

    model_config = _FROZEN

    name: Name
    slot_set: Annotated[SlotName | None, Field(strict=False)] = None
    part: Annotated[Part | None, Field(strict=False)] = None
    role: Annotated[Role | None, Field(strict=False)] = None
    filesystem: Annotated[Filesystem | None, Field(strict=False)] = None

    @model_validator(mode="after")
    def _slot_is_whole(self) -> "_Volume":
        if (self.slot_set is None) != (self.part is None):
            raise ValueError(f"{self.name}: slot_set and part go together")
        return self

    @property
    def slot(self) -> Slot | None:
        return Slot(self.slot_set, self.part) if self.slot_set and self.part else None


class Partition(_Volume):
    """One partition; with ``grow`` its size is the least, and it takes what the disk has."""

    start_sector: Annotated[int, Field(ge=GPT_SECTORS)]
    sectors: Annotated[int, Field(gt=0)]
    type: GptUuid
    uuid: GptUuid
    grow: bool = False

    @property
    def end_sector(self) -> int:
        """The first sector after it."""
        return self.start_sector + self.sectors


class LogicalVolume(_Volume):
    """One logical volume; with ``grow`` it also takes what is free beyond the group's reserve."""

    start_extent: Annotated[int, Field(ge=0)]
    extents: Annotated[int, Field(gt=0)]
    uuid: LvmUuid
    grow: bool = False

    @property
    def end_extent(self) -> int:
        """The first extent after it."""
        return self.start_extent + self.extents


class VolumeGroup(BaseModel):
    """The volume group on the partition whose role is ``volume-group``."""

    model_config = _FROZEN

    name: Name
    uuid: LvmUuid
    pv_uuid: LvmUuid
    extent_sectors: Annotated[int, Field(gt=0)] = 8192
    data_start_sector: Annotated[int, Field(gt=0)] = ALIGNMENT_SECTORS
    reserve: Annotated[Size | None, Field(description="bytes kept free for snapshots, or '20 GB'")] = None
    volumes: Annotated[tuple[LogicalVolume, ...], Field(min_length=1, strict=False)]

    @property
    def extent_size(self) -> Bytes:
        return Bytes(self.extent_sectors * SECTOR)


class Layout(BaseModel):
    """A whole disk."""

    model_config = _FROZEN | {"title": "abctl disk layout"}

    name: Name
    size: Annotated[Size, Field(description="bytes of a disk made without --size, or '110 GiB'")]
    disk_uuid: GptUuid | None = None
    partitions: Annotated[tuple[Partition, ...], Field(min_length=1, max_length=128, strict=False)]
    volume_group: VolumeGroup | None = None

    @model_validator(mode="after")
    def _is_sound(self) -> "Layout":
        for problem in _find_problems(self):
            raise ValueError(problem)
        return self

    @property
    def volumes(self) -> tuple[Partition | LogicalVolume, ...]:
        """Partitions and logical volumes, in the order of the disk."""
        return (*self.partitions, *(self.volume_group.volumes if self.volume_group else ()))

    def find_role(self, role: Role) -> Partition | LogicalVolume | None:
        return next((volume for volume in self.volumes if volume.role is role), None)

    def find_slot(self, slot: Slot) -> Partition | LogicalVolume:
        return next(volume for volume in self.volumes if volume.slot == slot)

    def slot_size(self, slot: Slot) -> Bytes:
        volume = self.find_slot(slot)
        if isinstance(volume, Partition) or self.volume_group is None:
            return Bytes(volume.sectors * SECTOR) if isinstance(volume, Partition) else Bytes(0)
        return Bytes(volume.extents * self.volume_group.extent_size)

    def fit_to(self, size: Bytes) -> "Layout":
        """Return the layout with its growing partition and volume fitted to a disk of ``size`` bytes."""
        partitions = _grow_partitions(self, size)
        group = self.volume_group
        if group is None:
            return self.model_copy(update={"size": size, "partitions": partitions})
        home = next(partition for partition in partitions if partition.role is Role.VOLUME_GROUP)
        room = (home.sectors - group.data_start_sector) // group.extent_sectors
        volumes = _grow_volumes(group, room, self.name)
        return self.model_copy(
            update={
                "size": size,
                "partitions": partitions,
                "volume_group": group.model_copy(update={"volumes": volumes}),
            }
        )


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
    if by_sector[-1].end_sector * SECTOR > layout.size - GPT_SECTORS * SECTOR:
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
    partitions = []
    for partition in layout.partitions:
        end = partition.end_sector
        if partition.grow:
            # The least it must hold is what is in it, not the size it had in the image.
            end = max(last_sector, partition.start_sector + _least_sectors(layout, partition))
            partition = partition.model_copy(update={"sectors": end - partition.start_sector})
        if end > size // SECTOR - GPT_SECTORS + 1:
            raise BadLayout(
                f"layout {layout.name} needs {(end + GPT_SECTORS) * SECTOR} bytes, the disk has {size}: "
                f"{partition.name} does not fit"
            )
        partitions.append(partition)
    return tuple(partitions)


def _least_sectors(layout: Layout, partition: Partition) -> int:
    if partition.role is Role.VOLUME_GROUP and layout.volume_group:
        group = layout.volume_group
        return group.data_start_sector + max(item.end_extent for item in group.volumes) * group.extent_sectors
    return partition.sectors


def _grow_volumes(group: VolumeGroup, room: int, layout_name: str) -> tuple[LogicalVolume, ...]:
    reserve = -(-(group.reserve or 0) // group.extent_size)
    volumes = []
    for volume in group.volumes:
        if volume.grow:
            extents = max(volume.extents, room - reserve - volume.start_extent)
            volume = volume.model_copy(update={"extents": extents})
        if volume.end_extent > room:
            raise BadLayout(f"layout {layout_name}: {volume.name} does not fit into volume group {group.name}")
        volumes.append(volume)
    return tuple(volumes)


def parse_layout(values: dict[str, Any], where: str) -> Layout:
    """Return the layout in ``values`` (from TOML), or raise BadLayout naming ``where`` and every problem."""
    try:
        return Layout.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            describe_problem(item["loc"], item["msg"].removeprefix("Value error, ")) for item in error.errors()
        )
        raise BadLayout(f"{where}: {problems}") from error
