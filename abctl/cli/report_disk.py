"""What ``abctl disk`` reports."""

from dataclasses import dataclass
from typing import Annotated

from abctl.cli.report import Digest, Note, Report, Size
from abctl.core.bootenv import SlotState
from abctl.core.layout import Role
from abctl.core.slot import Part, SlotName


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceReport(Report):
    """A range of bytes on the disk."""

    offset: Size
    size: Size


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionReport(Report):
    """One partition."""

    number: Annotated[int, Note(minimum=1)]
    name: str
    offset: Size
    size: Size
    type: Annotated[str, Note("GPT type GUID")]
    uuid: str
    role: Role | None
    slot: Annotated[str | None, Note("for example A_root")]


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeReport(Report):
    """One logical volume."""

    name: str
    uuid: str
    size: Size
    places: Annotated[tuple[PlaceReport, ...], Note("where its bytes are on the disk")]
    role: Role | None
    slot: str | None
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeGroupReport(Report):
    """The volume group."""

    name: str
    uuid: str
    partition: str
    extent_size: Size
    size: Size
    free: Annotated[int, Note("bytes that no volume has", minimum=0)]
    reserve: Annotated[int | None, Note("bytes that the layout wants free", minimum=0)]
    volumes: tuple[VolumeReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReport(Report):
    """One slot, and what it holds."""

    name: str
    slot_set: SlotName
    part: Part
    on: Annotated[str | None, Note("for example hostlvm/A_root; null where it is missing")]
    size: Annotated[int | None, Note("bytes", minimum=0)]
    places: tuple[PlaceReport, ...]
    version: str | None
    state: SlotState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskReport(Report):
    """abctl disk show: what is where on a disk."""

    disk: str
    layout: str
    size: Size
    uuid: str
    partitions: tuple[PartitionReport, ...]
    volume_group: VolumeGroupReport | None
    slots: tuple[SlotReport, ...]
    primary: SlotName | None
    booted: SlotName | None
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceReport(Report):
    """One thing that is not as the layout says."""

    name: Annotated[str, Note("the partition, volume or group, or 'disk'")]
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport(Report):
    """abctl disk check: how a disk differs from a layout."""

    disk: str
    layout: str
    same: bool
    differences: tuple[DifferenceReport, ...]
    remarks: Annotated[tuple[DifferenceReport, ...], Note("worth a word, and no difference")]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateReport(Report):
    """abctl disk create: the disk that was made."""

    disk: str
    layout: str
    size: Size
    used: Annotated[int, Note("bytes that the file takes on its file system", minimum=0)]
    version: str
    sha256: Digest
    took: Annotated[float, Note("seconds", minimum=0)]
