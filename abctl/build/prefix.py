"""Choose the region of the seed that new blocks are most like: where the copies around them go on."""

from array import array
from collections import Counter
from collections.abc import Iterator

from abctl.build.match import list_runs
from abctl.core.chunks import BLOCK_SIZE
from abctl.core.delta import NEW, ZERO, Run
from abctl.core.units import KIB, MIB

_BUCKET = 64 * KIB // BLOCK_SIZE  # blocks
_LONGEST = 8 * MIB  # twice as much makes a delta 1 % smaller, and every host reads it
_SHORTEST = 8  # bytes that zstd takes as a prefix at all


def choose_prefix(sources: "array[int]", blocks: range, seed_size: int, longest: int = _LONGEST) -> range:
    """Return the bytes of the seed to pack the new blocks among ``blocks`` with; perhaps none."""
    votes: Counter[int] = Counter()
    for start, count in _expect_places(sources, blocks):
        for place in range(start, start + count):
            votes[place // _BUCKET] += 1
    last = (seed_size - 1) // (_BUCKET * BLOCK_SIZE)
    wanted = {bucket: votes[bucket] for bucket in votes if 0 <= bucket <= last}
    width = longest // (_BUCKET * BLOCK_SIZE)
    first = _find_best(wanted, width, last)
    start = first * _BUCKET * BLOCK_SIZE
    end = min(start + longest, seed_size)
    return range(start, end) if end - start >= _SHORTEST else range(0)


def _find_best(votes: dict[int, int], width: int, last: int) -> int:
    """Return the first of ``width`` buckets with most votes, with the same margin on both sides."""
    places = sorted(votes)
    best, found, total, low = -1, (0, 0), 0, 0
    for place in places:
        total += votes[place]
        while places[low] <= place - width:
            total -= votes[places[low]]
            low += 1
        if total > best:
            best, found = total, (places[low], place)
    margin = (width - (found[1] - found[0] + 1)) // 2
    return max(0, min(found[0] - margin, last + 1 - width))


def _expect_places(sources: "array[int]", blocks: range) -> Iterator[tuple[int, int]]:
    """Yield for each run of new blocks where it would be in the seed, by the copy before and that after."""
    runs = list(list_runs(sources, blocks))
    before = _find_copy_before(sources, blocks.start)
    for at, (place, run) in enumerate(runs):
        if run.source == NEW:
            if before is not None:
                yield before + place, run.count
            after = _find_copy_after(runs, at)
            if after is not None:
                yield max(0, after + place), run.count
        elif run.source != ZERO:
            before = run.source - place


def _find_copy_before(sources: "array[int]", block: int) -> int | None:
    """Return how far in the seed the last copy before ``block`` is ahead of the image, in blocks."""
    for place in range(block - 1, -1, -1):
        if sources[place] not in (NEW, ZERO):
            return sources[place] - place
    return None


def _find_copy_after(runs: list[tuple[int, Run]], at: int) -> int | None:
    for place, run in runs[at + 1 :]:
        if run.source not in (NEW, ZERO):
            return run.source - place
    return None
