"""What the publisher does in each run, and how it comes out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from abctl.core.terms import Rollout
from abctl.core.units import Seconds
from tests.rollout.decide import NAMES, Edition, make_rollout
from tests.rollout.fleet import HOUR, MINUTE, NEW, STONE, Fleet, Habits, make_fleet
from tests.rollout.simulate import Course, simulate
from tests.rollout.waves import Floats, find_places, shares_at

WAVES = ((0, 0.001), (12, 0.01), (24, 0.01), (36, 0.1), (48, 0.1), (96, 1.0))
LAST_WAVE = ((0, 0.1), (48, 1.0))  # of WAVES, by itself
SLOW_STONE = make_rollout((0, 0.0), (24, 1.0))
STONE_AT_ONCE = make_rollout((0, 1.0))
SIGMAS = 4


@dataclass(frozen=True)
class Story:
    """A fleet, what was published, and the course that it took; times in seconds."""

    fleet: Fleet
    editions: Sequence[Edition]
    until: int
    course: Course

    @property
    def places(self) -> Floats:
        """Each host's place for the new version."""
        return find_places(self.fleet.habits.hosts, NAMES[NEW])

    @cached_property
    def minutes(self) -> Floats:
        """The end of each minute."""
        return np.arange(MINUTE, self.until + 1, MINUTE, dtype=np.float64)

    @cached_property
    def planned(self) -> Floats:
        """The share that the edition of each minute allows; what an abort leaves is what there was."""
        return self._plan(0)

    def _plan(self, late: float) -> Floats:
        """Return the shares where each edition is seen so many seconds ``late``."""
        shares = np.zeros(len(self.minutes))
        for number, edition in enumerate(self.editions):
            is_valid = self.minutes > edition.at + late
            shares[is_valid] = shares_at(edition.rollout, self.minutes[is_valid])
            if edition.rollout.aborted is not None and number:
                shares[is_valid] = self.editions[number - 1].rollout.share_at(edition.at + late)
        return shares

    @cached_property
    def is_plain(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """The hosts that are always there and may go to the new version directly."""
        return ~self.fleet.is_old & np.isinf(self.fleet.away_from)

    @cached_property
    def achieved(self) -> Floats:
        """The share of all hosts that took the new version by the end of each minute."""
        return _share_by(self.course.started, self.minutes)

    @cached_property
    def achieved_plain(self) -> Floats:
        return _share_by(self.course.started[self.is_plain], self.minutes)

    @cached_property
    def sigma(self) -> float:
        """The largest standard deviation of a share of the plain hosts."""
        return float(0.5 / np.sqrt(self.is_plain.sum()))

    @cached_property
    def bounds(self) -> tuple[Floats, Floats]:
        """Between which shares the plain hosts have to be: the stated error.

        At most what any edition that a cache may still hold has allowed, and at least what each that a cache
        may hold has allowed for as long as it takes until every host has checked; and 4 sigma either way.
        """
        least, most = self._allowed
        window = -(-self.fleet.habits.gap // MINUTE) + 1
        padded = np.concatenate([np.zeros(window - 1), least])
        lasting = np.lib.stride_tricks.sliding_window_view(padded, window).min(axis=1)
        error = SIGMAS * self.sigma
        return np.maximum.accumulate(lasting) - error, np.maximum.accumulate(most) + error

    @property
    def _allowed(self) -> tuple[Floats, Floats]:
        least, most = np.full(len(self.minutes), np.inf), np.zeros(len(self.minutes))
        cached = self.fleet.habits.cached + MINUTE
        ends = [edition.at + cached for edition in self.editions[1:]] + [self.until]
        least[self.minutes <= self.editions[0].at + cached] = 0.0
        for edition, end in zip(self.editions, ends, strict=True):
            holds = (self.minutes > edition.at) & (self.minutes <= end)
            shares = shares_at(edition.rollout, self.minutes[holds])
            least[holds] = np.minimum(least[holds], shares)
            most[holds] = np.maximum(most[holds], shares)
        return least, most

    @cached_property
    def expected(self) -> Floats:
        """The plan as hosts see it, later by what they wait for their next check: means over all waits."""
        habits = self.fleet.habits
        late = np.arange(0, max(1, habits.cached), MINUTE) + min(MINUTE, habits.cached) / 2
        seen = np.mean([self._plan(seconds) for seconds in late], axis=0)
        wait = np.arange(0, habits.gap, MINUTE) + MINUTE / 2
        still_waits = np.clip((habits.gap - wait) / max(1, habits.jitter), 0, 1)
        ahead = np.concatenate([np.zeros(len(wait)), seen])
        return np.convolve(ahead, still_waits / still_waits.sum())[len(wait) : len(ahead)]


def _share_by(times: Floats, minutes: Floats) -> Floats:
    return np.searchsorted(np.sort(times), minutes, side="left") / len(times)


def tell(
    habits: Habits,
    editions: Sequence[Edition],
    hours: float,
    *,
    sizes: tuple[float, float] = (157.1, 7.8),
    seed: int = 7,
    followed: int = 0,
) -> Story:
    """Run one; ``sizes`` in MiB are those of the stepping stone and of the new version."""
    until = round(hours * HOUR)
    fleet = make_fleet(habits, seed, until)
    course = simulate(fleet, editions, until, {STONE: sizes[0], NEW: sizes[1]}, seed=seed, followed=followed)
    return Story(fleet, editions, until, course)


def publish(rollout: Rollout, stone: Rollout = STONE_AT_ONCE) -> list[Edition]:
    return [Edition(0, rollout, stone)]


def pause(editions: list[Edition], hours: float) -> list[Edition]:
    at = Seconds(round(hours * HOUR))
    last = editions[-1]
    return [*editions, replace(last, at=at, rollout=_change(last.rollout, paused_at=at))]


def abort(editions: list[Edition], hours: float) -> list[Edition]:
    last = editions[-1]
    return [
        *editions,
        replace(last, at=round(hours * HOUR), rollout=_change(last.rollout, aborted="it fails")),
    ]


def resume(editions: list[Edition], hours: float) -> list[Edition]:
    """Go on as production says it: the pause moves all waves."""
    at, last = Seconds(round(hours * HOUR)), editions[-1]
    return [*editions, replace(last, at=at, rollout=last.rollout.resume(at))]


def resume_as_planned(editions: list[Edition], hours: float) -> list[Edition]:
    """Only take the pause back: what was planned for the time meanwhile comes all at once."""
    last = editions[-1]
    return [*editions, replace(last, at=round(hours * HOUR), rollout=_change(last.rollout, paused_at=None))]


def _change(rollout: Rollout, **changes: object) -> Rollout:
    return Rollout.model_validate({**rollout.model_dump(), **changes})
