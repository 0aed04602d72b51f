"""Make a delta: group the chunks, and pack the new blocks of each group with the old bytes they are like."""

import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from backports.zstd import CompressionParameter, ZstdDict, compress

from abctl.build.files import ImageFile, saying_what_failed, write_file
from abctl.build.match import list_runs
from abctl.build.pack import OnDone
from abctl.build.parallel import Effort, map_ordered
from abctl.build.prefix import choose_prefix
from abctl.core.chunks import BLOCK_SIZE, ChunkIndex
from abctl.core.delta import GROUP_CHUNKS_MAX, NEW, NewGroup, Run, encode_delta
from abctl.core.release import DeltaFile
from abctl.core.units import MIB, Version

# New bytes of a group: with fewer each frame learns less, with more its prefix fits less.
_NEW_AIM = 2 * MIB
_WINDOW_LOG = 25  # covers the largest prefix and the new bytes; the installer takes no more
_LONG_DISTANCE_UP_TO = 8  # zstd's levels that do not find what is far back by themselves


@dataclass(frozen=True, slots=True)
class _Job:
    """A group before it is packed."""

    chunks: range
    runs: tuple[Run, ...]
    new: bytes
    prefix_start: int
    prefix: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """An image, its chunks, the seed, and for each block of the image where it is in the seed."""

    image: ImageFile
    index: ChunkIndex
    seed: ImageFile
    sources: "array[int]"

    def blocks_of(self, chunks: range) -> range:
        per_chunk = self.index.chunk_size // BLOCK_SIZE
        return range(chunks.start * per_chunk, min(chunks.stop * per_chunk, len(self.sources)))


def make_delta(path: Path, version: Version, pair: Pair, effort: Effort, on_done: OnDone) -> DeltaFile:
    """Write the delta whose seed is an image of ``version``, and return its entry in the manifest."""
    groups = []
    # The header comes first in the file and is known last.
    with saying_what_failed(path), tempfile.TemporaryFile(dir=path.parent) as frames:
        for group, frame in map_ordered(
            partial(_pack, level=effort.delta_level), _list_jobs(pair), effort.threads
        ):
            groups.append(group)
            frames.write(frame)
            on_done(min((group.first + group.count) * pair.index.chunk_size, pair.image.size))
        on_done(pair.image.size)
        header = encode_delta(pair.index.chunk_size, pair.image.size, pair.seed.size, groups)
        return _write(path, version, header, frames)


def _write(path: Path, version: Version, header: bytes, frames: IO[bytes]) -> DeltaFile:
    frames.seek(0)
    with write_file(path) as file:
        file.write(header)
        head = file.content
        while data := frames.read(MIB):
            file.write(data)
    return DeltaFile(file=path.name, version=version, size=file.size, sha256=file.sha256, header=head)


def group_chunks(pair: Pair) -> Iterator[range]:
    """Yield ranges of chunks that are worked on by themselves; zeros at their ends are left out."""
    first, new = 0, 0
    for chunk in range(pair.index.count):
        added = _count_new(pair, range(chunk, chunk + 1))
        if chunk - first >= GROUP_CHUNKS_MAX or new + added > _NEW_AIM:
            yield from _without_zeros(pair.index, range(first, chunk))
            first, new = chunk, 0
        if chunk == first and pair.index.is_zero(chunk):
            first = chunk + 1
        new += added
    yield from _without_zeros(pair.index, range(first, pair.index.count))


def _without_zeros(index: ChunkIndex, chunks: range) -> Iterator[range]:
    while chunks and index.is_zero(chunks[-1]):
        chunks = chunks[:-1]
    if chunks:
        yield chunks


def _count_new(pair: Pair, chunks: range) -> int:
    return sum(_length(pair, place, run) for place, run in _new_runs(pair, chunks))


def _new_runs(pair: Pair, chunks: range) -> Iterator[tuple[int, Run]]:
    runs = list_runs(pair.sources, pair.blocks_of(chunks))
    return ((place, run) for place, run in runs if run.source == NEW)


def _length(pair: Pair, place: int, run: Run) -> int:
    """Return the bytes of a run: the image's last block may be shorter."""
    return min(run.count * BLOCK_SIZE, pair.image.size - place * BLOCK_SIZE)


def _list_jobs(pair: Pair) -> Iterator[_Job]:
    for chunks in group_chunks(pair):
        blocks = pair.blocks_of(chunks)
        new = b"".join(
            pair.image.read(place * BLOCK_SIZE, _length(pair, place, run))
            for place, run in _new_runs(pair, chunks)
        )
        prefix = choose_prefix(pair.sources, blocks, pair.seed.size) if new else range(0)
        runs = tuple(run for _, run in list_runs(pair.sources, blocks))
        yield _Job(chunks, runs, new, prefix.start, pair.seed.read(prefix.start, len(prefix)))


def _pack(job: _Job, level: int) -> tuple[NewGroup, bytes]:
    frame = pack_new(job.new, job.prefix, level) if job.new else b""
    prefix_length = len(job.prefix) if frame else 0
    group = NewGroup(
        first=job.chunks.start,
        count=len(job.chunks),
        prefix_start=job.prefix_start if frame else 0,
        prefix_length=prefix_length,
        frame_length=len(frame),
        new_length=len(job.new),
        runs=job.runs,
    )
    return group, frame


def pack_new(new: bytes, prefix: bytes, level: int) -> bytes:
    """Return ``new`` as one frame that is unpacked with ``prefix``."""
    options: dict[int, int] = {
        CompressionParameter.compression_level: level,
        CompressionParameter.window_log: _WINDOW_LOG,
        CompressionParameter.enable_long_distance_matching: int(level <= _LONG_DISTANCE_UP_TO),
    }
    dictionary = ZstdDict(prefix, is_raw=True).as_prefix if prefix else None
    return compress(new, options=options, zstd_dict=dictionary)
