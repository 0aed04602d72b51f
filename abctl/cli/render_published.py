"""The reports on a signed repository, as text for people."""

from collections.abc import Iterable, Iterator, Sequence

from abctl.cli.report import Advice
from abctl.cli.report_published import (
    AuditReport,
    DateReport,
    KeysReport,
    ListedReport,
    NewKeyReport,
    PendingReport,
    PublishReport,
    ReleaseReport,
    ReleasesReport,
    ReleaseState,
    RoleKeysReport,
    RolloutReport,
)
from abctl.cli.sentences import plural
from abctl.cli.style import LABEL_WIDTH, Style, paragraph, sentence, table
from abctl.core.units import format_size

_ID_SHOWN = 12  # characters of a key id
_OFFERED_SHOWN = 8


def render_publication(report: PublishReport, style: Style) -> str:
    """Return what was done, what is on offer now, and until when hosts take it."""
    word = "DONE" if report.changed else "UNCHANGED"
    lines = paragraph(style.good(word), sentence(report.sentence), style, len(word))
    shown = list(report.offered[:_OFFERED_SHOWN])
    more = len(report.offered) - len(shown)
    offered = ", ".join(shown) + (f" and {more} more" if more else "") if shown else "nothing"
    archived = f"; {plural(report.archived, 'more release')} in the archive" if report.archived else ""
    lines += paragraph("On offer", f"{offered}{archived}", style)
    if report.floor:
        lines += paragraph("Floor", report.floor, style)
    return "\n".join([*lines, *_dates(report.dates, style), *_warnings(report.warnings, style)])


def _dates(dates: Sequence[DateReport], style: Style) -> Iterator[str]:
    said = ", ".join(f"{item.role} until {item.expires[:10]}" for item in dates)
    yield from paragraph("Good", said, style)


def _warnings(warnings: Iterable[str], style: Style) -> Iterator[str]:
    for number, text in enumerate(warnings):
        word = "" if number else "Warning"
        yield from paragraph(style.warn(word), sentence(text), style, len(word))


def _day(time: str) -> str:
    return f"{time[:10]} {time[11:16]} UTC"


# --- releases ---------------------------------------------------------------------------------------


def render_releases(report: ReleasesReport, style: Style) -> str:
    """Return a table of the releases, then what was recalled."""
    if not report.releases:
        lines = [f"{report.repository} has no releases yet."]
    else:
        head, *rows = table(
            [("Version", "published", "download", "needs", "who may take it"), *map(_row, report.releases)],
            right=frozenset({2}),
        )
        lines = [style.dim(head), *rows]
    lines.append("")
    for number, recall in enumerate(report.recalled):
        text = f"{recall.version} on {recall.at[:10]}: {recall.reason}"
        lines += paragraph("" if number else "Recalled", text, style)
    if report.floor:
        lines += paragraph("Floor", f"{report.floor}: hosts install nothing that is older", style)
    lines += [*_dates(report.dates, style), *_warnings(report.warnings, style)]
    return "\n".join(lines)


def _row(item: ListedReport) -> tuple[str, ...]:
    return (
        item.version,
        item.published[:10],
        format_size(item.download),
        item.needs or "-",
        _say_who(item),
    )


def _say_who(item: ListedReport) -> str:
    if item.state is not ReleaseState.OFFERED:
        return "by name only" if item.state is ReleaseState.ARCHIVED else "nobody: it was recalled"
    rollout = item.rollout
    if rollout is None:
        return "all"
    if rollout.aborted is not None:
        return "none: aborted"
    share = f"{100 * rollout.share:.3g} %"
    if rollout.paused_at is not None:
        return f"{share}: paused"
    last = rollout.waves[-1]
    return "all" if rollout.share == 1 else f"{share}; {100 * last.share:.3g} % on {last.at[:10]}"


def render_release(report: ReleaseReport, style: Style) -> str:
    """Return the terms of a release, and its files."""
    item = report.release
    word = item.state.upper()
    head = f"{item.version} for {' and '.join(item.layouts)}, published {_day(item.published)}"
    lines = paragraph(style.good(word), sentence(head), style, len(word))
    lines += paragraph("Hosts", sentence(_say_hosts(item)), style)
    if item.rollout:
        lines += _waves(item.rollout, style)
    deltas = f"; a delta only from {', '.join(report.deltas)}" if report.deltas else ""
    lines += paragraph("Download", f"{format_size(item.download)} at most{deltas}", style)
    for number, file in enumerate(report.files):
        lines += paragraph("" if number else "Files", f"{file.file}, {format_size(file.size)}", style)
    return "\n".join([*lines, f"{'SHA-256':<{LABEL_WIDTH}}{report.sha256}"])


def _say_hosts(item: ListedReport) -> str:
    who = _say_who(item)
    if item.rollout and item.rollout.aborted is not None:
        who = f"none, its rollout was aborted: {item.rollout.aborted}"
    return f"{who}; older than {item.needs} only over a stepping stone" if item.needs else who


def _waves(rollout: RolloutReport, style: Style) -> Iterator[str]:
    for number, wave in enumerate(rollout.waves):
        text = f"{100 * wave.share:.6g} % on {_day(wave.at)}"
        yield from paragraph("" if number else "Rollout", text, style)
    if rollout.paused_at is not None:
        yield from paragraph("", f"paused on {_day(rollout.paused_at)}", style)


def render_audit(report: AuditReport, style: Style) -> str:
    """Return that all is well, and how much that is."""
    word = "SOUND"
    text = (
        f"{report.repository}: {plural(report.roots, 'root')} and all other metadata are signed as they have "
        f"to be; {plural(report.files, 'file')} of {plural(report.releases, 'release')}, "
        f"{format_size(report.size)}, are what was signed."
    )
    lines = paragraph(style.good(word), text, style, len(word))
    return "\n".join([*lines, *_dates(report.dates, style), *_warnings(report.warnings, style)])


# --- keys -------------------------------------------------------------------------------------------


def render_new_key(report: NewKeyReport, style: Style) -> str:
    """Return the key's id, and what to do with its two files."""
    word = "MADE"
    how = "encrypted by its passphrase" if report.encrypted else "not encrypted: whoever reads it can sign"
    lines = paragraph(style.good(word), f"{report.file}, {how}.", style, len(word))
    lines += paragraph("Public", f"{report.public}: give this one to 'abctl release keys init'.", style)
    # On a line of its own: it is copied from there.
    return "\n".join([*lines, f"{'Key id':<{LABEL_WIDTH}}{style.bold(report.keyid)}"])


def render_keys(report: KeysReport, style: Style) -> str:
    """Return who may sign what, then the root that waits, and what to do."""
    word = "WAITING" if report.pending else "KEYS"
    paint = style.warn if report.pending else style.good
    lines = paragraph(paint(word), sentence(report.sentence), style, len(word))
    if report.roles:
        lines += ["", *_roles(report.roles, style)]
        lines += _dates(report.dates, style)
    if report.pending:
        lines += _pending(report.pending, style)
    lines += [*_warnings(report.warnings, style), *_advice(report.advice, style)]
    return "\n".join(lines)


def _roles(roles: Iterable[RoleKeysReport], style: Style) -> Iterator[str]:
    for role in roles:
        count = f"{role.threshold} of {len(role.keys)}"
        for number, key in enumerate(role.keys):
            head = f"{'' if number else role.role:<{LABEL_WIDTH}}{'' if number else count:<8}"
            yield f"{head}{key.keyid[:_ID_SHOWN]}  {key.comment}".rstrip()


def _pending(pending: PendingReport, style: Style) -> Iterator[str]:
    yield ""
    yield from paragraph(style.bold("Next"), f"Root version {pending.version}, not published yet:", style, 4)
    yield from _roles(pending.roles, style)
    comments = {key.keyid: key.comment for role in pending.roles for key in role.keys}
    wanted: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    for item in pending.missing:
        wanted.setdefault((item.count, item.keyids), []).append(item.root)
    for (count, keyids), roots in wanted.items():
        versions = " and ".join(map(str, roots))
        yield from paragraph("Missing", f"{count} of these, for the keys in root version {versions}:", style)
        for keyid in keyids:
            yield f"{'':<{LABEL_WIDTH + 8}}{keyid[:_ID_SHOWN]}  {comments.get(keyid, '')}".rstrip()


def _advice(advice: Iterable[Advice], style: Style) -> Iterator[str]:
    for item in advice:
        yield ""
        yield from paragraph("To do", sentence(item.sentence)[:-1] + (":" if item.command else "."), style)
        if item.command:
            yield f"{'':<{LABEL_WIDTH}}{style.bold(item.command)}"
