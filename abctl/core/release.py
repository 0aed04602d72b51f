"""A release directory's manifest.

    {"format": 1, "version": "2.0.0", "layouts": ["hostos"],
     "images": [{"part": "boot", "file": "boot.img.zst", "compression": "zstd",
                 "download": {"size": 1234, "sha256": "..."}, "image": {"size": 4096, "sha256": "..."}}, ...]}

``download`` is what the server holds, ``image`` what stands in the slot afterwards. An image that
``abctl release build`` made also has ``chunks``, ``blocks`` and ``deltas``: files that say how to fetch less.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from abctl.core.problems import describe_problems
from abctl.core.slot import Part
from abctl.core.units import GIB, KIB, MIB, VERSION_MAX, Bytes, Digest, Version, parse_digest, parse_version
from abctl.errors import BadManifest

MANIFEST_NAME = "manifest.json"
MANIFEST_MAX = Bytes(64 * KIB)  # a real one is under 4 KiB; bounds what a hostile server can send
IMAGE_MAX = Bytes(1024 * GIB)  # far above any slot; bounds what a manifest can claim
DELTA_HEADER_MAX = 64 * MIB  # a real one has some 100 KiB
DELTAS_MAX = 16
INSTALLED_PARTS = (Part.BOOT, Part.ROOT)  # Var starts empty


class ReleaseKind(StrEnum):
    """The form in which a release is offered."""

    DIRECTORY = "directory"  # manifest.json with its images beside it
    ARCHIVE = "archive"  # the older system's update-img.tar.zst


class Compression(StrEnum):
    """How an image is packed for the way."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


TAR_MAGIC_END = 262  # of a tar's first block, where its magic ends
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE_FIRST = bytes(range(0x50, 0x60))
_ZSTD_SKIPPABLE_REST = b"\x2a\x4d\x18"


def find_compression(head: bytes) -> Compression | None:
    """Return how the tar that begins with ``head`` is packed, or None where it is no tar.

    Of a packed one the first bytes are enough, of a bare one ``TAR_MAGIC_END`` are needed.
    """
    skippable = head[:1] in _ZSTD_SKIPPABLE_FIRST and head[1:4] == _ZSTD_SKIPPABLE_REST
    if skippable or head.startswith(_ZSTD_MAGIC):
        return Compression.ZSTD
    if head.startswith(b"\x1f\x8b"):
        return Compression.GZIP
    return Compression.NONE if head[257:TAR_MAGIC_END] == b"ustar" else None


_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)


class Content(BaseModel):
    """So many bytes with this digest."""

    model_config = _STRICT

    size: Annotated[int, Field(gt=0, le=IMAGE_MAX, description="bytes")]
    sha256: Annotated[Digest, Field(pattern="^[0-9a-f]{64}$"), AfterValidator(parse_digest)]


FileName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}$", description="a name beside the manifest")
]
_Version = Annotated[
    Version,
    Field(pattern=rf"^[A-Za-z0-9][A-Za-z0-9.+~_-]{{0,{VERSION_MAX - 1}}}$"),
    AfterValidator(parse_version),
]


class IndexFile(Content):
    """A chunk index or a block index."""

    file: FileName


class DeltaFile(Content):
    """A delta from the image of an older version; ``header`` is how it begins."""

    file: FileName
    version: _Version
    header: Content

    @model_validator(mode="after")
    def _header_is_part_of_it(self) -> "DeltaFile":
        if self.header.size > min(self.size, DELTA_HEADER_MAX):
            raise ValueError(f"a header of {self.header.size} bytes is too large")
        return self


class Image(BaseModel):
    """One payload for one slot.

    ``chunks`` and ``blocks`` are its indexes, see core.chunks; without ``chunks`` it is one stream.
    """

    model_config = _STRICT

    part: Literal[Part.BOOT, Part.ROOT]
    file: FileName
    compression: Annotated[Compression, Field(strict=False)] = Compression.NONE
    download: Content
    image: Content
    chunks: IndexFile | None = None
    blocks: IndexFile | None = None
    deltas: Annotated[tuple[DeltaFile, ...], Field(max_length=DELTAS_MAX, strict=False)] = ()

    @model_validator(mode="after")
    def _sizes_go_together(self) -> "Image":
        if self.compression is Compression.NONE and self.download != self.image:
            raise ValueError("without compression, download and image must be the same")
        if self.download.size > self.image.size + self.image.size // 64 + MIB:
            raise ValueError(f"a download of {self.download.size} bytes is too large for its image")
        return self

    @model_validator(mode="after")
    def _indexes_go_together(self) -> "Image":
        if self.chunks is None and (self.blocks or self.deltas):
            raise ValueError("blocks and deltas need chunks")
        if self.chunks and self.compression is not Compression.ZSTD:
            raise ValueError(f"chunks need compression zstd, not {self.compression}")
        if self.chunks and self.chunks.size > self.image.size // 512 + KIB:
            raise ValueError(f"a chunk index of {self.chunks.size} bytes is too large for its image")
        if self.blocks and self.blocks.size > self.image.size // 512 + KIB:
            raise ValueError(f"a block index of {self.blocks.size} bytes is too large for its image")
        versions = [delta.version for delta in self.deltas]
        if len(set(versions)) < len(versions):
            raise ValueError("two deltas are from the same version")
        return self

    def delta_from(self, version: Version | None) -> DeltaFile | None:
        return next((delta for delta in self.deltas if delta.version == version), None)


LayoutName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,35}$")]


class Manifest(BaseModel):
    """What a release is and for which layouts."""

    model_config = _STRICT | {"title": "abctl release manifest"}

    format: Annotated[int, Field(ge=1, le=1)]
    version: _Version
    layouts: Annotated[tuple[LayoutName, ...], Field(min_length=1, max_length=16, strict=False)]
    images: Annotated[tuple[Image, ...], Field(min_length=2, max_length=2, strict=False)]

    @model_validator(mode="after")
    def _one_image_a_part(self) -> "Manifest":
        parts = sorted(image.part for image in self.images)
        if parts != sorted(INSTALLED_PARTS):
            raise ValueError(
                f"needs one image each for {' and '.join(INSTALLED_PARTS)}, not {', '.join(parts)}"
            )
        return self

    def image_of(self, part: Part) -> Image:
        return next(image for image in self.images if image.part is part)


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest in ``data``, or raise BadManifest naming the wrong fields."""
    if len(data) > MANIFEST_MAX:
        raise BadManifest(f"the manifest has more than {MANIFEST_MAX} bytes: this is not a manifest")
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise BadManifest(f"the manifest is not sound: {describe_problems(error)}") from error
