"""What is on offer, as text for people."""

from collections.abc import Iterator

from abctl.cli.report_offers import OfferReport, OffersReport
from abctl.cli.style import LABEL_WIDTH, Style, paragraph, sentence, wrap
from abctl.core.consider import Reason
from abctl.core.units import format_size


def render_offers(report: OffersReport, style: Style) -> str:
    """Return whether there is something to take, then each release with what speaks against it."""
    word = "UPGRADE" if report.upgrade else "NOTHING"
    paint = style.good if report.upgrade else style.dim
    lines = paragraph(paint(word), sentence(report.sentence), style, len(word))
    if report.recalled is not None:
        recalled = f"{report.version}, which this host has, was recalled: {report.recalled}"
        lines += paragraph(style.bad("Recalled"), sentence(recalled), style, len("Recalled"))
    if report.clock:
        lines += paragraph(style.bad("Clock"), sentence(report.clock), style, len("Clock"))
    for setback in report.setbacks:
        lines += paragraph(style.warn("Mirror"), sentence(setback), style, len("Mirror"))
    lines.append("")
    for number, item in enumerate(report.releases):
        lines += _render(item, style, label="" if number else "On offer")
    for path in report.unreadable:
        lines += paragraph(
            "Unreadable", f"{path}: its terms are of a newer abctl; upgrade abctl to take it.", style
        )
    lines += ["", *paragraph("Signed", _say_dates(report), style)]
    return "\n".join(lines)


def _render(item: OfferReport, style: Style, label: str) -> Iterator[str]:
    mark = ">" if item.taken else " "
    head = f"{item.version}  {format_size(item.download)} at most, published {item.published[:10]}"
    yield f"{label:<{LABEL_WIDTH}}{mark} {style.good(head) if item.taken else head}"
    indent = " " * (LABEL_WIDTH + 4)
    for objection in item.objections:
        if objection.reason is Reason.SAME:
            text = objection.sentence
        elif objection.overridden:
            text = f"overridden: {objection.sentence}"
        else:
            text = f"not considered because {objection.sentence}"
        yield from (indent + style.dim(line) for line in wrap(text, style.width - len(indent)))


def _say_dates(report: OffersReport) -> str:
    dates = ", ".join(f"{item.role} {item.version} until {item.expires[:10]}" for item in report.metadata)
    return f"by {report.repository}: {dates}."
