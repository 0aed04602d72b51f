"""The report on a release that was built, as text for people."""

from collections.abc import Iterator

from abctl.cli.report_release import BuildReport, BuiltImage
from abctl.cli.style import Style, paragraph
from abctl.core.units import format_size


def render_build(report: BuildReport, style: Style) -> str:
    """Return what was built, what hosts will download, and how to install it."""
    word = "BUILT"
    text = (
        f"{report.folder}: version {report.version} for {' and '.join(report.layouts)}, "
        f"{format_size(report.size)} in all; everything was unpacked and compared."
    )
    lines = paragraph(style.good(word), text, style, len(word))
    for number, line in enumerate(_list_downloads(report)):
        lines += paragraph("" if number else "Downloads", line, style)
    for image in report.images:
        lines += paragraph(image.part.capitalize(), _describe_image(image), style)
    # On a line of its own: it is copied from there.
    return "\n".join([*lines, f"{'SHA-256':<11}{style.bold(report.sha256)}", *_say_how(report, style)])


def _list_downloads(report: BuildReport) -> Iterator[str]:
    whole = format_size(report.download)
    for saving in report.savings:
        percent = 100 * saving.download / report.download
        yield (
            f"A host with {saving.version} downloads {format_size(saving.download)} instead of {whole} "
            f"({percent:.1f} %)."
        )
    yield f"Any other host downloads up to {whole}."


def _describe_image(image: BuiltImage) -> str:
    text = (
        f"{image.file}: {format_size(image.download)} for {format_size(image.size)}, and indexes of "
        f"{format_size(image.index)} and {format_size(image.blocks)}."
    )
    for delta in image.deltas:
        percent = f"{100 * delta.size / image.download:.1f} %"
        if delta.file:
            text += f" From {delta.version}: {format_size(delta.size)} ({percent})."
        else:
            text += f" From {delta.version}: no delta, it would be as large as the image ({percent})."
    return text


def _say_how(report: BuildReport, style: Style) -> list[str]:
    text = "of manifest.json: publish the whole folder, and give this to 'abctl upgrade --sha256'."
    return paragraph("", text, style)
