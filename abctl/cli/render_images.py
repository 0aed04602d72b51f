"""The report on images that were made, as text for people."""

from abctl.cli.report_images import ImagesReport
from abctl.cli.style import Style, paragraph
from abctl.core.units import format_size


def render_images(report: ImagesReport, style: Style) -> str:
    """Return what was made, and what to do with it."""
    word = "BUILT"
    text = f"{report.folder}: version {report.version} with the kernel {report.kernel}."
    lines = paragraph(style.good(word), text, style, len(word))
    for image in report.images:
        about = f"{image.file}: {format_size(image.size)}, of which {format_size(image.used)} are used."
        lines += paragraph(image.part.capitalize(), about, style)
    publish = "'abctl release publish' puts it on offer."
    lines += paragraph("Release", f"{report.release}: {publish}", style)
    if report.disk:
        about = f"{report.disk}: starts by itself on a machine with UEFI; {report.version} is in slot set A."
        lines += paragraph("Disk", about, style)
    return "\n".join([*lines, f"{'SHA-256':<11}{style.bold(report.sha256)}"])
