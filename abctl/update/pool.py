"""A few threads for the work that leaves the interpreter: unpacking, hashing, reading and writing."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from abctl.update.stream import make_buffer
from abctl.update.zstd import Unpacker

_AHEAD = 2  # jobs that may wait for each worker
_UNDER_WAY_MAX = 12  # jobs; what bounds the memory that they hold, and what is lost at a cut
_REPORT_EVERY = 0.1  # seconds


def count_workers() -> int:
    """Return how many threads keep the processors busy while some wait for the disk."""
    return min(len(os.sched_getaffinity(0)) + 1, 8)


class Scratch(threading.local):
    """What each worker has for itself and uses again and again: an unpacker, and buffers by name."""

    def __init__(self) -> None:
        self.unpacker = Unpacker()
        self._buffers: dict[str, memoryview] = {}

    def get(self, name: str, size: int) -> memoryview:
        """Return a buffer of ``size`` bytes that begins on a page; what is in it is left over."""
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < size:
            buffer = self._buffers[name] = make_buffer(size)
        return buffer[:size]


class Workers:
    """Runs jobs; the first that fails ends all, and its error comes out of ``submit`` or ``wait``."""

    def __init__(self, count: int | None = None) -> None:
        self.count = count or count_workers()
        self.scratch = Scratch()
        self._pool = ThreadPoolExecutor(self.count, "abctl-worker")
        self._room = threading.Semaphore(min(self.count * (1 + _AHEAD), _UNDER_WAY_MAX))
        self._idle = threading.Condition()
        self._under_way = 0
        self._error: BaseException | None = None

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, job: Callable[..., object], *args: Any) -> None:
        """Run ``job(*args)`` soon; wait while too many are under way."""
        self._room.acquire()
        with self._idle:
            self._under_way += 1
        try:
            self._raise_error()
            self._pool.submit(job, *args).add_done_callback(self._finish)
        except BaseException:
            self._leave()
            raise

    def wait(self, report: Callable[[], None] = lambda: None) -> None:
        """Return when all jobs are done, and ``report`` now and then and at the end; raise an error."""
        while self._under_way:
            report()
            with self._idle:
                self._idle.wait_for(lambda: not self._under_way, _REPORT_EVERY)
        self._raise_error()
        report()

    def _finish(self, future: "Future[object]") -> None:
        if not future.cancelled() and (error := future.exception()):
            self._error = self._error or error
        self._leave()

    def _leave(self) -> None:
        self._room.release()
        with self._idle:
            self._under_way -= 1
            self._idle.notify_all()

    def _raise_error(self) -> None:
        if self._error:
            raise self._error
