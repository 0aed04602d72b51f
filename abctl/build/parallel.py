"""Work on all cores, with results in the order of the work: what comes out does not depend on the cores."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to work: zstd's levels, which change what comes out, and threads, which do not."""

    level: int
    delta_level: int
    threads: int


class _Workers(Generic[T, R]):
    """Threads that nobody waits for at the end: a call into zstd can take ten seconds, Ctrl-C must not."""

    def __init__(self, work: Callable[[T], R], threads: int) -> None:
        self._work = work
        self._queue: SimpleQueue[tuple[Future[R], T] | None] = SimpleQueue()
        self._threads = threads
        for _ in range(threads):
            threading.Thread(target=self._run, daemon=True).start()

    def submit(self, item: T) -> "Future[R]":
        future: Future[R] = Future()
        self._queue.put((future, item))
        return future

    def stop(self) -> None:
        for _ in range(self._threads):
            self._queue.put(None)

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            future, item = task
            del task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._work(item))
            except BaseException as error:
                future.set_exception(error)
            # While it waits for more, it must hold on to nothing large.
            del future, item


def map_ordered(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Yield ``work`` of each item, in order; at most ``threads`` + 2 items are held at once.

    ``items`` is read by the caller's thread. An exception in ``work`` comes out in its place.
    """
    workers = _Workers(work, threads)
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(workers.submit(item))
            del item
            if len(waiting) > threads + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        workers.stop()
