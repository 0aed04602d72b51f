"""End transfers from another thread, at once."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from typing import TypeVar

from abctl.errors import Interrupted

_Result = TypeVar("_Result")


class Cancel:
    """Ends waits, and whatever registered itself, for good; any thread may call any method."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._stops: list[Callable[[], object]] = []

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def cancel(self) -> None:
        """Make all waits under way, and all later ones, raise Interrupted."""
        self._event.set()
        with self._lock:
            stops = tuple(self._stops)
        for stop in stops:
            stop()

    def check(self) -> None:
        """Raise Interrupted where this was cancelled."""
        if self._event.is_set():
            raise Interrupted("the transfer was interrupted")

    def wait(self, seconds: float) -> None:
        """Return after ``seconds``; raise Interrupted as soon as this is cancelled."""
        self._event.wait(seconds)
        self.check()

    @contextmanager
    def stopping(self, stop: Callable[[], object]) -> Iterator[None]:
        """Call ``stop`` when this is cancelled within the block; it may be called in any thread."""
        with self._lock:
            self._stops.append(stop)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._stops.remove(stop)

    def run(self, work: Callable[[], _Result], drop: Callable[[_Result], object]) -> _Result:
        """Return what ``work`` returns; raise Interrupted as soon as this is cancelled.

        ``work`` cannot be stopped, so it runs in a thread of its own; ``drop`` gets what nobody waits for.
        """
        outcome: Future[_Result] = Future()
        with self.stopping(lambda: _refuse(outcome)):
            threading.Thread(target=_work, args=(outcome, work, drop), daemon=True).start()
            try:
                return outcome.result()
            except BaseException:
                # Ctrl-C: the answer must not come in later and stay open.
                _refuse(outcome)
                if outcome.done() and not outcome.cancelled() and outcome.exception() is None:
                    drop(outcome.result())
                raise


def _refuse(outcome: Future[_Result]) -> None:
    with suppress(InvalidStateError):
        outcome.set_exception(Interrupted("the transfer was interrupted"))


def _work(outcome: Future[_Result], work: Callable[[], _Result], drop: Callable[[_Result], object]) -> None:
    try:
        result = work()
    except BaseException as error:
        with suppress(InvalidStateError):
            outcome.set_exception(error)
        return
    try:
        outcome.set_result(result)
    except InvalidStateError:
        drop(result)
