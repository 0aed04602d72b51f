"""Describe who may sign what in a repository, and what a root still waits for."""

from collections.abc import Iterator
from pathlib import Path

from tuf.api.metadata import Root

from abctl.build.keys import comment_of
from abctl.build.repository import State
from abctl.build.roles import KEY_ROLES, ONLINE_ROLES, Document, Role, is_signed, read_lifetimes
from abctl.build.rootkeys import list_missing
from abctl.cli.describe_published import describe_dates, list_warnings
from abctl.cli.report import Advice
from abctl.cli.report_published import (
    KeyReport,
    KeysReport,
    MissingReport,
    PendingReport,
    RoleKeysReport,
    RoleName,
)
from abctl.cli.sentences import plural
from abctl.core.clock import format_time
from abctl.core.units import Seconds


def describe_keys(
    folder: Path, state: State | None, pending: Document[Root] | None, now: Seconds, sentence: str = ""
) -> KeysReport:
    """Return who may sign what; ``state`` None where there is no root yet."""
    root = state.root if state else None
    report = describe_pending(pending, root) if pending else None
    return KeysReport(
        repository=str(folder),
        sentence=sentence or _say(root, report),
        root=root.version if root else None,
        roles=_describe_roles(root.signed) if root else (),
        pending=report,
        dates=describe_dates(state) if state else (),
        warnings=tuple(list_warnings(state, now)) if state else (),
        advice=tuple(_advise(folder, state, pending, report)),
    )


def describe_pending(pending: Document[Root], root: Document[Root] | None) -> PendingReport:
    """Return what a root that waits is, and what it waits for."""
    return PendingReport(
        version=pending.version,
        expires=format_time(pending.expires),
        roles=_describe_roles(pending.signed),
        missing=tuple(
            MissingReport(root=item.root, count=item.count, keyids=item.keyids)
            for item in list_missing(pending, root)
        ),
    )


def _describe_roles(root: Root) -> tuple[RoleKeysReport, ...]:
    lifetimes = read_lifetimes(root)
    return tuple(
        RoleKeysReport(
            role=RoleName(role.value),
            threshold=root.roles[role].threshold,
            keys=tuple(
                KeyReport(keyid=keyid, comment=comment_of(root.keys[keyid]))
                for keyid in root.roles[role].keyids
            ),
            lifetime=lifetimes[role],
        )
        for role in KEY_ROLES
    )


def _say(root: Document[Root] | None, pending: PendingReport | None) -> str:
    if pending is None:
        return f"root version {root.version} says who may sign what" if root else "there is no root"
    if pending.missing:
        count = max(item.count for item in pending.missing)
        return f"root version {pending.version} waits for {plural(count, 'more signature')}"
    return f"root version {pending.version} is signed, and waits until its new keys have signed the rest"


def _advise(
    folder: Path, state: State | None, pending: Document[Root] | None, report: PendingReport | None
) -> Iterator[Advice]:
    if report and report.missing:
        yield Advice(
            sentence="have the owners of these keys sign it",
            command=f"abctl release keys sign {folder} --key FILE",
        )
    elif state and pending and state.published:
        published = state.published
        unsigned = {item.role for item in published.documents[:3] if not is_signed(pending.signed, item)}
        keys = "".join(
            f" {option} OLD {option} NEW"
            for option, roles in (
                ("--online-key", set(ONLINE_ROLES)),
                ("--key", {Role.TARGETS}),
            )
            if unsigned & roles or option == "--online-key"
        )
        yield Advice(
            sentence="sign the rest with the old keys and the new ones; leave out an old one that is lost",
            command=f"abctl release renew {folder}{keys}",
        )
    elif state and not state.published:
        yield Advice(
            sentence="publish a first release",
            command=f"abctl release publish {folder} RELEASE --key FILE --online-key FILE",
        )
