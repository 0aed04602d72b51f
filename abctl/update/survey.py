"""Look at what a slot holds already: what is there is neither fetched nor written again.

This is also how an interrupted installation goes on: no note of how far it came is believed, only the medium.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from abctl.core.chunks import ChunkIndex
from abctl.core.slot import Part
from abctl.errors import WriteFailed
from abctl.ports import ReadableVolume
from abctl.update.perform import HEAD_SIZE
from abctl.update.pool import Workers
from abctl.update.progress import OnProgress, Progress, Step

SAMPLES = 64  # chunks that are tried where nothing says that the slot holds something of the image


def survey(
    volume: ReadableVolume, index: ChunkIndex, part: Part, *, expect_some: bool, on_progress: OnProgress
) -> bytearray:
    """Return for each chunk 1 where ``volume`` holds it, 0 where not; chunks of zeros are not looked at.

    Unless some are expected, only those are looked at that follow one of a few samples that is there. The
    head is never there: it is zeroed before an installation.
    """
    there = bytearray(index.count)
    chunks = [
        chunk
        for chunk in range(-(-HEAD_SIZE // index.chunk_size), index.count)
        if not index.is_zero(chunk) and chunk * index.chunk_size + index.size_of(chunk) <= volume.size
    ]
    step = -(-len(chunks) // SAMPLES) or 1
    with Workers() as workers:
        surveyor = _Surveyor(volume, index, there, workers)
        if not expect_some:
            regions = [chunks[at : at + step] for at in range(0, len(chunks), step)]
            surveyor.look([region[0] for region in regions], lambda _: None)
            chunks = [chunk for region in regions if there[region[0]] for chunk in region[1:]]
        total = sum(index.size_of(chunk) for chunk in chunks)
        surveyor.look(chunks, lambda done: on_progress(Progress(Step.SURVEY, part, done, total)))
    return there


class _Surveyor:
    def __init__(self, volume: ReadableVolume, index: ChunkIndex, there: bytearray, workers: Workers) -> None:
        self._volume = volume
        self._index = index
        self._there = there
        self._workers = workers
        self._lock = threading.Lock()
        self._done = 0

    def look(self, chunks: Iterable[int], report: Callable[[int], None]) -> None:
        self._done = 0
        for chunk in chunks:
            self._workers.submit(self._look_at, chunk)
            report(self._done)
        self._workers.wait()
        report(self._done)

    def _look_at(self, chunk: int) -> None:
        size = self._index.size_of(chunk)
        buffer = self._workers.scratch.get("survey", size)
        # What cannot be read is not there: a disk may well take a write where it cannot be read.
        with suppress(WriteFailed):
            self._volume.read_back(chunk * self._index.chunk_size, buffer)
            if hashlib.sha256(buffer).digest() == self._index.digest_of(chunk):
                self._there[chunk] = 1
        with self._lock:
            self._done += size
