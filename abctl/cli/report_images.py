"""What ``abctl build image`` reports."""

from dataclasses import dataclass
from typing import Annotated

from abctl.cli.report import Digest, Note, Report, Size
from abctl.core.slot import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReport(Report):
    """One image that was made."""

    part: Part
    file: str
    size: Size
    used: Annotated[int, Note("bytes that the file takes on its file system", minimum=0)]
    sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesReport(Report):
    """abctl build image: the images, the release of them, and the disk."""

    folder: str
    version: str
    kernel: Annotated[str, Note("version of the kernel in Boot")]
    kernel_arguments: Annotated[str, Note("what the release adds to the kernel's command line")]
    images: tuple[ImageReport, ...]
    release: Annotated[str, Note("the release directory")]
    sha256: Annotated[Digest, Note("of manifest.json: what abctl upgrade --sha256 wants")]
    disk: Annotated[str | None, Note("the disk image, where one was asked for")]
    took: Annotated[float, Note("seconds", minimum=0)]
