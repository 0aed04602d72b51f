"""What the commands report: the form of every ``--json`` output. ``describe...`` fill it in.

Sizes and offsets are in bytes, times are RFC 3339 in UTC, and every field is always there: what is
not known or does not apply is null. ``schemas/`` is made from these classes.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from abctl.core.bootenv import MAX_ATTEMPTS, Origin, Outcome, SlotState, Why
from abctl.core.layout import Role
from abctl.core.record import Happened
from abctl.core.release import Compression
from abctl.core.slot import Part, SlotName

Time = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
        description="RFC 3339, UTC",
        json_schema_extra={"format": "date-time"},
    ),
]
Size = Annotated[int, Field(ge=0, description="bytes")]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 in lower-case hex")]
Attempts = Annotated[int, Field(ge=0, le=MAX_ATTEMPTS, description="boots")]
Disk = Annotated[str | None, Field(description="the disk image or device; null for the running host")]


class Report(BaseModel):
    """What all reports and their parts share."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- status -----------------------------------------------------------------------------------------


class Verdict(StrEnum):
    """How a host is, in one word."""

    OK = "ok"  # the primary is good, and nothing needs an admin
    TRIAL = "trial"  # an upgrade waits to be booted or confirmed
    ATTENTION = "attention"  # the host runs as it should, but an admin is wanted
    DEGRADED = "degraded"  # the host boots what it should not, or may not boot next time


class SlotSetRole(StrEnum):
    """What a slot set is at the moment."""

    BOOTED = "booted"
    PRIMARY = "primary"
    TRIAL = "trial"


class Advice(Report):
    """Something an admin should do, or may."""

    sentence: str
    command: Annotated[str | None, Field(description="exactly what to type; null where no command does it")]


class TrialReport(Report):
    """The slot set that is booted on approval."""

    slot_set: SlotName
    version: str | None
    attempts_left: Attempts
    attempts_max: Attempts
    ended: Annotated[str | None, Field(description="why the trial is over, where that is not recorded yet")]


class SlotSetReport(Report):
    """One slot set."""

    version: str | None
    state: SlotState
    why: Annotated[str, Field(description="the reason for its state")]
    roles: tuple[SlotSetRole, ...]


class NextBootReport(Report):
    """What GRUB will do at the next power-on."""

    slot_set: SlotName
    second: Annotated[
        SlotName | None,
        Field(description="booted if slot_set has no kernel; null: no way out"),
    ]
    why: Why
    sentence: str


class LastUpgradeReport(Report):
    """What the last upgrade came to."""

    outcome: Outcome
    version: str | None
    slot_set: SlotName | None
    when: Time | None
    sentence: str


class RefusalReport(Report):
    """A version that is not installed again until an admin allows it."""

    version: str
    reason: str
    at: Annotated[Time | None, Field(description="null where only the slot set's state says so")]


class BootEnvReport(Report):
    """How the boot environment was found on the grub partition."""

    origin: Annotated[Origin, Field(description="the copy in use: 1, 2, both, the older system's, or none")]
    generation: Annotated[int | None, Field(ge=0, description="null where it is lost")]
    in_step: Annotated[bool, Field(description="true when all copies say the same")]


class StatusReport(Report):
    """abctl status: how a host or disk stands, and what comes next."""

    disk: Disk
    layout: str
    verdict: Verdict
    headline: str
    booted: Annotated[SlotName | None, Field(description="null where nothing runs, or it is mixed")]
    booted_why: Annotated[Why | None, Field(description="why GRUB booted it")]
    mixed: Annotated[str | None, Field(description="how kernel, root and /boot disagree about what runs")]
    primary: SlotName
    trial: TrialReport | None
    slot_sets: Annotated[dict[SlotName, SlotSetReport], Field(min_length=2, max_length=2)]
    next_boot: NextBootReport
    last_upgrade: LastUpgradeReport | None
    refused: tuple[RefusalReport, ...]
    boot_env: BootEnvReport
    damage: Annotated[
        tuple[str, ...], Field(description="a sentence for each damaged copy of the boot environment")
    ]
    warnings: tuple[str, ...]
    advice: Annotated[tuple[Advice, ...], Field(description="the most important first")]


# --- history and rehearse ---------------------------------------------------------------------------


class EntryReport(Report):
    """One thing that happened."""

    at: Time
    what: Happened
    slot_set: SlotName | None
    version: str | None
    sha256: Digest | None
    text: str
    written: Annotated[int | None, Field(ge=0, description="bytes")]
    took: Annotated[float | None, Field(ge=0, description="seconds")]
    sentence: str


class HistoryReport(Report):
    """abctl history: the record on the config volume, oldest first."""

    disk: Disk
    entries: tuple[EntryReport, ...]
    refused: tuple[RefusalReport, ...]
    installs: Annotated[int, Field(ge=0, description="installations that reached the disk whole")]
    written: Annotated[int, Field(ge=0, description="bytes written by them")]


class BootReport(Report):
    """One power-on of a rehearsal."""

    number: Annotated[int, Field(ge=1)]
    chosen: Annotated[SlotName, Field(description="GRUB's first choice")]
    booted: Annotated[SlotName | None, Field(description="whose kernel it started; null where none could be")]
    second: SlotName | None
    why: Why
    attempts_left: Annotated[Attempts | None, Field(description="boots left to the trial after this one")]
    sentence: str


class RehearseReport(Report):
    """abctl rehearse: what GRUB's own interpreter does with a copy of the boot environment."""

    disk: Disk
    boots: tuple[BootReport, ...]
    settles_on: Annotated[SlotName | None, Field(description="what every later boot starts; null: not known")]
    sentence: str


# --- upgrade ----------------------------------------------------------------------------------------


class PlannedImage(Report):
    """One image of a plan. What an archive holds is known only when it is read."""

    slot: str
    part: Part
    file: str
    compression: Annotated[Compression | None, Field(description="null: that of the archive")]
    download: Annotated[int | None, Field(ge=0, description="bytes; null where only the reading tells")]
    size: Annotated[int | None, Field(ge=0, description="bytes that are compared or written")]
    slot_size: Size


class PlanReport(Report):
    """abctl upgrade --dry-run: what would be fetched and written, or why not. Nothing was written."""

    disk: Disk
    source: str
    version: Annotated[str | None, Field(description="null where only the reading tells")]
    sha256: Digest | None
    refused: Annotated[str | None, Field(description="the reason; null where it would go ahead")]
    exit_code: Annotated[int, Field(ge=0, le=255, description="without --dry-run; 0 if not refused")]
    slot_set: Annotated[SlotName | None, Field(description="what would be written; null where refused")]
    overwritten: Annotated[str | None, Field(description="the version that would be lost")]
    images: tuple[PlannedImage, ...]
    download: Annotated[int | None, Field(ge=0, description="bytes in all")]
    steps: tuple[str, ...]
    notes: Annotated[tuple[str, ...], Field(description="worth knowing, though it stops nothing")]


class InstallReport(Report):
    """abctl upgrade: what was installed."""

    disk: Disk
    source: str
    version: str
    sha256: Digest
    slot_set: SlotName
    downloaded: Size
    written: Annotated[int, Field(ge=0, description="bytes written; ranges of zeros are not")]
    took: Annotated[float, Field(ge=0, description="seconds")]
    rebooting: bool
    next_boot: NextBootReport


# --- disks ------------------------------------------------------------------------------------------


class PlaceReport(Report):
    """A range of bytes on the disk."""

    offset: Size
    size: Size


class PartitionReport(Report):
    """One partition."""

    number: Annotated[int, Field(ge=1)]
    name: str
    offset: Size
    size: Size
    type: Annotated[str, Field(description="GPT type GUID")]
    uuid: str
    role: Role | None
    slot: Annotated[str | None, Field(description="for example A_root")]


class VolumeReport(Report):
    """One logical volume."""

    name: str
    uuid: str
    size: Size
    places: Annotated[tuple[PlaceReport, ...], Field(description="where its bytes are on the disk")]
    role: Role | None
    slot: str | None
    problem: str | None


class VolumeGroupReport(Report):
    """The volume group."""

    name: str
    uuid: str
    partition: str
    extent_size: Size
    size: Size
    free: Annotated[int, Field(ge=0, description="bytes that no volume has")]
    reserve: Annotated[int | None, Field(ge=0, description="bytes that the layout wants free")]
    volumes: tuple[VolumeReport, ...]


class SlotReport(Report):
    """One slot, and what it holds."""

    name: str
    slot_set: SlotName
    part: Part
    on: Annotated[str | None, Field(description="for example hostlvm/A_root; null where it is missing")]
    size: Annotated[int | None, Field(ge=0, description="bytes")]
    places: tuple[PlaceReport, ...]
    version: str | None
    state: SlotState | None


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


class DifferenceReport(Report):
    """One thing that is not as the layout says."""

    name: Annotated[str, Field(description="the partition, volume or group, or 'disk'")]
    sentence: str


class CheckReport(Report):
    """abctl disk check: how a disk differs from a layout."""

    disk: str
    layout: str
    same: bool
    differences: tuple[DifferenceReport, ...]
    remarks: Annotated[tuple[DifferenceReport, ...], Field(description="worth a word, and no difference")]


class CreateReport(Report):
    """abctl disk create: the disk that was made."""

    disk: str
    layout: str
    size: Size
    used: Annotated[int, Field(ge=0, description="bytes that the file takes on its file system")]
    version: str
    sha256: Digest
    took: Annotated[float, Field(ge=0, description="seconds")]
