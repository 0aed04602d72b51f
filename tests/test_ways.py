"""The ways into a slot: what is there to do, in which order, and what each asks a server for."""

import pytest

from abctl.core.chunks import ChunkIndex, make_chunk_index
from abctl.core.delta import Delta, Group
from abctl.core.units import KIB, Bytes
from abctl.core.ways import (
    Assemble,
    Fetch,
    Make,
    Place,
    Task,
    WayCost,
    WayKind,
    Zeros,
    find_cheapest,
    join_places,
    list_by_blocks,
    list_by_delta,
    list_full,
    list_places,
    sum_download,
)

CHUNK = 64 * KIB
GAP = 65_536  # that is rather read than left out
# Two chunks of data, two of zeros, one of data, one of zeros, one of data.
LENGTHS = (10, 20, 30, 40, 50, 60, 70)
ZEROS = (2, 3, 5)
NOTHING = bytes(7)


def index_of(*lengths: int) -> ChunkIndex:
    frames = [(length, at in ZEROS, bytes(32), bytes(32)) for at, length in enumerate(lengths)]
    return make_chunk_index(len(lengths) * CHUNK, frames, CHUNK)


INDEX = index_of(*LENGTHS)


def group(first: int, count: int, frame_start: int, frame_length: int) -> Group:
    return Group(first, count, 0, 0, frame_start, frame_length, 0, 0, 0)


def delta(*groups: Group) -> Delta:
    return Delta(CHUNK, Bytes(7 * CHUNK), Bytes(CHUNK), groups, INDEX.words)


# --- what there is to do ----------------------------------------------------------------------------


def test_in_full_each_missing_chunk_is_fetched_and_zeros_are_written_at_once() -> None:
    assert list(list_full(INDEX, NOTHING)) == [
        Fetch(0), Fetch(1), Zeros(2, 2), Fetch(4), Zeros(5, 1), Fetch(6),
    ]  # fmt: skip
    assert list(list_full(INDEX, b"\1\0\0\0\1\0\0")) == [Fetch(1), Zeros(2, 2), Zeros(5, 1), Fetch(6)]
    assert list(list_full(INDEX, b"\1" * 7)) == [Zeros(2, 2), Zeros(5, 1)]


def test_by_blocks_a_missing_chunk_is_put_together_where_it_can_be() -> None:
    found = list(list_by_blocks(INDEX, b"\1\0\0\0\0\0\0", {0, 1, 6}.__contains__))
    assert found == [Assemble(1), Zeros(2, 2), Fetch(4), Zeros(5, 1), Assemble(6)]


@pytest.mark.parametrize(
    ("there", "groups", "tasks"),
    [
        (NOTHING, (), [Zeros(2, 2), Zeros(5, 1)]),
        (
            NOTHING,
            (group(0, 2, 0, 5), group(4, 3, 5, 5)),
            [Make(group(0, 2, 0, 5)), Zeros(2, 2), Zeros(5, 1), Make(group(4, 3, 5, 5))],
        ),
        # One chunk of it is there, and the other is not.
        (b"\1\0\0\0\1\0\1", (group(0, 2, 0, 5),), [Make(group(0, 2, 0, 5)), Zeros(2, 2), Zeros(5, 1)]),
        (b"\1\1\0\0\0\0\0", (group(0, 2, 0, 5),), [Zeros(2, 2), Zeros(5, 1)]),
        # A run of zeros that reaches over the end of a group is written in two pieces.
        (
            NOTHING,
            (group(1, 2, 0, 5), group(4, 1, 5, 9)),
            [
                Zeros(2, 1),
                Make(group(1, 2, 0, 5)),
                Zeros(3, 1),
                Make(group(4, 1, 5, 9)),
                Zeros(5, 1),
            ],
        ),
    ],
)
def test_by_a_delta_groups_that_bring_a_missing_chunk_are_made(
    there: bytes, groups: tuple[Group, ...], tasks: list[Task]
) -> None:
    assert list(list_by_delta(INDEX, there, delta(*groups))) == tasks


def test_zeros_at_the_very_beginning_are_written_too() -> None:
    index = make_chunk_index(2 * CHUNK, [(9, True, bytes(32), bytes(32)), (9, False, bytes(32), bytes(32))])
    whole = Delta(CHUNK, Bytes(2 * CHUNK), Bytes(CHUNK), (group(1, 1, 0, 5),), index.words)
    assert list(list_full(index, bytes(2))) == [Zeros(0, 1), Fetch(1)]
    assert list(list_by_delta(index, bytes(2), whole)) == [Zeros(0, 1), Make(group(1, 1, 0, 5))]


# --- what is asked for ------------------------------------------------------------------------------


def test_only_frames_are_asked_for_and_each_by_its_place() -> None:
    tasks: list[Task] = [
        Zeros(2, 2),
        Fetch(1),
        Assemble(4),
        Make(group(0, 2, 700, 0)),
        Make(group(4, 1, 800, 9)),
        Fetch(6),
    ]
    assert list(list_places(INDEX, tasks)) == [(10, 20), (800, 9), (210, 70)]


@pytest.mark.parametrize(
    ("places", "ranges"),
    [
        ([], []),
        ([(0, 5)], [(0, 5)]),
        ([(7, 5)], [(7, 5)]),
        ([(0, 5), (5, 5)], [(0, 10)]),
        ([(0, 5), (9, 1)], [(0, 10)]),
        ([(0, 5), (5 + GAP, 3)], [(0, 8 + GAP)]),
        ([(0, 5), (6 + GAP, 3)], [(0, 5), (6 + GAP, 3)]),
        ([(100, 5), (106 + GAP, 3), (110 + GAP, 3)], [(100, 5), (106 + GAP, 7)]),
        ([(0, 5), (6, 1), (9 * GAP, 1)], [(0, 7), (9 * GAP, 1)]),
        ([(1, 1), (9 * GAP, 1), (99 * GAP, 1)], [(1, 1), (9 * GAP, 1), (99 * GAP, 1)]),
    ],
)
def test_places_are_joined_over_a_gap_of_64_kib_and_not_over_more(
    places: list[Place], ranges: list[Place]
) -> None:
    assert list(join_places(places)) == ranges


def test_a_download_counts_what_is_dropped_and_without_ranges_all_that_comes_before() -> None:
    far = index_of(10, 200_000, 0, 0, 50, 0, 70)
    fetched = [Fetch(0), Fetch(4)]
    assert sum_download(far, fetched) == 60
    assert sum_download(far, fetched, has_ranges=False) == 200_060
    assert sum_download(INDEX, [Fetch(0), Fetch(6)]) == 280
    assert sum_download(INDEX, [Fetch(1)], has_ranges=False) == 30
    assert sum_download(INDEX, [Zeros(2, 2)], has_ranges=False) == 0


# --- which way is taken -----------------------------------------------------------------------------

FULL, DELTA, BLOCKS = WayKind.FULL, WayKind.DELTA, WayKind.BLOCKS


@pytest.mark.parametrize(
    ("costs", "kind"),
    [
        ([WayCost(FULL, Bytes(9)), WayCost(DELTA, Bytes(8))], DELTA),
        ([WayCost(FULL, Bytes(8)), WayCost(DELTA, Bytes(9))], FULL),
        ([WayCost(DELTA, Bytes(8)), WayCost(FULL, Bytes(8))], DELTA),
        ([WayCost(DELTA, None), WayCost(FULL, Bytes(8))], FULL),
        ([WayCost(FULL, Bytes(1)), WayCost(BLOCKS, Bytes(0))], BLOCKS),
    ],
)
def test_the_way_that_downloads_least_is_taken_and_of_two_alike_the_first(
    costs: list[WayCost], kind: WayKind
) -> None:
    assert find_cheapest(iter(costs)).kind is kind
