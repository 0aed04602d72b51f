"""What ``abctl upgrade`` reports."""

from dataclasses import dataclass
from typing import Annotated

from abctl.cli.report import Digest, Disk, NextBootReport, Note, Report, Size
from abctl.core.release import Compression
from abctl.core.slot import Part, SlotName
from abctl.core.ways import WayKind


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedWay(Report):
    """One way for an image to get into its slot."""

    way: Annotated[
        WayKind,
        Note(
            "full: what is missing is fetched; delta, blocks: made from what the disk holds, the rest fetched"
        ),
    ]
    version: Annotated[str | None, Note("from which version a delta goes")]
    download: Annotated[int | None, Note("bytes; null where it does not apply", minimum=0)]
    why_not: Annotated[str | None, Note("null where it applies")]
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage(Report):
    """One image of a plan. What an archive holds is known only when it is read."""

    slot: str
    part: Part
    file: str
    compression: Annotated[Compression | None, Note("null: that of the archive")]
    download: Annotated[int | None, Note("bytes; null where only the reading tells", minimum=0)]
    size: Annotated[int | None, Note("bytes that are compared or written", minimum=0)]
    slot_size: Size
    ways: Annotated[tuple[PlannedWay, ...], Note("empty for what can only be read from first to last")]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport(Report):
    """abctl upgrade --dry-run: what would be fetched and written, or why not. Nothing was written."""

    disk: Disk
    source: str
    version: Annotated[str | None, Note("null where only the reading tells")]
    sha256: Digest | None
    refused: Annotated[str | None, Note("the reason; null where it would go ahead")]
    exit_code: Annotated[int, Note("without --dry-run; 0 if not refused", minimum=0, maximum=255)]
    slot_set: Annotated[SlotName | None, Note("what would be written; null where refused")]
    overwritten: Annotated[str | None, Note("the version that would be lost")]
    images: tuple[PlannedImage, ...]
    download: Annotated[int | None, Note("bytes in all", minimum=0)]
    steps: tuple[str, ...]
    notes: Annotated[tuple[str, ...], Note("worth knowing, though it stops nothing")]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallReport(Report):
    """abctl upgrade: what was installed."""

    disk: Disk
    source: str
    version: str
    sha256: Digest
    slot_set: SlotName
    downloaded: Size
    written: Annotated[int, Note("bytes written; ranges of zeros are not", minimum=0)]
    took: Annotated[float, Note("seconds", minimum=0)]
    rebooting: bool
    next_boot: NextBootReport
