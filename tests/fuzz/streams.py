"""What is read as a stream: tar with all sparse forms, zstd, gzip, archives, and the frames of a delta."""

import gzip
import hashlib
import io
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path

from backports import zstd
from hypothesis import strategies as st

from abctl.core.delta import Group
from abctl.core.release import Compression
from abctl.core.units import KIB, MIB, Bytes, Digest
from abctl.update.archive import ArchiveRelease
from abctl.update.decompress import decompress
from abctl.update.payload import Payload
from abctl.update.pool import Scratch
from abctl.update.seed import unpack_new
from abctl.update.stream import fill
from abctl.update.tar import TarReader
from tests.fuzz.target import Target

_READ_MAX = 2 * MIB  # of what comes out; a header may claim a TiB of zeros
_BLOCK = 512


class BytesReader:
    """Bytes as a source gives them, in pieces of an odd size."""

    def __init__(self, data: bytes, piece: int = 4099) -> None:
        self._file = io.BytesIO(data)
        self._piece = piece
        self.length: int | None = len(data)

    def readinto(self, buffer: memoryview) -> int:
        return self._file.readinto(buffer[: self._piece])


class BytesSource:
    """A source of one file."""

    has_ranges = True
    is_local = True
    place = "memory"

    def __init__(self, data: bytes) -> None:
        self._data = data

    @contextmanager
    def open(self, name: str, start: int = 0, length: int | None = None) -> Iterator[BytesReader]:
        yield BytesReader(self._data[start : None if length is None else start + length])


def _pack(data: bytes) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


# --- zstd and gzip ----------------------------------------------------------------------------------


@cache
def _content() -> bytes:
    numbers = b"".join(struct.pack("<I", number * number % 977) for number in range(4000))
    return numbers + bytes(100_000) + hashlib.sha512(b"noise").digest() * 300


def _zstd_seeds() -> list[bytes]:
    data = _content()
    skippable = b"\x50\x2a\x4d\x18" + struct.pack("<I", 9) + b"123456789"
    unsized = zstd.ZstdCompressor()
    stream = unsized.compress(data[:50_000]) + unsized.flush()
    frames = b"".join(_pack(data[at : at + 4096]) for at in range(0, len(data), 4096))
    return [_pack(data), frames, skippable + _pack(data), stream + skippable, _pack(b"") * 20 + _pack(b"x")]


def _gzip_seeds() -> list[bytes]:
    data = _content()
    named = io.BytesIO()
    with gzip.GzipFile("a name", "wb", 9, named, 1) as packer:
        packer.write(data)
    return [gzip.compress(data, 1), gzip.compress(b"") * 3 + gzip.compress(data[:5000]), named.getvalue()]


def _check_packed(data: bytes, compression: Compression) -> None:
    """The same bytes come out whatever the size of the buffer, up to the same end."""
    out = []
    for piece, size in ((4099, 64 * KIB), (1, 777)) if len(data) < 3000 else ((4099, 64 * KIB),):
        reader = decompress(BytesReader(data, piece), compression, "root.img")
        buffer, digest, done = memoryview(bytearray(size)), hashlib.sha256(), 0
        while done < _READ_MAX and (count := fill(reader, buffer)):
            digest.update(buffer[:count])
            done += count
        out.append((done, digest.hexdigest()) if done < _READ_MAX else None)
    assert len(set(out)) == 1


# --- tar --------------------------------------------------------------------------------------------


@cache
def _tars() -> Sequence[bytes]:
    """GNU tar's own, in every form that abctl knows."""
    forms: list[tuple[str, ...]] = [("gnu",), ("ustar",), ("posix",)]
    forms += [("posix", "--sparse", f"--sparse-version={number}") for number in ("0.0", "0.1", "1.0")]
    forms += [("gnu", "--sparse")]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in ("boot.img", "root.img"):
            with (tree / name).open("wb") as file:
                for at in range(0, 30 * 8192, 3 * 8192):
                    file.seek(at)
                    file.write(hashlib.sha256(name.encode()).digest() * 16)
                file.truncate(32 * 8192)
        (tree / "VERSION.TXT").write_text("2.0.0\n")
        (tree / ("long" * 40)).write_text("a long name\n")
        made = [_run_tar(tree, *form, names=("VERSION.TXT", "boot.img", "root.img")) for form in forms]
        made.append(_run_tar(tree, "gnu", names=(".",)))
        made.append(_run_tar(tree, "posix", names=("long" * 40, "VERSION.TXT")))
    return tuple(made)


def _run_tar(tree: Path, form: str, *options: str, names: tuple[str, ...]) -> bytes:
    command = ["tar", f"--format={form}", "--owner=0", "--group=0", "--mtime=@0", "--sort=name", *options]
    return subprocess.run(
        [*command, "-C", str(tree), "-cf", "-", *names], capture_output=True, check=True
    ).stdout


def mend_headers(data: bytes) -> bytes:
    """Make the checksum of every block right that looks like a header."""
    mended = bytearray(data)
    for at in range(0, len(data) - _BLOCK + 1, _BLOCK):
        block = bytes(mended[at : at + _BLOCK])
        if b"ustar" in block[250:270]:
            total = sum(block[:148]) + sum(block[156:]) + 8 * ord(" ")
            mended[at + 148 : at + 156] = b"%06o\0 " % total
    return bytes(mended)


def _check_tar(data: bytes) -> None:
    buffer = memoryview(bytearray(16 * KIB))
    for member in TarReader(BytesReader(data), "update-img.tar"):
        assert member.size >= 0
        done = 0
        while count := fill(member.data, buffer):
            done += count
            if done > _READ_MAX:
                return
        assert done == member.size or member.kind != "a file"


_NUMBERS = st.sampled_from(
    [b"0", b"1", b"2", b"512", b"512", b"4096", b"9" * 20, b"9" * 21, b"-1", b"x", b"", b" 7"]
)
_LISTS = st.lists(_NUMBERS, max_size=8)
_PAX_KEYS = st.sampled_from(
    [b"path", b"size", b"linkpath", b"GNU.sparse.major", b"GNU.sparse.name", b"GNU.sparse.realsize",
     b"GNU.sparse.map", b"GNU.sparse.offset"]
)  # fmt: skip


@st.composite
def _made_records(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    """The records of a sparse file in one of the pax forms, and perhaps some that do not belong there."""
    numbers = draw(_LISTS)
    keys = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
    size = (b"GNU.sparse.size", draw(_NUMBERS))
    forms: list[list[tuple[bytes, bytes]]] = [
        [],
        [
            size,
            (b"GNU.sparse.numblocks", draw(_NUMBERS)),
            *((keys[at % 2], n) for at, n in enumerate(numbers)),
        ],
        [size, (b"GNU.sparse.map", b",".join(numbers))],
        [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", draw(_NUMBERS))],
    ]
    return draw(st.sampled_from(forms)) + draw(st.lists(st.tuples(_PAX_KEYS, _NUMBERS), max_size=2))


@st.composite
def _made_tar(draw: st.DrawFn) -> bytes:
    """Headers and pax records put together by hand, sparse maps above all."""
    records = b""
    for name, value in draw(_made_records()):
        rest = b" " + name + b"=" + value + b"\n"
        records += str(len(rest) + len(str(len(rest) + 3))).encode() + rest
    body = draw(_LISTS.map(lambda numbers: b"\n".join([*numbers, b""])) | st.binary(max_size=600))
    kind = draw(st.sampled_from([b"0", b"S", b"7", b"5", b"\0"]))
    blocks = [_header(b"x", b"x", len(records)), records] if records else []
    blocks += [_header(kind, b"root.img", draw(st.sampled_from([len(body), 0, 512, 2**33 - 1]))), body]
    return b"".join(block.ljust(-(-len(block) // _BLOCK) * _BLOCK, b"\0") for block in blocks) + bytes(1024)


def _header(kind: bytes, name: bytes, size: int) -> bytes:
    block = bytearray(_BLOCK)
    block[: len(name)] = name
    block[124:136] = b"%011o\0" % size
    block[156:157] = kind
    block[257:265] = b"ustar  \0" if kind == b"S" else b"ustar\x0000"
    return mend_headers(bytes(block))


# --- whole archives ---------------------------------------------------------------------------------


def _archives() -> list[bytes]:
    return [*_tars()[:7], _pack(_tars()[4]), gzip.compress(_tars()[6], 1, mtime=0)]


def _check_archive(data: bytes) -> None:
    digest = Digest(hashlib.sha256(data).hexdigest())
    release = ArchiveRelease(BytesSource(data), "update-img.tar.zst", digest, Bytes(64 * MIB))
    buffer = memoryview(bytearray(16 * KIB))
    for payload in release.payloads(lambda _: None):
        assert isinstance(payload, Payload)
        assert payload.size > 0
        while payload.reader.count < _READ_MAX and fill(payload.reader, buffer):
            pass
        if payload.reader.count != payload.size:
            return


# --- the frames of a delta --------------------------------------------------------------------------

_NEW = 20_000
_PREFIX = hashlib.sha256(b"prefix").digest() * 600


class BytesVolume:
    """A seed."""

    name, size = "A_root", len(_PREFIX)

    def read_back(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = _PREFIX[offset : offset + len(buffer)]


def _frames() -> list[bytes]:
    new = _PREFIX[100:15_100] + hashlib.sha512(b"new").digest() * 100
    dictionary = zstd.ZstdDict(_PREFIX, is_raw=True).as_prefix
    return [zstd.compress(new[:_NEW], zstd_dict=dictionary), _pack(new[:_NEW])]


def _check_frame(data: bytes) -> None:
    """It gives as many bytes as the group says, or a ValueError, which means that the chunk is fetched."""
    prefix = len(_PREFIX)
    for length in (0, prefix, prefix + 1):
        group = Group(0, 1, 0, length, 0, len(data), _NEW, 0, 0)
        with suppress(ValueError):
            assert len(unpack_new(BytesVolume(), group, bytearray(data), Scratch())) == _NEW


TARGETS = (
    Target("zstd", _zstd_seeds, partial(_check_packed, compression=Compression.ZSTD)),
    Target("gzip", _gzip_seeds, partial(_check_packed, compression=Compression.GZIP)),
    Target("tar", _tars, _check_tar, _made_tar(), mend_headers, cost=2),
    Target("archive", _archives, _check_archive, repair=mend_headers, cost=2),
    Target("delta-frame", _frames, _check_frame),
)
