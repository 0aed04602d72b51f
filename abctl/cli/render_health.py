"""The health report as text for people."""

from collections.abc import Iterator

from abctl.cli.report_health import CheckDoneReport, HealthReport
from abctl.cli.style import LABEL_WIDTH, Style, paragraph, sentence, wrap
from abctl.core.health import Verdict
from abctl.core.health_state import Stand

_STANDS = {
    Stand.WATCHING: "watching",
    Stand.CONFIRMED: "the trial is confirmed",
    Stand.GAVE_UP: "the trial is given up",
    Stand.STAYED_UP: "the trial is given up, but the other slot set is no better",
    Stand.CHECKED: "the boot was checked",
}
_OUTPUT_MAX = 5  # lines of a check's output; --json has more


def render_health(report: HealthReport, style: Style) -> str:
    """Return in a word whether the host is healthy, then a line for each check."""
    lines = [*_headline(report, style), ""]
    width = max(len(check.name) for check in report.checks)
    for check in report.checks:
        lines += _check(check, width, style)
    if report.service:
        said = f"{_STANDS[report.service.stand]}: {report.service.why}"
        lines += ["", *paragraph("Service", sentence(said), style)]
    return "\n".join(lines)


def _headline(report: HealthReport, style: Style) -> list[str]:
    what = f"slot set {report.slot_set}" if report.slot_set else "what runs"
    trial = ", which is on trial," if report.on_trial else ""
    failed = [check.name for check in report.checks if check.required and check.verdict is Verdict.FAILED]
    if report.healthy:
        return paragraph(style.good("HEALTHY"), f"{what[0].upper()}{what[1:]}{trial} is healthy.", style, 7)
    said = f"{what[0].upper()}{what[1:]}{trial} is not healthy: {', '.join(failed)}."
    return paragraph(style.bad("UNHEALTHY"), said, style, 9)


def _check(check: CheckDoneReport, width: int, style: Style) -> Iterator[str]:
    paint = {Verdict.PASSED: style.good, Verdict.WARNED: style.warn, Verdict.FAILED: style.bad}[check.verdict]
    indent = LABEL_WIDTH + width + 2
    first, *rest = wrap(check.text or "-", max(20, min(style.width, 100) - indent))
    label = paint(check.verdict) + " " * (LABEL_WIDTH - len(check.verdict))
    yield f"{label}{check.name:<{width}}  {first}"
    yield from (" " * indent + line for line in rest)
    if check.verdict is not Verdict.PASSED:
        shown = check.output[-_OUTPUT_MAX:]
        yield from (" " * indent + style.dim(f"| {line}") for line in shown if line not in check.text)
