"""The simulation decides as production does, and what it finds on the page holds for small fleets too."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abctl.core.bootstate import BootEnv
from abctl.core.consider import Vantage
from abctl.core.events import Host
from abctl.core.slot import SlotName
from abctl.core.terms import Rollout
from abctl.core.units import Seconds, Version
from tests.rollout import load
from tests.rollout.decide import NAMES, Edition, decide, make_rollout
from tests.rollout.figures import Stories, SweepRow, judge_following, judge_stop, measure_load
from tests.rollout.fleet import HOUR, NEW, STONE, Habits
from tests.rollout.report import write_report
from tests.rollout.simulate import Differs
from tests.rollout.stories import (
    LAST_WAVE,
    SLOW_STONE,
    Story,
    abort,
    pause,
    publish,
    resume,
    resume_as_planned,
    tell,
)
from tests.rollout.waves import LAYOUT, find_places, name_host, shares_at, times_for
from tests.svg import Axis, Line, plot_lines

pytestmark = pytest.mark.slow

HOSTS = 20_000
SMALL = Habits(hosts=HOSTS)
QUICK = make_rollout((0, 0.01), (2, 0.2), (3, 0.2), (8, 1.0))


@cache
def story(name: str) -> Story:
    """Run a story over a small fleet, once."""
    last = publish(make_rollout(*LAST_WAVE))
    editions: dict[str, list[Edition]] = {
        "smooth": publish(QUICK),
        "failing": abort(pause(last, 3), 6),
        "cut": abort(last, 4),
        "resumed": resume(pause(last, 2), 8),
        "leaping": resume_as_planned(pause(last, 2), 8),
    }
    habits = replace(SMALL, broken=0.1 if name == "failing" else 0.0)
    return tell(habits, editions[name], 10, followed=15)


@st.composite
def rollouts(draw: st.DrawFn) -> Rollout:
    """Any rollout; times and shares are few, so that they often coincide."""
    times = st.integers(0, 400)
    after = sorted(draw(st.sets(times, min_size=1, max_size=6)))
    size = len(after)
    share = sorted(draw(st.lists(st.sampled_from((0, 0.1, 0.3, 0.5, 1)) | st.floats(0, 1), min_size=size)))
    waves = [{"after": when, "share": part} for when, part in zip(after, share, strict=False)]
    return Rollout.model_validate(
        {
            "start": draw(times),
            "waves": waves,
            "paused_at": draw(st.none() | times),
            "aborted": draw(st.none() | st.just("") | st.just("it fails")),
        }
    )


@settings(max_examples=400)
@given(rollouts(), st.integers(0, 2**32))
def test_the_arrays_say_what_production_says(rollout: Rollout, seed: int) -> None:
    random = np.random.default_rng(seed)
    times = np.floor(random.uniform(0, 900, 8))
    edges = [rollout.start + wave.after for wave in rollout.waves]
    for time, share in zip(times, shares_at(rollout, times), strict=True):
        assert share == rollout.share_at(float(time))
    for edge in edges:
        assert shares_at(rollout, np.array([edge], float))[0] == rollout.share_at(edge)
    places = np.concatenate([random.random(8), [wave.share for wave in rollout.waves], [0.0]])
    for place, time in zip(places, times_for(rollout, places), strict=True):
        wanted = rollout.time_for(float(place))
        assert np.isnan(time) if wanted is None else time == wanted


def test_places_are_those_of_production() -> None:
    places = find_places(HOSTS, NAMES[NEW])
    for number in range(0, HOSTS, 997):
        host = Vantage(Host(BootEnv(SlotName.A)), LAYOUT, Seconds(0), name_host(number))
        assert places[number] == host.place_for(NAMES[NEW])


def test_places_are_spread_evenly() -> None:
    counts, _ = np.histogram(find_places(HOSTS, NAMES[NEW]), 100, (0, 1))
    chi_square = ((counts - HOSTS / 100) ** 2 / (HOSTS / 100)).sum()
    assert 61 < chi_square < 149  # 99 degrees of freedom: 0.1 % lie outside at either end


def test_places_of_two_versions_have_nothing_to_do_with_each_other() -> None:
    first, second = (find_places(HOSTS, Version(name)) for name in ("2.1.0", "2.1.1"))
    counts, _, _ = np.histogram2d(first, second, 10, ((0, 1), (0, 1)))
    chi_square = ((counts - HOSTS / 100) ** 2 / (HOSTS / 100)).sum()
    assert 61 < chi_square < 149
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(HOSTS)


@pytest.mark.parametrize("name", ["smooth", "failing", "cut", "resumed", "leaping"])
def test_hosts_follow_the_waves_within_the_stated_error(name: str) -> None:
    found = judge_following(story(name))
    assert found.holds
    assert found.error == pytest.approx(2 / np.sqrt(story(name).is_plain.sum()))
    assert story(name).course.decided_twice > 100


def test_what_the_wait_for_the_next_check_does_not_explain_is_chance() -> None:
    found = judge_following(story("smooth"))
    assert found.unexplained < found.error
    assert 0 <= found.lag_most <= SMALL.gap + SMALL.cached


def test_a_bad_count_would_break_the_stated_error() -> None:
    spoilt = story("smooth")
    course = replace(spoilt.course, started=spoilt.course.started - 2 * SMALL.gap)
    assert not judge_following(replace(spoilt, course=course)).holds
    course = replace(spoilt.course, started=spoilt.course.started + 2 * SMALL.gap)
    assert not judge_following(replace(spoilt, course=course)).holds


def test_a_pause_stops_the_growth_at_what_was_planned() -> None:
    paused = story("failing")
    started = paused.course.started[paused.is_plain]
    settled = 3 * HOUR + SMALL.gap + SMALL.cached
    assert not ((started > settled) & np.isfinite(started)).any()
    planned = make_rollout(*LAST_WAVE).share_at(3 * HOUR)
    grown = SMALL.cached / (48 * HOUR)  # what a cache may still let through
    assert abs(paused.achieved_plain[-1] - planned) < judge_following(paused).error + grown


def test_an_abort_stops_when_the_last_cache_knows_it() -> None:
    stop = judge_stop(story("cut"), 4 * HOUR)
    assert stop.before > 0
    assert stop.last <= SMALL.cached
    assert stop.told[3] <= SMALL.gap + SMALL.cached + HOUR / 2  # of those on trial
    finished = story("cut").course.ended
    assert finished[np.isfinite(finished)].max() < 4 * HOUR + SMALL.cached + HOUR


def test_without_caches_nobody_begins_after_an_abort() -> None:
    habits = replace(SMALL, cached=0)
    stop = judge_stop(tell(habits, abort(publish(make_rollout(*LAST_WAVE)), 4), 6), 4 * HOUR)
    assert (stop.after, stop.last) == (0, 0)


def test_a_release_that_fails_is_taken_once_and_then_refused() -> None:
    failing = story("failing")
    broken = failing.fleet.is_broken & np.isfinite(failing.course.started)
    assert broken.sum() > 50
    assert (failing.course.ended[broken] > failing.course.started[broken] + SMALL.fallback).all()
    assert decide(0, STONE, 9 * HOUR, publish(QUICK)[0], is_refused=True) == STONE


def test_going_on_after_a_pause_leaps_only_where_the_waves_did_not_move() -> None:
    def share_soon_after(name: str) -> float:
        return float(story(name).achieved[10 * 60 - 1] - story(name).achieved[8 * 60 - 1])

    assert share_soon_after("resumed") < 0.04
    assert share_soon_after("leaping") > 0.12


def test_hosts_at_1_x_take_the_stepping_stone_first() -> None:
    course = tell(SMALL, publish(QUICK, SLOW_STONE), 12, seed=3).course
    both = np.isfinite(course.stone_started) & np.isfinite(course.started)
    assert both.sum() > 100
    assert (course.started[both] >= course.stone_ended[both]).all()


def test_the_same_seed_gives_the_same_course() -> None:
    first, again, other = (tell(SMALL, publish(QUICK), 3, seed=seed).course for seed in (5, 5, 6))
    assert np.array_equal(first.started, again.started)
    assert np.array_equal(first.checks, again.checks)
    assert not np.array_equal(first.started, other.started)


def test_a_difference_from_production_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.rollout.simulate.decide", lambda *_, **__: NEW)
    with pytest.raises(Differs, match="production: 2"):
        tell(replace(SMALL, hosts=100), publish(QUICK), 1, followed=100)


def test_the_bytes_over_time_add_up_to_the_bytes_of_all_downloads() -> None:
    smooth = story("smooth")
    count = np.isfinite(smooth.course.started[smooth.course.started < 9 * HOUR]).sum()
    starts = np.where(smooth.course.started < 9 * HOUR, smooth.course.started, np.inf)
    rates = load.bits_over_time(smooth, starts, 7.8)
    assert rates.sum() * 60 * 1e9 / 8 == pytest.approx(count * 7.8 * 2**20)


def test_sizes_come_from_the_page_where_it_has_them(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    assert load.find_sizes(page) == load.MEASURED
    rows = {"abctl, full": 500.5, "abctl, by blocks": 150.5, "abctl, delta": 7.5, "abctl, delta, slow": 9.0}
    page.write_text("".join(f"| {row} | 1.0 | 2.0 | 3.0 | {size} | 4.0 |\n" for row, size in rows.items()))
    found = load.find_sizes(page)
    assert (found.full, found.blocks, found.delta) == (500.5, 150.5, 7.5)


def test_the_page_has_all_its_figures_and_pictures(tmp_path: Path) -> None:
    stories = Stories(*(story(name) for name in ("smooth", "failing", "cut", "resumed", "leaping", "smooth")))
    write_report(stories, [SweepRow(900, 60, 115.0, 50.9, 1105.0)], load.MEASURED, tmp_path)
    page = (tmp_path / "rollout.md").read_text()
    assert not re.search("@[a-z ]+@", page)
    assert "| 15 min | 1 min | 115 | 51 s | 18 min |" in page
    for picture in re.findall(r"\((rollout/\w+\.svg)\)", page):
        assert (tmp_path / picture).read_text().endswith("</svg>\n")


def test_the_load_knows_both_ways_of_the_stone() -> None:
    measured = measure_load(story("smooth"), load.MEASURED)
    assert measured.rates["full"].sum() > measured.rates["blocks"].sum() > measured.rates["delta"].sum()
    assert measured.metadata[120:].mean() == pytest.approx(2 * HOSTS / 3900, rel=0.1)


def test_a_line_beyond_its_axis_stays_in_the_picture() -> None:
    axis = Axis("Gbit/s", 1, 100, (1, 10, 100), is_log=True)
    picture = plot_lines("a & b", Axis("h", 0, 2, (0, 1, 2)), axis, [Line("x", [(0, 0.1), (3, 1e9)], "red")])
    assert 'points="78.0,322.0 740.0,52.0"' in picture
    assert "a &amp; b" in picture
