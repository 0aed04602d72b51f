"""Servers that fail, stall, lie or never end."""

import pytest

from abctl.core.units import MIB
from abctl.errors import (
    AbctlError,
    BadArchive,
    ServerFailed,
    SourceNotFound,
    TransferCut,
    TransferStalled,
    TransferTooLong,
)
from tests.fake_volumes import MemoryDisk
from tests.hostile_server import Behaviour, HostileServer
from tests.refusals import WRONG, assert_given_up, assert_refused, offer_from
from tests.releases import Archive, Release

pytestmark = pytest.mark.slow

FAULTS: dict[Behaviour, tuple[type[AbctlError], str]] = {
    Behaviour.NOT_FOUND: (SourceNotFound, "404"),
    Behaviour.ERROR: (ServerFailed, "500"),
    Behaviour.LOOP: (ServerFailed, "redirects"),
    Behaviour.STALL: (TransferStalled, "sent nothing for 0.3 s after"),
    Behaviour.SILENT: (TransferStalled, "did not answer within 0.3 s"),
    Behaviour.CUT: (TransferCut, "cut"),
    Behaviour.CUT_CHUNKED: (TransferCut, "cut"),
    Behaviour.GARBAGE: (ServerFailed, "does not speak HTTP"),
}


@pytest.mark.parametrize("behaviour", FAULTS)
def test_a_server_that_fails_at_the_manifest_leaves_the_disk_as_it_was(
    memory_disk: MemoryDisk, release: Release, server: HostileServer, behaviour: Behaviour
) -> None:
    url = server.offer_folder("/v2", release.directory)
    server.spoil("/v2/manifest.json", behaviour)
    error, words = FAULTS[behaviour]
    assert_refused(memory_disk, offer_from(url, release), error, words, "127.0.0.1")


LATE = [Behaviour.STALL, Behaviour.CUT, Behaviour.CUT_CHUNKED]
AT_ONCE = [behaviour for behaviour in FAULTS if behaviour not in LATE]


@pytest.mark.parametrize("behaviour", AT_ONCE)
@pytest.mark.parametrize("image", ["boot.img.zst", "root.img.zst"])
def test_a_server_that_does_not_give_an_image_leaves_the_disk_as_it_was(
    memory_disk: MemoryDisk, release: Release, server: HostileServer, behaviour: Behaviour, image: str
) -> None:
    url = server.offer_folder("/v2", release.directory)
    server.spoil(f"/v2/{image}", behaviour)
    error, words = FAULTS[behaviour]
    assert_refused(memory_disk, offer_from(url, release), error, words, "127.0.0.1")


@pytest.mark.parametrize("behaviour", AT_ONCE)
def test_a_server_that_does_not_give_an_archive_leaves_the_disk_as_it_was(
    memory_disk: MemoryDisk, archive: Archive, server: HostileServer, behaviour: Behaviour
) -> None:
    url = server.offer("/update-img.tar.zst", archive.path.read_bytes(), behaviour)
    error, words = FAULTS[behaviour]
    assert_refused(memory_disk, offer_from(url, archive), error, words, "127.0.0.1")


@pytest.mark.parametrize("behaviour", LATE)
@pytest.mark.parametrize("image", ["boot.img.zst", "root.img.zst"])
def test_a_server_that_fails_within_an_image_never_costs_what_runs(
    memory_disk: MemoryDisk, release: Release, server: HostileServer, behaviour: Behaviour, image: str
) -> None:
    url = server.offer_folder("/v2", release.directory)
    server.spoil(f"/v2/{image}", behaviour)
    error, words = FAULTS[behaviour]
    assert_given_up(memory_disk, offer_from(url, release), error, words, "127.0.0.1")


@pytest.mark.parametrize("behaviour", LATE)
def test_a_server_that_fails_within_an_archive_never_costs_what_runs(
    memory_disk: MemoryDisk, archive: Archive, server: HostileServer, behaviour: Behaviour
) -> None:
    url = server.offer("/update-img.tar.zst", archive.path.read_bytes(), behaviour)
    error, words = FAULTS[behaviour]
    assert_given_up(memory_disk, offer_from(url, archive), error, words, "127.0.0.1")


def test_a_cut_transfer_says_how_many_of_how_many_bytes_came(
    memory_disk: MemoryDisk, archive: Archive, server: HostileServer
) -> None:
    data = archive.path.read_bytes()
    url = server.offer("/update-img.tar.zst", data, Behaviour.CUT)
    assert_given_up(
        memory_disk,
        offer_from(url, archive),
        TransferCut,
        f"{len(data) // 2} of {len(data)} bytes of update-img.tar.zst",
    )


def test_a_body_that_ends_early_without_a_promised_length_is_noticed(
    memory_disk: MemoryDisk, release: Release, archive: Archive, server: HostileServer
) -> None:
    url = server.offer_folder("/v2", release.directory)
    server.spoil("/v2/root.img.zst", Behaviour.CUT_NO_LENGTH)
    assert_given_up(memory_disk, offer_from(url, release), TransferCut, "root.img.zst")
    url = server.offer("/update-img.tar.zst", archive.path.read_bytes(), Behaviour.CUT_NO_LENGTH)
    assert_given_up(MemoryDisk(), offer_from(url, archive), BadArchive, "ends too early")


@pytest.mark.parametrize("behaviour", [Behaviour.MORE, Behaviour.ENDLESS])
def test_a_server_that_sends_more_than_was_said_is_cut_off(
    memory_disk: MemoryDisk, release: Release, server: HostileServer, behaviour: Behaviour
) -> None:
    url = server.offer_folder("/v2", release.directory)
    server.spoil("/v2/root.img.zst", behaviour)
    assert_given_up(memory_disk, offer_from(url, release), TransferTooLong, "root.img.zst")


def test_a_server_whose_image_has_another_length_is_not_read(
    memory_disk: MemoryDisk, release: Release, server: HostileServer
) -> None:
    url = server.offer_folder("/v2", release.directory)
    packed = (release.directory / "root.img.zst").read_bytes()
    for body, error in ((packed + b"x", TransferTooLong), (packed[:-1], TransferCut)):
        server.offer("/v2/root.img.zst", body)
        assert_refused(
            MemoryDisk(),
            offer_from(url, release),
            error,
            "root.img.zst",
            str(len(packed)),
        )


def test_an_archive_that_never_ends_is_cut_off(memory_disk: MemoryDisk, server: HostileServer) -> None:
    """Large frames that unpack to nothing: only the bound on the download stops them."""
    frame = b"\x50\x2a\x4d\x18" + MIB.to_bytes(4, "little") + bytes(MIB)
    url = server.offer("/update-img.tar.zst", frame * 40, Behaviour.CHUNKED)
    assert_refused(memory_disk, offer_from(url, WRONG), TransferTooLong, "update-img.tar.zst")
