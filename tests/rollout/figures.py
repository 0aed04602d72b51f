"""The figures of the page, from the stories."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tests.rollout import load
from tests.rollout.decide import make_rollout
from tests.rollout.fleet import HOUR, MINUTE, Habits
from tests.rollout.load import Sizes
from tests.rollout.stories import (
    LAST_WAVE,
    SLOW_STONE,
    STONE_AT_ONCE,
    WAVES,
    Story,
    abort,
    pause,
    publish,
    resume,
    resume_as_planned,
    tell,
)
from tests.rollout.waves import Floats, times_for

PAUSED, ABORTED = 28, 32  # hours, in the run in which the release fails
CUT, GO_ON, PAUSE = 6, 26, 2  # hours, in those of the last wave
BROKEN = 0.02
_SWEPT = 200_000


@dataclass(frozen=True, slots=True)
class Stories:
    """All runs."""

    smooth: Story
    failing: Story
    cut: Story
    resumed: Story
    leaping: Story
    stone_at_once: Story


def tell_all(habits: Habits, sizes: Sizes, followed: int) -> Stories:
    """Run them, one after the other."""
    waves, last = make_rollout(*WAVES), make_rollout(*LAST_WAVE)
    each = (sizes.blocks, sizes.delta)
    paused = pause(publish(last), PAUSE)
    failing = abort(pause(publish(waves, SLOW_STONE), PAUSED), ABORTED)
    return Stories(
        smooth=tell(habits, publish(waves, SLOW_STONE), 104, sizes=each, followed=followed),
        failing=tell(replace(habits, broken=BROKEN), failing, 38, sizes=each, followed=followed),
        cut=tell(habits, abort(publish(last), CUT), 12, sizes=each, followed=followed),
        resumed=tell(habits, resume(paused, GO_ON), 48, sizes=each, followed=followed),
        leaping=tell(habits, resume_as_planned(paused, GO_ON), 48, sizes=each, followed=followed),
        stone_at_once=tell(habits, publish(waves, STONE_AT_ONCE), 3, sizes=each, followed=followed),
    )


@dataclass(frozen=True, slots=True)
class Following:
    """How well a run keeps to its waves; shares from 0 to 1, ``lag`` in seconds."""

    deviation: float  # of all hosts from the plan, the largest
    deviation_at: float  # hours
    plain: float  # of the hosts that can follow
    unexplained: float  # of these from what is expected with the wait for the next check
    sigmas: float  # the same in standard deviations of that share
    error: float  # stated: 4 sigma
    holds: bool  # within the stated error in every minute
    lag: float
    lag_most: float


def judge_following(story: Story) -> Following:
    """Compare what was achieved with the plan."""
    off, plain_off = story.achieved - story.planned, story.achieved_plain - story.planned
    expected, count = story.expected, story.is_plain.sum()
    unexplained = story.achieved_plain - expected
    is_large = (expected > 5e-4) & (expected < 1 - 5e-4)
    sigmas = unexplained[is_large] / np.sqrt(expected[is_large] * (1 - expected[is_large]) / count)
    least, most = story.bounds
    lags = find_lags(story)
    worst = int(np.abs(off).argmax())
    return Following(
        deviation=float(off[worst]),
        deviation_at=float(story.minutes[worst] / HOUR),
        plain=float(plain_off[np.abs(plain_off).argmax()]),
        unexplained=float(np.abs(unexplained).max()),
        sigmas=float(np.abs(sigmas).max(initial=0)),
        error=float(4 * story.sigma),
        holds=bool(((story.achieved_plain >= least) & (story.achieved_plain <= most)).all()),
        lag=float(lags.mean()),
        lag_most=float(lags.max()),
    )


def find_lags(story: Story) -> Floats:
    """Return how long after its turn each plain host began, where the plan was not changed."""
    turns = times_for(story.editions[0].rollout, story.places)
    has_begun = story.is_plain & np.isfinite(story.course.started)
    found: Floats = story.course.started[has_begun] - turns[has_begun]
    return found


@dataclass(frozen=True, slots=True)
class Stop:
    """What went on after the publisher said stop at ``at``; times in seconds after it."""

    at: float
    before: int  # had begun before
    after: int  # began after it
    last: float  # the last of them
    under_way: int  # were downloading, installing or on trial when the last edition came
    last_ended: float
    told: tuple[float, float, float, float]  # of those who are there: 50, 90, 99, 100 %
    waits: Floats  # until each of these saw it
    late: Floats  # when each host that began after it did


def judge_stop(story: Story, at: float) -> Stop:
    """Say how fast hosts stop after ``at``."""
    started, ended = story.course.started, story.course.ended
    late = started[np.isfinite(started) & (started > at)]
    under_way = (started <= at) & (ended > at)
    has_begun = np.isfinite(started)
    waits = story.course.told[np.isinf(story.fleet.away_from) & np.isfinite(story.course.told)] - at
    told = np.percentile(waits, [50, 90, 99, 100])
    return Stop(
        at=at,
        before=int((started <= at).sum()),
        after=len(late),
        last=float(late.max(initial=at) - at),
        under_way=int(under_way.sum()),
        last_ended=float(ended[has_begun].max() - at),
        told=(float(told[0]), float(told[1]), float(told[2]), float(told[3])),
        waits=np.sort(waits),
        late=np.sort(late - at),
    )


@dataclass(frozen=True, slots=True)
class SweepRow:
    """After an abort in the last wave, for a million hosts; times in seconds."""

    period: int
    cached: int
    after: float  # hosts that began after it
    last: float
    told_all: float


def sweep_stops(habits: Habits) -> list[SweepRow]:
    """Abort in the last wave, for several periods and caches."""
    hosts = min(_SWEPT, habits.hosts)
    rows = []
    for period, jitter in ((HOUR // 4, 150), (HOUR, 600), (6 * HOUR, 3600)):
        for cached in (0, MINUTE, 5 * MINUTE, HOUR):
            some = replace(habits, hosts=hosts, period=period, jitter=jitter, cached=cached)
            until = 12 + (some.gap + cached) / HOUR
            stop = judge_stop(tell(some, abort(publish(make_rollout(*LAST_WAVE)), 12), until), 12 * HOUR)
            rows.append(SweepRow(period, cached, stop.after * 1e6 / hosts, stop.last, stop.told[3]))
    return rows


@dataclass(frozen=True, slots=True)
class Load:
    """Over the smooth run; requests a second, Gbit/s, and TB in all."""

    metadata: Floats
    images: Floats
    rates: dict[str, Floats]  # Gbit/s by the way to the new version; the stone by blocks, or in full
    metadata_rate: Floats  # Mbit/s


def measure_load(story: Story, sizes: Sizes) -> Load:
    """Return the load of each minute."""
    metadata, images = load.requests_over_time(story)
    course = story.course
    stone = load.bits_over_time(story, course.stone_started, sizes.blocks)
    return Load(
        metadata,
        images,
        {
            "full": load.bits_over_time(story, course.started, sizes.full)
            + load.bits_over_time(story, course.stone_started, sizes.full),
            "blocks": load.bits_over_time(story, course.started, sizes.blocks) + stone,
            "delta": load.bits_over_time(story, course.started, sizes.delta) + stone,
        },
        load.metadata_bytes(story) * 8 / 1e6,
    )


def total_by_way(story: Story, sizes: Sizes) -> dict[str, float]:
    """Return TB in all, by the way to the new version; the stone by blocks, or in full."""
    return {
        "full": load.total_terabytes(story, sizes.full, sizes.full),
        "blocks": load.total_terabytes(story, sizes.blocks, sizes.blocks),
        "delta": load.total_terabytes(story, sizes.delta, sizes.blocks),
    }


def peak_and_mean(rates: Sequence[float] | Floats) -> tuple[float, float]:
    found = np.asarray(rates, np.float64)
    return float(found.max()), float(found.mean())
