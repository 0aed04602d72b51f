"""The ways in which an image can get into its slot, and what each has to download.

In full: each chunk that is not there yet is fetched. By a delta: groups are made out of the seed and what the
delta brings. By blocks: chunks whose blocks are all somewhere on the disk are put together, the others
fetched. Zeros are never fetched.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from abctl.core.chunks import ChunkIndex
from abctl.core.delta import Delta, Group
from abctl.core.units import KIB, Bytes, Version

GAP_MAX = 64 * KIB  # bytes that are rather read and dropped than left out by another request

Place = tuple[int, int]  # start and length in bytes


class WayKind(StrEnum):
    """How an image gets into its slot."""

    STREAM = "stream"  # without an index: from first to last
    FULL = "full"
    DELTA = "delta"
    BLOCKS = "blocks"


@dataclass(frozen=True, slots=True)
class WayCost:
    """What a way downloads in bytes, or why it does not apply; ``version`` is that of a delta's seed."""

    kind: WayKind
    download: Bytes | None
    version: Version | None = None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Zeros:
    """A range of chunks that are all zeros."""

    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """A chunk that is fetched."""

    chunk: int


@dataclass(frozen=True, slots=True)
class Make:
    """A group of a delta."""

    group: Group


@dataclass(frozen=True, slots=True)
class Assemble:
    """A chunk whose blocks are all on the disk."""

    chunk: int


Task = Zeros | Fetch | Make | Assemble
There = bytearray | bytes  # for each chunk: 1 where the slot holds it already


def list_full(index: ChunkIndex, there: There) -> Iterator[Task]:
    """Yield what there is to do when every missing chunk is fetched, from first to last."""
    yield from _list_chunks(index, there, Fetch)


def list_by_blocks(index: ChunkIndex, there: There, is_found: Callable[[int], bool]) -> Iterator[Task]:
    """Yield what there is to do when chunks are put together where ``is_found`` says that they can be."""
    yield from _list_chunks(index, there, lambda chunk: Assemble(chunk) if is_found(chunk) else Fetch(chunk))


def list_by_delta(index: ChunkIndex, there: There, delta: Delta) -> Iterator[Task]:
    """Yield what there is to do with the groups of ``delta`` that make a missing chunk."""
    done = 0
    for group in delta.groups:
        yield from _list_zeros(index, range(done, group.first + group.count))
        done = group.first + group.count
        if any(not there[chunk] and not index.is_zero(chunk) for chunk in group.chunks):
            yield Make(group)
    yield from _list_zeros(index, range(done, index.count))


def _list_chunks(index: ChunkIndex, there: There, task_of: Callable[[int], Task]) -> Iterator[Task]:
    for is_zero, chunks in groupby(range(index.count), index.is_zero):
        found = list(chunks)
        if is_zero:
            yield Zeros(found[0], len(found))
        else:
            yield from (task_of(chunk) for chunk in found if not there[chunk])


def _list_zeros(index: ChunkIndex, chunks: range) -> Iterator[Zeros]:
    for is_zero, run in groupby(chunks, index.is_zero):
        if is_zero:
            found = list(run)
            yield Zeros(found[0], len(found))


def list_places(index: ChunkIndex, tasks: Iterable[Task]) -> Iterator[Place]:
    """Yield what the tasks fetch, in the file that they fetch it from."""
    for task in tasks:
        match task:
            case Fetch(chunk):
                yield index.frame_of(chunk)
            case Make(group) if group.frame_length:
                yield group.frame_start, group.frame_length
            case _:
                pass


def join_places(places: Iterable[Place]) -> Iterator[Place]:
    """Yield the ranges to ask for: places that lie close together become one. They must go up."""
    start = end = -1
    for first, length in places:
        if start >= 0 and first - end <= GAP_MAX:
            end = first + length
            continue
        if start >= 0:
            yield start, end - start
        start, end = first, first + length
    if start >= 0:
        yield start, end - start


def sum_download(index: ChunkIndex, tasks: Iterable[Task], *, has_ranges: bool = True) -> Bytes:
    """Return how many bytes the tasks download, what is dropped of them included.

    A server without ranges sends all that comes before as well.
    """
    ranges = list(join_places(list_places(index, tasks)))
    if ranges and not has_ranges:
        return Bytes(sum(ranges[-1]))
    return Bytes(sum(length for _, length in ranges))


def find_cheapest(costs: Iterable[WayCost]) -> WayCost:
    """Return the way that downloads least; of two that are the same the first."""
    return min((cost for cost in costs if cost.download is not None), key=lambda cost: cost.download or 0)
