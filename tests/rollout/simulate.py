"""Minute by minute: which hosts ask, what they are told, and what they take."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.rollout.decide import NAMES, Edition, decide
from tests.rollout.fleet import MIB, MINUTE, NEVER, NEW, OLD, STONE, Fleet
from tests.rollout.waves import Floats, find_places, shares_at

Indices = NDArray[np.intp]
_NONE = -1  # nothing was published yet


class Differs(AssertionError):
    """The arrays decided something else than production."""


@dataclass(frozen=True, slots=True)
class Course:
    """What became of each host (``NEVER`` for not at all), and the load in each minute."""

    started: Floats  # to take the new version
    ended: Floats  # confirmed it, or fell back
    stone_started: Floats
    stone_ended: Floats
    told: Floats  # first saw the last edition
    checks: Floats  # of each minute
    renewals: Floats  # checks of each minute that found something new
    decided_twice: int  # decisions that were compared with production


class _Run:
    def __init__(self, fleet: Fleet, editions: Sequence[Edition], sizes: dict[int, float], seed: int) -> None:
        count = fleet.habits.hosts
        self._fleet, self._editions, self._sizes = fleet, editions, sizes
        self._random = np.random.default_rng(seed)
        self._edition_times = np.array([edition.at for edition in editions], np.float64)
        self._places = {version: find_places(count, NAMES[version]) for version in (STONE, NEW)}
        self.version = np.where(fleet.is_old, OLD, STONE).astype(np.int8)
        self.is_refused = np.zeros(count, np.bool_)
        self.next_check = fleet.first_check.copy()
        self.seen = np.full(count, _NONE, np.int8)
        self.is_followed = np.zeros(count, np.bool_)
        self.started = {version: np.full(count, NEVER) for version in (STONE, NEW)}
        self.ended = {version: np.full(count, NEVER) for version in (STONE, NEW)}
        self.told = np.full(count, NEVER)
        self.decided_twice = 0
        self._may_be_away = np.isfinite(fleet.away_from)

    def step(self, until: float) -> tuple[int, int]:
        """Let all hosts whose time comes before ``until`` check; return how many did and found news."""
        asking = self._leave_out_the_away(np.nonzero(self.next_check < until)[0])
        if not len(asking):
            return 0, 0
        at = self.next_check[asking]
        edition = self._find_edition(asking, at)
        news = np.nonzero(edition != self.seen[asking])[0]
        self.seen[asking[news]] = edition[news]
        is_last = edition[news] == len(self._editions) - 1
        self.told[asking[news][is_last]] = at[news][is_last]
        self._act(asking, at, edition)
        return len(asking), len(news)

    def _leave_out_the_away(self, due: Indices) -> Indices:
        """Return who is there; the others check when they are back."""
        fleet, some = self._fleet, due[self._may_be_away[due]]
        at = self.next_check[some]
        away = some[(at >= fleet.away_from[some]) & (at < fleet.away_until[some])]
        if not len(away):
            return due
        self.next_check[away] = fleet.away_until[away] + self._random.uniform(0, MINUTE, len(away))
        return np.setdiff1d(due, away, assume_unique=True)

    def _find_edition(self, asking: Indices, at: Floats) -> NDArray[np.int8]:
        """Return what the edge of each host has: what was published when it last asked itself."""
        cached = self._fleet.habits.cached
        oldest, newest = (
            int(np.searchsorted(self._edition_times, time, side="right")) - 1
            for time in (at.min() - cached, at.max())
        )
        if oldest == newest:
            return np.full(len(asking), newest, np.int8)
        phase = self._fleet.edge_phase[self._fleet.edge[asking]]
        asked = at - (at - phase) % cached if cached else at
        return (np.searchsorted(self._edition_times, asked, side="right") - 1).astype(np.int8)

    def _act(self, asking: Indices, at: Floats, edition: NDArray[np.int8]) -> None:
        habits = self._fleet.habits
        rest = habits.period + self._random.uniform(0, habits.jitter, len(asking))
        self.next_check[asking] = at + rest
        takes = self.version[asking].copy()
        for number in np.unique(edition):
            if number != _NONE:
                is_told = edition == number
                takes[is_told] = self._choose(asking[is_told], at[is_told], self._editions[number])
        self._compare(asking, at, edition, takes)
        for version in (STONE, NEW):
            is_taking = (takes == version) & (self.version[asking] != version)
            self._take(asking[is_taking], at[is_taking], version)

    def _choose(self, asking: Indices, at: Floats, edition: Edition) -> NDArray[np.int8]:
        """Do what ``decide`` does, for many."""
        has = self.version[asking]
        takes = has.copy()
        for version, rollout in ((STONE, edition.stone), (NEW, edition.rollout)):
            rows = np.nonzero(has == version - 1)[0]
            hosts, now = asking[rows], np.floor(at[rows])
            is_turn = self._places[version][hosts] < shares_at(rollout, now)
            takes[rows[is_turn & ~self.is_refused[hosts]]] = version
        return takes

    def _compare(
        self, asking: Indices, at: Floats, edition: NDArray[np.int8], takes: NDArray[np.int8]
    ) -> None:
        for row in np.nonzero(self.is_followed[asking] & (edition != _NONE))[0]:
            host, has = int(asking[row]), int(self.version[asking[row]])
            refused = bool(self.is_refused[host])
            wanted = decide(host, has, float(at[row]), self._editions[int(edition[row])], is_refused=refused)
            self.decided_twice += 1
            if wanted != takes[row]:
                raise Differs(f"host {host} with {has} at {at[row]}: {takes[row]}, production: {wanted}")

    def _take(self, hosts: Indices, at: Floats, version: int) -> None:
        """Download, install, boot; then confirm it, or fall back and refuse it."""
        end = at + self._sizes[version] * MIB / self._fleet.link[hosts] + self._fleet.takes[hosts]
        self.started[version][hosts], self.ended[version][hosts] = at, end
        is_failed = self._fleet.is_broken[hosts] & (version == NEW)
        self.version[hosts[~is_failed]] = version
        self.is_refused[hosts[is_failed]] = True
        self.next_check[hosts] = end + self._random.uniform(0, MINUTE, len(hosts))


def simulate(
    fleet: Fleet,
    editions: Sequence[Edition],
    until: int,
    sizes: dict[int, float],
    *,
    seed: int = 1,
    followed: int = 0,
) -> Course:
    """Run until ``until``; ``sizes`` are the downloads in MiB, by version.

    The decisions of ``followed`` hosts are made by production as well; raise Differs.
    """
    run = _Run(fleet, editions, sizes, seed)
    run.is_followed[np.random.default_rng(seed + 1).permutation(fleet.habits.hosts)[:followed]] = True
    counts = np.array([run.step(minute + MINUTE) for minute in range(0, until, MINUTE)], np.float64)
    return Course(
        run.started[NEW],
        run.ended[NEW],
        run.started[STONE],
        run.ended[STONE],
        run.told,
        counts[:, 0],
        counts[:, 1],
        run.decided_twice,
    )
