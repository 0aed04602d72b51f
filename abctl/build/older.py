"""Older releases: what a host may have already, unpacked for as long as the build lasts."""

import gzip
import hashlib
import os
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast
from zlib import error as ZlibError

from backports import zstd

from abctl.build.files import ImageFile, saying_what_failed, zeros
from abctl.build.pack import OnDone, digest_blocks
from abctl.build.parallel import map_ordered
from abctl.core.chunks import CHUNK_SIZE
from abctl.core.release import MANIFEST_MAX, MANIFEST_NAME, Compression, Image, Manifest, parse_manifest
from abctl.core.units import Bytes
from abctl.errors import BadArchive, DigestMismatch, SourceNotFound

_WINDOW_LOG_MAX = 25  # of what abctl installs


@dataclass(frozen=True, slots=True)
class OlderRelease:
    """A release directory that was published before."""

    folder: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True, eq=False)
class OlderImage:
    """An unpacked image, and the long digests of its whole blocks."""

    file: ImageFile
    blocks: "array[int]"


def read_older(folder: Path) -> OlderRelease:
    """Return the release in ``folder``; raise SourceNotFound, BadManifest."""
    try:
        with (folder / MANIFEST_NAME).open("rb") as file:
            data = file.read(MANIFEST_MAX + 1)
    except OSError as error:
        raise SourceNotFound(
            f"{folder} is no release directory: its {MANIFEST_NAME}: {error.strerror}"
        ) from error
    return OlderRelease(folder, parse_manifest(data))


@contextmanager
def unpack_older(
    older: OlderRelease, image: Image, scratch: Path, threads: int, on_done: OnDone
) -> Iterator[OlderImage]:
    """Unpack an image into a file in ``scratch`` that has no name, and check it.

    Raise SourceNotFound, BadArchive, DigestMismatch, WriteFailed.
    """
    path = older.folder / image.file
    with saying_what_failed(scratch):
        target = tempfile.TemporaryFile(dir=scratch, buffering=0)  # noqa: SIM115 - closed below
    with target:
        whole = hashlib.sha256()
        blocks = array("Q")
        done = 0

        def write_all() -> Iterator[bytes]:
            nonlocal done
            for data in _unpack(path, image):
                whole.update(data)
                with saying_what_failed(scratch):
                    _write_sparse(target.fileno(), data, done)
                yield data
                done += len(data)
                on_done(done)

        for longs in map_ordered(digest_blocks, write_all(), threads):
            blocks.frombytes(longs)
        if whole.hexdigest() != image.image.sha256:
            raise DigestMismatch(
                f"{path} unpacks to SHA-256 {whole.hexdigest()}, not {image.image.sha256} as its "
                "manifest says: it is damaged"
            )
        os.ftruncate(target.fileno(), done)
        yield OlderImage(ImageFile(path, Bytes(done), target.fileno(), 0), blocks)


def _write_sparse(fd: int, data: bytes, start: int) -> None:
    if data == zeros(len(data)):
        return
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, start)
        view, start = view[count:], start + count


def _unpack(path: Path, image: Image) -> Iterator[bytes]:
    """Yield the image chunk by chunk."""
    left = image.image.size
    try:
        with _open_packed(path, image.compression) as file:
            while left:
                data = _read(file, min(left, CHUNK_SIZE))
                if not data:
                    break
                yield data
                left -= len(data)
            if left or file.read(1):
                raise BadArchive(f"{path} does not hold the {image.image.size} bytes that its manifest says")
    except FileNotFoundError as error:
        raise SourceNotFound(f"{path} does not exist") from error
    except (EOFError, OSError, ZlibError, zstd.ZstdError) as error:
        raise BadArchive(f"{path} cannot be unpacked: {error}") from error


def _open_packed(path: Path, compression: Compression) -> IO[bytes]:
    match compression:
        case Compression.NONE:
            return path.open("rb")
        case Compression.GZIP:
            return cast(IO[bytes], gzip.open(path, "rb"))
        case Compression.ZSTD:
            options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX}
            return cast(IO[bytes], zstd.open(path, "rb", options=options))


def _read(file: IO[bytes], length: int) -> bytes:
    """Return ``length`` bytes, fewer only at the end."""
    parts = []
    while length and (part := file.read(length)):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
