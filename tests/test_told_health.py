"""What the health service decides at exactly its limits, in which words, and what it leaves for others."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from abctl.core.exposition import Family, Sample, render
from abctl.core.health import (
    CheckResult,
    Confirm,
    Decision,
    GiveUp,
    HealthPolicy,
    MinFree,
    Verdict,
    Wait,
    Watched,
    decide,
    judge,
    parse_min_free,
)
from abctl.core.health_state import HealthState, Stand, decode, encode
from abctl.core.slot import SlotName
from abctl.core.units import Seconds
from tests.told import told

POLICY = HealthPolicy()
PASSED, FAILED, WARNED = Verdict
FINE = CheckResult("boot", True, PASSED)
NET = CheckResult("net", True, FAILED, "no address")
DISK = CheckResult("disk", True, FAILED, "it is full")
UNITS = CheckResult("units", True, FAILED, "a.service failed")


# --- a check ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "required", "result", "sentence"),
    [
        (
            None,
            True,
            CheckResult("net", True, PASSED, "two", 1.5),
            "required check net passed: two",
        ),
        (None, False, CheckResult("net", False, PASSED, "two", 1.5), "wanted check net passed: two"),
        (
            "none",
            True,
            CheckResult("net", True, FAILED, "none", 1.5),
            "required check net failed: none",
        ),
        ("none", False, CheckResult("net", False, WARNED, "none", 1.5), "wanted check net warned: none"),
        ("", True, CheckResult("net", True, FAILED, "", 1.5), "required check net failed: "),
    ],
)
def test_a_check_is_judged_by_what_it_found(
    problem: str | None, required: bool, result: CheckResult, sentence: str
) -> None:
    found = judge("net", problem, required=required, said="two", took=1.5)
    assert (found, found.sentence) == (result, sentence)
    assert found.is_failure is (result.verdict is FAILED)


def test_only_a_required_check_that_failed_is_a_failure() -> None:
    results = [CheckResult("x", required, verdict) for required in (True, False) for verdict in Verdict]
    assert [item.is_failure for item in results] == [False, True, False, False, False, False]


def test_without_a_word_a_check_said_nothing_and_took_no_time() -> None:
    assert judge("net", None, required=True) == CheckResult("net", True, PASSED, "", 0.0)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (" two\n  lines\there ", "two lines here"),
        ("a\x07b", "a?b"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 197 + "..."),
    ],
)
def test_a_text_is_one_line_and_says_where_it_was_cut(text: str, kept: str) -> None:
    assert CheckResult("net", True, FAILED, text).text == kept


def test_a_name_is_cut_as_well() -> None:
    assert [len(CheckResult("n" * count, True, FAILED).name) for count in (64, 65)] == [64, 64]
    assert CheckResult("n" * 65, True, FAILED).name == "n" * 61 + "..."


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("5%", MinFree(share=0.05)),
        (" 12.5% ", MinFree(share=0.125)),
        ("0%", MinFree(share=0.0)),
        ("99.999%", MinFree(share=0.99999)),
        ("200MiB", MinFree(size=209_715_200)),
        ("7", MinFree(size=7)),
    ],
)
def test_what_must_be_free_is_a_share_or_a_size(text: str, least: MinFree) -> None:
    found = parse_min_free(text)
    assert found.size == least.size
    assert found.share == pytest.approx(least.share)


@pytest.mark.parametrize("text", ["100%", "100.0%", "5 %", "1.2345%", "-1%", "%", "5%%"])
def test_a_share_of_all_or_of_nonsense_is_refused(text: str) -> None:
    assert told(ValueError, parse_min_free, text) == f"not a share from 0% to below 100%: {text!r}"


def test_a_long_share_is_not_repeated_whole() -> None:
    said = told(ValueError, parse_min_free, "9" * 60 + "%")
    assert said == f"not a share from 0% to below 100%: '{'9' * 40}'"


def test_of_share_and_size_the_larger_must_be_free_and_a_share_is_rounded_down() -> None:
    assert MinFree(share=0.05).of(199) == 9
    assert MinFree(share=0.5, size=40).of(100) == 50
    assert MinFree(share=0.5, size=60).of(100) == 60


# --- a course of checks -----------------------------------------------------------------------------


def watch(*rounds: tuple[float, float, list[CheckResult]], policy: HealthPolicy = POLICY) -> Watched:
    watched = Watched()
    for started, ended, results in rounds:
        watched = watched.with_round(results, started=started, ended=ended, policy=policy)
    return watched


def test_health_is_counted_from_the_end_of_the_first_good_round_to_that_of_the_last() -> None:
    watched = watch((10, 12, [FINE]), (17, 19, [FINE]))
    assert watched == Watched((FINE,), ("boot",), healthy_since=12, seen_at=19)
    assert watched.healthy_for == 7


@pytest.mark.parametrize("results", [[], [CheckResult("fan", False, PASSED)], [FINE, NET], [NET]])
def test_a_round_with_a_failure_or_without_a_required_check_is_no_health(results: list[CheckResult]) -> None:
    watched = watch((0, 0, results))
    assert (watched.healthy_since, watched.seen_at, watched.healthy_for) == (None, 0, 0.0)


@pytest.mark.parametrize(("started", "since"), [(65.0, 0.0), (65.1, 70.0)])
def test_a_minute_more_than_the_interval_without_a_look_begins_health_anew(
    started: float, since: float
) -> None:
    assert watch((0, 0, [FINE]), (started, 70, [FINE])).healthy_since == since


def test_a_gap_is_counted_from_the_end_of_the_last_round() -> None:
    assert watch((0, 0, [FINE]), (10, 60, [FINE]), (120, 121, [FINE])).healthy_since == 0


def test_the_first_failure_of_the_last_round_that_had_one_is_remembered() -> None:
    assert watch((0, 0, [FINE, DISK, NET])).last_failure == DISK
    assert watch((0, 0, [NET]), (1, 1, [replace(NET, verdict=PASSED)])).last_failure == NET
    assert watch((0, 0, [NET]), (1, 1, [DISK, replace(NET, verdict=PASSED)])).last_failure == DISK


def test_checks_that_were_required_once_stay_so_in_the_order_in_which_they_came() -> None:
    watched = watch((0, 0, [UNITS, NET]), (1, 1, [DISK, NET]))
    gone = CheckResult("units", True, FAILED, "it is not there any more")
    assert watched.required == ("units", "net", "disk")
    assert watched.results == (DISK, NET, gone)


@pytest.mark.parametrize(
    ("since_boot", "watched", "decision"),
    [
        (20, Watched(), Wait(5.0, "no check has run yet")),
        (599.5, Watched(), Wait(0.5, "no check has run yet")),
        (599.99, Watched(), Wait(0.1, "no check has run yet")),
        (600, Watched(), GiveUp("no required check had a result 600 s after the boot")),
        (20, watch((20, 20, [NET])), Wait(5.0, "required check net failed: no address")),
        (
            600,
            watch((20, 20, [NET, DISK, UNITS])),
            GiveUp("required check net failed: no address (failed too: disk, units)"),
        ),
        (50, watch((0, 10, [FINE]), (39, 39.9, [FINE])), Wait(0.1, "healthy for 30 s of 30 s")),
        (50, watch((0, 10, [FINE]), (39, 40, [FINE])), Confirm()),
        (600, watch((0, 10, [FINE]), (39, 40, [FINE])), Confirm()),
        (20, watch((0, 10, [FINE]), (20, 20, [FINE])), Wait(5.0, "healthy for 10 s of 30 s")),
        (598, watch((0, 580, [FINE]), (598, 598, [FINE])), Wait(2.0, "healthy for 18 s of 30 s")),
        (
            600,
            watch((0, 580, [FINE]), (600, 600, [FINE])),
            GiveUp(
                "it was healthy for 20 s of the 30 s that are wanted when the deadline came, 600 s after the "
                "boot"
            ),
        ),
        (
            600,
            watch((0, 570, [NET]), (580, 580, [replace(NET, verdict=PASSED)])),
            GiveUp(
                "it was healthy for 0 s of the 30 s that are wanted when the deadline came, 600 s after the "
                "boot; before that: required check net failed: no address"
            ),
        ),
    ],
)
def test_what_is_decided_of_a_trial(since_boot: float, watched: Watched, decision: Decision) -> None:
    found = decide(watched, since_boot=since_boot, policy=POLICY)
    if isinstance(decision, Wait):
        assert isinstance(found, Wait)
        assert found.seconds == pytest.approx(decision.seconds)
        assert found.why == decision.why
    else:
        assert found == decision


# --- what the service leaves ------------------------------------------------------------------------

STATE = HealthState(Seconds(5), SlotName.B, True, Stand.GAVE_UP, "it hums", (NET, FINE))
STATE_AS_TEXT = b"""{
 "at": 5,
 "slot_set": "B",
 "on_trial": true,
 "stand": "gave_up",
 "why": "it hums",
 "results": [
  {
   "name": "net",
   "required": true,
   "verdict": "failed",
   "text": "no address",
   "took": 0.0
  },
  {
   "name": "boot",
   "required": true,
   "verdict": "passed",
   "text": "",
   "took": 0.0
  }
 ]
}
"""


def test_the_state_of_the_service_is_left_in_this_form() -> None:
    assert encode(STATE) == STATE_AS_TEXT
    assert decode(STATE_AS_TEXT) == STATE
    assert STATE.failures == (NET,)


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [
        (b'"slot_set": "B"', b'"slot_set": null', replace(STATE, slot_set=None)),
        (b'"took": 0.0', b'"took": 3', replace(STATE, results=(replace(NET, took=3.0), FINE))),
    ],
)
def test_a_state_with_other_values_that_can_be_is_read(
    before: bytes, after: bytes, state: HealthState
) -> None:
    assert decode(STATE_AS_TEXT.replace(before, after, 1)) == state


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"at": 5', b'"at": 5.0'),
        (b'"why": "it hums"', b'"why": 5'),
        (b'"name": "net"', b'"name": 5'),
        (b'"required": true', b'"required": 1'),
        (b'"verdict": "failed"', b'"verdict": "so so"'),
        (b'"text": "no address"', b'"text": null'),
        (b'"took": 0.0', b'"took": true'),
        (b'"took": 0.0', b'"took": -1'),
        (b"{\n ", b"[\n "),
    ],
)
def test_a_state_with_a_value_that_cannot_be_is_not_read(before: bytes, after: bytes) -> None:
    assert decode(STATE_AS_TEXT.replace(before, after, 1)) is None


def test_no_more_than_a_thousand_results_are_read() -> None:
    many = replace(STATE, results=tuple(replace(FINE, took=float(number)) for number in range(1001)))
    found = decode(encode(many))
    assert found is not None
    assert [item.took for item in found.results] == [float(number) for number in range(1000)]


# --- metrics ----------------------------------------------------------------------------------------


def test_families_are_rendered_in_this_form() -> None:
    families = [
        Family(
            "abctl_a",
            'a "back\\slash"\nand a line',
            (Sample(1, {"x": "A", "y": '"\\\n'}), Sample(2.5, {"x": "B", "y": "é"})),
        ),
        Family("abctl_b", "nothing of it is known", ()),
        Family("abctl_c", "one number", (Sample(3),)),
    ]
    assert render(families) == (
        '# HELP abctl_a a "back\\\\slash"\\nand a line\n'
        "# TYPE abctl_a gauge\n"
        'abctl_a{x="A",y="\\"\\\\?"} 1\n'
        'abctl_a{x="B",y="é"} 2.5\n'
        "# HELP abctl_c one number\n"
        "# TYPE abctl_c gauge\n"
        "abctl_c 3\n"
    )
    assert render([]) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (True, "1"),
        (-2.0, "-2"),
        (1e15, "1000000000000000"),
        (0.1, "0.1"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
    ],
)
def test_a_number_is_written_as_prometheus_reads_it(value: float, text: str) -> None:
    assert render([Family("a", "help", (Sample(value),))]).splitlines()[-1] == f"a {text}"


def test_a_label_is_cut_at_two_hundred_characters() -> None:
    said = render([Family("a", "help", (Sample(1, {"x": "y" * 201}),))])
    assert said.splitlines()[-1] == f'a{{x="{"y" * 200}"}} 1'


ONE = Sample(1, {"x": "a", "y": "b"})
NAMES = ": a name of a metric or label has small letters, digits and _"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Family("A", "help", ()), f"A{NAMES}"),
        (lambda: Family("1a", "help", ()), f"1a{NAMES}"),
        (lambda: Family("a", "help", (ONE, Sample(1, {"X": "a"}))), f"a{NAMES}"),
        (
            lambda: Family("a", "help", (ONE, Sample(1, {"x": "a"}))),
            "a: all samples must have the same labels",
        ),
        (lambda: Family("a", "help", (Sample(1), Sample(2))), "a: two samples have the same labels"),
        # What is the same after it was cleaned and cut is the same.
        (
            lambda: Family(
                "a", "help", (Sample(1, {"x": "a" * 200 + "b"}), Sample(1, {"x": "a" * 200 + "c"}))
            ),
            "a: two samples have the same labels",
        ),
        (
            lambda: render([Family("a", "help", ()), Family("b", "help", ()), Family("a", "x", ())]),
            "a comes twice",
        ),
    ],
)
def test_what_prometheus_would_refuse_is_told_by_the_name_of_the_metric(
    make: Callable[[], object], said: str
) -> None:
    assert told(ValueError, make) == said


def test_samples_differ_where_one_of_their_labels_does_in_whatever_order_they_stand() -> None:
    samples = (ONE, Sample(1, {"y": "a", "x": "b"}), Sample(1, {"x": "a", "y": "c"}))
    assert len(Family("a1_b", "help", samples).samples) == 3
