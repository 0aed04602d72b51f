"""What an upgrade was at when an entry of the log was written, and where the power is cut: pure."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from abctl.core.bootenv import BlockDamaged, BootEnv, decode
from abctl.core.bootstate import BLOCK_SIZE, Outcome
from tests.lab.writelog import Write


class Phase(StrEnum):
    """The parts of an upgrade, in their order."""

    FETCH = "fetch"  # metadata and manifest, until the boot environment is first written
    BEGIN = "begin"  # the other slot set becomes empty, in the boot environment and on the disk
    WRITE = "write"  # its images
    FINISH = "finish"  # Var is emptied, the head of Boot written
    ARM = "arm"  # from the commit to the end of the command
    REBOOT = "reboot"  # until GRUB spends the first attempt
    TRIAL = "trial"  # until abctl writes that the trial is over
    SETTLE = "settle"  # the confirmation, or the record of a fallback
    REST = "rest"  # until the host is switched off


@dataclass(frozen=True, slots=True)
class Span:
    """The power may go behind entries ``first`` + 1 to ``last`` of the log: the last one is of this phase."""

    phase: Phase
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A copy of the boot environment as entry ``index`` wrote it."""

    index: int
    env: BootEnv


@dataclass(frozen=True, slots=True)
class Marks:
    """How many entries there were when the upgrade was started, had returned, and had come to rest."""

    start: int
    armed: int
    rest: int


def find_blocks(entries: Sequence[Write], places: Iterable[int]) -> list[tuple[int, int]]:
    """Return which entries write a copy of the boot environment, and where in the log that copy is."""
    found = []
    for index, write in enumerate(entries):
        for place in places:
            if write.start <= place and place + BLOCK_SIZE <= write.start + write.length:
                found.append((index, write.at + place - write.start))
    return found


def decode_blocks(blocks: Iterable[tuple[int, bytes]]) -> list[Seen]:
    """Return the boot environments that were written; what is none is left out."""
    seen = []
    for index, block in blocks:
        try:
            seen.append(Seen(index, decode(block)))
        except BlockDamaged:
            continue
    return seen


def find_spans(seen: Sequence[Seen], bulk: int, var: int, marks: Marks, count: int) -> tuple[Span, ...]:
    """Return the phases of an upgrade.

    ``bulk`` is the first entry that writes of an image what is not zeros, ``var`` the first one after it that
    writes to Var; ``count`` is how many entries there are.
    """
    after = [item for item in seen if item.index >= marks.start]
    begin = after[0].index
    armed = _first(after, lambda env: env.outcome is Outcome.ARMED)
    tried = [item for item in after if item.index >= armed]
    spent = _first(tried, lambda env: env.trial is not None and env.trial.attempts < 3)
    over = _first(tried, lambda env: env.trial is None)
    edges = [marks.start, begin, bulk, var, armed, marks.armed, spent, over, marks.rest, count]
    return tuple(Span(phase, edges[place], edges[place + 1]) for place, phase in enumerate(Phase))


def _first(seen: Sequence[Seen], holds: Callable[[BootEnv], bool]) -> int:
    return next(item.index for item in seen if holds(item.env))


# Each round of the wheel cuts so often in each phase: the short ones decide most.
_SHARES = {
    Phase.FETCH: 2,
    Phase.BEGIN: 4,
    Phase.WRITE: 3,
    Phase.FINISH: 2,
    Phase.ARM: 4,
    Phase.REBOOT: 1,
    Phase.TRIAL: 3,
    Phase.SETTLE: 4,
    Phase.REST: 1,
}


def make_wheel(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the phases in the order in which they take their turns, those without an entry left out."""
    left = {span: _SHARES[span.phase] for span in spans if span.last > span.first}
    wheel: list[Span] = []
    while any(left.values()):
        for span, turns in left.items():
            if turns:
                wheel.append(span)
                left[span] = turns - 1
    return tuple(wheel)


def choose_place(spans: Sequence[Span], seed: str, index: int) -> tuple[Span, int, random.Random]:
    """Return the phase and the position of cut ``index``, and the chance that decides on the rest of it."""
    wheel = make_wheel(spans)
    span = wheel[index % len(wheel)]
    chance = random.Random(f"{seed} {index}")
    return span, chance.randint(span.first + 1, span.last), chance
