"""The pictures of docs/rollout.md."""

from collections.abc import Sequence

import numpy as np

from tests.rollout.figures import (
    ABORTED,
    BROKEN,
    CUT,
    GO_ON,
    PAUSE,
    PAUSED,
    Load,
    Stop,
    Stories,
)
from tests.rollout.fleet import HOUR
from tests.rollout.stories import Story
from tests.rollout.waves import Floats
from tests.svg import BLUE, GREEN, GREY, RED, Axis, Line, Mark, Point, plot_bars, plot_lines

_POINTS_MAX = 700
_EACH = 10  # minutes that one point of a load stands for


def plot_all(stories: Stories, load: Load, totals: dict[str, float], stop: Stop) -> dict[str, str]:
    """Return all pictures by their names."""
    return {
        "shares": _plot_shares(stories.smooth),
        "deviation": _plot_deviation(stories.smooth),
        "requests": _plot_requests(stories.smooth, load),
        "bytes": _plot_bytes(stories.smooth, load),
        "totals": _plot_totals(totals),
        "failing": _plot_failing(stories.failing),
        "resumed": _plot_resumed(stories),
        "told": _plot_told(stop),
    }


def _hours(most: float, each: float, label: str = "hours after the release was published") -> Axis:
    return Axis(label, 0, most, [float(tick) for tick in np.arange(0, most + 0.1, each)])


def _thin(x: Floats, y: Floats) -> list[Point]:
    rows = np.unique(np.linspace(0, len(x) - 1, _POINTS_MAX).astype(int))
    return [(float(x[row]), float(y[row])) for row in rows]


def _average(story: Story, values: Floats) -> list[Point]:
    """Return a point for every ten minutes."""
    count = len(values) // _EACH * _EACH
    hours = story.minutes[:count].reshape(-1, _EACH).mean(axis=1) / HOUR
    means = values[:count].reshape(-1, _EACH).mean(axis=1)
    return [(float(hour), float(mean)) for hour, mean in zip(hours, means, strict=True)]


def _plot_shares(story: Story) -> str:
    hours = story.minutes / HOUR
    return plot_lines(
        "A rollout to a million hosts follows its waves",
        _hours(104, 12),
        Axis("% of all hosts that took the release", 0, 110, range(0, 101, 20)),
        [
            Line("planned by the waves", _thin(hours, story.planned * 100), GREY, width=6),
            Line("hosts that took it", _thin(hours, story.achieved * 100), GREEN),
        ],
        [Mark(0, "0.1 %"), Mark(12, "1 %: held 12 h"), Mark(36, "10 %: held 12 h"), Mark(96, "100 %")],
    )


def _plot_deviation(story: Story) -> str:
    hours = story.minutes / HOUR
    least, most = story.bounds
    return plot_lines(
        "How far the hosts are from the plan",
        _hours(104, 12),
        Axis(
            "percentage points (below 0: later than planned)", -3, 0.5, [-3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5]
        ),
        [
            Line(
                "stated error: what a host may wait, and 4 sigma",
                _thin(hours, (most - story.planned) * 100),
                GREY,
                fills_to=_thin(hours, (least - story.planned) * 100),
            ),
            Line("hosts that can follow", _thin(hours, (story.achieved_plain - story.planned) * 100), GREEN),
            Line(
                "all: offline ones and those at 1.x too",
                _thin(hours, (story.achieved - story.planned) * 100),
                RED,
            ),
            Line(
                "expected: the mean wait for the next check",
                _thin(hours, (story.expected - story.planned) * 100),
                "#222",
                "5 4",
                1.2,
            ),
        ],
    )


def _plot_requests(story: Story, load: Load) -> str:
    habits = story.fleet.habits
    behind = 2 * habits.edges / habits.cached
    most = 100 * np.ceil((load.metadata.max() + 100) / 100)
    return plot_lines(
        "Requests a second while a million hosts are upgraded",
        _hours(104, 12),
        Axis("requests a second (means of 10 minutes)", 0, most, list(np.arange(0, most + 1, 200))),
        [
            Line("checks: metadata, from the caches", _average(story, load.metadata), BLUE),
            Line("installations: stone by blocks, then delta", _average(story, load.images), GREEN),
            Line(
                f"checks that reach the server behind {habits.edges} caches",
                [(0, behind), (104, behind)],
                RED,
                "5 4",
            ),
        ],
    )


def _plot_bytes(story: Story, load: Load) -> str:
    def draw(name: str, way: str, colour: str) -> Line:
        points = _average(story, np.maximum(load.rates[way], 0.001))
        return Line(name, points, colour)

    return plot_lines(
        "What hosts download at each moment (logarithmic scale)",
        _hours(104, 12),
        Axis("Gbit/s (means of 10 minutes)", 0.001, 100, [0.001, 0.01, 0.1, 1, 10, 100], is_log=True),
        [
            draw("all in full", "full", RED),
            draw("all by blocks", "blocks", BLUE),
            draw("delta (stepping stone by blocks)", "delta", GREEN),
            Line(
                "checks (metadata)",
                _average(story, load.metadata_rate / 1000),
                GREY,
            ),
        ],
        [Mark(24, "all 1.x have the stone")],
    )


def _plot_totals(totals: dict[str, float]) -> str:
    names = {"full": "all in full", "blocks": "all by blocks", "delta": "delta; stone by blocks"}
    title = "TB that a million hosts download for one release"
    return plot_bars(title, [(names[way], totals[way]) for way in names], "delta")


def _plot_failing(story: Story) -> str:
    hours = story.minutes / HOUR
    count = story.fleet.habits.hosts / 1000
    broken = story.course.ended[story.fleet.is_broken & np.isfinite(story.course.ended)]
    fallen = np.searchsorted(np.sort(broken), story.minutes) / 1000
    return plot_lines(
        f"A release that fails on {BROKEN * 100:g} % of the hosts is paused, then aborted",
        _hours(38, 4),
        Axis("thousand hosts", 0, 55, range(0, 51, 10)),
        [
            Line("planned", _thin(hours, story.planned * count), GREY, width=6),
            Line("took it", _thin(hours, story.achieved * count), GREEN),
            Line(f"of these fell back ({len(broken):,} hosts)", _thin(hours, fallen), RED),
        ],
        [Mark(PAUSED, "paused"), Mark(ABORTED, "aborted")],
    )


def _plot_resumed(stories: Stories) -> str:
    hours = stories.resumed.minutes / HOUR
    moved, leaping = stories.resumed, stories.leaping
    return plot_lines(
        "After a pause of a day: waves that moved with it, and waves that did not",
        _hours(48, 6, "hours after the last wave began"),
        Axis("% of all hosts", 0, 110, range(0, 101, 20)),
        [
            Line("planned, waves moved", _thin(hours, moved.planned * 100), GREY, width=6),
            Line("took it, waves moved", _thin(hours, moved.achieved * 100), GREEN),
            Line("planned, waves not moved", _thin(hours, leaping.planned * 100), "#d9b3ab", width=6),
            Line("took it, waves not moved", _thin(hours, leaping.achieved * 100), RED),
        ],
        [Mark(PAUSE, "paused"), Mark(GO_ON, "resumed")],
    )


def _plot_told(stop: Stop) -> str:
    minutes = np.concatenate([[0.0], stop.waits / 60])
    shares = np.linspace(0, 100, len(minutes))
    started = _count_by(stop, minutes)
    return plot_lines(
        f"After an abort in the fastest wave (hour {CUT} of it)",
        Axis("minutes after the abort", 0, 80, range(0, 81, 10)),
        Axis("%", 0, 110, range(0, 101, 20)),
        [
            Line("hosts that have seen the abort", _thin(minutes, shares), BLUE),
            Line(f"of the {stop.after:,} hosts that still began: have begun", started, RED),
        ],
        [Mark(stop.last / 60, f"the last host begins: {stop.last:.0f} s after the abort")],
    )


def _count_by(stop: Stop, minutes: Floats) -> Sequence[Point]:
    if not len(stop.late):
        return []
    shares = np.linspace(0, 100, len(stop.late) + 1)
    steps = np.concatenate([[0.0], stop.late / 60])
    return [*_thin(steps, shares), (float(minutes[-1]), 100.0)]
