"""What ``abctl release build`` reports."""

from dataclasses import dataclass
from typing import Annotated

from abctl.cli.report import Digest, Note, Report, Size
from abctl.core.slot import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaReport(Report):
    """A delta, or why there is none."""

    version: Annotated[str, Note("the older version that a host has to have")]
    file: Annotated[str | None, Note("null where it was of no use: not smaller than the whole image")]
    size: Size


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage(Report):
    """One image of the release."""

    part: Part
    file: str
    size: Annotated[int, Note("bytes of the image itself", minimum=0)]
    download: Annotated[int, Note("bytes of the packed file", minimum=0)]
    index: Annotated[int, Note("bytes of the chunk index", minimum=0)]
    blocks: Annotated[int, Note("bytes of the block index", minimum=0)]
    deltas: tuple[DeltaReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingReport(Report):
    """What a host with an older version downloads."""

    version: str
    download: Annotated[int, Note("bytes, instead of the whole images", minimum=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport(Report):
    """abctl release build: what was built."""

    folder: str
    version: str
    layouts: tuple[str, ...]
    sha256: Annotated[Digest, Note("of manifest.json: what abctl upgrade --sha256 wants")]
    images: tuple[BuiltImage, ...]
    download: Annotated[int, Note("bytes of all whole images", minimum=0)]
    savings: tuple[SavingReport, ...]
    size: Annotated[int, Note("bytes of all files", minimum=0)]
    took: Annotated[float, Note("seconds", minimum=0)]
