"""Seeds: volumes whose blocks may be part of a new image. They are read, and never believed."""

import hashlib
from array import array
from bisect import bisect_left
from enum import Enum

from abctl.core.chunks import BLOCK_SIZE, SHORT_SIZE, BlockIndex, ChunkIndex
from abctl.core.delta import NEW, ZERO, Delta, Group
from abctl.core.units import MIB
from abctl.errors import WriteFailed
from abctl.ports import ReadableVolume
from abctl.update.perform import HEAD_SIZE
from abctl.update.pool import Scratch
from abctl.update.stream import is_zero, make_buffer

_SCAN_SIZE = MIB
_NOT_FOUND = 0xFFFF_FFFF
_AHEAD = 32 * MIB // BLOCK_SIZE  # blocks that workers may be ahead of each other


def unpack_new(seed: ReadableVolume, group: Group, packed: bytearray, scratch: Scratch) -> memoryview:
    """Return the new bytes of a group; raise ValueError where they or their prefix are not right."""
    if not group.new_length:
        return memoryview(b"")
    prefix = memoryview(b"")
    if group.prefix_length:
        prefix = _read_range(seed, group.prefix_start, group.prefix_length, scratch)
    new = scratch.get("new", group.new_length)
    scratch.unpacker.unpack(packed, new, prefix)
    return new


def _read_range(seed: ReadableVolume, start: int, length: int, scratch: Scratch) -> memoryview:
    if start + length > seed.size:
        raise ValueError(f"{seed.name} ends before byte {start + length}")
    buffer = scratch.get("prefix", -(-length // BLOCK_SIZE) * BLOCK_SIZE)[:length]
    seed.read_back(start, buffer)
    return buffer


class GroupMaker:
    """Makes the chunks of a group one after the other; each must be compared before it is used."""

    def __init__(self, seed: ReadableVolume, delta: Delta, group: Group, new: memoryview) -> None:
        self._seed = seed
        self._runs = delta.runs_of(group)
        self._new = new
        self._source = self._left = 0

    def make(self, buffer: memoryview) -> None:
        """Fill ``buffer`` with the next bytes; raise ValueError where the seed does not have them."""
        done = 0
        while done < len(buffer):
            if not self._left:
                run = next(self._runs)
                self._source, self._left = run.source, run.count * BLOCK_SIZE
            length = min(self._left, len(buffer) - done)
            self._fill(buffer[done : done + length])
            self._left -= length
            done += length

    def _fill(self, buffer: memoryview) -> None:
        length = len(buffer)
        if self._source == NEW:
            buffer[:] = self._new[:length]
            self._new = self._new[length:]
        elif self._source == ZERO:
            buffer[:] = bytes(length)
        else:
            start = self._source * BLOCK_SIZE
            if start + length > self._seed.size:
                raise ValueError(f"{self._seed.name} ends before byte {start + length}")
            self._seed.read_back(start, buffer)
            self._source += -(-length // BLOCK_SIZE)


class BlockFinder:
    """Knows where the blocks of an image are on some volumes, as far as their short digests tell."""

    def __init__(self, index: ChunkIndex, blocks: BlockIndex) -> None:
        self._index = index
        self._blocks = blocks
        self._wanted = array("Q", _list_wanted(blocks))
        self._places = array("I", bytes(4 * len(self._wanted)))
        for at in range(len(self._places)):
            self._places[at] = _NOT_FOUND
        self._in_target = bytearray(len(self._wanted))
        self._complete: dict[int, bool] = {}

    def scan(self, volume: ReadableVolume, *, is_target: bool) -> None:
        """Look through all blocks of the seed, or of the slot that will be written."""
        buffer = make_buffer(_SCAN_SIZE)
        size = volume.size // BLOCK_SIZE * BLOCK_SIZE
        # Blocks are so small that several threads would only wait for each other.
        for start in range(0, size, _SCAN_SIZE):
            self._scan_some(volume, start, is_target, buffer[: size - start])

    def _scan_some(self, volume: ReadableVolume, start: int, is_target: bool, buffer: memoryview) -> None:
        try:
            volume.read_back(start, buffer)
        except WriteFailed:
            return  # what cannot be read is not found there
        if is_zero(buffer):
            return
        for at in range(0, len(buffer), BLOCK_SIZE):
            digest = hashlib.sha256(buffer[at : at + BLOCK_SIZE]).digest()
            place = self._find(int.from_bytes(digest[:SHORT_SIZE]))
            block = (start + at) // BLOCK_SIZE
            if place is not None and self._is_better(place, block, is_target):
                self._places[place], self._in_target[place] = block, is_target

    def _is_better(self, place: int, block: int, is_target: bool) -> bool:
        """The seed's blocks stay; of those in the target the last one is overwritten last."""
        if self._places[place] == _NOT_FOUND:
            return True
        return bool(is_target and self._in_target[place] and block > self._places[place])

    def _find(self, short: int) -> int | None:
        at = bisect_left(self._wanted, short)
        return at if at < len(self._wanted) and self._wanted[at] == short else None

    def has_all_of(self, chunk: int) -> bool:
        """Return whether every block of the chunk was found; all volumes must have been scanned."""
        if chunk not in self._complete:
            is_whole = not self._index.size_of(chunk) % BLOCK_SIZE
            self._complete[chunk] = is_whole and all(
                self._where_is(block) for block in self._blocks_of(chunk)
            )
        return self._complete[chunk]

    def assemble(self, chunk: int, buffer: memoryview, seed: ReadableVolume, target: ReadableVolume) -> None:
        """Fill ``buffer`` with the chunk; it must be compared before it is used."""
        done = 0
        for source, first, count in self._runs_of(chunk):
            piece = buffer[done : done + count * BLOCK_SIZE]
            if source is _Where.ZEROS:
                piece[:] = bytes(len(piece))
            else:
                volume = seed if source is _Where.SEED else target
                volume.read_back(first * BLOCK_SIZE, piece)
            done += len(piece)

    def _runs_of(self, chunk: int) -> "list[tuple[_Where, int, int]]":
        """Return the chunk as runs: where, the first block there, and how many."""
        runs: list[tuple[_Where, int, int]] = []
        for block in self._blocks_of(chunk):
            where, place = self._where_is(block) or (_Where.ZEROS, 0)
            if (
                runs
                and runs[-1][0] is where
                and (where is _Where.ZEROS or runs[-1][1] + runs[-1][2] == place)
            ):
                runs[-1] = (where, runs[-1][1], runs[-1][2] + 1)
            else:
                runs.append((where, place, 1))
        return runs

    def _blocks_of(self, chunk: int) -> range:
        first = chunk * self._index.chunk_size // BLOCK_SIZE
        return range(first, first + self._index.size_of(chunk) // BLOCK_SIZE)

    def _where_is(self, block: int) -> "tuple[_Where, int] | None":
        """Return where the content of this block is on the disk, or None."""
        short = int.from_bytes(self._blocks.short_of(block))
        if not short:
            return _Where.ZEROS, 0
        place = self._find(short)
        if place is None or self._places[place] == _NOT_FOUND:
            return None
        found = self._places[place]
        if not self._in_target[place]:
            return _Where.SEED, found
        # Chunks are written from first to last, and the head is gone before the first of them.
        is_safe = found * BLOCK_SIZE >= HEAD_SIZE and found >= block + _AHEAD
        return (_Where.TARGET, found) if is_safe else None


class _Where(Enum):
    ZEROS = 0
    SEED = 1
    TARGET = 2


def _list_wanted(blocks: BlockIndex) -> list[int]:
    """Return the short digests of all blocks that are not zeros, sorted, each once."""
    wanted = sorted(
        int.from_bytes(blocks.shorts[at : at + SHORT_SIZE]) for at in range(0, len(blocks.shorts), SHORT_SIZE)
    )
    return [short for at, short in enumerate(wanted) if short and (not at or wanted[at - 1] != short)]
