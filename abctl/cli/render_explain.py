"""The explanation and the findings of the doctor as text for people."""

from collections.abc import Iterator

from abctl.cli.render import render_advice, render_headline
from abctl.cli.report_explain import DoctorReport, ExplainReport, FindingReport
from abctl.cli.style import LABEL_WIDTH, Style, paragraph, sentence, wrap
from abctl.core.doctor import Verdict

_NAME_WIDTH = 18


def render_explanation(report: ExplainReport, style: Style) -> str:
    """Return what runs and why, what comes next, what commands would do, and what to do."""
    lines = [*render_headline(report.verdict, report.headline, style), ""]
    lines += _paragraphs("Runs", [sentence(text) for text in report.runs], style)
    lines += ["", *paragraph("Next boot", sentence(report.next_boot.sentence), style)]
    lines += paragraph("Later", sentence(report.later), style)
    lines += ["", "What these commands would do now:"]
    for item in report.answers:
        text = sentence(item.sentence)
        lines += paragraph(item.word, text if item.allowed else f"Refused: {text}", style)
    if report.warnings:
        lines += ["", *_paragraphs("Warning", [sentence(text) for text in report.warnings], style)]
    lines += render_advice(report.advice, style)
    return "\n".join(lines)


def _paragraphs(label: str, texts: list[str], style: Style) -> Iterator[str]:
    for number, text in enumerate(texts):
        yield from paragraph("" if number else label, text, style)


_WORDS = {Verdict.OK: "ok", Verdict.WARNING: "WARNING", Verdict.FAULT: "FAULT", Verdict.UNKNOWN: "unknown"}


def render_findings(report: DoctorReport, style: Style, *, every: bool = False) -> str:
    """Return what is not well or was repaired, the worst first, then how it stands in all.

    Checks that are well are only named, unless ``every`` one is to say what it found.
    """
    told = [item for item in report.findings if every or item.repaired or item.verdict is not Verdict.OK]
    told = told if every else sorted(told, key=lambda item: list(Verdict).index(item.verdict), reverse=True)
    lines = [line for item in told for line in _finding(item, style)]
    well = [item.name for item in report.findings if item not in told]
    if told and well:
        indent = LABEL_WIDTH - 2
        first, *rest = wrap(", ".join(well), min(style.width, 100) - indent)
        lines += [style.good("ok") + " " * (indent - 2) + first, *(" " * indent + line for line in rest)]
    summary = _sum_up(report) + ("" if told else " 'abctl doctor --all' says what each has found.")
    return "\n".join([*lines, *([""] if lines else []), *wrap(summary, min(style.width, 100))])


def _finding(item: FindingReport, style: Style) -> Iterator[str]:
    word = _WORDS[item.verdict]
    paint = {Verdict.OK: style.good, Verdict.FAULT: style.bad, Verdict.WARNING: style.warn}.get(
        item.verdict, style.dim
    )
    indent = LABEL_WIDTH - 2 + _NAME_WIDTH
    head = paint(word) + " " * (LABEL_WIDTH - 2 - len(word)) + f"{item.name:<{_NAME_WIDTH}}"
    first, *rest = wrap(sentence(item.sentence), max(20, min(style.width, 100) - indent))
    yield head + first
    yield from (" " * indent + line for line in rest)
    if item.repaired:
        yield from (
            " " * indent + line
            for line in wrap(f"Repaired: {sentence(item.repaired)}", max(20, min(style.width, 100) - indent))
        )
    if item.command:
        yield f"{'':<{LABEL_WIDTH}}  {style.bold(item.command)}"


def _sum_up(report: DoctorReport) -> str:
    counts = {verdict: sum(item.verdict is verdict for item in report.findings) for verdict in Verdict}
    many = len(report.findings)
    if counts[Verdict.OK] == many:
        return f"All {many} checks are ok."
    said = [
        f"{count} {word}{'' if count == 1 or word == 'unknown' else 's'}"
        for word, count in (
            ("fault", counts[Verdict.FAULT]),
            ("warning", counts[Verdict.WARNING]),
            ("unknown", counts[Verdict.UNKNOWN]),
        )
        if count
    ]
    return f"{many} checks: {', '.join(said)}; the others are ok."
