"""What is told of a manifest that is not sound, and what of a release is known by its first bytes."""

import json
from typing import Any

import pytest

from abctl.core.release import Compression, find_compression, parse_manifest
from abctl.core.slot import Part
from abctl.core.units import KIB, MIB, Version
from abctl.errors import BadManifest
from tests.test_release_form import IMAGE_SIZE, content, delta, file, manifest
from tests.told import told


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"\x28\xb5\x2f\xfd" + bytes(300), Compression.ZSTD),
        (b"\x50\x2a\x4d\x18" + bytes(300), Compression.ZSTD),
        (b"\x5f\x2a\x4d\x18" + bytes(300), Compression.ZSTD),
        (b"\x4f\x2a\x4d\x18" + bytes(300), None),
        (b"\x50\x51\x2a\x4d\x18" + bytes(300), None),
        (b"\x50\x2a\x4d\x19" + bytes(300), None),
        (b"\x50", None),
        (b"\x28\xb5\x2f", None),
        (b"\x1f\x8b" + bytes(300), Compression.GZIP),
        (b"\x1f", None),
        (bytes(257) + b"ustar  \0" + bytes(240), Compression.NONE),
        (bytes(257) + b"ustaR" + bytes(240), None),
    ],
)
def test_a_tar_is_known_by_its_first_bytes_whatever_follows(head: bytes, found: Compression | None) -> None:
    assert find_compression(head) is found


def test_a_manifest_finds_the_image_of_a_part_and_the_delta_from_a_version() -> None:
    release = parse_manifest(manifest())
    assert [release.image_of(part).file for part in (Part.BOOT, Part.ROOT)] == ["boot.zst", "root.zst"]
    root = release.image_of(Part.ROOT)
    found = [root.delta_from(Version(text)) for text in ("1.0.0", "1.1.0")]
    assert [item and item.file for item in found] == ["root-1.0.0.delta", "root-1.1.0.delta"]
    assert root.delta_from(Version("2.0.0")) is None


def test_what_a_manifest_does_not_say_of_an_image_it_does_not_have() -> None:
    plain: dict[str, Any] = {"chunks": None, "blocks": None, "deltas": [], "compression": "none"}
    image = parse_manifest(manifest(**plain, download=content(IMAGE_SIZE))).images[1]
    assert (image.compression, image.chunks, image.blocks, image.deltas) == (Compression.NONE, None, None, ())
    values = json.loads(manifest(**plain, download=content(IMAGE_SIZE)))
    del values["images"][1]["compression"], values["images"][1]["deltas"]
    assert parse_manifest(json.dumps(values).encode()).images[1] == image


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chunks": None}, "images.1: blocks and deltas need chunks"),
        ({"compression": "gzip"}, "images.1: chunks need compression zstd, not gzip"),
        (
            {"chunks": file("c", 205_825)},
            "images.1: a chunk index of 205825 bytes is too large for its image",
        ),
        (
            {"blocks": file("b", 205_825)},
            "images.1: a block index of 205825 bytes is too large for its image",
        ),
        ({"deltas": [delta("1.0.0"), delta("1.0.0")]}, "images.1: two deltas are from the same version"),
        (
            {"deltas": [delta("1.0.0", size=10, header=11)]},
            "images.1.deltas.0: a header of 11 bytes is too large",
        ),
        (
            {"deltas": [delta("1.0.0", size=128 * MIB, header=64 * MIB + 1)]},
            "images.1.deltas.0: a header of 67108865 bytes is too large",
        ),
        (
            {"deltas": [delta(f"1.{minor}") for minor in range(17)]},
            "images.1.deltas: Tuple should have at most 16 items after validation, not 17",
        ),
        (
            {"download": content(107_544_577)},
            "images.1: a download of 107544577 bytes is too large for its image",
        ),
        (
            {"compression": "none", "chunks": None, "blocks": None, "deltas": []},
            "images.1: without compression, download and image must be the same",
        ),
        ({"part": "boot"}, "needs one image each for boot and root, not boot, boot"),
        (
            {"image": content(1_099_511_627_777)},
            "images.1.image.size: Input should be less than or equal to 1099511627776",
        ),
        ({"file": ".x"}, "images.1.file: String should match pattern '^[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}$'"),
    ],
)
def test_what_does_not_go_together_in_a_manifest_is_told(changes: dict[str, Any], said: str) -> None:
    # pydantic may go on that there are too few images, since a wrong one is none.
    first, _, _ = told(BadManifest, parse_manifest, manifest(**changes)).partition("; ")
    assert first == f"the manifest is not sound: {said}"


def test_a_manifest_has_64_kib_at_the_most() -> None:
    data = manifest()
    assert parse_manifest(data.ljust(64 * KIB)) == parse_manifest(data)
    assert told(BadManifest, parse_manifest, data.ljust(64 * KIB + 1)) == (
        "the manifest has more than 65536 bytes: this is not a manifest"
    )
