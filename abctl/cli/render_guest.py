"""The guest's reports as text for people."""

from collections.abc import Iterator

from abctl.cli.render import render_status
from abctl.cli.report_guest import GuestDoneReport, GuestReport
from abctl.cli.style import Style, paragraph, sentence
from abctl.core.guest_state import Phase
from abctl.core.units import format_size

_WORDS = {
    Phase.STARTING: "STARTING",
    Phase.READY: "READY",
    Phase.NOT_READY: "NOT READY",
    Phase.PAUSED: "PAUSED",
    Phase.STOPPING: "STOPPING",
    Phase.WAITING: "WAITING",
    Phase.HELD: "HELD",
    Phase.STOPPED: "STOPPED",
    Phase.UNKNOWN: "UNKNOWN",
}
_SHOWN_LINES = 3  # of the serial console


def render_guest(report: GuestReport, style: Style) -> str:
    """Return how the guest stands, and its slot sets below."""
    lines = [*_headline(report, style), ""]
    room = f"{report.cpus} processors, {format_size(report.memory)} of memory, disk {report.disk}"
    lines += paragraph("Machine", room, style)
    lines += paragraph("Service", sentence(_say_service(report)), style)
    if report.outdated:
        lines += paragraph("Changed", "guest.toml was changed; that counts from the next start on.", style)
    lines += _last_words(report, style)
    if report.slots is None:
        lines += paragraph("Slot sets", sentence(report.slots_problem or "not known"), style)
        return "\n".join(lines)
    if report.adopted is False:
        lines += ["", *paragraph("Upgrades", _NOT_ADOPTED, style)]
    return "\n".join([*lines, "", style.dim("Its own slot sets:"), "", render_status(report.slots, style)])


_NOT_ADOPTED = (
    "The guest's GRUB runs the older system's script, so the guest upgrades itself and keeps its own boot "
    "state. 'abctl guest upgrade' needs abctl's scripts there."
)


def _headline(report: GuestReport, style: Style) -> list[str]:
    word = _WORDS[report.phase]
    paint = {Phase.READY: style.good, Phase.NOT_READY: style.bad, Phase.UNKNOWN: style.bad}.get(
        report.phase, style.warn
    )
    runs = report.phase in (Phase.READY, Phase.STARTING, Phase.NOT_READY, Phase.PAUSED)
    said = f"{report.name}{' runs' if runs else ''}{_say_release(report) if runs else ''}: {report.why}"
    since = f", since {report.since[:16].replace('T', ' ')} UTC" if report.since and runs else ""
    return paragraph(paint(word), f"{said}{since}.", style, paint_width=len(word))


def _say_release(report: GuestReport) -> str:
    if report.slot_set is None:
        return ""
    version = f" ({report.version})" if report.version else ""
    return f" slot set {report.slot_set}{version}{', on trial' if report.on_trial else ''}"


def _say_service(report: GuestReport) -> str:
    if report.held:
        return f"it keeps the guest stopped: {report.held}; 'abctl guest start' lets it go"
    if report.watched:
        failed = f"; {report.failed} starts in a row came to nothing" if report.failed else ""
        return f"it watches over the guest{failed}"
    return "nothing watches over the guest: 'systemctl start abctl-guest' does"


def _last_words(report: GuestReport, style: Style) -> Iterator[str]:
    for number, line in enumerate(report.said[-_SHOWN_LINES:]):
        yield from (f"{'' if number else 'Console':<11}{style.dim('| ' + line[: style.width - 13])}",)


def render_done(report: GuestDoneReport, style: Style) -> str:
    return "\n".join(paragraph("Guest", sentence(report.sentence), style))
