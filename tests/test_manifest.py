"""Manifests that are not sound: nothing is written, and the wrong field is named."""

from collections.abc import Callable
from typing import Any

import pytest

from abctl.core.units import GIB
from abctl.errors import BadManifest, DoesNotFit, IncompatibleLayout, TransferTooLong
from abctl.host.source import locate_release
from abctl.update.install import install
from tests.fake_volumes import LAYOUT, MemoryDisk
from tests.hostile_server import Behaviour, HostileServer
from tests.refusals import assert_refused, offer_from, offer_of, with_manifest
from tests.releases import Release, write_manifest

MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], object], tuple[str, ...]]] = {
    "an unknown field": (lambda m: m.update(signature="x"), ("signature", "Extra inputs")),
    "an unknown field of an image": (lambda m: m["images"][0].update(mode=7), ("images.0.mode",)),
    "a number for a text": (lambda m: m.update(version=2), ("version", "string")),
    "a text for a number": (lambda m: m["images"][0]["image"].update(size="4096"), ("images.0.image.size",)),
    "a truth for a number": (lambda m: m["images"][0]["image"].update(size=True), ("images.0.image.size",)),
    "a list for an object": (lambda m: m["images"].__setitem__(0, []), ("images.0",)),
    "null for an object": (lambda m: m.update(images=None), ("images",)),
    "an unknown format": (lambda m: m.update(format=2), ("format",)),
    "an unknown part": (lambda m: m["images"][0].update(part="var"), ("images.0.part",)),
    "an unknown compression": (
        lambda m: m["images"][0].update(compression="lzma"),
        ("images.0.compression",),
    ),
    "one image": (lambda m: m["images"].pop(), ("images",)),
    "one part twice": (lambda m: m["images"].__setitem__(1, m["images"][0]), ("boot, boot",)),
    "no version": (lambda m: m.pop("version"), ("version",)),
    "no layouts": (lambda m: m.update(layouts=[]), ("layouts",)),
    "a version with a line feed": (lambda m: m.update(version="2.0\nprimary=B"), ("version",)),
    "a path for a file": (lambda m: m["images"][0].update(file="../../etc/shadow"), ("images.0.file",)),
    "an absolute path": (lambda m: m["images"][0].update(file="/etc/shadow"), ("images.0.file",)),
    "a URL for a file": (lambda m: m["images"][0].update(file="http://x/y"), ("images.0.file",)),
    "a short digest": (lambda m: m["images"][0]["image"].update(sha256="00"), ("images.0.image.sha256",)),
    "a zero-length image": (lambda m: m["images"][0]["image"].update(size=0), ("images.0.image.size",)),
    "a negative size": (lambda m: m["images"][0]["image"].update(size=-1), ("images.0.image.size",)),
    "an image of two TiB": (
        lambda m: m["images"][0]["image"].update(size=2048 * GIB),
        ("images.0.image.size",),
    ),
    "a download of 10 GB": (
        lambda m: m["images"][0]["download"].update(size=10 * GIB),
        ("images.0", "too large"),
    ),
    "another download than image without compression": (
        lambda m: m["images"][0].update(compression="none"),
        ("images.0", "without compression"),
    ),
    "a field name that clears the screen": (lambda m: m.update({"\x1b[2J": 1}), ("?[2J",)),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_manifest_is_refused_before_the_first_write_for(
    memory_disk: MemoryDisk, release: Release, what: str
) -> None:
    change, words = MANIFESTS[what]
    changed = with_manifest(release, lambda manifest: change(manifest) and None)
    assert_refused(memory_disk, offer_of(changed), BadManifest, "the manifest is not sound", *words)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b"\xff\xfe", b"[" * 60_000, b'{"format": 1e400}', b'{"a": 1, ' * 1000],
    ids=["empty", "list", "cut", "binary", "deep", "infinity", "broken"],
)
def test_a_manifest_that_is_no_manifest_is_refused(
    memory_disk: MemoryDisk, release: Release, data: bytes
) -> None:
    sha256 = write_manifest(release.directory, data)
    assert_refused(memory_disk, locate_release(str(release.directory), sha256), BadManifest, "not sound")


def test_a_manifest_with_a_thousand_mistakes_is_refused_in_a_few_lines(
    memory_disk: MemoryDisk, release: Release
) -> None:
    changed = with_manifest(release, lambda m: m.update({f"field{i}": i for i in range(1000)}))
    before = memory_disk.take_snapshot()
    with pytest.raises(BadManifest) as raised:
        install(memory_disk.ports, LAYOUT, offer_of(changed))
    assert len(str(raised.value)) < 2000
    assert "992 more" in str(raised.value)
    memory_disk.assert_untouched(before)


def test_10_mb_of_manifest_are_not_read(
    memory_disk: MemoryDisk, release: Release, server: HostileServer
) -> None:
    data = release.manifest.read_bytes() + b" " * 10_000_000
    sha256 = write_manifest(release.directory, data)
    assert_refused(
        memory_disk, locate_release(str(release.directory), sha256), TransferTooLong, "manifest.json", "65536"
    )
    for behaviour in (Behaviour.OK, Behaviour.CHUNKED, Behaviour.ENDLESS):
        url = server.offer("/manifest.json", data, behaviour)
        assert_refused(memory_disk, offer_from(url, sha256), TransferTooLong, "manifest.json", "65536")


def test_10_gb_claimed_in_a_manifest_are_refused_before_the_images_are_asked_for(
    memory_disk: MemoryDisk, release: Release, server: HostileServer
) -> None:
    changed = with_manifest(release, lambda m: m["images"][1]["image"].update(size=10_000_000_000))
    url = server.offer_folder("/v2", changed.directory)
    assert_refused(memory_disk, offer_from(url, changed), DoesNotFit, "root.img.zst", "9.3 GiB", "B_root")
    assert server.asked == ["/v2/manifest.json"]


def test_a_release_for_another_layout_is_refused(memory_disk: MemoryDisk, release: Release) -> None:
    changed = with_manifest(release, lambda m: m.update(layouts=["guestos"]))
    assert_refused(memory_disk, offer_of(changed), IncompatibleLayout, "guestos", LAYOUT)
