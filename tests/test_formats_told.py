"""The bytes that other programs and later releases of abctl read, and which of them cannot be."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from abctl.core.chunks import (
    BlockIndex,
    ChunkIndex,
    block_index_size,
    encode_block_index,
    encode_chunk_index,
    make_chunk_index,
    parse_block_index,
    parse_chunk_index,
)
from abctl.core.delta import NEW, ZERO, Delta, NewGroup, Run, encode_delta, parse_delta
from abctl.core.trust_state import FORM, TrustState, decode, encode_half
from abctl.core.units import KIB, MIB, Bytes, Seconds, Version
from abctl.errors import BadIndex
from tests.told import told

CHUNK = 64 * KIB
TIB = 1_099_511_627_776
PLAIN, PACKED = b"p" * 32, b"f" * 32


def index_of(size: int, *frames: tuple[int, bool], chunk_size: int = CHUNK) -> ChunkIndex:
    """Return an index of frames of this length, zeros or not."""
    return make_chunk_index(size, [(length, zero, PLAIN, PACKED) for length, zero in frames], chunk_size)


# --- indexes ----------------------------------------------------------------------------------------


def test_a_chunk_index_is_these_bytes() -> None:
    assert encode_chunk_index(index_of(CHUNK + 1, (500, False), (20, True))) == (
        b"abctlci1"
        b"\x00\x00\x01\x00\x02\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00"
        b"\xf4\x01\x00\x00\x14\x00\x00\x80" + PLAIN + PLAIN + PACKED + PACKED
    )
    assert make_chunk_index(1, [(9, False, PLAIN, PACKED)]).chunk_size == MIB


@pytest.mark.parametrize("chunk_size", [64 * KIB, 128 * KIB, MIB, 4 * MIB])
def test_chunks_may_have_any_power_of_two_from_64_kib_to_4_mib(chunk_size: int) -> None:
    data = encode_chunk_index(index_of(10, (9, False), chunk_size=chunk_size))
    assert parse_chunk_index(data, "root.chunks", 10, 9).chunk_size == chunk_size


@pytest.mark.parametrize(
    ("data", "size", "said"),
    [
        (
            encode_chunk_index(index_of(10, (9, False))),
            10,
            "boot.chunks is for a packed file of 9 bytes, not of the 8 that the manifest says: the release "
            "was put together wrongly",
        ),
        (
            encode_chunk_index(index_of(10, (9, False), chunk_size=32 * KIB)),
            10,
            "boot.chunks has chunks of 32768 bytes, which no abctl makes",
        ),
        (
            encode_chunk_index(index_of(CHUNK, (9, False), (9, False))),
            CHUNK,
            "boot.chunks has 2 chunks for an image of 65536 bytes: it is of another one",
        ),
        (
            encode_chunk_index(index_of(10, (8, False))) + b"x",
            10,
            "boot.chunks has 93 bytes, which is not right for its 1 chunks",
        ),
        (
            encode_chunk_index(index_of(2 * CHUNK, (8, False), (0, False))),
            2 * CHUNK,
            "boot.chunks has a frame of 0 bytes for chunk 1",
        ),
        (b"abctlci1", 10, "boot.chunks does not begin like an index: it is damaged or another file"),
        (
            encode_chunk_index(index_of(11, (8, False))),
            10,
            "boot.chunks is for an image of 11 bytes, not of 10: it is of another one",
        ),
        (encode_chunk_index(index_of(TIB)), TIB, f"boot.chunks has 0 chunks for an image of {TIB} bytes"),
        (encode_chunk_index(index_of(TIB + 1)), TIB + 1, f"boot.chunks is for an image of {TIB + 1} bytes"),
    ],
)
def test_a_chunk_index_that_cannot_be_is_told(data: bytes, size: int, said: str) -> None:
    found = told(BadIndex, parse_chunk_index, data, "boot.chunks", size, 8)
    assert found == said or (size >= TIB and found.startswith(said))


@pytest.mark.parametrize(("size", "length"), [(1, 24), (4095, 24), (4096, 30), (12_289, 42), (MIB, 1560)])
def test_a_block_index_has_six_bytes_for_each_whole_block(size: int, length: int) -> None:
    assert block_index_size(size) == length
    shorts = bytes(length - 24)
    data = encode_block_index(BlockIndex(Bytes(size), shorts))
    assert len(data) == length
    read = parse_block_index(data, "boot.blocks", size)
    assert (read.image_size, read.shorts) == (size, shorts)


def test_a_block_index_is_these_bytes() -> None:
    assert encode_block_index(BlockIndex(Bytes(8_200), b"sixof1sixof2")) == (
        b"abctlbi1\x02\x00\x00\x00\x00\x00\x00\x00\x08\x20\x00\x00\x00\x00\x00\x00sixof1sixof2"
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"abctlci1" + bytes(16), "boot.blocks does not begin like an index: it is damaged or another file"),
        (
            encode_block_index(BlockIndex(Bytes(4_096), b"")),
            "boot.blocks has 0 blocks for an image of 4096 bytes: it is of another one",
        ),
        (
            encode_block_index(BlockIndex(Bytes(4_097), b"sixof1")),
            "boot.blocks is for an image of 4097 bytes, not of 4096: it is of another one",
        ),
    ],
)
def test_a_block_index_that_cannot_be_is_told(data: bytes, said: str) -> None:
    assert told(BadIndex, parse_block_index, data, "boot.blocks", 4_096) == said


# --- deltas -----------------------------------------------------------------------------------------

ALL_NEW = NewGroup(0, 1, 0, 0, 9, CHUNK, (Run(NEW, 16),))


def read_delta(
    groups: list[NewGroup],
    size: int = CHUNK,
    seed: int = 4 * CHUNK,
    *,
    chunk_size: int = CHUNK,
    is_zero: bool = False,
    more: int = 0,
) -> Delta:
    """Return the delta as it is read for an image of which all is data, or all is zeros."""
    head = encode_delta(chunk_size, size, seed, groups)
    whole = len(head) + sum(group.frame_length for group in groups) + more
    index = index_of(size, *[(50, is_zero)] * -(-size // chunk_size), chunk_size=chunk_size)
    return parse_delta(head, "boot.delta", index, whole)


def test_a_delta_is_these_bytes() -> None:
    groups = [NewGroup(3, 2, 4_096, 8_192, 77, 5, (Run(7, 15), Run(ZERO, 16), Run(NEW, 1)))]
    assert encode_delta(CHUNK, 5 * CHUNK, 2**33, groups) == (
        b"abctldl1\x00\x00\x01\x00\x01\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00"
        b"\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00"
        b"\x03\x00\x00\x00\x02\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00"
        b"\x4d\x00\x00\x00\x05\x00\x00\x00\x03\x00\x00\x00"
        b"\x07\x00\x00\x00\x0f\x00\x00\x00\xfe\xff\xff\xff\x10\x00\x00\x00\xff\xff\xff\xff\x01\x00\x00\x00"
    )


def test_an_image_of_zeros_needs_no_group() -> None:
    delta = read_delta([], is_zero=True)
    assert (delta.groups, len(delta.numbers), delta.image_size, delta.seed_size) == ((), 0, CHUNK, 4 * CHUNK)


def test_the_image_that_a_delta_goes_out_from_has_a_byte_and_no_more_than_a_tib() -> None:
    for seed in (1, TIB):
        assert read_delta([ALL_NEW], CHUNK, seed).seed_size == seed
    for seed in (0, TIB + 1):
        said = told(BadIndex, read_delta, [ALL_NEW], CHUNK, seed)
        assert said == f"boot.delta is against an image of {seed} bytes, which cannot be"


@pytest.mark.parametrize(
    ("change", "is_right"),
    [
        ({"prefix_start": 4 * CHUNK - 10, "prefix_length": 10}, True),
        ({"prefix_start": 4 * CHUNK - 10, "prefix_length": 11}, False),
        ({"prefix_length": 16 * MIB}, True),
        ({"prefix_length": 16 * MIB + 1}, False),
        ({"frame_length": 1}, True),
        ({"frame_length": 0}, False),
        ({"frame_length": CHUNK + 2 * KIB}, True),
        ({"frame_length": CHUNK + 2 * KIB + 1}, False),
        ({"new_length": 8_192, "runs": (Run(NEW, 1), Run(5, 14), Run(NEW, 1))}, True),
        ({"new_length": 0, "frame_length": 0, "runs": (Run(48, 16),)}, True),
        ({"new_length": 0, "frame_length": 0, "runs": (Run(49, 16),)}, False),
        ({"new_length": 0, "frame_length": 1, "runs": (Run(0, 16),)}, False),
        ({"new_length": 0, "frame_length": 0, "runs": (Run(ZERO, 15), Run(ZERO, 1))}, True),
        ({"new_length": 0, "frame_length": 0, "runs": (Run(ZERO, 17),)}, False),
    ],
    ids=str,
)
def test_a_group_is_right_up_to_its_last_byte(change: dict[str, Any], is_right: bool) -> None:
    group = replace(ALL_NEW, **change)
    seed = 32 * MIB if change.get("prefix_length", 0) > CHUNK else 4 * CHUNK
    if is_right:
        assert len(read_delta([group], seed=seed).groups) == 1
    else:
        assert told(BadIndex, lambda: read_delta([group], seed=seed)).startswith(
            "boot.delta has a wrong group 0: "
        )


@pytest.mark.parametrize(
    ("chunk_size", "chunks", "new", "is_right"),
    [
        (CHUNK, 64, 1024, True),
        (CHUNK, 65, 1, False),
        (2 * CHUNK, 33, 1024, True),
        (2 * CHUNK, 33, 1025, False),
    ],
)
def test_a_group_has_64_chunks_and_brings_4_mib_at_the_most(
    chunk_size: int, chunks: int, new: int, is_right: bool
) -> None:
    blocks = chunks * chunk_size // 4_096
    runs = (Run(NEW, new), Run(ZERO, blocks - new)) if blocks > new else (Run(NEW, new),)
    group = NewGroup(0, chunks, 0, 0, 9, new * 4_096, runs)
    if is_right:
        assert read_delta([group], chunks * chunk_size, chunk_size=chunk_size).groups[0].count == chunks
    else:
        said = told(BadIndex, lambda: read_delta([group], chunks * chunk_size, chunk_size=chunk_size))
        assert said == "boot.delta has a wrong group 0: it is too large"


@pytest.mark.parametrize(
    ("groups", "more", "said"),
    [
        ([], 0, "boot.delta has no group for chunk 0"),
        ([ALL_NEW, replace(ALL_NEW, first=2)], 0, "boot.delta has no group for chunk 1"),
        ([ALL_NEW, replace(ALL_NEW, first=1)], 0, "boot.delta has no group for chunk 2"),
        (
            [ALL_NEW, ALL_NEW],
            0,
            "boot.delta has a wrong group 1: its chunks 0 to 1 are out of place",
        ),
        (
            [replace(ALL_NEW, first=at) for at in range(3)],
            1,
            "boot.delta lists frames up to byte 187, and has 188 bytes",
        ),
        (
            [replace(ALL_NEW, frame_length=0)],
            0,
            "boot.delta has a wrong group 0: its frame of 0 bytes does not go with 65536 new bytes",
        ),
        (
            [replace(ALL_NEW, runs=(Run(5, 15),))],
            0,
            "boot.delta has a wrong group 0: its runs make 61440 of 65536 bytes, 0 of them new instead of "
            "65536",
        ),
        (
            [replace(ALL_NEW, runs=(Run(NEW, 1), Run(64, 15)))],
            0,
            "boot.delta has a wrong group 0: block 64 is not in the seed",
        ),
    ],
)
def test_a_delta_that_does_not_make_the_image_is_told(groups: list[NewGroup], more: int, said: str) -> None:
    assert told(BadIndex, lambda: read_delta(groups, 3 * CHUNK, more=more)) == said


# --- what is trusted --------------------------------------------------------------------------------

STATE = TrustState(
    host_id="4fa1",
    roots=("root 1", "root 2"),
    metadata={"timestamp": "{}", "targets": "[]"},
    checked_at=Seconds(1_800_000_000),
    recalled={Version("1.0.0"): "hums"},
    serial=7,
)
BODY = (
    b'{"serial":7,"host_id":"4fa1","checked_at":1800000000,"roots":["root 1","root 2"],'
    b'"metadata":{"timestamp":"{}","targets":"[]"},"recalled":{"1.0.0":"hums"}}'
)


def half_of(**changes: Any) -> bytes:
    """Return the half of STATE with these fields changed, or without one that is ``...``."""
    values = {**json.loads(BODY), **changes}
    body = json.dumps({name: value for name, value in values.items() if value is not ...}).encode()
    half = FORM.seal(body)
    assert half is not None
    return half


def test_half_a_trust_file_is_these_bytes() -> None:
    half = encode_half(STATE)
    assert len(half) == 524_288
    head = f"abctl-trust 1 {hashlib.sha256(BODY).hexdigest()}\n".encode()
    assert half.rstrip(b" ") == head + BODY + b"\n"


def test_of_a_trust_file_the_newer_half_counts_whichever_it_is() -> None:
    other = half_of(serial=8, host_id="next")
    for data in (encode_half(STATE) + other, other + encode_half(STATE)):
        assert (decode(data).host_id, decode(data).serial) == ("next", 8)
    assert decode(encode_half(STATE)) == decode(bytes(524_288) + encode_half(STATE)) == STATE
    assert decode(b"") == TrustState()
    assert TrustState() == TrustState("", (), {}, None, {}, 0)


@pytest.mark.parametrize(
    "changes",
    [
        *({name: ...} for name in json.loads(BODY)),
        {"serial": "7"},
        {"serial": None},
        {"checked_at": "now"},
        {"checked_at": 1.5},
        {"host_id": None},
        {"host_id": 7},
        {"roots": [7]},
        {"roots": None},
        {"metadata": {"timestamp": 7}},
        {"metadata": []},
        {"recalled": {"1.0.0": None}},
        {"recalled": None},
        {"host_id": "\ud800"},
    ],
    ids=str,
)
def test_a_half_with_a_field_that_is_none_is_as_if_it_were_torn(changes: dict[str, Any]) -> None:
    assert decode(half_of(**changes)) == TrustState()
    assert decode(encode_half(STATE) + half_of(**changes)) == STATE


def test_a_host_that_never_checked_is_read_as_such() -> None:
    never = replace(STATE, checked_at=None)
    assert decode(half_of(checked_at=None)) == decode(encode_half(never)) == never


def test_the_largest_of_what_can_be_fetched_again_is_left_out_first() -> None:
    metadata = {"snapshot": "s" * 100_000, "targets": "t" * 110_000, "timestamp": "t" * 120_000}
    state = replace(STATE, metadata={**metadata, "archive": "a" * 200_000, "z": "z" * 10})
    assert decode(encode_half(state)) == replace(STATE, metadata={**metadata, "z": "z" * 10})
    # What says which versions were seen stays, and what can be fetched again goes, however small it is.
    seen = {"snapshot": "s" * 200_000, "targets": "t" * 150_000, "timestamp": "t" * 200_000}
    left = {name: text for name, text in seen.items() if name != "targets"}
    assert decode(encode_half(replace(STATE, metadata=seen))) == replace(STATE, metadata=left)


def test_of_the_roots_the_newest_64_are_kept_and_fewer_where_they_are_large() -> None:
    many = tuple(f"root {number}" for number in range(65))
    assert decode(encode_half(replace(STATE, roots=many))).roots == many[1:]
    assert decode(encode_half(replace(STATE, roots=many[:64]))).roots == many[:64]
    large = tuple(str(number) * 150_000 for number in range(5))
    assert decode(encode_half(replace(STATE, roots=large))).roots == large[2:]


def test_an_id_is_made_once_and_at_random() -> None:
    assert STATE.with_host_id() == STATE
    made = replace(STATE, host_id="").with_host_id()
    assert len(bytes.fromhex(made.host_id)) == 16
    assert made == replace(STATE, host_id=made.host_id)
    assert TrustState().with_host_id().host_id != TrustState().with_host_id().host_id
