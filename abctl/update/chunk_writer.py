"""Write the chunks of an image in any order, and read them back while others are still being written."""

import hashlib
import threading

from abctl.core.chunks import ChunkIndex
from abctl.core.slot import Part, Slot
from abctl.core.units import MIB, Digest
from abctl.errors import ReadBackMismatch
from abctl.ports import Volume
from abctl.update.perform import HEAD_SIZE
from abctl.update.pool import Workers
from abctl.update.slotwriter import SparseWriter, WrittenImage
from abctl.update.stream import is_zero

# Bytes between two flushes: what was flushed is read back while the next is written. Twice as many, and
# what is under way in the workers, is what a power cut may cost: less than 32 MiB.
FLUSH_EVERY = 8 * MIB
_CHECKED_AT_ONCE = 8  # chunks; a job for each would cost more than the checking


class ChunkWriter:
    """Takes the chunks of one image; ``put`` and ``zero`` may be called by several workers at once.

    ``done`` and ``checked`` count bytes of the image, ``written`` those that were not zeros' ranges.
    """

    def __init__(self, volume: Volume, slot: Slot, index: ChunkIndex, workers: Workers) -> None:
        self._volume = volume
        self._slot = slot
        self._index = index
        self._workers = workers
        self._lock = threading.Lock()
        self._head = bytearray(min(HEAD_SIZE, index.image_size) if slot.part is Part.BOOT else 0)
        self._fresh: list[tuple[int, int]] = []  # (offset, length) that no flush has covered
        self._fresh_size = 0
        self.done = self.checked = self.written = 0

    def put(self, chunk: int, data: memoryview) -> None:
        """Write ``data``, which is known to be what the index says of the chunk; hold back Boot's head."""
        start = chunk * self._index.chunk_size
        held = max(0, min(len(self._head) - start, len(data)))
        self._head[start : start + held] = data[:held]
        writer = SparseWriter(self._volume)
        writer.put(start + held, data[held:])
        writer.end_zeros(start + len(data))
        self._note(start, len(data), writer.written)

    def zero(self, first: int, count: int) -> None:
        """Make a range of chunks zeros."""
        start = first * self._index.chunk_size
        end = min(start + count * self._index.chunk_size, self._index.image_size)
        held = min(max(start, len(self._head)), end)
        if held < end:
            self._volume.write_zeros(held, end - held)
        for at in range(start, end, self._index.chunk_size):
            self._note(at, min(self._index.chunk_size, end - at), 0)

    def skip(self, chunk: int) -> None:
        """Count a chunk that was read from the medium and found right."""
        with self._lock:
            self.done += self._index.size_of(chunk)
            self.checked += self._index.size_of(chunk)

    def _note(self, start: int, length: int, written: int) -> None:
        with self._lock:
            self.done += length
            self.written += written
            self._fresh.append((start, length))
            self._fresh_size += length

    def read_back_some(self) -> None:
        """Flush what came together, where it is enough, and read it back in the background."""
        if self._fresh_size >= FLUSH_EVERY:
            self.read_back_rest()

    def read_back_rest(self) -> None:
        """Flush, and read back what was not yet; the workers may still be at it afterwards.

        The flush is waited for, so that no disk is ever far behind; the workers go on meanwhile.
        """
        places = self._take_fresh()
        self._volume.flush()
        for at in range(0, len(places), _CHECKED_AT_ONCE):
            self._workers.submit(self._check_all, places[at : at + _CHECKED_AT_ONCE])

    def finish(self) -> WrittenImage:
        """Return what now stands in the slot, but for the head."""
        return WrittenImage(
            slot=self._slot,
            size=self._index.image_size,
            sha256=Digest(""),
            head=bytes(self._head),
            written=self.written + len(self._head),
        )

    def _take_fresh(self) -> list[tuple[int, int]]:
        with self._lock:
            fresh, self._fresh, self._fresh_size = self._fresh, [], 0
            return fresh

    def _check_all(self, places: list[tuple[int, int]]) -> None:
        for start, length in places:
            self._check(start, length)

    def _check(self, start: int, length: int) -> None:
        """Read a chunk from the medium; raise ReadBackMismatch."""
        chunk = start // self._index.chunk_size
        buffer = self._workers.scratch.get("check", length)
        self._read(start, buffer)
        if self._index.is_zero(chunk):
            is_right = is_zero(buffer)
        else:
            is_right = hashlib.sha256(buffer).digest() == self._index.digest_of(chunk)
        if not is_right:
            raise self._mismatch(chunk)
        with self._lock:
            self.checked += length

    def _read(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer``; for the head that was held back the one in memory counts."""
        held = max(0, min(len(self._head) - start, len(buffer)))
        buffer[:held] = self._head[start : start + held]
        if held < len(buffer):
            self._volume.read_back(start + held, buffer[held:])

    def _mismatch(self, chunk: int) -> ReadBackMismatch:
        start = chunk * self._index.chunk_size
        return ReadBackMismatch(
            f"{self._volume.name} does not hold what was written to it in chunk {chunk} (bytes {start} to "
            f"{start + self._index.size_of(chunk)}); check the health of the disk"
        )
