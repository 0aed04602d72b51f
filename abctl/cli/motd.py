"""What is told to who logs in: a headline and commands, or nothing where all is right."""

from abctl.cli.report import StatusReport, Verdict
from abctl.cli.style import Style, paragraph, sentence

_STATUS = "abctl status"
_WORDS = {Verdict.TRIAL: "ON TRIAL", Verdict.ATTENTION: "ATTENTION", Verdict.DEGRADED: "DEGRADED"}


def make_motd(report: StatusReport) -> str:
    """Return the login message, empty where nothing needs saying."""
    failing = [check for check in report.health if check.required and check.verdict == "failed"]
    if report.verdict is Verdict.OK and not failing:
        return ""
    style = Style()
    word = _WORDS.get(report.verdict, "ATTENTION")
    lines = ["", *paragraph("abctl", f"{word}: {sentence(report.headline)}", style)]
    for check in failing:
        lines += paragraph("", f"Health check {check.name} failed: {check.text}", style)
    lines += paragraph("", f"What to do, and why: {_STATUS}", style)
    return "\n".join([*lines, ""]) + "\n"
