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
    WRITE = "write"
    READ_BACK = "read_back"


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` bytes of one image in one step."""

    step: Step
    part: Part
    done: int
    total: int


OnProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
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
