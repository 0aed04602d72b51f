"""A release directory's manifest.

    {"format": 1, "version": "2.0.0", "layouts": ["hostos"],
     "images": [{"part": "boot", "file": "boot.img.zst", "compression": "zstd",
                 "download": {"size": 1234, "sha256": "..."}, "image": {"size": 4096, "sha256": "..."}}, ...]}

``download`` is what the server holds, ``image`` what stands in the slot afterwards.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from abctl.core.slot import Part
from abctl.core.units import GIB, KIB, VERSION_MAX, Bytes, Digest, Version, parse_digest, parse_version
from abctl.errors import BadManifest

MANIFEST_NAME = "manifest.json"
MANIFEST_MAX = Bytes(64 * KIB)  # a real one is under 4 KiB; bounds what a hostile server can send
IMAGE_MAX = Bytes(1024 * GIB)  # far above any slot; bounds what a manifest can claim
INSTALLED_PARTS = (Part.BOOT, Part.ROOT)  # Var starts empty


class Compression(StrEnum):
    """How an image is packed for the way."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)


class Content(BaseModel):
    """So many bytes with this digest."""

    model_config = _STRICT

    size: Annotated[int, Field(gt=0, le=IMAGE_MAX, description="bytes")]
    sha256: Annotated[Digest, AfterValidator(parse_digest), Field(pattern="^[0-9a-f]{64}$")]


class Image(BaseModel):
    """One payload for one slot."""

    model_config = _STRICT

    part: Annotated[Literal[Part.BOOT, Part.ROOT], Field(strict=False)]
    file: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$", description="a name beside the manifest"),
    ]
    compression: Annotated[Compression, Field(strict=False)] = Compression.NONE
    download: Content
    image: Content


class Manifest(BaseModel):
    """What a release is and for which layouts."""

    model_config = _STRICT | {"title": "abctl release manifest"}

    format: Literal[1]
    version: Annotated[
        Version,
        AfterValidator(parse_version),
        Field(pattern=rf"^[A-Za-z0-9][A-Za-z0-9.+~_-]{{0,{VERSION_MAX - 1}}}$"),
    ]
    layouts: Annotated[tuple[str, ...], Field(min_length=1, max_length=16, strict=False)]
    images: Annotated[tuple[Image, ...], Field(min_length=2, max_length=2, strict=False)]

    @model_validator(mode="after")
    def _one_image_a_part(self) -> "Manifest":
        parts = sorted(image.part for image in self.images)
        if parts != sorted(INSTALLED_PARTS):
            raise ValueError(f"needs one image each for {' and '.join(INSTALLED_PARTS)}, not {', '.join(parts)}")
        return self

    def image_of(self, part: Part) -> Image:
        return next(image for image in self.images if image.part is part)


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest in ``data``, or raise BadManifest naming every wrong field."""
    if len(data) > MANIFEST_MAX:
        raise BadManifest(f"the manifest has more than {MANIFEST_MAX} bytes: this is not a manifest")
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        problems = "; ".join(describe_problem(item["loc"], item["msg"]) for item in error.errors())
        raise BadManifest(f"the manifest is not sound: {problems}") from error


def describe_problem(location: tuple[int | str, ...], message: str) -> str:
    """Return one validation problem as ``images.0.part: ...``."""
    where = ".".join(str(part) for part in location)
    return f"{where}: {message}" if where else message
