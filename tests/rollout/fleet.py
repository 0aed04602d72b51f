"""A million hosts: when they ask, over what links, which are out of date, offline or will fall back."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.rollout.waves import Floats

MINUTE: Final = 60
HOUR: Final = 3600
MIB: Final = 2**20
MBIT: Final = 125_000  # bytes a second

OLD, STONE, NEW = 0, 1, 2  # the versions that a host can have
NEVER: Final = np.inf


@dataclass(frozen=True, slots=True)
class Habits:
    """What is assumed of hosts and network. Times are seconds, links are Mbit/s with the share of hosts."""

    hosts: int = 1_000_000
    period: int = HOUR  # from one check to the next ...
    jitter: int = 10 * MINUTE  # ... and up to so much more, at random each time
    cached: int = 5 * MINUTE  # the oldest timestamp that the network of caches hands out
    edges: int = 200  # caches that hosts ask
    old: float = 0.1  # need the stepping stone first
    offline: float = 0.05  # are away once
    away: tuple[int, int] = (2 * HOUR, 24 * HOUR)
    broken: float = 0.0  # on these the release does not come up
    links: tuple[tuple[int, float], ...] = ((10, 0.1), (50, 0.2), (100, 0.4), (1000, 0.3))
    writing: tuple[int, int] = (5, 60)  # beyond the transfer
    boot: tuple[int, int] = (2 * MINUTE, 10 * MINUTE)  # until the trial is confirmed
    fallback: int = 20 * MINUTE  # three attempts instead

    @property
    def gap(self) -> int:
        """The longest time from one check of a host to its next."""
        return self.period + self.jitter


@dataclass(frozen=True, slots=True)
class Fleet:
    """One row for each host, and ``habits``."""

    habits: Habits
    first_check: Floats
    link: Floats  # bytes a second
    away_from: Floats
    away_until: Floats
    takes: Floats  # seconds from the last byte to the end of the trial
    edge: NDArray[np.int16]
    is_old: NDArray[np.bool_]
    is_broken: NDArray[np.bool_]
    edge_phase: Floats  # of each edge: when within ``cached`` it asks anew


def make_fleet(habits: Habits, seed: int, until: int) -> Fleet:
    """Draw the hosts; the outages begin at any time up to ``until``."""
    random = np.random.default_rng(seed)
    count = habits.hosts
    is_away = random.random(count) < habits.offline
    away_from = np.where(is_away, random.uniform(-habits.away[1], until, count), NEVER)
    is_broken = random.random(count) < habits.broken
    boot = np.where(is_broken, habits.fallback, random.uniform(*habits.boot, count))
    speeds, shares = zip(*habits.links, strict=True)
    return Fleet(
        habits,
        first_check=random.random(count) * (habits.period + random.uniform(0, habits.jitter, count)),
        link=MBIT * random.choice(np.array(speeds, np.float64), count, p=shares),
        away_from=away_from,
        away_until=away_from + random.uniform(*habits.away, count),
        takes=boot + random.uniform(*habits.writing, count),
        edge=random.integers(0, habits.edges, count, dtype=np.int16),
        is_old=random.random(count) < habits.old,
        is_broken=is_broken,
        edge_phase=random.uniform(0, max(1, habits.cached), habits.edges),
    )
