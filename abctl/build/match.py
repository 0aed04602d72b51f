"""Find the blocks of an image in an older one."""

from array import array
from collections.abc import Iterator

from abctl.build.files import ImageFile
from abctl.core.chunks import BLOCK_SIZE, count_pieces
from abctl.core.delta import NEW, ZERO, Run
from abctl.core.units import MIB

_COMPARED = MIB  # bytes at once


def find_sources(image: ImageFile, blocks: "array[int]", seed: ImageFile, old: "array[int]") -> "array[int]":
    """Return for each block of the image a block of the seed, or NEW, or ZERO.

    ``blocks`` and ``old`` are the long digests of the whole blocks of both; each copy is compared byte for
    byte.
    """
    sources = array("I", _guess_sources(blocks, old))
    if len(sources) < count_pieces(image.size, BLOCK_SIZE):
        sources.append(NEW)
    for place, run in list_runs(sources, range(len(sources))):
        if run.source not in (NEW, ZERO):
            _mark_different(sources, place, run, image, seed)
    return sources


def _guess_sources(blocks: "array[int]", old: "array[int]") -> Iterator[int]:
    places = {digest: place for place, digest in reversed(list(enumerate(old)))}
    count, expected = len(old), 0
    for digest in blocks:
        if not digest:
            yield ZERO
        elif expected < count and old[expected] == digest:
            yield expected
        elif (place := places.get(digest)) is not None:
            expected = place
            yield place
        else:
            yield NEW
        expected += 1


def list_runs(sources: "array[int]", blocks: range) -> Iterator[tuple[int, Run]]:
    """Yield the runs of these blocks, each with its first block in the image."""
    start = blocks.start
    while start < blocks.stop:
        source, end = sources[start], start + 1
        step = 0 if source in (NEW, ZERO) else 1
        while end < blocks.stop and sources[end] == source + step * (end - start):
            end += 1
        yield start, Run(source, end - start)
        start = end


def _mark_different(sources: "array[int]", place: int, run: Run, image: ImageFile, seed: ImageFile) -> None:
    """Mark the blocks of a copy as new where the digests were the same and the bytes are not."""
    per_piece = _COMPARED // BLOCK_SIZE
    for first in range(0, run.count, per_piece):
        count = min(per_piece, run.count - first)
        ours = image.read((place + first) * BLOCK_SIZE, count * BLOCK_SIZE)
        theirs = seed.read((run.source + first) * BLOCK_SIZE, count * BLOCK_SIZE)
        if ours == theirs:
            continue
        for block in range(count):
            piece = slice(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE)
            if ours[piece] != theirs[piece]:
                sources[place + first + block] = NEW
