"""The manifest by itself: what goes together in an image, and how a tar is known by its head."""

import json
from typing import Any

import pytest

from abctl.core.release import (
    DELTA_HEADER_MAX,
    MANIFEST_MAX,
    TAR_MAGIC_END,
    Compression,
    find_compression,
    parse_manifest,
)
from abctl.core.units import KIB, MIB
from abctl.errors import BadManifest

SHA = "ab" * 32
IMAGE_SIZE = 100 * MIB


def content(size: int) -> dict[str, Any]:
    return {"size": size, "sha256": SHA}


def file(name: str, size: int) -> dict[str, Any]:
    return {"file": name, **content(size)}


def delta(version: str, size: int = MIB, header: int = KIB) -> dict[str, Any]:
    return {**file(f"root-{version}.delta", size), "version": version, "header": content(header)}


def image(part: str) -> dict[str, Any]:
    return {
        "part": part,
        "file": f"{part}.zst",
        "compression": "zstd",
        "download": content(40 * MIB),
        "image": content(IMAGE_SIZE),
        "chunks": file(f"{part}.chunks", 7 * KIB),
        "blocks": file(f"{part}.blocks", 100 * KIB),
        "deltas": [delta("1.0.0"), delta("1.1.0")],
    }


def manifest(**changes: Any) -> bytes:
    """Return a manifest whose Root has these changes."""
    images = [image("boot"), {**image("root"), **changes}]
    return json.dumps({"format": 1, "version": "2.0.0", "layouts": ["hostos"], "images": images}).encode()


def test_a_manifest_with_indexes_and_deltas_is_read() -> None:
    root = parse_manifest(manifest()).images[1]
    assert root.delta_from(root.deltas[1].version) == root.deltas[1]
    assert root.delta_from(None) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chunks": None}, "blocks and deltas need chunks"),
        ({"chunks": None, "blocks": None}, "blocks and deltas need chunks"),
        ({"chunks": None, "deltas": []}, "blocks and deltas need chunks"),
        ({"compression": "gzip"}, "chunks need compression zstd, not gzip"),
        ({"chunks": file("c", IMAGE_SIZE // 512 + KIB + 1)}, "a chunk index of 205825 bytes is too large"),
        ({"blocks": file("b", IMAGE_SIZE // 512 + KIB + 1)}, "a block index of 205825 bytes is too large"),
        ({"deltas": [delta("1.0.0"), delta("1.0.0")]}, "two deltas are from the same version"),
        ({"deltas": [delta("1.0.0", size=10, header=11)]}, "a header of 11 bytes is too large"),
        (
            {"deltas": [delta("1.0.0", size=2 * DELTA_HEADER_MAX, header=DELTA_HEADER_MAX + 1)]},
            f"a header of {DELTA_HEADER_MAX + 1} bytes is too large",
        ),
        ({"download": content(IMAGE_SIZE + IMAGE_SIZE // 64 + MIB + 1)}, "is too large for its image"),
        ({"part": "boot"}, "needs one image each for boot and root, not boot, boot"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadManifest, match="the manifest is not sound") as caught:
        parse_manifest(manifest(**changes))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"chunks": file("c", IMAGE_SIZE // 512 + KIB), "blocks": file("b", IMAGE_SIZE // 512 + KIB)},
        {"deltas": [delta("1.0.0", size=10, header=10)]},
        {"deltas": [delta("1.0.0", size=2 * DELTA_HEADER_MAX, header=DELTA_HEADER_MAX)]},
        {"download": content(IMAGE_SIZE + IMAGE_SIZE // 64 + MIB)},
        {"chunks": None, "blocks": None, "deltas": [], "compression": "gzip"},
    ],
)
def test_what_is_just_allowed_is_taken(changes: dict[str, Any]) -> None:
    parse_manifest(manifest(**changes))


def test_a_manifest_of_any_length_is_not_parsed() -> None:
    data = manifest()
    assert parse_manifest(data + b" " * (MANIFEST_MAX - len(data))) == parse_manifest(data)
    with pytest.raises(BadManifest, match=f"more than {MANIFEST_MAX} bytes"):
        parse_manifest(data + b" " * (MANIFEST_MAX - len(data) + 1))


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"\x28\xb5\x2f\xfd", Compression.ZSTD),
        (b"\x50\x2a\x4d\x18", Compression.ZSTD),
        (b"\x5f\x2a\x4d\x18", Compression.ZSTD),
        (b"\x60\x2a\x4d\x18", None),
        (b"\x1f\x8b\x08", Compression.GZIP),
        (b"\0" * 257 + b"ustar", Compression.NONE),
        (b"\0" * 256 + b"ustar\0", None),
        (b"\0" * TAR_MAGIC_END, None),
        (b"", None),
    ],
)
def test_a_tar_is_known_by_its_first_bytes(head: bytes, found: Compression | None) -> None:
    assert find_compression(head) is found
