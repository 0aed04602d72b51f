"""A delta: how to make an image out of a known older one, the seed, and as few new bytes as possible.

It is a list of groups. Each makes a range of whole chunks, by itself, so that groups can be worked on in
parallel, fetched singly, and left out where their chunks are there already. A group has runs of blocks of
4 KiB, which are copied from the seed, zeros, or new. The new ones of a group are one zstd frame, packed with
a region of the seed as raw prefix. Chunks in no group are all zeros. Nothing here is trusted: each chunk is
compared with the chunk index before it is written.

The file is a header, whose SHA-256 the manifest says, and after it the frames. Numbers are little-endian:

    magic "abctldl1", chunk size u32, groups u32, runs u32, reserved u32, image size u64, seed size u64
    for each group: first chunk u32, chunks u32, prefix start u64, prefix length u32, frame length u32,
                    new bytes u32, runs u32
    for each run: first block of the seed (or NEW, or ZERO) u32, blocks u32

The image's last block may be shorter than 4 KiB, and then is never copied.
"""

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from abctl.core.chunks import BLOCK_SIZE, ChunkIndex, from_little_endian, to_little_endian
from abctl.core.release import IMAGE_MAX
from abctl.core.units import KIB, MIB, Bytes
from abctl.errors import BadIndex

NEW, ZERO = 0xFFFF_FFFF, 0xFFFF_FFFE  # instead of a block of the seed
NEW_MAX = 4 * MIB  # new bytes of a group; a group of one chunk may have as many as the chunk
PREFIX_MAX = 16 * MIB
GROUP_CHUNKS_MAX = 64
_MAGIC = b"abctldl1"
_HEADER = struct.Struct("<8sIIIIQQ")
_GROUP = struct.Struct("<IIQIIII")
_RUN_SIZE = 8


@dataclass(frozen=True, slots=True)
class Run:
    """``count`` blocks, from block ``source`` of the seed on; or NEW, or ZERO."""

    source: int
    count: int


@dataclass(frozen=True, slots=True)
class Group:
    """Makes the chunks from ``first`` on. Places and lengths in bytes; ``frame_start`` is in the file."""

    first: int
    count: int
    prefix_start: int
    prefix_length: int
    frame_start: int
    frame_length: int
    new_length: int
    runs_from: int
    runs_to: int

    @property
    def chunks(self) -> range:
        return range(self.first, self.first + self.count)


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """The header of a delta; sizes in bytes."""

    chunk_size: int
    image_size: Bytes
    seed_size: Bytes
    groups: tuple[Group, ...]
    numbers: "array[int]"  # of the runs, two each

    def runs_of(self, group: Group) -> Iterator[Run]:
        for at in range(2 * group.runs_from, 2 * group.runs_to, 2):
            yield Run(self.numbers[at], self.numbers[at + 1])


@dataclass(frozen=True, slots=True)
class NewGroup:
    """A group as it is made, before it has a place in the file."""

    first: int
    count: int
    prefix_start: int
    prefix_length: int
    frame_length: int
    new_length: int
    runs: tuple[Run, ...]


def encode_delta(chunk_size: int, image_size: int, seed_size: int, groups: list[NewGroup]) -> bytes:
    """Return the header; the frames follow it in the file, in the order of their groups."""
    numbers = array(
        "I", (number for group in groups for run in group.runs for number in (run.source, run.count))
    )
    table = b"".join(
        _GROUP.pack(
            group.first,
            group.count,
            group.prefix_start,
            group.prefix_length,
            group.frame_length,
            group.new_length,
            len(group.runs),
        )
        for group in groups
    )
    head = _HEADER.pack(_MAGIC, chunk_size, len(groups), len(numbers) // 2, 0, image_size, seed_size)
    return head + table + to_little_endian(numbers)


def parse_delta(data: bytes, name: str, index: ChunkIndex, size: int) -> Delta:
    """Return the delta whose header is ``data``, for the image of ``index``, in a file of ``size`` bytes.

    Raise BadIndex, naming ``name``, where a group, a run or a frame is not where it can be.
    """
    if len(data) < _HEADER.size or not data.startswith(_MAGIC):
        raise BadIndex(f"{name} does not begin like a delta: it is damaged or another file")
    _, chunk_size, group_count, run_count, reserved, image_size, seed_size = _HEADER.unpack_from(data)
    if (chunk_size, image_size) != (index.chunk_size, index.image_size):
        raise BadIndex(f"{name} makes an image of {image_size} bytes, not of {index.image_size}")
    if reserved:
        raise BadIndex(f"{name} is of a later form: a newer abctl is needed")
    if not 0 < seed_size <= IMAGE_MAX:
        raise BadIndex(f"{name} is against an image of {seed_size} bytes, which cannot be")
    runs_start = _HEADER.size + group_count * _GROUP.size
    if len(data) != runs_start + run_count * _RUN_SIZE:
        raise BadIndex(f"{name} has a header of {len(data)} bytes, which is not right for what it lists")
    groups = tuple(_parse_groups(data, group_count))
    delta = Delta(
        chunk_size, Bytes(image_size), Bytes(seed_size), groups, from_little_endian("I", data[runs_start:])
    )
    _check_groups(delta, name, index, size)
    return delta


def _parse_groups(data: bytes, count: int) -> Iterator[Group]:
    frame_start, runs_from = len(data), 0
    for place in range(_HEADER.size, _HEADER.size + count * _GROUP.size, _GROUP.size):
        first, chunks, prefix, prefix_length, frame, new, runs = _GROUP.unpack_from(data, place)
        yield Group(
            first, chunks, prefix, prefix_length, frame_start, frame, new, runs_from, runs_from + runs
        )
        frame_start, runs_from = frame_start + frame, runs_from + runs


def _check_groups(delta: Delta, name: str, index: ChunkIndex, size: int) -> None:
    next_chunk, end, runs = 0, 0, 0
    for number, group in enumerate(delta.groups):
        problem = _find_problem(delta, group, index, next_chunk)
        if problem:
            raise BadIndex(f"{name} has a wrong group {number}: {problem}")
        _check_no_gap(name, index, range(next_chunk, group.first))
        next_chunk, end, runs = (
            group.first + group.count,
            group.frame_start + group.frame_length,
            group.runs_to,
        )
    _check_no_gap(name, index, range(next_chunk, index.count))
    if runs * 2 != len(delta.numbers):
        raise BadIndex(f"{name} lists {len(delta.numbers) // 2} runs, and its groups have {runs}")
    if delta.groups and end != size:
        raise BadIndex(f"{name} lists frames up to byte {end}, and has {size} bytes")


def _check_no_gap(name: str, index: ChunkIndex, chunks: range) -> None:
    for chunk in chunks:
        if not index.is_zero(chunk):
            raise BadIndex(f"{name} has no group for chunk {chunk}")


def _find_problem(delta: Delta, group: Group, index: ChunkIndex, next_chunk: int) -> str | None:
    if not next_chunk <= group.first < group.first + group.count <= index.count:
        return f"its chunks {group.first} to {group.first + group.count} are out of place"
    if group.count > GROUP_CHUNKS_MAX or group.new_length > max(NEW_MAX, delta.chunk_size):
        return "it is too large"
    if group.prefix_length > PREFIX_MAX or group.prefix_start + group.prefix_length > delta.seed_size:
        return "its prefix is not in the seed"
    longest = group.new_length + group.new_length // 64 + KIB if group.new_length else 0
    if not bool(group.new_length) <= group.frame_length <= longest:
        return f"its frame of {group.frame_length} bytes does not go with {group.new_length} new bytes"
    if group.runs_to * 2 > len(delta.numbers):
        return "its runs are not there"
    return _find_wrong_run(delta, group, index)


def _find_wrong_run(delta: Delta, group: Group, index: ChunkIndex) -> str | None:
    start = group.first * delta.chunk_size
    size = min(group.count * delta.chunk_size, index.image_size - start)
    made = new = 0
    for run in delta.runs_of(group):
        length = min(run.count * BLOCK_SIZE, size - made)
        if not run.count or length <= (run.count - 1) * BLOCK_SIZE:
            return "its runs make too much"
        if run.source == NEW:
            new += length
        elif run.source != ZERO and run.source * BLOCK_SIZE + length > delta.seed_size:
            return f"block {run.source} is not in the seed"
        made += length
    if made != size or new != group.new_length:
        return f"its runs make {made} of {size} bytes, {new} of them new instead of {group.new_length}"
    return None
