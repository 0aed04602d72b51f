"""When a trial is confirmed and when it is given up: for every course of checks and clocks."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abctl.core.config import parse_config
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
from abctl.core.units import MIB, Seconds
from abctl.errors import BadConfig

POLICY = HealthPolicy()


def passed(name: str = "boot", *, required: bool = True) -> CheckResult:
    return judge(name, None, required=required)


def failed(name: str = "boot", *, required: bool = True) -> CheckResult:
    return judge(name, "it is broken", required=required)


def watch(
    *rounds: tuple[float, list[CheckResult]], policy: HealthPolicy = POLICY
) -> tuple[Watched, Decision]:
    """Return what is known after rounds that ended at these times, and what is decided then."""
    watched = Watched()
    for at, results in rounds:
        watched = watched.with_round(results, started=at, ended=at, policy=policy)
    return watched, decide(watched, since_boot=rounds[-1][0], policy=policy)


# --- every course -----------------------------------------------------------------------------------

ROUNDS = st.lists(
    st.tuples(
        st.floats(0, 90),  # pause before it
        st.floats(0, 40),  # how long it takes
        st.dictionaries(st.sampled_from("abc"), st.sampled_from(Verdict), max_size=3),
        st.booleans(),  # a wanted check fails beside them
    ),
    min_size=1,
    max_size=30,
)
POLICIES = st.builds(
    HealthPolicy,
    deadline=st.floats(60, 900),
    healthy_for=st.floats(1, 59),
    interval=st.floats(1, 30),
)


@given(ROUNDS, POLICIES)
def test_no_course_is_confirmed_before_it_was_healthy_for_long_enough_without_a_break(
    rounds: list[tuple[float, float, dict[str, Verdict], bool]], policy: HealthPolicy
) -> None:
    watched, now = Watched(), 0.0
    seen: set[str] = set()
    healthy_since: float | None = None  # what the test itself makes of the course
    for pause, took, verdicts, warns in rounds:
        started, now = now + pause, now + pause + took
        results = [CheckResult(name, True, verdict) for name, verdict in verdicts.items()]
        results += [failed("wanted", required=False)] * warns
        watched = watched.with_round(results, started=started, ended=now, policy=policy)
        seen |= set(verdicts)
        is_healthy = bool(seen) and set(verdicts) == seen and Verdict.FAILED not in verdicts.values()
        healthy_since = (now if healthy_since is None else healthy_since) if is_healthy else None
        healthy_for = -1.0 if healthy_since is None else now - healthy_since
        assert_sound(decide(watched, since_boot=now, policy=policy), now, healthy_for, policy)


def assert_sound(decision: Decision, now: float, healthy_for: float, policy: HealthPolicy) -> None:
    match decision:
        case Confirm():
            assert healthy_for >= policy.healthy_for
        case GiveUp(reason):
            assert now >= policy.deadline
            assert reason
        case Wait(seconds):
            assert now < policy.deadline
            assert 0.1 <= seconds <= policy.interval
            assert now + seconds <= policy.deadline + 0.1


@given(POLICIES, st.floats(0, 300))
def test_what_is_healthy_early_enough_is_always_confirmed(policy: HealthPolicy, healthy_at: float) -> None:
    watched, now = Watched(), 0.0
    while True:
        result = passed() if now >= healthy_at else failed()
        watched = watched.with_round([result], started=now, ended=now, policy=policy)
        decision = decide(watched, since_boot=now, policy=policy)
        if not isinstance(decision, Wait):
            break
        now += decision.seconds
    in_time = healthy_at + policy.interval + policy.healthy_for < policy.deadline
    assert isinstance(decision, Confirm) or not in_time


# --- single rules -----------------------------------------------------------------------------------


def test_healthy_for_thirty_seconds_is_confirmed() -> None:
    assert watch((20, [passed()]), (49, [passed()]))[1] == Wait(1, "healthy for 29 s of 30 s")
    assert watch((20, [passed()]), (50, [passed()]))[1] == Confirm()


def test_a_break_begins_the_time_anew() -> None:
    course = [(0, [passed()]), (25, [failed()]), (26, [passed()])]
    assert isinstance(watch(*course, (55, [passed()]))[1], Wait)
    assert watch(*course, (56, [passed()]))[1] == Confirm()


def test_nobody_looked_for_minutes_so_the_time_begins_anew() -> None:
    assert isinstance(watch((0, [passed()]), (200, [passed()]))[1], Wait)


def test_a_check_that_disappears_has_failed() -> None:
    watched, decision = watch((0, [passed("a"), passed("b")]), (40, [passed("a")]), (80, [passed("a")]))
    assert isinstance(decision, Wait)
    assert decision.why == "required check b failed: it is not there any more"
    assert watched.healthy_since is None


def test_a_check_that_is_not_required_any_more_has_disappeared() -> None:
    _, decision = watch((0, [passed("a"), passed("b")]), (40, [passed("a"), passed("b", required=False)]))
    assert isinstance(decision, Wait)


def test_without_a_single_required_result_nothing_is_healthy() -> None:
    assert isinstance(watch((0, []), (40, []))[1], Wait)
    assert isinstance(watch((0, [passed(required=False)]), (40, [passed(required=False)]))[1], Wait)
    reason = "no required check had a result 600 s after the boot"
    assert watch((600, []))[1] == GiveUp(reason)


def test_a_wanted_check_only_warns() -> None:
    bad = failed("fan", required=False)
    assert bad.verdict is Verdict.WARNED
    assert watch((0, [passed(), bad]), (30, [passed(), bad]))[1] == Confirm()


def test_of_two_checks_with_one_name_both_count() -> None:
    assert isinstance(watch((0, [passed("a"), failed("a")]), (40, [passed("a"), failed("a")]))[1], Wait)


def test_giving_up_names_what_failed() -> None:
    _, decision = watch((600, [passed("a"), failed("b"), failed("c")]))
    assert decision == GiveUp("required check b failed: it is broken (failed too: c)")


def test_giving_up_what_flaps_names_what_failed_before() -> None:
    _, decision = watch((580, [failed("net")]), (590, [passed("net")]), (600, [passed("net")]))
    assert isinstance(decision, GiveUp)
    assert "healthy for 10 s of the 30 s" in decision.reason
    assert decision.reason.endswith("before that: required check net failed: it is broken")


def test_healthy_at_the_deadline_is_confirmed() -> None:
    assert watch((570, [passed()]), (600, [passed()]))[1] == Confirm()


def test_a_text_from_a_check_is_one_clean_bounded_line() -> None:
    result = judge("na\x1b[31m\nme" * 40, "bad\n\x1b[2J\x07" + "x" * 500, required=True)
    assert result.text.isprintable()
    assert result.name.isprintable()
    assert (len(result.text), len(result.name)) == (200, 64)
    assert "\n" not in result.sentence


# --- configuration ----------------------------------------------------------------------------------


def policy_of(text: str) -> HealthPolicy:
    return parse_config(f"[health]\n{text}", "config.toml").health.policy


def test_without_a_word_the_policy_is_the_default_one() -> None:
    assert policy_of("") == HealthPolicy()


def test_a_policy_is_as_it_is_configured() -> None:
    policy = policy_of('deadline = 900\nhealthy_for = 60\nmay_fail = ["a.service"]\nmin_free = "100MiB"')
    assert policy == replace(
        POLICY, deadline=900, healthy_for=60, may_fail=("a.service",), min_free=MinFree(size=100 * MIB)
    )


@pytest.mark.parametrize(
    "text",
    [
        "deadline = 59",
        "deadline = 86401",
        'deadline = "600"',
        "healthy_for = 0",
        "deadline = 60\nhealthy_for = 60",
        "deadline = 60\ncheck_timeout = 60",
        "deadline = 60\ninterval = 60",
        "interval = 0",
        'may_fail = [""]',
        'may_fail = ["a b"]',
        'may_fail = "a.service"',
        'min_free = "100%"',
        'min_free = "-1%"',
        'min_free = "lots"',
        "min_free = 5",
        "unknown = 1",
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(BadConfig, match="health"):
        policy_of(text)


def test_min_free_is_a_share_or_a_size() -> None:
    assert parse_min_free("12.5%").of(1000) == 125
    assert parse_min_free("1KiB").of(1000) == 1024
    assert parse_min_free("0%").of(1000) == 0


# --- what the service leaves ------------------------------------------------------------------------

STATE = HealthState(
    Seconds(1_800_000_000),
    SlotName.B,
    True,
    Stand.WATCHING,
    "why",
    (passed("a"), failed("b", required=False)),
)


def test_a_state_is_read_as_it_was_written() -> None:
    assert decode(encode(STATE)) == STATE
    assert decode(encode(replace(STATE, slot_set=None, results=()))) == replace(
        STATE, slot_set=None, results=()
    )


@given(st.data())
def test_a_damaged_state_is_none_or_another_and_never_an_error(data: st.DataObject) -> None:
    whole = encode(STATE)
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + data.draw(st.integers(0, 3)) :]
    found = decode(damaged)
    assert found is None or isinstance(found, HealthState)


@pytest.mark.parametrize(
    "change",
    [
        {"at": True},
        {"at": -1},
        {"at": 1e300},
        {"slot_set": "C"},
        {"stand": "asleep"},
        {"why": None},
        {"on_trial": 1},
        {"results": {}},
        {"results": [{"name": "a"}]},
        {"results": [None]},
        {"results": None},
    ],
)
def test_a_state_with_a_wrong_field_is_none(change: dict[str, object]) -> None:
    values = {**json.loads(encode(STATE)), **change}
    found = decode(json.dumps(values).encode())
    assert found is None or (change == {"results": {}} and found.results == ())


def test_what_a_newer_abctl_adds_is_left_out() -> None:
    values = {**json.loads(encode(STATE)), "mood": "good"}
    assert decode(json.dumps(values).encode()) == STATE


def test_a_boot_that_was_not_checked_yet_was_healthy_for_no_time() -> None:
    assert Watched().healthy_for == 0
    assert Watched(seen_at=50.0).healthy_for == 0
    assert Watched(healthy_since=20.0, seen_at=50.0).healthy_for == 30


def test_of_the_last_round_only_required_checks_that_failed_are_failures() -> None:
    results = tuple(
        CheckResult(f"{verdict} {required}", required, verdict)
        for verdict in Verdict
        for required in (True, False)
    )
    state = HealthState(Seconds(0), SlotName.A, True, Stand.WATCHING, "", results)
    assert [item.name for item in state.failures] == [f"{Verdict.FAILED} True"]
