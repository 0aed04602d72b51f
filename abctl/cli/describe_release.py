"""Describe a release that was built."""

from pathlib import Path

from abctl.build.release import Built, Useless
from abctl.cli.report_release import BuildReport, BuiltImage, DeltaReport, SavingReport
from abctl.core.release import Image


def describe_build(folder: Path, built: Built, took: float) -> BuildReport:
    """Return the report on ``built``; ``took`` in seconds."""
    manifest = built.manifest
    versions = {delta.version: None for image in manifest.images for delta in image.deltas}
    return BuildReport(
        folder=str(folder),
        version=manifest.version,
        layouts=manifest.layouts,
        sha256=built.sha256,
        images=tuple(_describe_image(image, built.useless) for image in manifest.images),
        download=built.download,
        savings=tuple(
            SavingReport(version=version, download=built.download_from(version)) for version in versions
        ),
        size=sum(path.stat().st_size for path in folder.iterdir()),
        took=round(took, 3),
    )


def _describe_image(image: Image, useless: tuple[Useless, ...]) -> BuiltImage:
    assert image.chunks is not None
    assert image.blocks is not None
    made = [DeltaReport(version=delta.version, file=delta.file, size=delta.size) for delta in image.deltas]
    others = [
        DeltaReport(version=delta.version, file=None, size=delta.size)
        for delta in useless
        if delta.part is image.part
    ]
    return BuiltImage(
        part=image.part,
        file=image.file,
        size=image.image.size,
        download=image.download.size,
        index=image.chunks.size,
        blocks=image.blocks.size,
        deltas=(*made, *others),
    )
