"""What a publisher types and is told: durations, waves, times; which releases stay on offer or are stuck."""

import pytest

from abctl.core.offer import KEEP, choose_offered, find_stuck
from abctl.core.rollout_spec import TIME_MAX, format_duration, parse_duration, parse_rollout, parse_time
from abctl.core.terms import Terms, Wave
from abctl.core.units import Seconds, Version
from tests.told import told

DAY = 86_400
NOW = Seconds(1_800_000_000)
LONG = "x" * 100


def waves(*pairs: tuple[int, float]) -> tuple[Wave, ...]:
    return tuple(Wave(after=after, share=share) for after, share in pairs)


# --- durations --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("1s", 1),
        ("90m", 5_400),
        ("12h", 43_200),
        (" 3d ", 259_200),
        ("2w", 1_209_600),
        ("999999999s", 999_999_999),
        ("36600d", 3_162_240_000),  # a hundred years of 366 days
    ],
)
def test_a_duration_is_read_in_each_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a duration such as 30m, 12h, 3d or 2w: ''"),
        ("3", "not a duration such as 30m, 12h, 3d or 2w: '3'"),
        ("3y", "not a duration such as 30m, 12h, 3d or 2w: '3y'"),
        ("1.5h", "not a duration such as 30m, 12h, 3d or 2w: '1.5h'"),
        ("1000000000s", "not a duration such as 30m, 12h, 3d or 2w: '1000000000s'"),
        (LONG, f"not a duration such as 30m, 12h, 3d or 2w: '{'x' * 40}'"),
        ("36601d", "longer than 100 years: '36601d'"),
        ("999999999w" + " " * 40, f"longer than 100 years: '999999999w{' ' * 30}'"),
    ],
)
def test_what_is_no_duration_is_told_by_an_example_and_cut(text: str, said: str) -> None:
    assert told(ValueError, parse_duration, text) == said


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (1, "1s"),
        (59, "59s"),
        (60, "1m"),
        (90, "90s"),
        (3_599, "3599s"),
        (3_600, "1h"),
        (5_400, "90m"),
        (DAY, "1d"),
        (36 * 3_600, "36h"),
        (6 * DAY, "6d"),
        (7 * DAY, "1w"),
        (8 * DAY, "8d"),
        (14 * DAY + 1, "1209601s"),
    ],
)
def test_a_duration_is_said_in_the_largest_unit_that_leaves_no_rest(seconds: int, text: str) -> None:
    assert format_duration(seconds) == text


# --- waves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("100%", waves((0, 1.0))),
        ("0%", waves((0, 0.0))),
        ("1%, 10%@1d ,100%@3d", waves((0, 0.01), (DAY, 0.1), (3 * DAY, 1.0))),
        ("33.333333%", waves((0, 0.33333333))),
        ("0.5%@90m", waves((5_400, 0.005))),
        # A share that stays for a while.
        ("10%@1d,10%@2d,100%@3d", waves((DAY, 0.1), (2 * DAY, 0.1), (3 * DAY, 1.0))),
    ],
)
def test_waves_are_shares_and_times_after_the_start(text: str, found: tuple[Wave, ...]) -> None:
    assert parse_rollout(text) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a wave such as 10%@1d: ''"),
        ("10", "not a wave such as 10%@1d: '10'"),
        ("10%,", "not a wave such as 10%@1d: ''"),
        ("100.000001%", "not a wave such as 10%@1d: '100.000001%'"),
        ("150%@1d", "not a wave such as 10%@1d: '150%@1d'"),
        ("999%", "not a wave such as 10%@1d: '999%'"),
        ("0.1234567%", "not a wave such as 10%@1d: '0.1234567%'"),
        (LONG, f"not a wave such as 10%@1d: '{'x' * 40}'"),
        ("10%@soon", "not a duration such as 30m, 12h, 3d or 2w: 'soon'"),
        ("1%@1d,2%@1d", "each wave must come after the one before and be no smaller: '1%@1d,2%@1d'"),
        ("1%@2d,2%@1d", "each wave must come after the one before and be no smaller: '1%@2d,2%@1d'"),
        ("2%@1d,1%@2d", "each wave must come after the one before and be no smaller: '2%@1d,1%@2d'"),
        (
            "1%," * 31 + "1%",
            f"each wave must come after the one before and be no smaller: '{'1%,' * 26}1%'",
        ),
        ("1%," * 32 + "1%", "a rollout has no more than 32 waves"),
    ],
)
def test_waves_that_cannot_be_are_told_and_cut(text: str, said: str) -> None:
    assert told(ValueError, parse_rollout, text) == said


# --- times ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("now", NOW),
        (" NOW ", NOW),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:01.9Z", 1),
        (" 2027-01-15T08:00:00Z ", 1_800_000_000),
        ("2027-01-15T08:00:00-05:00", 1_800_018_000),
        ("2255-03-14T16:00:00Z", TIME_MAX),
    ],
)
def test_a_time_has_a_zone_and_lies_between_1970_and_2255(text: str, at: int) -> None:
    assert parse_time(text, NOW) == at


@pytest.mark.parametrize(
    "text",
    [
        "",
        "noon",
        "2027-01-15T08:00:00",
        "1969-12-31T23:59:59Z",
        "2255-03-14T16:00:01Z",
        "0001-01-01T00:00:00+23:59",
        "2027-01-15T08:00:00Z" + "y" * 40,
    ],
)
def test_what_is_no_time_is_told_by_an_example_and_cut(text: str) -> None:
    said = told(ValueError, parse_time, text, NOW)
    assert said == f"not a time such as 2027-01-15T08:00:00Z, or now: {text[:40]!r}"


# --- what stays on offer ----------------------------------------------------------------------------


def release(version: str, needs: str | None = None, *layouts: str) -> Terms:
    return Terms(
        version=Version(version),
        layouts=layouts or ("hostos",),
        published=Seconds(0),
        download=0,
        needs=None if needs is None else Version(needs),
    )


def test_of_each_layout_the_newest_eight_stay_on_offer() -> None:
    every = [release(f"1.{minor}") for minor in range(10)]
    assert KEEP == 8
    assert choose_offered(every) == {f"1.{minor}" for minor in range(2, 10)}
    both = [*every, *(release(f"2.{minor}", None, "guestos") for minor in range(9))]
    assert choose_offered(both) == {f"1.{minor}" for minor in range(2, 10)} | {
        f"2.{minor}" for minor in range(1, 9)
    }


def test_a_release_for_two_layouts_keeps_a_stone_for_each_of_them() -> None:
    every = [
        release("1.0", None, "hostos"),
        release("1.1", None, "guestos"),
        release("1.2", None, "other"),
        release("2.0", "1.0", "hostos", "guestos"),
    ]
    assert choose_offered(every, keep=1) == {"1.0", "1.1", "1.2", "2.0"}
    assert choose_offered(every[2:], keep=1) == {"1.2", "2.0"}


def test_of_several_stones_the_newest_stays_and_only_where_none_is_on_offer() -> None:
    stones = [release("1.0"), release("1.1"), release("1.2")]
    assert choose_offered([*stones, release("3.0", "1.0")], keep=1) == {"1.2", "3.0"}
    assert choose_offered([*stones, release("3.0", "1.0")], keep=3) == {"1.1", "1.2", "3.0"}
    assert choose_offered([*stones, release("2.0", "1.2"), release("3.0", "1.0")], keep=2) == {
        "1.2", "2.0", "3.0",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("every", "stuck"),
    [
        ([release("1.0"), release("2.0", "1.0")], []),
        ([release("2.0", "1.0")], ["2.0"]),
        ([release("0.9"), release("2.0", "1.0")], ["2.0"]),
        ([release("1.5"), release("2.0", "1.0")], []),
        # No newer one leads back, nor does one that needs as much itself.
        ([release("3.0"), release("2.0", "1.0")], ["2.0"]),
        ([release("1.5", "1.0"), release("2.0", "1.0")], ["1.5", "2.0"]),
        ([release("1.5", "0.9"), release("2.0", "1.0"), release("0.9")], []),
        ([release("1.0", None, "guestos"), release("2.0", "1.0")], ["2.0"]),
        ([release("1.0"), release("2.0", "1.0", "hostos", "guestos")], ["2.0"]),
        ([release("1.0"), release("1.1", None, "guestos"), release("2.0", "1.0", "hostos", "guestos")], []),
        ([release("4.0", "3.0"), release("2.0", "1.0")], ["4.0", "2.0"]),
    ],
)
def test_a_release_is_stuck_that_hosts_of_one_of_its_layouts_cannot_come_to(
    every: list[Terms], stuck: list[str]
) -> None:
    assert [terms.version for terms in find_stuck(iter(every))] == stuck
