"""Sound archives in all the forms that tar makes, and packed bytes however they are cut into frames."""

import gzip
import io
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from abctl.core.release import Compression
from abctl.core.slot import Part
from abctl.core.units import MIB, Bytes, Digest
from abctl.errors import AbctlError, BadArchive
from abctl.host.source import FolderSource
from abctl.update.archive import ArchiveRelease
from abctl.update.decompress import decompress
from abctl.update.stream import fill
from abctl.update.tar import BLOCK, HEADERS_MAX
from tests.fake_volumes import make_image
from tests.releases import digest_of, pack_archive

FORMATS = {
    "old GNU": ("--format=gnu",),
    "pax 0.0": ("--format=posix", "--sparse-version=0.0"),
    "pax 0.1": ("--format=posix", "--sparse-version=0.1"),
    "pax 1.0": ("--format=posix", "--sparse-version=1.0"),
}


def read_archive(path: Path) -> dict[str, bytes]:
    """Return all that the data path reads out of an archive."""
    versions: list[str] = []
    found: dict[str, bytes] = {}
    release = ArchiveRelease(FolderSource(path.parent), path.name, digest_of(path), Bytes(1024 * MIB))
    for payload in release.payloads(versions.append):
        buffer = memoryview(bytearray(payload.size + 1))
        found[payload.file] = bytes(buffer[: fill(payload.reader, buffer)])
        assert len(found[payload.file]) == payload.size
    [found["VERSION.TXT"]] = [version.encode() for version in versions]
    return found


def tar_up(folder: Path, *options: str) -> Path:
    """Pack ``folder`` with GNU tar, each file with all the holes that it could have."""
    path = folder.with_suffix(".tar")
    command: list[str | Path] = [
        "tar",
        *options,
        "--sparse",
        "--hole-detection=raw",
        "--sort=name",
        "-C",
        folder,
        "-cf",
        path,
        ".",
    ]
    subprocess.run(command, check=True)
    return path


@st.composite
def files_with_holes(draw: st.DrawFn) -> bytes:
    """Data and zeros by turns, in pieces of a sector or not; sometimes nothing but zeros."""
    pieces = draw(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), min_size=1, max_size=60))
    noise = random.Random(draw(st.integers(0, 9)))
    data = b"".join(noise.randbytes(512 * n) if full else bytes(512 * n) for full, n in pieces)
    return data + noise.randbytes(draw(st.sampled_from([0, 1, 511])))


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=15)
@given(boot=files_with_holes(), root=files_with_holes())
def test_sparse_members_come_out_whole(
    form: str, boot: bytes, root: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sparse") / "tree"
    folder.mkdir()
    for name, data in {"boot.img": boot, "root.img": root, "VERSION.TXT": b"2.0.0\n"}.items():
        (folder / name).write_bytes(data)
    path = tar_up(folder, *FORMATS[form])
    assert read_archive(path) == {"boot.img": boot, "root.img": root, "VERSION.TXT": b"2.0.0"}


@pytest.mark.parametrize("form", FORMATS)
def test_an_image_with_thousands_of_holes_comes_out_whole(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    noise = random.Random(4)
    data = b"".join(noise.randbytes(512) + bytes(512) for _ in range(10_000))
    (folder / "root.img").write_bytes(data)
    (folder / "boot.img").write_bytes(b"boot")
    (folder / "VERSION.TXT").write_text("2.0.0")
    assert read_archive(tar_up(folder, *FORMATS[form]))["root.img"] == data


@pytest.mark.parametrize("form", ["gnu", "oldgnu", "posix", "ustar", "v7"])
@pytest.mark.parametrize("dotted", [True, False])
def test_members_are_found_with_and_without_a_dot_in_every_format(
    form: str, dotted: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    for name in ("boot.img", "root.img", "VERSION.TXT"):
        (folder / name).write_text(f"2.0.0-{name}")
    names = ["."] if dotted else ["boot.img", "root.img", "VERSION.TXT"]
    path = tmp_path / "update-img.tar"
    subprocess.run(["tar", f"--format={form}", "-C", folder, "-cf", path, *names], check=True)
    if form == "v7":
        # It has no magic, so nothing says that it is a tar.
        with pytest.raises(BadArchive, match="neither zstd, gzip nor tar"):
            read_archive(path)
        return
    assert read_archive(path) == {
        "boot.img": b"2.0.0-boot.img",
        "root.img": b"2.0.0-root.img",
        "VERSION.TXT": b"2.0.0-VERSION.TXT",
    }


# --- hostile headers --------------------------------------------------------------------------------


def add(
    tar: tarfile.TarFile, name: str, data: bytes, kind: bytes = tarfile.REGTYPE, size: int | None = None
) -> None:
    """Add a member as it is told, whether that makes sense or not."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data) if size is None else size
    tar.fileobj.write(info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % BLOCK))


def write_tar(path: Path, *members: tuple[bytes, bytes]) -> Path:
    """Write headers of these types with this data, and a root image after them."""
    with tarfile.open(path, "w") as tar:
        for kind, data in members:
            add(tar, "./header", data, kind)
        add(tar, "./root.img", b"root")
        tar.fileobj.write(bytes(2 * BLOCK))
    return path


def record(key: str, value: str) -> bytes:
    length = len(key) + len(value) + 3
    return f"{length + len(str(length + 2))} {key}={value}\n".encode()


HEADERS: dict[str, tuple[tuple[tuple[bytes, bytes], ...], str]] = {
    "a long name of 9 MiB": (((b"L", b"x" * (HEADERS_MAX + 1)),), "more than 8 MiB of headers"),
    "pax records of 9 MiB": (((b"x", record("a", "x" * HEADERS_MAX)),), "more than 8 MiB of headers"),
    "many long names": (((b"L", b"x" * MIB),) * 9, "more than 8 MiB of headers"),
    "records that are none": (((b"x", b"hello"),), "not made of pax records"),
    "a record of no length": (((b"x", b"0 a=b\n"),), "not made of pax records"),
    "a record that goes on": (((b"x", b"99 a=b\n"),), "not made of pax records"),
    "a negative size": (((b"x", record("size", "-1")),), "size"),
    "a size of 2 TiB": (((b"x", record("size", str(2**41))),), "size"),
    "a size of 1000 digits": (((b"x", record("size", "9" * 1000)),), "size"),
    "a map of no numbers": (
        ((b"x", record("GNU.sparse.size", "9") + record("GNU.sparse.map", "a,b")),),
        "map of its holes",
    ),
    "a map with a missing length": (
        ((b"x", record("GNU.sparse.size", "9") + record("GNU.sparse.map", "0,1,2")),),
        "map of its holes",
    ),
    "a map that overlaps": (
        ((b"x", record("GNU.sparse.size", "9") + record("GNU.sparse.map", "0,3,1,1")),),
        "overlap",
    ),
    "a map beyond the end": (
        ((b"x", record("GNU.sparse.size", "9") + record("GNU.sparse.map", "6,4")),),
        "after the end",
    ),
    "a map of too much data": (
        ((b"x", record("GNU.sparse.size", "9") + record("GNU.sparse.map", "0,5")),),
        "says 5 bytes of data, and 4 are there",
    ),
    "a map of huge numbers": (
        ((b"x", record("GNU.sparse.size", "9") + record("GNU.sparse.map", "0,99999999999999999999")),),
        "too large",
    ),
    "a file of 2 TiB in holes": (
        ((b"x", record("GNU.sparse.size", str(2**41)) + record("GNU.sparse.map", "0,4")),),
        "size",
    ),
    "a map of an unknown format": (
        ((b"x", record("GNU.sparse.realsize", "9") + record("GNU.sparse.major", "2")),),
        "format is not known",
    ),
    "a map in the data that is none": (
        (
            (
                b"x",
                record("GNU.sparse.realsize", "9")
                + record("GNU.sparse.major", "1")
                + record("GNU.sparse.minor", "0"),
            ),
        ),
        "map of its holes",
    ),
    "lengths without offsets": (
        ((b"x", record("GNU.sparse.size", "9") + record("GNU.sparse.numbytes", "4")),),
        "out of order",
    ),
    "a global header": (((b"g", record("path", "boot.img")),), "does not belong"),
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_hostile_header_is_refused(what: str, tmp_path: Path) -> None:
    members, words = HEADERS[what]
    with pytest.raises(BadArchive, match=words):
        read_archive(write_tar(tmp_path / "update-img.tar", *members))


def test_an_old_map_that_never_ends_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("./root.img")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    entry = b"%011o\0%011o\0" % (0, 0)
    header[386:482], header[482:483], header[483:495] = entry * 4, b"\1", b"%011o\0" % MIB
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "update-img.tar"
    path.write_bytes(bytes(header) + (entry * 21 + b"\1" + bytes(7)) * (HEADERS_MAX // BLOCK + 1))
    with pytest.raises(BadArchive, match=r"more than (8 MiB of headers|524288 runs)"):
        read_archive(path)


@pytest.mark.parametrize("place", [100, 136, 300])
def test_a_header_whose_checksum_is_wrong_is_refused(place: int, tmp_path: Path) -> None:
    """Mode, time and device number: what nothing else would notice."""
    data = bytearray(small_tar())
    data[2 * BLOCK + place] ^= 1
    path = tmp_path / "update-img.tar"
    path.write_bytes(data)
    with pytest.raises(BadArchive, match="checksum"):
        read_archive(path)


@pytest.mark.parametrize("rest", [b"x", bytes(9000) + b"x", b"x" * BLOCK, bytes(2 * MIB)])
def test_something_after_the_end_of_a_tar_is_refused(rest: bytes, tmp_path: Path) -> None:
    path = tmp_path / "update-img.tar"
    path.write_bytes(small_tar() + bytes(100_000))
    assert read_archive(path)["root.img"] == b"root"
    path.write_bytes(small_tar() + rest)
    with pytest.raises(BadArchive, match="goes on after its end"):
        read_archive(path)


@settings(max_examples=300)
@given(
    place=st.integers(0, 3 * BLOCK - 12),
    value=st.integers(0, 255),
    length=st.sampled_from([1, 8, 12]),
    mend=st.booleans(),
)
def test_a_spoilt_header_is_refused_or_means_the_same(
    place: int, value: int, length: int, mend: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """``mend`` makes the checksum right again, so that what is behind it has to notice."""
    folder = tmp_path_factory.getbasetemp() / "spoilt"
    folder.mkdir(exist_ok=True)
    data = bytearray(small_tar())
    data[place : place + length] = bytes([value]) * length
    if mend:
        start = place // BLOCK * BLOCK
        block = data[start : start + BLOCK]
        block[148:156] = b"        "
        data[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    path = folder / "update-img.tar"
    path.write_bytes(data)
    said, found = "", {}
    try:
        found = read_archive(path)
    except AbctlError as error:
        said = str(error)
    assert "update-img.tar" in said or mend or found["root.img"] == b"root"
    assert not said or "update-img.tar" in said


def small_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("./root.img")
        info.pax_headers = {"comment": "x"}
        info.size = 4
        tar.addfile(info, io.BytesIO(b"root"))
        add(tar, "./boot.img", b"boot")
        add(tar, "./VERSION.TXT", b"2.0.0")
    return file.getvalue()


# --- packed bytes -----------------------------------------------------------------------------------


class Pieces:
    """Gives bytes in pieces of any size."""

    def __init__(self, data: bytes, sizes: Iterator[int]) -> None:
        self._data = data
        self._sizes = sizes
        self.length = len(data)

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), next(self._sizes, len(buffer)), len(self._data))
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


def unpack(packed: bytes, compression: Compression, sizes: list[int], limit: int = 2 * MIB) -> bytes:
    reader = decompress(Pieces(packed, iter(sizes)), compression, "boot.img.zst")
    buffer = memoryview(bytearray(limit))
    return bytes(buffer[: fill(reader, buffer)])


def pack(data: bytes, compression: Compression) -> bytes:
    return zstd.compress(data) if compression is Compression.ZSTD else gzip.compress(data, 1)


PACKED = [Compression.ZSTD, Compression.GZIP]
SKIPPED = b"\x5f\x2a\x4d\x18\x05\x00\x00\x00hello"  # a frame that zstd tells readers to skip


@settings(max_examples=60)
@given(
    parts=st.lists(st.binary(max_size=300) | st.integers(0, 300_000).map(bytes), min_size=1, max_size=5),
    sizes=st.lists(st.integers(1, 400), max_size=40),
    compression=st.sampled_from(PACKED),
)
def test_any_number_of_frames_or_members_in_any_pieces_unpack_to_the_whole(
    parts: list[bytes], sizes: list[int], compression: Compression
) -> None:
    packed = b"".join(pack(part, compression) for part in parts)
    assert unpack(packed, compression, sizes) == b"".join(parts)


def test_frames_that_are_to_be_skipped_are_skipped() -> None:
    packed = SKIPPED + zstd.compress(b"boot") + SKIPPED + zstd.compress(b"image") + SKIPPED
    assert unpack(packed, Compression.ZSTD, []) == b"bootimage"


@pytest.mark.parametrize("packed", [SKIPPED, zstd.compress(b"")])
def test_frames_that_hold_nothing_are_not_followed_for_ever(packed: bytes) -> None:
    sound = (packed * 999 + zstd.compress(b"image")) * 2
    assert unpack(sound, Compression.ZSTD, []) == b"imageimage"
    with pytest.raises(BadArchive, match="more than 1000 empty frames"):
        unpack(packed * 1001, Compression.ZSTD, [])


@pytest.mark.parametrize("compression", PACKED)
@settings(max_examples=60)
@given(cut=st.integers(1, 2000))
def test_packed_bytes_that_are_cut_are_refused_with_the_place(compression: Compression, cut: int) -> None:
    packed = pack(random.Random(1).randbytes(3000), compression)
    with pytest.raises(BadArchive, match=f"before byte {len(packed) - cut}: it ends too early"):
        unpack(packed[:-cut], compression, [])


@pytest.mark.parametrize("compression", PACKED)
@pytest.mark.parametrize("rest", [b"x", b"\0" * 100, b"garbage " * 10])
def test_something_after_the_packed_bytes_is_refused(compression: Compression, rest: bytes) -> None:
    with pytest.raises(BadArchive, match=r"boot\.img\.zst"):
        unpack(pack(b"image", compression) + rest, compression, [])


@pytest.mark.parametrize("compression", PACKED)
def test_no_bytes_at_all_are_refused(compression: Compression) -> None:
    with pytest.raises(BadArchive, match="before byte 0: it ends too early"):
        unpack(b"", compression, [])


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_a_real_image_comes_out_of_an_archive_as_it_went_in(form: str, tmp_path: Path) -> None:
    images = {
        Part.BOOT: make_image(tmp_path / "boot.img", MIB + 4096, 1),
        Part.ROOT: make_image(tmp_path / "root.img", MIB, 2),
    }
    archive = pack_archive(tmp_path / "update-img.tar.zst", "2.0.0", images, form=form)
    found = read_archive(archive.path)
    assert found["boot.img"] == images[Part.BOOT].read_bytes()
    assert found["root.img"] == images[Part.ROOT].read_bytes()
    assert archive.sha256 == Digest(digest_of(archive.path))
