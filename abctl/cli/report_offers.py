"""What ``abctl check`` reports."""

from dataclasses import dataclass
from typing import Annotated

from abctl.cli.report import Disk, Note, Report, Size, Time
from abctl.core.consider import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectionReport(Report):
    """Why a release is not considered."""

    reason: Reason
    sentence: str
    overridden: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferReport(Report):
    """One release on offer, and what speaks against it on this host."""

    version: str
    published: Time
    download: Annotated[int, Note("bytes at most", minimum=0)]
    layouts: tuple[str, ...]
    taken: Annotated[bool, Note("true where 'abctl upgrade' takes it")]
    objections: tuple[ObjectionReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleReport(Report):
    """A role's metadata."""

    role: str
    version: Size
    expires: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class OffersReport(Report):
    """abctl check: what the signed repository offers, and what of it this host would take."""

    disk: Disk
    repository: Annotated[str, Note("the host or folder that answered")]
    version: Annotated[str | None, Note("what this host has")]
    now: Annotated[Time, Note("the time that counts: the latest of clock, signed time and build")]
    clock: Annotated[str | None, Note("what is wrong with this host's clock")]
    upgrade: Annotated[str | None, Note("what 'abctl upgrade' takes; null: nothing")]
    sentence: str
    releases: Annotated[tuple[OfferReport, ...], Note("the newest first")]
    unreadable: Annotated[tuple[str, ...], Note("releases whose terms this abctl cannot read")]
    recalled: Annotated[str | None, Note("why the version that this host has was recalled")]
    metadata: tuple[RoleReport, ...]
    setbacks: Annotated[tuple[str, ...], Note("mirrors that were passed over, and why")]
