"""Show how far an installation is: a live display on a terminal, plain lines elsewhere, or nothing."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from abctl.core.slot import Part
from abctl.core.units import format_size
from abctl.update.progress import OnProgress, Progress, Step, ignore_progress

_EVERY = 2.0  # seconds between plain lines, so that a log stays readable
_DOING = {Step.PROVE: "checking", Step.WRITE: "writing", Step.READ_BACK: "reading back"}
_DONE = {Step.PROVE: "checked", Step.WRITE: "wrote", Step.READ_BACK: "read back"}

_Key = tuple[Step, Part]


@contextmanager
def show_progress(
    stream: TextIO, *, quiet: bool = False, environ: Mapping[str, str] = os.environ
) -> Iterator[OnProgress]:
    """Yield a callback that shows progress on ``stream``; with ``quiet`` nothing is shown."""
    if quiet:
        yield ignore_progress
    elif stream.isatty() and environ.get("TERM", "dumb") != "dumb":
        from abctl.cli.live_progress import show_live  # noqa: PLC0415

        with show_live(stream) as callback:
            yield callback
    else:
        yield PlainProgress(lambda line: print(line, file=stream, flush=True))


class PlainProgress:
    """Say progress as lines: at most one every two seconds, and one for each finished step."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._began: dict[_Key, float] = {}
        self._finished: set[_Key] = set()
        self._last = clock()

    def __call__(self, progress: Progress) -> None:
        key, now = (progress.step, progress.part), self._clock()
        began = self._began.setdefault(key, now)
        if key in self._finished:
            return
        if progress.done >= progress.total:
            self._finished.add(key)
            self._say(_say_finished(progress, now - began))
        elif now - self._last >= _EVERY:
            self._last = now
            self._say(_say_running(progress, now - began))


def _say_finished(progress: Progress, took: float) -> str:
    rate = f", {format_size(int(progress.total / took))}/s" if took >= 1 else ""
    total = format_size(progress.total)
    return f"abctl: {_DONE[progress.step]} {progress.part}: {total} in {took:.1f} s{rate}"


def _say_running(progress: Progress, took: float) -> str:
    percent = 100 * progress.done // progress.total
    done, total = format_size(progress.done), format_size(progress.total)
    line = f"abctl: {_DOING[progress.step]} {progress.part}: {done} of {total} ({percent} %)"
    if not took or not progress.done:
        return line
    rate = progress.done / took
    return f"{line}, {format_size(int(rate))}/s, {say_duration((progress.total - progress.done) / rate)} left"


def say_duration(seconds: float) -> str:
    """Return a time for people: ``45 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"  # noqa: PLR2004
