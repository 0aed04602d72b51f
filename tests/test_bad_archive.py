"""Archives that are damaged, or hold something else than they should."""

import copy
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from abctl.core.slot import Part
from abctl.core.units import MIB
from abctl.errors import (
    BadArchive,
    BadRelease,
)
from abctl.host.source import locate_release
from abctl.update.install import install
from tests.fake_volumes import LAYOUT, MemoryDisk
from tests.hostile_server import HostileServer
from tests.refusals import (
    WRONG,
    assert_given_up,
    assert_refused,
    offer_from,
    offer_of,
)
from tests.releases import Archive, digest_of, pack_archive, pack_tar

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["update-img.tar.zst", "update-img.tar.gz", "update-img.tar"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.99999])
def test_a_truncated_archive_is_refused_before_the_first_write(
    memory_disk: MemoryDisk, tmp_path: Path, images: dict[Part, Path], name: str, kept: float
) -> None:
    archive = pack_archive(tmp_path / name, "2.0.0", images)
    data = archive.path.read_bytes()
    # Of a bare tar the padding may be missing.
    end = len(data.rstrip(b"\0")) if name.endswith(".tar") else len(data)
    archive.path.write_bytes(data[: int(end * kept)])
    before = memory_disk.take_snapshot()
    with pytest.raises(BadRelease, match="update-img"):
        install(memory_disk.ports, LAYOUT, locate_release(str(archive.path), digest_of(archive.path)))
    memory_disk.assert_untouched(before)


@pytest.mark.slow
@settings(max_examples=40)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_an_archive_with_one_bit_flipped_is_refused_before_the_first_write(
    archive: Archive, place: float, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(archive.path.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    damaged = tmp_path_factory.mktemp("damaged") / "update-img.tar.zst"
    damaged.write_bytes(data)
    memory_disk = MemoryDisk()
    before = memory_disk.take_snapshot()
    with pytest.raises(BadRelease, match="update-img"):
        install(memory_disk.ports, LAYOUT, locate_release(str(damaged), archive.sha256))
    memory_disk.assert_untouched(before)


Change = Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]


def _member(name: str, data: bytes = b"x", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def _drop(name: str) -> Change:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[:] = [item for item in members if item[0].name != name]

    return change


def _replace(name: str, data: bytes, **fields: Any) -> Change:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[:] = [item if item[0].name != name else _member(name, data, **fields) for item in members]

    return change


HOSTILE: dict[str, tuple[Change, tuple[str, ...]]] = {
    "an extra file": (lambda m: m.append(_member("./evil.sh")), ("evil.sh", "does not belong")),
    "an extra folder": (lambda m: m.append(_member("./sub", b"", type=tarfile.DIRTYPE)), ("sub",)),
    "a file in a folder": (lambda m: m.append(_member("./sub/boot.img")), ("sub/boot.img",)),
    "a boot image twice": (lambda m: m.append(copy.deepcopy(m[0])), ("boot.img", "twice")),
    "a version twice": (lambda m: m.append(copy.deepcopy(m[2])), ("VERSION.TXT", "twice")),
    "no boot image": (_drop("./boot.img"), ("lacks boot.img",)),
    "no root image": (_drop("./root.img"), ("lacks root.img",)),
    "no version": (_drop("./VERSION.TXT"), ("lacks VERSION.TXT",)),
    "nothing at all": (lambda m: m.clear(), ("lacks VERSION.TXT and boot.img and root.img",)),
    "an absolute path": (lambda m: m.append(_member("/boot.img")), ("absolute", "/boot.img")),
    "a path that leads outside": (lambda m: m.append(_member("./../boot.img")), ("outside", "../boot.img")),
    "a symbolic link": (
        _replace("./root.img", b"", type=tarfile.SYMTYPE, linkname="/dev/sda"),
        ("root.img", "symbolic link"),
    ),
    "a hard link": (
        _replace("./root.img", b"", type=tarfile.LNKTYPE, linkname="boot.img"),
        ("root.img", "hard link"),
    ),
    "a device": (_replace("./root.img", b"", type=tarfile.BLKTYPE), ("root.img", "device")),
    "a pipe": (_replace("./VERSION.TXT", b"", type=tarfile.FIFOTYPE), ("VERSION.TXT", "pipe")),
    "a zero-length image": (_replace("./root.img", b""), ("root.img", "no bytes")),
    "an image of zeros": (_replace("./root.img", bytes(2 * MIB)), ("root.img", "zeros")),
    "an empty version": (_replace("./VERSION.TXT", b"\n"), ("VERSION.TXT", "not hold a version")),
    "a long version": (_replace("./VERSION.TXT", b"2" * 65), ("VERSION.TXT", "not hold a version")),
    "a book for a version": (_replace("./VERSION.TXT", b"2" * 4096), ("VERSION.TXT", "4096 bytes")),
    "a version in no letters": (_replace("./VERSION.TXT", b"2.0\x1b[2J"), ("VERSION.TXT",)),
    "a version in UTF-16": (_replace("./VERSION.TXT", "2.0".encode("utf-16")), ("VERSION.TXT", "ASCII")),
}


def make_tar(path: Path, images: dict[Part, Path], change: Change) -> Archive:
    members = [
        _member("./boot.img", images[Part.BOOT].read_bytes()),
        _member("./root.img", images[Part.ROOT].read_bytes()),
        _member("./VERSION.TXT", b"2.0.0\n"),
    ]
    change(members)
    bare = path.with_name("bare.tar")
    with tarfile.open(bare, "w", format=tarfile.GNU_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return pack_tar(path, "2.0.0", bare)


@pytest.mark.parametrize("what", HOSTILE)
def test_an_archive_is_refused_before_the_first_write_for(
    memory_disk: MemoryDisk, tmp_path: Path, images: dict[Part, Path], what: str
) -> None:
    change, words = HOSTILE[what]
    archive = make_tar(tmp_path / "update-img.tar.zst", images, change)
    assert_refused(memory_disk, offer_of(archive), BadArchive, *words)


@pytest.mark.parametrize("what", sorted({*HOSTILE} - {"nothing at all"}))
def test_an_archive_from_a_server_is_never_armed_for(
    memory_disk: MemoryDisk, tmp_path: Path, images: dict[Part, Path], server: HostileServer, what: str
) -> None:
    change, words = HOSTILE[what]
    archive = make_tar(tmp_path / "update-img.tar.zst", images, change)
    url = server.offer("/update-img.tar.zst", archive.path.read_bytes())
    assert_given_up(memory_disk, offer_from(url, archive), BadArchive, *words)


def test_a_web_page_in_place_of_an_archive_is_refused(memory_disk: MemoryDisk, server: HostileServer) -> None:
    url = server.offer("/update-img.tar.zst", "<html>please log in</html>" * 100)
    assert_refused(memory_disk, offer_from(url, WRONG), BadArchive, "neither zstd, gzip nor tar")


def test_an_archive_with_something_after_it_is_refused(memory_disk: MemoryDisk, archive: Archive) -> None:
    longer = archive.path.with_name("longer.tar.zst")
    longer.write_bytes(archive.path.read_bytes() + b"something")
    assert_refused(memory_disk, locate_release(str(longer), digest_of(longer)), BadArchive, "longer.tar.zst")


def test_an_archive_whose_window_needs_too_much_memory_is_refused(
    memory_disk: MemoryDisk, tmp_path: Path
) -> None:
    path = tmp_path / "update-img.tar.zst"
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    # Of unknown length, so that the window is what the header says.
    with path.open("wb") as file, zstd.ZstdFile(file, "w", options=options) as packer:
        packer.write(bytes(1024))
    assert_refused(memory_disk, locate_release(str(path), digest_of(path)), BadArchive, "32 MiB", "--long")
