"""Indexes and deltas as they come over the net: each thing that cannot be is refused by what it is."""

import hashlib
import struct
import sys
from array import array
from collections.abc import Callable

import pytest

from abctl.core.chunks import (
    BLOCK_SIZE,
    BlockIndex,
    ChunkIndex,
    encode_block_index,
    encode_chunk_index,
    from_little_endian,
    make_chunk_index,
    parse_block_index,
    parse_chunk_index,
    to_little_endian,
)
from abctl.core.delta import NEW, PREFIX_MAX, ZERO, Delta, NewGroup, Run, encode_delta, parse_delta
from abctl.core.units import KIB, Bytes
from abctl.core.ways import Make, Zeros, list_by_delta
from abctl.errors import BadIndex

CHUNK = 64 * KIB
BLOCKS = CHUNK // BLOCK_SIZE  # of a chunk
SIZE = 2 * CHUNK + 100  # a chunk of data, one of zeros, and the rest
SEED = 4 * CHUNK
Change = Callable[[bytes], bytes]


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def index_of(size: int = SIZE, lengths: tuple[int, ...] = (500, 30, 60)) -> ChunkIndex:
    frames = [
        (length, at == 1, digest(f"plain {at}"), digest(f"frame {at}")) for at, length in enumerate(lengths)
    ]
    return make_chunk_index(size, frames, CHUNK)


def put(at: int, form: str, value: int) -> Change:
    """Return what writes a number over the bytes at a place."""
    return lambda data: data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]


# --- the chunk index --------------------------------------------------------------------------------


def test_a_chunk_index_is_read_as_it_was_written() -> None:
    read = parse_chunk_index(encode_chunk_index(index_of()), "root.chunks", SIZE, 590)
    assert (read.count, read.packed_size, read.chunk_size) == (3, 590, CHUNK)
    assert [read.frame_of(at) for at in range(3)] == [(0, 500), (500, 30), (530, 60)]
    assert [read.is_zero(at) for at in range(3)] == [False, True, False]
    assert [read.size_of(at) for at in range(3)] == [CHUNK, CHUNK, 100]
    assert [read.digest_of(at) for at in range(3)] == [digest(f"plain {at}") for at in range(3)]
    assert [read.frame_digest_of(at) for at in range(3)] == [digest(f"frame {at}") for at in range(3)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:23], "does not begin like an index"),
        (lambda data: b"x" + data[1:], "does not begin like an index"),
        (put(16, "<Q", SIZE + 1), f"is for an image of {SIZE + 1} bytes, not of {SIZE}"),
        (put(8, "<I", CHUNK // 2), "has chunks of 32768 bytes, which no abctl makes"),
        (put(8, "<I", 2 * 4 * KIB * KIB), "has chunks of 8388608 bytes"),
        (put(8, "<I", CHUNK + KIB), "has chunks of 66560 bytes"),
        (put(12, "<I", 4), f"has 4 chunks for an image of {SIZE} bytes"),
        (lambda data: data + b"x", "which is not right for its 3 chunks"),
        (lambda data: data[:-1], "which is not right for its 3 chunks"),
        (put(24, "<I", 501), "is for a packed file of 591 bytes, not of the 590"),
    ],
)
def test_a_chunk_index_that_cannot_be_is_refused(change: Change, said: str) -> None:
    with pytest.raises(BadIndex, match=r"^root\.chunks ") as caught:
        parse_chunk_index(change(encode_chunk_index(index_of())), "root.chunks", SIZE, 590)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("length", "is_right"), [(0, False), (1, True), (CHUNK + 2 * KIB, True), (CHUNK + 2 * KIB + 1, False)]
)
def test_a_frame_is_not_empty_and_hardly_longer_than_its_chunk(length: int, is_right: bool) -> None:
    data = encode_chunk_index(index_of(lengths=(length, 30, 60)))
    if is_right:
        assert parse_chunk_index(data, "root.chunks", SIZE, length + 90).frame_of(0) == (0, length)
        return
    with pytest.raises(BadIndex, match=f"has a frame of {length} bytes for chunk 0"):
        parse_chunk_index(data, "root.chunks", SIZE, length + 90)


def test_an_image_of_no_bytes_has_no_index() -> None:
    with pytest.raises(BadIndex, match="is for an image of 0 bytes"):
        parse_chunk_index(encode_chunk_index(index_of(0, ())), "root.chunks", 0, 0)


# --- the block index --------------------------------------------------------------------------------


def test_a_block_index_is_read_as_it_was_written() -> None:
    shorts = b"".join(digest(str(at))[:6] for at in range(2 * BLOCKS))
    data = encode_block_index(BlockIndex(Bytes(SIZE), shorts))
    read = parse_block_index(data, "root.blocks", SIZE)
    assert read.count == 2 * BLOCKS
    assert read.short_of(3) == digest("3")[:6]
    for change in (
        put(8, "<I", 2 * BLOCKS + 1),
        put(12, "<I", 1),
        lambda data: data[:-1],
        lambda data: data + b"x",
    ):
        with pytest.raises(BadIndex, match=r"root\.blocks has .* blocks for an image of"):
            parse_block_index(change(data), "root.blocks", SIZE)


# --- a delta ----------------------------------------------------------------------------------------


def groups_of(**changes: object) -> list[NewGroup]:
    """Return two groups that make the image: the first by old, new and zero blocks, the last new."""
    first = {
        "first": 0,
        "count": 1,
        "prefix_start": 0,
        "prefix_length": 0,
        "frame_length": 40,
        "new_length": BLOCK_SIZE,
        "runs": (Run(5, BLOCKS - 2), Run(NEW, 1), Run(ZERO, 1)),
    }
    return [
        NewGroup(**{**first, **changes}),  # type: ignore[arg-type]
        NewGroup(2, 1, 0, 0, 60, 100, (Run(NEW, 1),)),
    ]


def parse(groups: list[NewGroup], change: Change = lambda data: data, more: int = 0) -> Delta:
    head = encode_delta(CHUNK, SIZE, SEED, groups)
    size = len(head) + sum(group.frame_length for group in groups) + more
    return parse_delta(change(head), "root.delta", index_of(), size)


def test_a_delta_is_read_as_it_was_written() -> None:
    delta = parse(groups_of())
    assert (delta.chunk_size, delta.image_size, delta.seed_size) == (CHUNK, SIZE, SEED)
    first, last = delta.groups
    assert list(delta.runs_of(first)) == [Run(5, BLOCKS - 2), Run(NEW, 1), Run(ZERO, 1)]
    assert list(delta.runs_of(last)) == [Run(NEW, 1)]
    assert list(first.chunks) == [0]
    assert last.frame_start == first.frame_start + 40


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:8], "does not begin like a delta"),
        (lambda data: b"x" + data[1:], "does not begin like a delta"),
        (put(8, "<I", 2 * CHUNK), "makes an image of"),
        (put(20, "<I", 1), "is of a later form"),
        (put(24, "<Q", SIZE + 1), f"makes an image of {SIZE + 1} bytes, not of {SIZE}"),
        (put(32, "<Q", 0), "is against an image of 0 bytes"),
        (put(32, "<Q", 2**62), f"is against an image of {2**62} bytes"),
        (lambda data: data + b"x", "which is not right for what it lists"),
        (lambda data: data[:-1], "which is not right for what it lists"),
    ],
)
def test_the_header_of_a_delta_that_cannot_be_is_refused(change: Change, said: str) -> None:
    with pytest.raises(BadIndex, match=r"^root\.delta ") as caught:
        parse(groups_of(), change)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"first": 3}, "its chunks 3 to 4 are out of place"),
        ({"count": 0}, "its chunks 0 to 0 are out of place"),
        ({"count": 4}, "its chunks 0 to 4 are out of place"),
        ({"new_length": 2**30}, "it is too large"),
        ({"prefix_length": PREFIX_MAX + 1}, "its prefix is not in the seed"),
        ({"prefix_start": SEED, "prefix_length": 1}, "its prefix is not in the seed"),
        ({"frame_length": 0}, "its frame of 0 bytes does not go with 4096 new bytes"),
        ({"frame_length": 10_000}, "its frame of 10000 bytes does not go with 4096 new bytes"),
        ({"runs": (Run(5, BLOCKS + 1),)}, "its runs make too much"),
        ({"runs": (Run(5, 0), Run(5, BLOCKS))}, "its runs make too much"),
        ({"runs": (Run(SEED // BLOCK_SIZE - 1, 2), Run(NEW, BLOCKS - 2))}, "is not in the seed"),
        ({"runs": (Run(5, BLOCKS - 1),)}, f"its runs make {CHUNK - BLOCK_SIZE} of {CHUNK} bytes"),
        ({"runs": (Run(5, BLOCKS - 2), Run(NEW, 2))}, "8192 of them new instead of 4096"),
    ],
)
def test_a_group_of_a_delta_that_cannot_be_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(BadIndex, match=r"^root\.delta has a wrong group 0: ") as caught:
        parse(groups_of(**wrong))
    assert said in str(caught.value)


def test_a_delta_makes_all_of_the_image_and_has_nothing_else() -> None:
    first, last = groups_of()
    with pytest.raises(BadIndex, match="has no group for chunk 0"):
        parse([last])
    with pytest.raises(BadIndex, match="has no group for chunk 2"):
        parse([first])
    with pytest.raises(BadIndex, match="lists frames up to byte"):
        parse([first, last], more=1)
    with pytest.raises(BadIndex, match=r"has a wrong group 1: .* out of place"):
        parse([first, first, last])
    extra = NewGroup(2, 1, 0, 0, 60, 100, (Run(NEW, 1), Run(NEW, 1)))
    with pytest.raises(BadIndex, match="has a wrong group 1: its runs make too much"):
        parse([first, extra])


def test_runs_that_no_group_has_or_that_are_not_there_are_refused() -> None:
    runs_of_last = 40 + 2 * 32 - 4  # the last number of the second group in the table
    with pytest.raises(BadIndex, match="has a wrong group 1: its runs are not there"):
        parse(groups_of(), put(runs_of_last, "<I", 2))
    with pytest.raises(BadIndex, match="has a wrong group 1: its runs make 0 of 100 bytes"):
        parse(groups_of(), put(runs_of_last, "<I", 0))
    add = put(16, "<I", 5)
    with pytest.raises(BadIndex, match="lists 5 runs, and its groups have 4"):
        parse(groups_of(), lambda data: add(data) + bytes(8), more=8)


def test_a_group_of_which_all_is_there_or_zeros_is_not_made() -> None:
    index = index_of()
    delta = parse(groups_of())
    tasks = list(list_by_delta(index, b"\1\0\0", delta))
    assert tasks == [Zeros(1, 1), Make(delta.groups[1])]
    assert list(list_by_delta(index, b"\0\0\1", delta)) == [Make(delta.groups[0]), Zeros(1, 1)]


# --- numbers ----------------------------------------------------------------------------------------


def test_numbers_are_turned_round_on_a_machine_of_the_other_byte_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = array("I", [1, 0x01020304])
    straight = to_little_endian(numbers)
    assert from_little_endian("I", straight) == numbers
    monkeypatch.setattr(sys, "byteorder", "big" if sys.byteorder == "little" else "little")
    turned = to_little_endian(numbers)
    assert turned == straight[3::-1] + straight[:3:-1]
    assert from_little_endian("I", turned) == numbers
