"""Feed one target for some seconds, in a process of its own with bounded memory."""

import json
import mmap
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from types import FrameType

from hypothesis import HealthCheck, Phase, given, seed, settings

from abctl.core.units import KIB, MIB
from tests.fuzz.edits import Stock, inputs_of, shrink
from tests.fuzz.target import Target, meet

INPUT_SECONDS = 5.0  # for one input, many times what the slowest takes
MEMORY = 256 * MIB  # of address space for one input, on top of what the process has already
_SHRINK_SECONDS = 15.0
_EDITED, _MADE = 200, 50  # inputs of a round
_REPAIRED = 0.6  # of the inputs
_LAST_SIZE = 8 * MIB


class TooSlow(Exception):
    """An input took longer than ``INPUT_SECONDS``."""


@dataclass(frozen=True, slots=True)
class Hunt:
    """How many inputs a target met, and the smallest that it failed at."""

    target: str
    inputs: int
    seconds: float
    failure: str | None = None  # the file with the input
    error: str | None = None


class Hunter:
    """Meets inputs until time is up or one fails; the file ``last`` has the one that is being met."""

    def __init__(self, target: Target, seconds: float, last: Path) -> None:
        self._target = target
        self._stock = Stock(target.seeds())
        self._inputs = inputs_of(target)
        self._until = time.monotonic() + seconds
        self._last = _open_last(last)
        self.answers: set[str] = set()
        self.inputs = 0
        self.failing: bytes | None = None
        self.error = ""

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._until

    def run(self, first_seed: int, rounds: int | None = None) -> None:
        """Go on in rounds; ``rounds`` bounds them, so that the same inputs come each time."""
        for number in count(first_seed) if rounds is None else range(first_seed, first_seed + rounds):
            self._run_round(number)
            if self.is_over or self.failing is not None:
                return

    def _run_round(self, number: int) -> None:
        """Meet inputs that are edited at random, then such that hypothesis makes."""
        self._edit_at_random(random.Random(number))
        if self.is_over or self.failing is not None:
            return
        try:
            self._make_test(number)()
        except Exception:
            if self.failing is None:
                raise

    def _edit_at_random(self, rng: random.Random) -> None:
        for _ in range(_EDITED // self._target.cost):
            if self.is_over:
                return
            data = self._stock.choose(rng)
            if rng.random() < _REPAIRED:
                data = self._target.repair(data)
            if self._fails(data):
                shrink(data, lambda smaller: not self.is_over and self._fails(smaller))
                return

    def _fails(self, data: bytes) -> bool:
        try:
            self._meet(data)
        except Exception:
            return True
        return False

    def _make_test(self, number: int) -> Callable[[], None]:
        """Return a hypothesis test, which shrinks the input that fails."""

        @seed(number)
        @settings(
            max_examples=max(1, _MADE // self._target.cost),
            deadline=None,
            database=None,
            derandomize=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(self._inputs)
        def meet_one(data: bytes) -> None:
            self._meet(data)

        return meet_one

    def _meet(self, data: bytes) -> None:
        if self.is_over:
            return
        self.inputs += 1
        self._last[: 8 + len(data)] = len(data).to_bytes(8, "little") + data
        try:
            with bounded():
                answer = meet(self._target, data)
        except Exception:
            self._note(data)
            raise
        if answer not in self.answers:
            self.answers.add(answer)
            self._stock.add(data)

    def _note(self, data: bytes) -> None:
        if self.failing is None:
            self._until = time.monotonic() + _SHRINK_SECONDS
        if self.failing is None or len(data) <= len(self.failing):
            self.failing, self.error = data, traceback.format_exc()


def _open_last(path: Path) -> mmap.mmap:
    path.write_bytes(b"")
    os.truncate(path, _LAST_SIZE)
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), _LAST_SIZE)


def read_last(path: Path) -> bytes:
    """Return the input that a process met when it ended."""
    data = path.read_bytes()
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


@contextmanager
def bounded() -> Iterator[None]:
    """Bound the time and the memory of the block: TooSlow and MemoryError are failures."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * mmap.PAGESIZE + MEMORY, hard))
    signal.signal(signal.SIGALRM, too_slow)
    signal.setitimer(signal.ITIMER_REAL, INPUT_SECONDS, 0.1)  # again where it was lost
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def too_slow(_signal: int, _frame: FrameType | None) -> None:
    raise TooSlow(f"more than {INPUT_SECONDS:g} s")


def hunt(target: Target, folder: Path, seconds: float, first_seed: int, rounds: int | None = None) -> Hunt:
    """Feed ``target``; an input that fails is written to ``folder``."""
    began = time.monotonic()
    hunter = Hunter(target, seconds, folder / f"{target.name}.last")
    hunter.run(first_seed, rounds)
    took = time.monotonic() - began
    if hunter.failing is None:
        return Hunt(target.name, hunter.inputs, took)
    place = folder / f"{target.name}.failed"
    place.write_bytes(hunter.failing)
    return Hunt(target.name, hunter.inputs, took, str(place), hunter.error[-8 * KIB :])


def main(target: Target, folder: Path, seconds: float, first_seed: int, rounds: int | None) -> None:
    """Print what came of it as JSON."""
    json.dump(asdict(hunt(target, folder, seconds, first_seed, rounds)), sys.stdout)
