"""How far the boots of a trial got, as text for people."""

import re
import textwrap
from collections.abc import Iterator, Sequence

from abctl.cli.report import EvidenceReport, HealthCheckReport, TrialBootReport, TrialStoryReport
from abctl.cli.sentences import plural
from abctl.cli.style import LABEL_WIDTH, Style, paragraph, sentence, wrap
from abctl.core.health import Verdict

# The time, and the name of the host before that of the program: the screen is for what was said.
_STAMP = re.compile(r"^\[ *\d+\.\d+\] (\S+ (?=\S+\[\d+\]: |kernel: ))?")


def render_evidence(report: EvidenceReport, style: Style) -> str:
    """Return each trial with all that is kept of it, the newest last."""
    if not report.trials:
        return "Nothing is kept: no slot set was on trial, or the config volume was lost."
    return "\n\n".join("\n".join(_whole_trial(trial, style)) for trial in report.trials)


def _whole_trial(trial: TrialStoryReport, style: Style) -> Iterator[str]:
    yield from paragraph(style.bold("Trial"), _name(trial), style, len("Trial"))
    for boot in trial.boots:
        yield from _boot(boot, style)
        for check in boot.checks:
            yield from _indented(_say_check(check), style, hang=" " * 8)
        yield from _tail(boot.tail, style)


def render_trial(trial: TrialStoryReport, command: str, style: Style) -> Iterator[str]:
    """Yield the boots of a trial in few lines; ``command`` shows the rest."""
    yield from paragraph("Trial", _name(trial), style)
    for boot in trial.boots:
        yield from _boot(boot, style)
    for boot in trial.boots:
        if boot.tail:
            yield from _indented(f"The last lines of boot {boot.number}; all of them: {command}", style)
            yield from _tail([_STAMP.sub("", line) for line in boot.tail], style, cut=True)


def _name(trial: TrialStoryReport) -> str:
    when = f", {trial.at[:10]} {trial.at[11:16]} UTC" if trial.at else ""
    boots = plural(len(trial.boots), "boot")
    return f"{trial.version or 'a release of unknown version'} in slot set {trial.slot_set}, {boots}{when}"


def _boot(boot: TrialBootReport, style: Style) -> Iterator[str]:
    yield from _indented(f"{boot.number}. {sentence(boot.sentence)}", style, hang="   ")


def _say_check(check: HealthCheckReport) -> str:
    kind = "" if check.required else " (wanted)"
    text = f": {check.text}" if check.text else ""
    return f"{check.verdict:<6}  {check.name}{kind}{text}"


def render_health(checks: tuple[HealthCheckReport, ...], style: Style) -> Iterator[str]:
    """Yield the checks of this boot that did not pass."""
    for number, check in enumerate(checks):
        word = "" if number else "Health"
        paint = style.bad if check.verdict is Verdict.FAILED else style.warn
        kind = "required" if check.required else "wanted"
        text = f"{kind} check {check.name} {check.verdict}: {check.text}"
        yield from paragraph(paint(word), sentence(text), style, paint_width=len(word))


def _indented(text: str, style: Style, hang: str = "") -> Iterator[str]:
    room = max(20, min(style.width, 100) - LABEL_WIDTH - len(hang))
    for number, line in enumerate(wrap(text, room)):
        yield " " * LABEL_WIDTH + (hang if number else "") + line


def _tail(lines: Sequence[str], style: Style, *, cut: bool = False) -> Iterator[str]:
    """Yield lines of a log, each cut or broken where it is longer than the screen."""
    head = " " * LABEL_WIDTH + "| "
    room = max(20, style.width - len(head))
    for line in lines:
        parts = [line[:room]] if cut else textwrap.wrap(line, room, break_on_hyphens=False) or [""]
        yield from (style.dim(head + part).rstrip() for part in parts)
