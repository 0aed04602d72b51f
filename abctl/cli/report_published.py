"""What the commands on a signed repository report."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from abctl.cli.report import Advice, Digest, Note, Report, Size, Time

KeyId = Annotated[str, Note("key id", pattern="^[0-9a-f]{64}$")]
Number = Annotated[int, Note("version of the metadata", minimum=1)]
Share = Annotated[float, Note("share of all hosts, from 0 to 1", minimum=0, maximum=1)]


class RoleName(StrEnum):
    """Whose metadata it is."""

    ROOT = "root"
    TARGETS = "targets"
    ARCHIVE = "archive"
    SNAPSHOT = "snapshot"
    TIMESTAMP = "timestamp"


class ReleaseState(StrEnum):
    """Where a release stands."""

    OFFERED = "offered"  # hosts see it
    ARCHIVED = "archived"  # hosts get it when it is asked for by name
    RECALLED = "recalled"  # hosts get it when an admin overrides that


@dataclass(frozen=True, slots=True, kw_only=True)
class DateReport(Report):
    """How long hosts take a role's metadata."""

    role: RoleName
    version: Number
    issued: Time
    expires: Time


# --- keys -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReport(Report):
    """A public key."""

    keyid: KeyId
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKeyReport(Report):
    """abctl release keys new: the key that was made."""

    file: str
    public: Annotated[str, Note("the file with the public half")]
    keyid: KeyId
    comment: str
    encrypted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleKeysReport(Report):
    """The keys of a role; targets stands for the archive too."""

    role: RoleName
    threshold: Annotated[int, Note("so many of them have to sign", minimum=1)]
    keys: tuple[KeyReport, ...]
    lifetime: Annotated[int, Note("seconds that its metadata is good for", minimum=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingReport(Report):
    """Signatures that a root lacks."""

    root: Annotated[int, Note("version of the root whose keys they are", minimum=1)]
    count: Annotated[int, Note("so many more are needed", minimum=1)]
    keyids: tuple[KeyId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingReport(Report):
    """A root that is not published yet."""

    version: Number
    expires: Time
    roles: tuple[RoleKeysReport, ...]
    missing: Annotated[tuple[MissingReport, ...], Note("none: it waits for what the new keys have to sign")]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysReport(Report):
    """abctl release keys init, sign, rotate and show: who may sign what."""

    repository: str
    sentence: str
    root: Annotated[int | None, Note("version of the root that clients follow; null: none yet", minimum=1)]
    roles: tuple[RoleKeysReport, ...]
    pending: PendingReport | None
    dates: tuple[DateReport, ...]
    warnings: tuple[str, ...]
    advice: tuple[Advice, ...]


# --- releases ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveReport(Report):
    """At this time, this share of all hosts may have taken the release."""

    at: Time
    share: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutReport(Report):
    """How a release reaches the hosts."""

    start: Time
    waves: tuple[WaveReport, ...]
    paused_at: Time | None
    aborted: Annotated[str | None, Note("why it was aborted")]
    share: Annotated[float, Note("share of all hosts that may take it now", minimum=0, maximum=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedReport(Report):
    """A release in a repository."""

    version: str
    state: ReleaseState
    published: Time
    download: Annotated[int, Note("bytes at most", minimum=0)]
    layouts: tuple[str, ...]
    needs: Annotated[str | None, Note("the oldest version that may go to it directly")]
    rollout: Annotated[RolloutReport | None, Note("null: all hosts may take it")]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallReport(Report):
    """A version that no host shall take or keep."""

    version: str
    reason: str
    at: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasesReport(Report):
    """abctl release list: what a repository holds."""

    repository: str
    floor: Annotated[str | None, Note("hosts install nothing that is older")]
    keep: Annotated[int, Note("newest releases for each layout that stay on offer", minimum=1)]
    releases: Annotated[tuple[ListedReport, ...], Note("the newest first")]
    recalled: tuple[RecallReport, ...]
    dates: tuple[DateReport, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport(Report):
    """A file of a release."""

    file: str
    size: Size


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseReport(Report):
    """abctl release show: one release."""

    repository: str
    release: ListedReport
    sha256: Annotated[Digest, Note("of manifest.json")]
    files: tuple[FileReport, ...]
    deltas: Annotated[tuple[str, ...], Note("versions from which hosts download a delta only")]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishReport(Report):
    """abctl release publish, renew, rollout, floor and revoke: what was done."""

    repository: str
    sentence: str
    changed: Annotated[bool, Note("false where all was so already, and nothing was written")]
    version: Annotated[str | None, Note("the release that it was about")]
    offered: Annotated[tuple[str, ...], Note("versions on offer, the newest first")]
    archived: Annotated[int, Note("releases that are not on offer any more", minimum=0)]
    floor: str | None
    dates: tuple[DateReport, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport(Report):
    """abctl release check: a repository that every client takes."""

    repository: str
    roots: Annotated[int, Note("versions of root, each signed as the one before wants it", minimum=1)]
    releases: Annotated[int, Note("releases whose files were all compared", minimum=0)]
    files: Annotated[int, Note("files of releases", minimum=0)]
    size: Size
    dates: tuple[DateReport, ...]
    warnings: tuple[str, ...]
