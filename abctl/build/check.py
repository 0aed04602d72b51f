"""Unpack a release as plainly as its formats allow, to see that it can be installed.

It shares nothing with the installer but the formats: where both agree, they are probably right.
"""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdDict, ZstdError

from abctl.build.files import ImageFile, open_image, zeros
from abctl.build.parallel import map_ordered
from abctl.core.chunks import BLOCK_SIZE, ChunkIndex, parse_chunk_index
from abctl.core.delta import NEW, ZERO, Delta, Group, parse_delta
from abctl.core.release import Content, DeltaFile, Image
from abctl.errors import BadArchive, DigestMismatch

_WINDOW_LOG_MAX = 25  # what the installer allows
OnDone = Callable[[int], None]


class Checker:
    """Checks the files of one image of the release in ``folder``; they raise BadRelease."""

    def __init__(self, folder: Path, image: Image, threads: int) -> None:
        """Read the chunk index."""
        assert image.chunks is not None
        self._folder = folder
        self._image = image
        self._threads = threads
        data = _read_whole(folder / image.chunks.file, image.chunks)
        self._index = parse_chunk_index(data, image.chunks.file, image.image.size, image.download.size)

    def check_full(self, on_done: OnDone) -> None:
        """Unpack each frame of the packed image, and compare all that the manifest says of it."""
        image, whole, packed, done = self._image, hashlib.sha256(), hashlib.sha256(), 0
        with open_image(self._folder / image.file) as file:
            frames = self._frames(file, packed.update)
            for data in map_ordered(self._unpack_chunk, frames, self._threads):
                whole.update(data)
                done += len(data)
                on_done(done)
        _compare(image.file, packed.hexdigest(), image.download)
        _compare(f"the image in {image.file}", whole.hexdigest(), image.image)

    def _frames(self, file: ImageFile, update: Callable[[bytes], None]) -> Iterator[tuple[int, bytes]]:
        for chunk in range(self._index.count):
            frame = file.read(*self._index.frame_of(chunk))
            update(frame)
            yield chunk, frame

    def _unpack_chunk(self, work: tuple[int, bytes]) -> bytes:
        chunk, frame = work
        name, index = self._image.file, self._index
        if hashlib.sha256(frame).digest() != index.frame_digest_of(chunk):
            raise DigestMismatch(f"the frame of chunk {chunk} in {name} is not what its chunk index says")
        data = _unpack_frame(frame, index.size_of(chunk), b"", name)
        _check_chunk(index, chunk, data, name)
        return data

    def check_delta(self, delta_file: DeltaFile, seed: ImageFile, on_done: OnDone) -> None:
        """Make each chunk that a delta makes out of ``seed``, and compare it."""
        index, name = self._index, delta_file.file
        with open_image(self._folder / name) as packed:
            header = packed.read(0, delta_file.header.size)
            _compare(f"the header of {name}", hashlib.sha256(header).hexdigest(), delta_file.header)
            delta = parse_delta(header, name, index, packed.size)
            work = partial(_check_group, index, delta, seed, name)
            groups = ((group, packed.read(group.frame_start, group.frame_length)) for group in delta.groups)
            for end in map_ordered(work, groups, self._threads):
                on_done(min(end * index.chunk_size, index.image_size))
        on_done(index.image_size)


def _check_group(
    index: ChunkIndex, delta: Delta, seed: ImageFile, name: str, work: tuple[Group, bytes]
) -> int:
    """Return the chunk after the group."""
    group, frame = work
    pieces = make_pieces(delta, group, seed, frame, name)
    data = bytearray()
    for chunk in group.chunks:
        while len(data) < index.size_of(chunk):
            data += next(pieces)
        _check_chunk(index, chunk, bytes(data[: index.size_of(chunk)]), name)
        del data[: index.size_of(chunk)]
    return group.first + group.count


def make_pieces(delta: Delta, group: Group, seed: ImageFile, frame: bytes, name: str) -> Iterator[bytes]:
    """Yield what the group makes, in pieces of up to a chunk."""
    prefix = seed.read(group.prefix_start, group.prefix_length)
    new = _unpack_frame(frame, group.new_length, prefix, name) if group.new_length else b""
    at = 0
    left = min(group.count * delta.chunk_size, delta.image_size - group.first * delta.chunk_size)
    for run in delta.runs_of(group):
        length = min(run.count * BLOCK_SIZE, left)
        left -= length
        if run.source == NEW:
            yield new[at : at + length]
            at += length
        else:
            for start in range(0, length, delta.chunk_size):
                count = min(delta.chunk_size, length - start)
                yield (
                    zeros(count) if run.source == ZERO else seed.read(run.source * BLOCK_SIZE + start, count)
                )


def _check_chunk(index: ChunkIndex, chunk: int, data: bytes, name: str) -> None:
    if hashlib.sha256(data).digest() != index.digest_of(chunk):
        raise DigestMismatch(f"chunk {chunk} of {name} is not what its chunk index says")
    if index.is_zero(chunk) != (data == zeros(len(data))):
        raise BadArchive(f"chunk {chunk} of {name} is called zeros and is not, or the other way round")


def _unpack_frame(frame: bytes, size: int, prefix: bytes, name: str) -> bytes:
    options: dict[int, int] = {DecompressionParameter.window_log_max: _WINDOW_LOG_MAX}
    dictionary = ZstdDict(prefix, is_raw=True).as_prefix if prefix else None
    unpacker = ZstdDecompressor(zstd_dict=dictionary, options=options)
    try:
        data = unpacker.decompress(frame, size + 1)
    except ZstdError as error:
        raise BadArchive(f"a frame of {name} cannot be unpacked: {error}") from error
    if len(data) != size or not unpacker.eof or unpacker.unused_data:
        raise BadArchive(f"a frame of {name} does not unpack to {size} bytes")
    return data


def _read_whole(path: Path, content: Content) -> bytes:
    with open_image(path) as file:
        data = file.read(0, file.size)
    _compare(path.name, hashlib.sha256(data).hexdigest(), content)
    return data


def _compare(name: str, sha256: str, content: Content) -> None:
    if sha256 != content.sha256:
        raise DigestMismatch(f"{name} has SHA-256 {sha256}, not {content.sha256} as the manifest says")
