"""What is kept of each trial, so that a host that fell back can say why: how far each boot of it got.

It stands on the config volume, outside both slot sets, as two halves of a file of fixed size; a cut costs the
last note and no more. Nothing is decided by it: where it is lost, only the reason is.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from abctl.core.bootstate import MAX_ATTEMPTS
from abctl.core.fields import checked_number
from abctl.core.halves import Halves
from abctl.core.health import CheckResult
from abctl.core.health import Verdict as CheckVerdict
from abctl.core.slot import SlotName
from abctl.core.units import KIB, TIME_END, Seconds, Version, parse_version

FORM = Halves("abctl-evidence 1", 128 * KIB)
FILE_SIZE = FORM.file_size
PATH = "abctl/evidence"  # on the config volume
TRIALS_MAX = 4
TAIL_MAX = 60  # lines
LINE_MAX = 160  # characters
CHECKS_MAX = 64
TEXT_MAX = 200  # characters of a sentence


class Stage(StrEnum):
    """How far a boot of a trial got, in this order."""

    GRUB = "grub"  # GRUB spent the attempt; nothing else is known
    KERNEL = "kernel"  # the initramfs left its mark
    USERLAND = "userland"  # abctl ran in the slot set itself
    CHECKS = "checks"  # the health checks ran
    CONFIRMED = "confirmed"

    @property
    def rank(self) -> int:
        return list(Stage).index(self)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One boot of a trial: ``number`` 1 is the first, ``at`` is when it was noted last.

    ``ended`` says why it ended where that is known; ``tail`` holds the last lines of its journal or of the
    kernel's log.
    """

    number: int
    stage: Stage
    at: Seconds | None = None
    ended: str = ""
    checks: tuple[CheckResult, ...] = ()
    tail: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The required checks that failed."""
        return tuple(item for item in self.checks if item.is_failure)


@dataclass(frozen=True, slots=True)
class TrialEvidence:
    """One trial; ``generation`` is that of the boot environment that armed it. Attempts by number."""

    slot_set: SlotName
    version: Version | None
    generation: int
    attempts: tuple[Attempt, ...] = ()

    def is_same(self, other: "TrialEvidence") -> bool:
        """Whether both are of one trial: generations start anew where all copies of them were lost."""
        mine = (self.slot_set, self.version, self.generation)
        return mine == (other.slot_set, other.version, other.generation)

    def find(self, number: int) -> Attempt | None:
        return next((attempt for attempt in self.attempts if attempt.number == number), None)

    def with_attempt(self, attempt: Attempt) -> "TrialEvidence":
        others = [item for item in self.attempts if item.number != attempt.number]
        return replace(self, attempts=tuple(sorted((*others, attempt), key=lambda item: item.number)))

    def reached(self, number: int, stage: Stage, at: Seconds | None = None) -> "TrialEvidence":
        """Return the trial with boot ``number`` having got at least as far as ``stage``."""
        known = self.find(number) or Attempt(number, stage)
        stage = max(stage, known.stage, key=lambda item: item.rank)
        return self.with_attempt(replace(known, stage=stage, at=known.at if at is None else at))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is kept of the last trials, newest last."""

    trials: tuple[TrialEvidence, ...] = ()
    serial: int = 0

    def find(self, generation: int) -> TrialEvidence | None:
        """Return the trial that was armed under this generation of the boot environment."""
        return next((trial for trial in reversed(self.trials) if trial.generation == generation), None)

    def with_trial(self, trial: TrialEvidence) -> "Evidence":
        """Return the evidence with this trial in its place, or as the newest and alone of its generation."""
        if any(item.is_same(trial) for item in self.trials):
            kept = (trial if item.is_same(trial) else item for item in self.trials)
            return replace(self, trials=tuple(kept))
        others = (item for item in self.trials if item.generation != trial.generation)
        return replace(self, trials=(*others, trial)[-TRIALS_MAX:])

    def known_of(self, trial: TrialEvidence) -> TrialEvidence:
        """Return what is kept of this trial, or itself."""
        return next((item for item in self.trials if item.is_same(trial)), trial)

    def note(  # noqa: PLR0913 - the fields of an attempt
        self,
        slot_set: SlotName,
        version: Version | None,
        generation: int,
        number: int,
        stage: Stage,
        *,
        at: Seconds | None = None,
        ended: str = "",
        checks: Iterable[CheckResult] = (),
        tail: Iterable[str] = (),
    ) -> "Evidence":
        """Note how far boot ``number`` of a trial got: the stage never goes back, what is given replaces."""
        if not 1 <= number <= MAX_ATTEMPTS:
            raise ValueError(f"a trial has boots 1 to {MAX_ATTEMPTS}, not {number}")
        trial = self.known_of(TrialEvidence(slot_set, version, generation))
        trial = trial.reached(number, stage, at)
        known = trial.find(number)
        assert known is not None
        attempt = replace(
            known,
            ended=clean_line(ended, TEXT_MAX) or known.ended,
            checks=tuple(checks)[:CHECKS_MAX] or known.checks,
            tail=clean_tail(tail) or known.tail,
        )
        return self.with_trial(trial.with_attempt(attempt))

    def renumber(self, before: int, after: int) -> "Evidence":
        """Return the evidence where a trial goes on under another generation."""
        trial = self.find(before)
        if trial is None or self.find(after):
            return self
        moved = replace(trial, generation=after)
        return replace(self, trials=tuple(moved if item is trial else item for item in self.trials))


def clean_line(text: str, limit: int = LINE_MAX) -> str:
    """Return ``text`` as one line that a terminal can show, of at most ``limit`` characters."""
    return "".join(char if char.isprintable() else " " for char in text[:limit]).strip()


def clean_tail(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the last lines that say anything, cleaned and bounded."""
    cleaned = [line for text in lines if (line := clean_line(text))]
    return tuple(cleaned[-TAIL_MAX:])


# --- as bytes ---------------------------------------------------------------------------------------


def encode_half(evidence: Evidence) -> bytes:
    """Return the evidence as one half; what does not fit is left out, of the oldest trials first."""
    while True:
        body = json.dumps(_values_of(evidence), separators=(",", ":"), ensure_ascii=False)
        half = FORM.seal(body.encode())
        if half is not None:
            return half
        evidence = _shorten(evidence)


def _shorten(evidence: Evidence) -> Evidence:
    """Leave out what is missed least."""
    *older, newest = evidence.trials
    for number, trial in enumerate(older):
        if any(attempt.tail for attempt in trial.attempts):
            older[number] = replace(
                trial, attempts=tuple(replace(attempt, tail=()) for attempt in trial.attempts)
            )
            return replace(evidence, trials=(*older, newest))
    if older:
        return replace(evidence, trials=(*older[1:], newest))
    attempts = tuple(_shorten_attempt(attempt) for attempt in newest.attempts)
    return replace(evidence, trials=(replace(newest, attempts=attempts),))


def _shorten_attempt(attempt: Attempt) -> Attempt:
    """Halve what there is, the end of the tail and the failed checks last."""
    wanted = sorted(attempt.checks, key=lambda item: item.verdict is CheckVerdict.PASSED)
    checks = tuple(wanted[: len(wanted) // 2])
    keep = len(attempt.tail) // 2
    return replace(attempt, checks=checks, tail=attempt.tail[-keep:] if keep else ())


def _values_of(evidence: Evidence) -> dict[str, Any]:
    return {
        "serial": evidence.serial,
        "trials": [
            {
                "slot_set": trial.slot_set,
                "version": trial.version,
                "generation": trial.generation,
                "attempts": [_values_of_attempt(attempt) for attempt in trial.attempts],
            }
            for trial in evidence.trials
        ],
    }


def _values_of_attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "stage": attempt.stage,
        "at": attempt.at,
        "ended": attempt.ended,
        "checks": [
            {
                "name": item.name,
                "required": item.required,
                "verdict": item.verdict,
                "text": item.text,
                "took": round(item.took, 3) if 0 <= item.took < TIME_END else 0.0,
            }
            for item in attempt.checks
        ],
        "tail": list(attempt.tail),
    }


def decode(data: bytes) -> Evidence:
    """Return the newer whole half of the file; nothing whole means that nothing was kept, or it is lost."""
    found = [evidence for half in FORM.split(data) if (evidence := decode_half(half)) is not None]
    return max(found, key=lambda evidence: evidence.serial, default=Evidence())


def decode_half(half: bytes) -> Evidence | None:
    """Return the evidence in ``half``, or None where it is empty, torn or damaged."""
    body = FORM.unseal(half)
    if body is None:
        return None
    try:
        values = json.loads(body)
        trials = tuple(_parse_trial(item) for item in _items(values["trials"]))
        return Evidence(trials[-TRIALS_MAX:], checked_number(values["serial"]))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _parse_trial(values: Any) -> TrialEvidence:
    """Return the trial in ``values``, or raise; fields that a newer abctl added are passed over."""
    version = values["version"]
    trial = TrialEvidence(
        SlotName(values["slot_set"]),
        None if version is None else parse_version(version),
        checked_number(values["generation"]),
    )
    for item in _items(values["attempts"]):
        trial = trial.with_attempt(_parse_attempt(item))
    return trial


def _parse_attempt(values: Any) -> Attempt:
    number, at = checked_number(values["number"]), values["at"]
    if not 1 <= number <= MAX_ATTEMPTS:
        raise ValueError("no such boot")
    return Attempt(
        number,
        Stage(values["stage"]),
        None if at is None else Seconds(checked_number(at)),
        clean_line(_text(values["ended"]), TEXT_MAX),
        tuple(_parse_check(item) for item in _items(values["checks"]))[:CHECKS_MAX],
        clean_tail(_text(line) for line in _items(values["tail"])),
    )


def _parse_check(values: Any) -> CheckResult:
    required, took = values["required"], values["took"]
    if not isinstance(required, bool) or type(took) not in (int, float) or not 0 <= took < TIME_END:
        raise ValueError("no check")
    name, text = _text(values["name"]), _text(values["text"])
    return CheckResult(name, required, CheckVerdict(values["verdict"]), text, float(took))


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def place_for(evidence: Evidence) -> int:
    """Return the offset at which the evidence with this serial stands."""
    return FORM.place_for(evidence.serial)


def empty_file() -> bytes:
    """Return the file of a new disk."""
    return FORM.blank(encode_half(Evidence()))
