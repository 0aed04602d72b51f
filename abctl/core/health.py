"""Whether a slot set on trial is healthy: results of checks, and when they suffice to confirm or to give up.

All times are seconds since the boot, by a clock that nobody sets: a wall clock that jumps does not matter.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from abctl.core.problems import clean_text
from abctl.core.units import parse_size

TEXT_MAX = 200
NAME_MAX = 64
_PER_CENT = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3})?")
_PAUSE_MIN = 0.1  # seconds
_GAP = 60.0  # seconds without a round, beyond the interval, after which health has to be shown anew


class Verdict(StrEnum):
    """How a check went."""

    PASSED = "passed"
    FAILED = "failed"
    WARNED = "warned"  # a wanted check that failed, or a required one that is close to it


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How one check went; ``text`` is one clean line, ``took`` is in seconds."""

    name: str
    required: bool
    verdict: Verdict
    text: str = ""
    took: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", _one_line(self.name, NAME_MAX))
        object.__setattr__(self, "text", _one_line(self.text, TEXT_MAX))

    @property
    def is_failure(self) -> bool:
        """Whether it speaks against the slot set."""
        return self.required and self.verdict is Verdict.FAILED

    @property
    def sentence(self) -> str:
        return f"{'required' if self.required else 'wanted'} check {self.name} {self.verdict}: {self.text}"


def judge(
    name: str, problem: str | None, *, required: bool, said: str = "", took: float = 0.0
) -> CheckResult:
    """Return the result of a check that found ``problem``, or none and ``said`` what it saw."""
    if problem is None:
        return CheckResult(name, required, Verdict.PASSED, said, took)
    return CheckResult(name, required, Verdict.FAILED if required else Verdict.WARNED, problem, took)


def _one_line(text: str, limit: int) -> str:
    text = clean_text(" ".join(text.split()))
    return text if len(text) <= limit else text[: limit - 3] + "..."


@dataclass(frozen=True, slots=True)
class MinFree:
    """How much of a volume must be free: a share of it, from 0 to below 1, or so many bytes."""

    share: float = 0.0
    size: int = 0

    def of(self, total: int) -> int:
        """Return the bytes that must be free of ``total``."""
        return max(self.size, int(total * self.share))


def parse_min_free(text: str) -> MinFree:
    """Return what ``5%`` or ``200MiB`` means; raise ValueError."""
    number = text.strip().removesuffix("%")
    if number == text.strip():
        return MinFree(size=parse_size(text))
    if not _PER_CENT.fullmatch(number) or float(number) >= 100:  # noqa: PLR2004 - per cent
        raise ValueError(f"not a share from 0% to below 100%: {text[:40]!r}")
    return MinFree(share=float(number) / 100)


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """What the administrator wants of a trial; times in seconds. ``may_fail`` are globs of systemd units."""

    deadline: float = 600.0
    healthy_for: float = 30.0
    check_timeout: float = 30.0
    interval: float = 5.0
    may_fail: tuple[str, ...] = ()
    min_free: MinFree = MinFree(share=0.05)


@dataclass(frozen=True, slots=True)
class Watched:
    """What the rounds of checks of this boot have shown.

    ``required`` are all required checks that were ever seen: one that is missing later has failed.
    """

    results: tuple[CheckResult, ...] = ()
    required: tuple[str, ...] = ()
    healthy_since: float | None = None
    seen_at: float | None = None
    last_failure: CheckResult | None = None

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        return tuple(result for result in self.results if result.is_failure)

    @property
    def healthy_for(self) -> float:
        """The seconds of unbroken health that were seen."""
        if self.healthy_since is None or self.seen_at is None:
            return 0.0
        return self.seen_at - self.healthy_since

    def with_round(
        self, results: Sequence[CheckResult], *, started: float, ended: float, policy: HealthPolicy
    ) -> "Watched":
        """Return what is known after one more round, which ran from ``started`` to ``ended``."""
        found = [result.name for result in results if result.required]
        gone = [name for name in self.required if name not in found]
        results = (*results, *(judge(name, "it is not there any more", required=True) for name in gone))
        failures = [result for result in results if result.is_failure]
        is_healthy = bool(found) and not failures
        # Nobody looked for so long that anything may have happened meanwhile.
        is_unbroken = self.seen_at is not None and started - self.seen_at <= policy.interval + _GAP
        since = self.healthy_since if is_unbroken and self.healthy_since is not None else ended
        return Watched(
            results=results,
            required=tuple(dict.fromkeys((*self.required, *found))),
            healthy_since=since if is_healthy else None,
            seen_at=ended,
            last_failure=failures[0] if failures else self.last_failure,
        )


@dataclass(frozen=True, slots=True)
class Wait:
    """Check again after so many seconds."""

    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Confirm:
    """It was healthy for long enough."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It did not get healthy in time."""

    reason: str


Decision = Wait | Confirm | GiveUp


def decide(watched: Watched, *, since_boot: float, policy: HealthPolicy) -> Decision:
    """Decide what to do ``since_boot`` seconds after the boot; from the deadline on it is never to wait."""
    left = policy.deadline - since_boot
    healthy = watched.healthy_since is not None
    if healthy and watched.healthy_for >= policy.healthy_for:
        return Confirm()
    if left <= 0:
        return GiveUp(_say_reason(watched, policy))
    if not healthy:
        return Wait(
            max(_PAUSE_MIN, min(policy.interval, left)), _say_failures(watched) or "no check has run yet"
        )
    wanted = policy.healthy_for - watched.healthy_for
    why = f"healthy for {watched.healthy_for:.0f} s of {policy.healthy_for:g} s"
    return Wait(max(_PAUSE_MIN, min(policy.interval, wanted, left)), why)


def _say_failures(watched: Watched) -> str:
    failures = watched.failures
    if not failures:
        return ""
    others = ", ".join(result.name for result in failures[1:])
    return failures[0].sentence + (f" (failed too: {others})" if others else "")


def _say_reason(watched: Watched, policy: HealthPolicy) -> str:
    if failures := _say_failures(watched):
        return failures
    if watched.healthy_since is None:
        return f"no required check had a result {policy.deadline:g} s after the boot"
    reason = (
        f"it was healthy for {watched.healthy_for:.0f} s of the {policy.healthy_for:g} s that are wanted "
        f"when the deadline came, {policy.deadline:g} s after the boot"
    )
    return f"{reason}; before that: {watched.last_failure.sentence}" if watched.last_failure else reason
