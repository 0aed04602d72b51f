"""The reports as text for people: the most important first; colour says nothing that words do not."""

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from abctl.cli.render_evidence import render_health, render_trial
from abctl.cli.report import (
    Advice,
    HistoryReport,
    RefusalReport,
    RehearseReport,
    SlotSetReport,
    SlotSetRole,
    StatusReport,
    Verdict,
)
from abctl.cli.style import LABEL_WIDTH, Style, paragraph, sentence, table, wrap
from abctl.core.bootenv import SlotState
from abctl.core.slot import SlotName
from abctl.core.units import format_size

if TYPE_CHECKING:
    from abctl.cli.report_disk import CheckReport, CreateReport
    from abctl.cli.report_upgrade import InstallReport, PlannedWay, PlanReport

_WORDS = {
    Verdict.OK: "OK",
    Verdict.TRIAL: "ON TRIAL",
    Verdict.ATTENTION: "ATTENTION",
    Verdict.DEGRADED: "DEGRADED",
}


def render_status(report: StatusReport, style: Style) -> str:
    """Return the status on one screen: is it all right, what comes next, what to do; then the details."""
    lines = [*render_headline(report.verdict, report.headline, style), ""]
    lines += paragraph("Next boot", sentence(report.next_boot.sentence), style)
    lines += render_advice(report.advice, style)
    lines += ["", *_slot_sets(report, style)]
    said = frozenset(item.why for item in report.slot_sets.values())
    refused = _refused(report.refused, style, said)
    trial = render_trial(report.last_trial, _evidence_command(report), style) if report.last_trial else ()
    health = render_health(report.health, style)
    details = [*health, *_last_upgrade(report, style), *trial, *refused, *_troubles(report, style)]
    if details:
        lines += ["", *details]
    return "\n".join(lines)


def _evidence_command(report: StatusReport) -> str:
    return f"abctl --disk {shlex.quote(report.disk)} evidence" if report.disk else "abctl evidence"


def render_headline(verdict: Verdict, headline: str, style: Style) -> list[str]:
    word = _WORDS[verdict]
    paint = {Verdict.OK: style.good, Verdict.TRIAL: style.warn, Verdict.ATTENTION: style.warn}.get(
        verdict, style.bad
    )
    return paragraph(paint(word), sentence(headline), style, paint_width=len(word))


def render_advice(advice: Sequence[Advice], style: Style) -> Iterator[str]:
    """Yield what to do; the commands stand in one column where there is room, else on lines of their own."""
    if not advice:
        return
    yield ""
    says = [sentence(item.sentence)[:-1] + (":" if item.command else ".") for item in advice]
    widest = max(len(text) for text in says)
    longest = max(len(item.command or "") for item in advice)
    beside = LABEL_WIDTH + widest + 2 + longest <= style.width
    for number, (text, item) in enumerate(zip(says, advice, strict=True)):
        label = "" if number else "To do"
        command = style.bold(item.command) if item.command else ""
        if beside:
            yield f"{label:<{LABEL_WIDTH}}{text:<{widest + 2}}{command}".rstrip()
        else:
            yield from paragraph(label, text, style)
            if command:
                yield f"{'':<{LABEL_WIDTH}}  {command}"


def _slot_sets(report: StatusReport, style: Style) -> Iterator[str]:
    rows = [(name, report.slot_sets[name]) for name in SlotName]
    versions = max(len(item.version or "-") for _, item in rows)
    indent = " " * (LABEL_WIDTH + 4)
    for number, (name, item) in enumerate(rows):
        mark = ">" if SlotSetRole.BOOTED in item.roles else " "
        head = (
            f"{'' if number else 'Slot sets':<{LABEL_WIDTH}}{mark} {name} {item.version or '-':<{versions}}"
        )
        state = _paint_state(item.state, style) + " " * (max(map(len, SlotState)) - len(item.state))
        rest = f"{state}  {_roles(item)}".rstrip()
        if len(head) + 12 + len(_roles(item)) <= style.width:
            yield f"{head}  {rest}"
        else:
            yield from (head.rstrip(), indent + rest)
        why = "as said above" if report.last_trial and item.why in report.headline else item.why
        yield from (indent + style.dim(line) for line in wrap(why, style.width - len(indent)))


def _roles(item: SlotSetReport) -> str:
    return ", ".join(item.roles) or "-"


def _paint_state(state: SlotState, style: Style) -> str:
    return {SlotState.GOOD: style.good, SlotState.BAD: style.bad, SlotState.UNTESTED: style.warn}.get(
        state, style.dim
    )(state)


def _last_upgrade(report: StatusReport, style: Style) -> list[str]:
    last = report.last_upgrade
    if last is None or last.sentence in report.headline or report.trial:
        return []
    when = f" ({_day(last.when)})" if last.when else ""
    return paragraph("Last", sentence(last.sentence + when), style)


def _refused(
    refused: Sequence[RefusalReport], style: Style, said: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Yield what is refused; a reason among ``said`` stands on the screen already."""
    for number, item in enumerate(refused):
        since = f" (since {_day(item.at)})" if item.at else ""
        reason = "" if item.reason in said else f": {item.reason}"
        yield from paragraph("" if number else "Refused", f"{item.version}{reason}{since}", style)


def _troubles(report: StatusReport, style: Style) -> Iterator[str]:
    for label, texts in (("Damage", report.damage), ("Warning", report.warnings)):
        for number, text in enumerate(texts):
            word = "" if number else label
            yield from paragraph(style.warn(word), sentence(text), style, paint_width=len(word))


def _day(time: str | None) -> str:
    """Return ``2026-11-22 20:11 UTC`` for an RFC 3339 time."""
    return f"{time[:10]} {time[11:16]} UTC" if time else ""


# --- rehearse and history ---------------------------------------------------------------------------


def render_rehearsal(report: RehearseReport, style: Style) -> str:
    """Return one line a power-on, and what they come to."""
    lines = [style.dim("Power-on")]
    for boot in report.boots:
        first, *rest = wrap(boot.sentence, max(20, style.width - 10))
        lines += [f"{boot.number:>8}  {first}", *(" " * 10 + line for line in rest)]
    return "\n".join([*lines, "", *wrap(sentence(report.sentence), min(style.width, 100))])


def render_history(report: HistoryReport, style: Style) -> str:
    """Return a line for each entry, oldest first, and what was written in all."""
    if not report.entries:
        return "Nothing is recorded yet."
    lines = []
    for entry in report.entries:
        cost = "" if entry.written is None else f" ({_cost(entry.written, entry.took)})"
        indent = 22
        text = wrap(sentence(entry.sentence + cost), max(20, min(style.width, 100) - indent))
        lines.append(f"{style.dim(_day(entry.at))}  {text[0]}")
        lines += [" " * indent + line for line in text[1:]]
    total = f"{report.installs} installation{'' if report.installs == 1 else 's'}"
    lines += ["", f"{total}, {format_size(report.written)} written."]
    lines += _refused(report.refused, style)
    return "\n".join(lines)


def _cost(written: int, took: float | None) -> str:
    return f"{format_size(written)} written" + (f" in {took:.1f} s" if took is not None else "")


# --- upgrade ----------------------------------------------------------------------------------------


def render_plan(report: "PlanReport", style: Style) -> str:
    """Return what an upgrade would do, or why it would not."""
    if report.refused:
        word = "REFUSED"
        lines = paragraph(style.bad(word), sentence(report.refused), style, paint_width=len(word))
        lines += paragraph(
            "", f"Nothing was written. Without --dry-run the exit code is {report.exit_code}.", style
        )
        return "\n".join(lines)
    what = report.version or "a release whose version only the reading tells"
    lines = paragraph(style.good("PLAN"), sentence(f"install {what} in slot set {report.slot_set}"), style, 4)
    if report.overwritten:
        lines += paragraph(
            "", f"{report.overwritten} in slot set {report.slot_set} would be overwritten.", style
        )
    lines += ["", *_plan_table(report, style), ""]
    for item in report.images:
        for number, way in enumerate(item.ways):
            lines += paragraph("" if number else sentence(item.part), _say_way(way), style)
    lines += paragraph("Source", report.source, style)
    for note in report.notes:
        lines += paragraph(style.warn("Note"), sentence(note), style, len("Note"))
    if report.sha256:
        lines += paragraph("SHA-256", report.sha256, style)
    for number, step in enumerate(report.steps, 1):
        lines += paragraph("" if number > 1 else "Steps", f"{number}. {sentence(step)}", style)
    return "\n".join([*lines, "", "This is a dry run: nothing was written."])


def _plan_table(report: "PlanReport", style: Style) -> Iterator[str]:
    rows = [("Slot", "fetched", "written", "of", "file")]
    for item in report.images:
        packed = item.compression not in (None, "none")
        name = f"{item.file} ({item.compression})" if packed else item.file
        rows.append((item.slot, _known(item.download), _known(item.size), format_size(item.slot_size), name))
    if report.download is not None:
        rows.append(("in all", format_size(report.download), "", "", ""))
    head, *lines = table(rows, right=frozenset({1, 2, 3}))
    yield style.dim(head)
    yield from lines


def _say_way(way: "PlannedWay") -> str:
    name = {"full": "in full", "blocks": "by blocks"}.get(way.way, f"by the delta from {way.version}")
    if way.download is None:
        return f"{name}: no; {way.why_not}"
    return f"{name}: {format_size(way.download)}{', taken' if way.chosen else ''}"


def _known(size: int | None) -> str:
    return "?" if size is None else format_size(size)


def render_install(report: "InstallReport", style: Style) -> str:
    """Return what was installed, and what comes next."""
    word = "INSTALLED"
    fetched = f"{format_size(report.downloaded)} fetched, {_cost(report.written, report.took)}, all read back"
    lines = paragraph(
        style.good(word), f"{report.version} is in slot set {report.slot_set}: {fetched}.", style, len(word)
    )
    lines += paragraph("Next boot", sentence(report.next_boot.sentence), style)
    try_it = "Power it on to try it." if report.disk else "Reboot to try it."
    lines += paragraph("", "Rebooting now." if report.rebooting else try_it, style)
    return "\n".join(lines)


# --- disks ------------------------------------------------------------------------------------------


def render_check(report: "CheckReport", style: Style) -> str:
    """Return each difference between the disk and the layout on lines of its own."""
    if report.same:
        word = "SAME"
        lines = paragraph(
            style.good(word), f"{report.disk} has the layout {report.layout}.", style, len(word)
        )
    else:
        word = "DIFFERENT"
        count = len(report.differences)
        many = f"in {count} thing{'' if count == 1 else 's'}"
        head = f"{report.disk} differs from the layout {report.layout} {many}:"
        lines = paragraph(style.bad(word), head, style, len(word))
        for item in report.differences:
            first, *rest = wrap(sentence(item.sentence), max(20, min(style.width, 100) - LABEL_WIDTH - 2))
            lines += [f"{'':<{LABEL_WIDTH}}- {first}", *(f"{'':<{LABEL_WIDTH}}  {line}" for line in rest)]
    for remark in report.remarks:
        lines += paragraph(style.warn("Remark"), sentence(remark.sentence), style, len("Remark"))
    return "\n".join(lines)


def render_created(report: "CreateReport", style: Style) -> str:
    """Return what was made."""
    word = "CREATED"
    text = (
        f"{report.disk}: layout {report.layout}, {format_size(report.size)}, of which "
        f"{format_size(report.used)} are used; {report.version} is in slot set A and is the primary."
    )
    return "\n".join(paragraph(style.good(word), text, style, len(word)))
