"""Write docs/rollout.md and its pictures from the runs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.rollout import figures
from tests.rollout.figures import Following, Load, Stop, Stories, SweepRow, judge_following, judge_stop
from tests.rollout.fleet import HOUR, MIB, Habits
from tests.rollout.load import OLDER, Sizes
from tests.rollout.plots import plot_all
from tests.rollout.stories import WAVES, Story

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = Path(__file__).with_name("rollout.in.md")
_POINTS = (0.5, 2, 12, 13.5, 24, 36, 48, 60, 72, 84, 96, 98, 104)  # hours


def write_report(stories: Stories, sweep: Sequence[SweepRow], sizes: Sizes, docs: Path = DOCS) -> None:
    """Fill the text beside this module with the figures, and draw the plots."""
    load = figures.measure_load(stories.smooth, sizes)
    stop = judge_stop(stories.cut, figures.CUT * HOUR)
    totals = figures.total_by_way(stories.smooth, sizes)
    pictures = docs / "rollout"
    pictures.mkdir(exist_ok=True)
    for name, picture in plot_all(stories, load, totals, stop).items():
        (pictures / f"{name}.svg").write_text(picture)
    text = TEXT.read_text()
    for mark, filling in _fill(stories, load, stop, sweep, sizes).items():
        text = text.replace(f"@{mark}@", filling)
    (docs / "rollout.md").write_text(text)


def _fill(
    stories: Stories, load: Load, stop: Stop, sweep: Sequence[SweepRow], sizes: Sizes
) -> dict[str, str]:
    smooth, totals = judge_following(stories.smooth), figures.total_by_way(stories.smooth, sizes)
    return {
        **_describe_habits(stories.smooth.fleet.habits),
        **_describe_following(smooth, stories),
        **_describe_failing(stories.failing),
        **_describe_stop(stop, stories),
        **_describe_resumed(stories),
        "waves": ", ".join(f"{share * 100:g} % after {after} h" for after, share in WAVES),
        "shares": _table_shares(stories.smooth),
        "load": _table_load(load),
        "totals": _table_totals(stories.smooth, sizes),
        "sources": f"{sizes.source}: full {sizes.full:g} MiB, blocks {sizes.blocks:g}, delta {sizes.delta:g}",
        "sweep": _table_sweep(sweep),
        "stone burst": _say_stone(stories, sizes),
        "saved": _percent(round(1 - totals["delta"] / totals["full"], 2)),
    }


def _percent(share: float) -> str:
    return f"{share * 100:g} %"


def _describe_habits(habits: Habits) -> dict[str, str]:
    links = ", ".join(f"{speed} Mbit/s ({_percent(share)})" for speed, share in habits.links)
    return {
        "hosts": f"{habits.hosts:,}",
        "period": f"{habits.period // 60} min",
        "jitter": f"{habits.jitter // 60} min",
        "cached": f"{habits.cached // 60} min",
        "edges": str(habits.edges),
        "behind": f"{2 * habits.edges / max(1, habits.cached):.1f}",
        "old": f"{_percent(habits.old)}",
        "offline": f"{_percent(habits.offline)}",
        "away": f"{habits.away[0] // HOUR} to {habits.away[1] // HOUR} h",
        "links": links,
        "broken": f"{_percent(figures.BROKEN)}",
    }


def _describe_following(found: Following, stories: Stories) -> dict[str, str]:
    every = [getattr(stories, name) for name in ("smooth", "failing", "cut", "resumed", "leaping")]
    holds = all(judge_following(story).holds for story in every)
    return {
        "deviation": f"{found.deviation * 100:+.2f}",
        "deviation at": f"{found.deviation_at:.0f}",
        "plain": f"{found.plain * 100:+.2f}",
        "unexplained": f"{found.unexplained * 100:.3f}",
        "sigmas": f"{found.sigmas:.1f}",
        "error": f"{found.error * 100:.2f}",
        "lag": f"{found.lag / 60:.0f} min",
        "lag most": f"{found.lag_most / 60:.0f} min",
        "holds": "It held in every minute of all runs." if holds else "**It did not hold.**",
        "compared": f"{sum(story.course.decided_twice for story in every):,}",
        "late last": _say_last(stories.smooth),
    }


def _say_last(story: Story) -> str:
    left = int(np.isinf(story.course.started).sum())
    return f"{story.until / HOUR:.0f} h after the start {left:,} hosts are left"


def _table_shares(story: Story) -> str:
    lines = [
        "| hours | planned % | took it % | of those that can follow % | expected of these % | sigma |",
        "|---|---|---|---|---|---|",
    ]
    count = story.is_plain.sum()
    for hours in _POINTS:
        row = min(round(hours * 60), len(story.minutes)) - 1
        expected = story.expected[row]
        sigma = np.sqrt(expected * (1 - expected) / count) * 100
        shares = (story.planned, story.achieved, story.achieved_plain, story.expected)
        cells = " | ".join(f"{values[row] * 100:.3f}" for values in shares)
        lines.append(f"| {hours:g} | {cells} | {sigma:.3f} |")
    return "\n".join(lines)


def _table_load(load: Load) -> str:
    lines = ["| | peak | mean |", "|---|---|---|"]
    rows = [
        ("checks, requests/s", load.metadata, ".0f"),
        ("checks, Mbit/s", load.metadata_rate, ".1f"),
        ("installations, requests/s", load.images, ".0f"),
        ("downloads, all in full, Gbit/s", load.rates["full"], ".2f"),
        ("downloads, all by blocks, Gbit/s", load.rates["blocks"], ".2f"),
        ("downloads, delta, the stone by blocks, Gbit/s", load.rates["delta"], ".2f"),
    ]
    for name, values, form in rows:
        peak, mean = figures.peak_and_mean(values)
        lines.append(f"| {name} | {peak:{form}} | {mean:{form}} |")
    return "\n".join(lines)


def _table_totals(story: Story, sizes: Sizes) -> str:
    lines = [
        "| sizes | full MiB | blocks MiB | delta MiB | full TB | blocks TB | delta (stone: blocks) TB |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in (sizes, OLDER):
        total = figures.total_by_way(story, each)
        terabytes = " | ".join(f"{total[way]:.1f}" for way in ("full", "blocks", "delta"))
        lines.append(f"| {each.source} | {each.full:g} | {each.blocks:g} | {each.delta:g} | {terabytes} |")
    return "\n".join(lines)


def _describe_failing(story: Story) -> dict[str, str]:
    paused = judge_stop(story, figures.PAUSED * HOUR)
    aborted = judge_stop(story, figures.ABORTED * HOUR)
    took = np.isfinite(story.course.started)
    fallen = int((story.fleet.is_broken & took).sum())
    return {
        "paused": str(figures.PAUSED),
        "aborted": str(figures.ABORTED),
        "paused before": f"{paused.before:,}",
        "paused share": f"{story.editions[1].rollout.share_at(np.inf) * 100:g} %",
        "paused after": f"{paused.after:,}",
        "aborted after": f"{aborted.after:,}",
        "failing took": f"{int(took.sum()):,}",
        "fallen": f"{fallen:,}",
        "would fall": f"{int(story.fleet.is_broken.sum()):,}",
    }


def _describe_stop(stop: Stop, stories: Stories) -> dict[str, str]:
    rate = (1 - 0.1) * stories.cut.fleet.habits.hosts / (48 * HOUR)
    cached = stories.cut.fleet.habits.cached
    late = np.percentile(stop.late, [50, 90, 99]) if len(stop.late) else np.zeros(3)
    return {
        "cut": str(figures.CUT),
        "cut before": f"{stop.before:,}",
        "cut after": f"{stop.after:,}",
        "cut last": f"{stop.last:.0f} s",
        "cut rate": f"{rate:.1f}",
        "cut rule": f"{rate * cached / 2:.0f}",
        "under way": f"{stop.under_way:,}",
        "last ended": f"{stop.last_ended / 60:.0f} min",
        "told": ", ".join(f"{value / 60:.0f}" for value in stop.told),
        "late": ", ".join(f"{value:.0f}" for value in late),
    }


def _describe_resumed(stories: Stories) -> dict[str, str]:
    def within_two_hours(story: Story) -> int:
        begins = story.course.started
        return int(((begins > figures.GO_ON * HOUR) & (begins <= (figures.GO_ON + 2) * HOUR)).sum())

    return {
        "pause": str(figures.PAUSE),
        "go on": str(figures.GO_ON),
        "moved": f"{within_two_hours(stories.resumed):,}",
        "leapt": f"{within_two_hours(stories.leaping):,}",
    }


def _table_sweep(sweep: Sequence[SweepRow]) -> str:
    lines = [
        "| checks every | caches hold | hosts that still begin | the last after | all have seen it after |",
        "|---|---|---|---|---|",
    ]
    for row in sweep:
        told = f"{row.told_all / 60:.0f} min"
        each = f"{row.period // 60} min | {row.cached / 60:g} min"
        lines.append(f"| {each} | {row.after:,.0f} | {row.last:.0f} s | {told} |")
    return "\n".join(lines)


def _say_stone(stories: Stories, sizes: Sizes) -> str:
    burst, spread = (
        figures.measure_load(story, sizes).rates["delta"].max()
        for story in (stories.stone_at_once, stories.smooth)
    )
    count = int(stories.smooth.fleet.is_old.sum())
    return (
        f"{count:,} hosts take it within about an hour, {count * sizes.blocks * MIB / 1e12:.0f} TB with a "
        f"peak of {burst:.0f} Gbit/s; with waves over a day the peak is {spread:.1f} Gbit/s"
    )
