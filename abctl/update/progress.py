"""How far an installation is: said here, drawn elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from abctl.core.slot import Part


class Step(StrEnum):
    """What an installation does with an image."""

    PROVE = "prove"  # read it once, before anything is written
    SURVEY = "survey"  # compare what the slot holds already
    FETCH = "fetch"  # bytes from the source, packed as they come
    WRITE = "write"
    READ_BACK = "read_back"
    # And what building a release does.
    PACK = "pack"
    UNPACK = "unpack"  # the same image of an older release
    DELTA = "delta"


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` bytes of one image in one step.

    Several steps and images may be under way at once. A step is finished when all is done; ``total`` may
    grow all the same, also after that.
    """

    step: Step
    part: Part
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence for the user on how an installation goes."""

    text: str


# May be called thousands of times a second, always by the thread that installs; who shows it slows it down.
OnProgress = Callable[[Progress | Remark], None]


def ignore_progress(_: Progress | Remark) -> None:
    """Nobody watches."""


class Stopwatch:
    """How many seconds each step took in all."""

    def __init__(self) -> None:
        self.took: dict[Step, float] = {}

    @contextmanager
    def time(self, step: Step) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.took[step] = self.took.get(step, 0.0) + time.monotonic() - began
