"""The reports of an identity as text for people."""

from collections.abc import Callable, Iterator, Sequence

from abctl.cli.report_identity import AppliedReport, IdentityReport, ManagementReport
from abctl.cli.style import Style, paragraph, sentence, table
from abctl.identity.management import Source

_SOURCES = {
    Source.GIVEN: "given on the command line",
    Source.SETTINGS: "from the settings",
    Source.KEPT: "found at an earlier boot, and kept in the settings",
    Source.IPMI: "that of the management controller (IPMI)",
    Source.CARD: "that of the network card {card}",
}
_NOTHING = "-"


def render_identity(report: IdentityReport, style: Style) -> str:
    """Return name and management MAC, the addresses of each machine, and what is missing."""
    lines = [*_name(report, style), *_management(report.management, style)]
    for label, text in (
        ("Deployment", report.deployment),
        ("Prefix", report.ipv6_prefix),
        ("Gateway", report.ipv6_gateway),
        ("Node-id", report.node_id),
    ):
        if text is not None:
            lines += paragraph(label, text, style)
    if report.machines:
        lines += ["", *_machines(report)]
    if report.warnings:
        lines += ["", *_list("Warning", report.warnings, style.warn, style)]
    return "\n".join(lines)


def _name(report: IdentityReport, style: Style) -> list[str]:
    name, running = report.hostname, report.running_hostname
    if name is None:
        return paragraph("Hostname", f"{_NOTHING} (this machine is called {running or 'nothing'})", style)
    if running in (None, name):
        return paragraph("Hostname", style.bold(name), style)
    return paragraph("Hostname", f"{name} (it is called {running} still: 'abctl identity apply')", style)


def _management(found: ManagementReport | None, style: Style) -> list[str]:
    if found is None:
        return []
    return paragraph("MAC", f"{found.mac}, {_SOURCES[found.source].format(card=found.card)}", style)


def _machines(report: IdentityReport) -> Iterator[str]:
    rows = [("Machine", "", "MAC for IPv4", "MAC for IPv6")]
    rows += [(item.name, f"{item.index:02x}", item.mac_ipv4, item.mac_ipv6) for item in report.machines]
    yield from table(rows)
    addresses = [(item.name, item.ipv6) for item in report.machines if item.ipv6]
    if addresses:
        yield ""
        yield from table([("Machine", "IPv6 address"), *addresses])


def render_applied(report: AppliedReport, style: Style) -> str:
    """Return the name, a line for each change, and what could not be done."""
    lines = paragraph("Hostname", report.hostname or _NOTHING, style)
    lines += _list("Changed", report.changed or ("nothing: all was right already",), str, style)
    lines += _list("Warning", report.warnings, style.warn, style)
    lines += _list("Failed", report.failures, style.bad, style)
    return "\n".join(lines)


def _list(label: str, texts: Sequence[str], paint: Callable[[str], str], style: Style) -> Iterator[str]:
    """Yield a paragraph for each text, the label before the first."""
    for number, text in enumerate(texts):
        word = "" if number else label
        yield from paragraph(paint(word), sentence(text), style, len(word))
