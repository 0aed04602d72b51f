"""Describe what a signed repository holds, and what was done to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from abctl.build.audit import Audited
from abctl.build.catalogue import Catalogue, Listed
from abctl.build.publish import CheckedRelease
from abctl.build.repository import State
from abctl.build.roles import DAY, Document, Role
from abctl.cli.report_published import (
    AuditReport,
    DateReport,
    FileReport,
    ListedReport,
    PublishReport,
    RecallReport,
    ReleaseReport,
    ReleasesReport,
    ReleaseState,
    RoleName,
    RolloutReport,
    WaveReport,
)
from abctl.core.clock import format_time, say_time
from abctl.core.offer import find_stuck
from abctl.core.problems import clean_text
from abctl.core.terms import Rollout
from abctl.core.units import Seconds, Version

SOON = 30 * DAY
_TOLERANCE = 300  # seconds that clocks may differ
_SLOW = (Role.ROOT, Role.TARGETS, Role.ARCHIVE)  # those that no timer renews


def describe_publication(
    folder: Path, state: State, now: Seconds, *, sentence: str, changed: bool, version: Version | None = None
) -> PublishReport:
    """Return the report on a command that publishes."""
    catalogue = state.catalogue
    offered = catalogue.offered
    versions = [listed.terms.version for listed in catalogue.newest_first]
    return PublishReport(
        repository=str(folder),
        sentence=sentence,
        changed=changed,
        version=version,
        offered=tuple(item for item in versions if item in offered),
        archived=len(versions) - len(offered),
        floor=catalogue.policy.floor,
        dates=describe_dates(state),
        warnings=(*list_warnings(state, now), *_list_stuck(catalogue)),
    )


def describe_dates(state: State) -> tuple[DateReport, ...]:
    """Return how long the metadata of each role is good for."""
    return tuple(
        DateReport(
            role=RoleName(document.role.value),
            version=document.version,
            issued=format_time(document.issued),
            expires=format_time(document.expires),
        )
        for document in _documents(state)
    )


def _documents(state: State) -> tuple[Document[Any], ...]:
    published = state.published
    if published is None:
        return (state.root,)
    return (state.root, published.targets, published.archive, published.snapshot, published.timestamp)


def list_warnings(state: State, now: Seconds) -> Iterator[str]:
    """Yield what will make hosts refuse the repository, or does already."""
    for document in _documents(state):
        if document.expires <= now:
            yield (
                f"{document.role} expired on {say_time(document.expires)}: hosts refuse the repository until "
                f"{_say_renewal(document.role)}"
            )
        elif document.role in _SLOW and document.expires - now < SOON:
            days = (document.expires - now) // DAY
            left = f"in {days} days" if days != 1 else "in 1 day"
            when = say_time(document.expires)
            yield f"{document.role} expires {left}, on {when}: {_say_renewal(document.role)}"
    ahead = max((item.issued for item in _documents(state)), default=now)
    if ahead > now + _TOLERANCE:
        yield f"this machine's clock says {say_time(now)}, but something was signed at {say_time(ahead)}"
    if state.published and not state.published.is_whole(state.root.signed):
        yield (
            f"{state.root.name} changed keys, and what they sign is not signed by them yet: hosts refuse the "
            "repository until 'abctl release renew' is run with the new keys"
        )


def _list_stuck(catalogue: Catalogue) -> Iterator[str]:
    for terms in find_stuck(catalogue.sound):
        yield (f"{terms.version} needs {terms.needs} or newer first, and no release leads older hosts there")


def _say_renewal(role: Role) -> str:
    if role is Role.ROOT:
        return "'abctl release keys rotate --role root' makes the next one"
    if role in (Role.TARGETS, Role.ARCHIVE):
        return "'abctl release renew --key KEY' signs it anew"
    return "'abctl release renew' signs it anew"


# --- releases ---------------------------------------------------------------------------------------


def describe_releases(folder: Path, state: State, now: Seconds) -> ReleasesReport:
    """Return what a repository holds."""
    catalogue = state.catalogue
    return ReleasesReport(
        repository=str(folder),
        floor=catalogue.policy.floor,
        keep=catalogue.keep,
        releases=tuple(_describe_listed(catalogue, listed, now) for listed in catalogue.newest_first),
        recalled=tuple(
            RecallReport(version=recall.version, reason=clean_text(recall.reason), at=format_time(recall.at))
            for recall in catalogue.policy.recalled
        ),
        dates=describe_dates(state),
        warnings=(*list_warnings(state, now), *_list_stuck(catalogue)),
    )


def describe_release(
    folder: Path, catalogue: Catalogue, release: CheckedRelease, now: Seconds
) -> ReleaseReport:
    """Return the report on one release, whose files were compared."""
    listed = catalogue.find(release.version)
    deltas = {delta.version: None for image in release.manifest.images for delta in image.deltas}
    return ReleaseReport(
        repository=str(folder),
        release=_describe_listed(catalogue, listed, now),
        sha256=listed.manifest.sha256,
        files=tuple(FileReport(file=name, size=content.size) for name, content in release.files.items()),
        deltas=tuple(deltas),
    )


def _describe_listed(catalogue: Catalogue, listed: Listed, now: Seconds) -> ListedReport:
    terms = listed.terms
    state = ReleaseState.OFFERED if terms.version in catalogue.offered else ReleaseState.ARCHIVED
    if catalogue.policy.recall_of(terms.version):
        state = ReleaseState.RECALLED
    return ListedReport(
        version=terms.version,
        state=state,
        published=format_time(terms.published),
        download=terms.download,
        layouts=terms.layouts,
        needs=terms.needs,
        rollout=_describe_rollout(terms.rollout, now) if terms.rollout else None,
    )


def _describe_rollout(rollout: Rollout, now: Seconds) -> RolloutReport:
    return RolloutReport(
        start=format_time(rollout.start),
        waves=tuple(
            WaveReport(at=format_time(Seconds(rollout.start + wave.after)), share=wave.share)
            for wave in rollout.waves
        ),
        paused_at=None if rollout.paused_at is None else format_time(rollout.paused_at),
        aborted=None if rollout.aborted is None else clean_text(rollout.aborted),
        share=round(rollout.share_at(now), 6),
    )


def describe_audit(folder: Path, audited: Audited, now: Seconds) -> AuditReport:
    """Return the report on a repository that was compared."""
    return AuditReport(
        repository=str(folder),
        roots=len(audited.state.roots),
        releases=audited.releases,
        files=audited.files,
        size=audited.size,
        dates=describe_dates(audited.state),
        warnings=tuple(list_warnings(audited.state, now)),
    )
