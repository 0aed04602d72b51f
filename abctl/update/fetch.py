"""Fetch parts of a file in order, with as few requests as that takes."""

from collections.abc import Iterable
from contextlib import ExitStack

from abctl.core.units import Bytes, format_size
from abctl.core.ways import Place, join_places
from abctl.errors import DownloadTooLarge, TransferCut
from abctl.ports import Reader, Source
from abctl.update.stream import INPUT_SIZE, fill


class Ledger:
    """What an installation downloads, in bytes: ``planned``, ``fetched``, and at most ``limit``."""

    def __init__(self, limit: Bytes | None = None) -> None:
        self._limit = limit
        self.planned = 0
        self.fetched = 0

    def plan(self, count: int, what: str) -> None:
        """Plan to download ``count`` bytes more; raise DownloadTooLarge where that is not allowed."""
        self.planned += count
        if self._limit is not None and self.planned > self._limit:
            raise DownloadTooLarge(
                f"{what}; {format_size(self.planned)} would be downloaded in all, and "
                f"{format_size(self._limit)} are allowed: allow more, or take a release that has a delta"
            )


class RangeFetcher:
    """Reads ``places`` of the file ``name`` one after the other; ``fetched`` counts what came, in bytes."""

    def __init__(self, source: Source, name: str, places: Iterable[Place], ledger: Ledger) -> None:
        self._ledger = ledger
        self._source = source
        self._name = name
        self._ranges = join_places(places)
        self._stack = ExitStack()
        self._reader: Reader | None = None
        self._at = self._end = 0
        self._dropped = memoryview(bytearray(INPUT_SIZE))
        self.fetched = 0

    def __enter__(self) -> "RangeFetcher":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, start: int, length: int) -> bytearray:
        """Return the next place; raise SourceProblem."""
        if not length:
            return bytearray()
        while start >= self._end:
            self._open_next()
        while self._at < start:
            self._take(self._dropped[: start - self._at])
        buffer = bytearray(length)
        self._take(memoryview(buffer))
        return buffer

    def _open_next(self) -> None:
        self._stack.close()
        start, length = next(self._ranges)
        if not self._source.has_ranges:
            # Each request would bring all that is before its range again; what it brings is counted.
            end = start + length
            for last, more in self._ranges:
                end = last + more
            start, length = 0, end
        self._reader = self._stack.enter_context(self._source.open(self._name, start, length))
        self._at, self._end = start, start + length

    def _take(self, buffer: memoryview) -> None:
        assert self._reader is not None
        count = fill(self._reader, buffer)
        self._at += count
        self.fetched += count
        self._ledger.fetched += count
        if count < len(buffer):
            raise TransferCut(f"{self._source.place} ends {self._name} at byte {self._at}: it is cut short")
