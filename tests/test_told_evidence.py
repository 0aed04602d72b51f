"""What is kept of trials, to the byte, and what is left out first where there is no room for all of it."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from abctl.core.evidence import (
    FORM,
    Attempt,
    Evidence,
    Stage,
    TrialEvidence,
    clean_line,
    clean_tail,
    decode,
    decode_half,
    empty_file,
    encode_half,
    place_for,
)
from abctl.core.health import CheckResult, Verdict
from abctl.core.slot import SlotName
from abctl.core.units import Seconds, Version

A, B = SlotName.A, SlotName.B
HALF, TIME_END = 131_072, 253_402_300_800
GRUB, KERNEL, USERLAND, CHECKS, CONFIRMED = Stage
FAN = CheckResult("fan", False, Verdict.WARNED, "it hüms", 0.5)


def body_of(evidence: Evidence) -> bytes:
    body = FORM.unseal(encode_half(evidence))
    assert body is not None
    return body


def sealed(trials: Iterable[Any], serial: object = 3) -> bytes:
    half = FORM.seal(json.dumps({"serial": serial, "trials": list(trials)}).encode())
    assert half is not None
    return half


def read(half: bytes) -> Evidence:
    evidence = decode_half(half)
    assert evidence is not None
    return evidence


# --- notes ------------------------------------------------------------------------------------------


def test_the_last_four_trials_are_kept_and_one_that_is_known_keeps_its_place() -> None:
    evidence = Evidence()
    for generation in range(1, 7):
        evidence = evidence.note(A, None, generation, 1, KERNEL)
    assert [trial.generation for trial in evidence.trials] == [3, 4, 5, 6]
    again = evidence.note(A, None, 4, 3, CHECKS)
    assert [(trial.generation, len(trial.attempts)) for trial in again.trials] == [
        (3, 1),
        (4, 2),
        (5, 1),
        (6, 1),
    ]


def test_of_two_trials_of_one_generation_the_newer_is_found() -> None:
    older, newer = TrialEvidence(A, None, 5), TrialEvidence(B, None, 5)
    evidence = Evidence((older, newer))
    assert evidence.find(5) == newer
    assert evidence.find(6) is None


@pytest.mark.parametrize("number", [0, 4])
def test_a_boot_that_no_trial_has_is_refused_in_these_words(number: int) -> None:
    with pytest.raises(ValueError, match=f"^a trial has boots 1 to 3, not {number}$"):
        Evidence().note(A, None, 1, number, GRUB)


def test_what_is_noted_of_a_boot_is_bounded_and_stays_until_something_else_is_noted() -> None:
    checks = [replace(FAN, name=f"fan-{number}") for number in range(65)]
    first = Evidence().note(
        A, None, 1, 1, CHECKS, at=Seconds(5), ended="x" * 201, checks=checks, tail=map(str, range(61))
    )
    (attempt,) = first.trials[0].attempts
    assert attempt == Attempt(
        1, CHECKS, Seconds(5), "x" * 200, tuple(checks[:64]), tuple(map(str, range(1, 61)))
    )
    assert first.note(A, None, 1, 1, KERNEL) == first
    (later,) = first.note(A, None, 1, 1, CONFIRMED, at=Seconds(0), tail=["last"]).trials[0].attempts
    assert later == replace(attempt, stage=CONFIRMED, at=Seconds(0), tail=("last",))


def test_the_boots_of_a_trial_are_in_their_order_whenever_they_were_noted() -> None:
    trial = TrialEvidence(A, None, 1).reached(3, GRUB).reached(1, CHECKS).reached(2, KERNEL, Seconds(9))
    assert trial.attempts == (Attempt(1, CHECKS), Attempt(2, KERNEL, Seconds(9)), Attempt(3, GRUB))
    assert trial.reached(1, USERLAND, Seconds(4)).find(1) == Attempt(1, CHECKS, Seconds(4))
    assert (trial.find(2), trial.find(4)) == (Attempt(2, KERNEL, Seconds(9)), None)


def test_a_line_is_what_a_terminal_can_show_and_no_longer_than_its_limit() -> None:
    assert clean_line(" a\tb\x1b[1m \n") == "a b [1m"
    assert (len(clean_line("x" * 161)), clean_line("x" * 9, 4)) == (160, "xxxx")
    assert clean_tail([" ", "a", "\n", "b"]) == ("a", "b")


# --- bytes ------------------------------------------------------------------------------------------

TRIAL = TrialEvidence(B, Version("2"), 7, (Attempt(1, CHECKS, Seconds(5), "it hüms", (FAN,), ("a", "b")),))
BODY = (
    '{"serial":3,"trials":[{"slot_set":"B","version":"2","generation":7,"attempts":[{"number":1,"stage":'
    '"checks","at":5,"ended":"it hüms","checks":[{"name":"fan","required":false,"verdict":"warned","text":'
    '"it hüms","took":0.5}],"tail":["a","b"]}]}]}'
).encode()


def test_the_evidence_is_kept_in_this_form() -> None:
    assert body_of(Evidence((TRIAL,), 3)) == BODY
    half = encode_half(Evidence((TRIAL,), 3))
    assert half.startswith(b"abctl-evidence 1 ")
    assert len(half) == HALF
    assert read(half) == Evidence((TRIAL,), 3)


@pytest.mark.parametrize(
    ("took", "kept"),
    [
        (0.0, 0.0),
        (0.12345, 0.123),
        (TIME_END - 1.0, TIME_END - 1.0),
        (float(TIME_END), 0.0),
        (-0.5, 0.0),
        (float("nan"), 0.0),
    ],
)
def test_what_a_check_took_is_kept_to_the_millisecond_where_it_can_be(took: float, kept: float) -> None:
    attempt = Attempt(1, CHECKS, checks=(replace(FAN, took=took),))
    (trial,) = read(encode_half(Evidence((TrialEvidence(B, None, 1, (attempt,)),)))).trials
    assert trial.attempts[0].checks[0].took == kept


def attempt_values(number: int = 1, **more: object) -> dict[str, object]:
    values = {"number": number, "stage": "checks", "at": None, "ended": "", "checks": [], "tail": []}
    return {**values, **more}


def trial_values(*attempts: object, generation: int = 7) -> dict[str, object]:
    return {"slot_set": "B", "version": None, "generation": generation, "attempts": list(attempts)}


def test_no_more_is_read_than_is_ever_kept() -> None:
    check = {"name": "fan", "required": True, "verdict": "failed", "text": "it hums", "took": 1}
    attempt = attempt_values(
        checks=[{**check, "took": number} for number in range(65)],
        tail=[*map(str, range(61)), ""],
        ended="x" * 201,
    )
    trials = [trial_values(attempt, generation=number) for number in range(5)]
    evidence = read(sealed(trials))
    assert [trial.generation for trial in evidence.trials] == [1, 2, 3, 4]
    (found,) = evidence.trials[0].attempts
    assert [item.took for item in found.checks] == [float(number) for number in range(64)]
    assert found.tail == tuple(map(str, range(1, 61)))
    assert (found.ended, found.at) == ("x" * 200, None)


@pytest.mark.parametrize(
    ("attempt", "is_read"),
    [
        (attempt_values(1, at=0), True),
        (attempt_values(3, at=TIME_END - 1), True),
        (attempt_values(0), False),
        (attempt_values(4), False),
        (attempt_values(at=TIME_END), False),
        (attempt_values(at=-1), False),
    ],
    ids=str,
)
def test_numbers_that_cannot_be_make_the_half_unreadable(attempt: object, is_read: bool) -> None:
    assert (decode_half(sealed([trial_values(attempt)])) is not None) is is_read


@pytest.mark.parametrize(
    ("wrong", "is_read"),
    [
        ({}, True),
        ({"took": 0}, True),
        ({"took": TIME_END - 1}, True),
        ({"took": TIME_END}, False),
        ({"took": -0.5}, False),
        ({"took": True}, False),
        ({"required": 1}, False),
    ],
    ids=str,
)
def test_a_check_that_cannot_be_makes_the_half_unreadable(wrong: dict[str, object], is_read: bool) -> None:
    check = {"name": "fan", "required": True, "verdict": "failed", "text": "it hums", "took": 1.5, **wrong}
    half = sealed([trial_values(attempt_values(checks=[check]))])
    assert (decode_half(half) is not None) is is_read


def test_boots_are_read_in_their_order() -> None:
    evidence = read(sealed([trial_values(attempt_values(2), attempt_values(1))]))
    assert [attempt.number for attempt in evidence.trials[0].attempts] == [1, 2]


def test_the_newer_half_counts_wherever_it_stands() -> None:
    halves = [encode_half(Evidence(serial=serial)) for serial in (4, 5)]
    assert [decode(b"".join(order)).serial for order in (halves, halves[::-1])] == [5, 5]
    assert decode(b" " * HALF + halves[0]).serial == 4
    assert decode(b"") == Evidence((), 0)
    assert [place_for(Evidence(serial=serial)) for serial in (4, 5)] == [0, HALF]


def test_the_file_of_a_new_disk_has_one_half_with_nothing_and_room_for_the_other() -> None:
    data = empty_file()
    assert (len(data), data[HALF:].strip()) == (2 * HALF, b"")
    assert FORM.unseal(data[:HALF]) == b'{"serial":0,"trials":[]}'


# --- room -------------------------------------------------------------------------------------------


def many(count: int, passed: int = 0, width: int = 200) -> tuple[CheckResult, ...]:
    """Return as many checks, with those that passed first."""
    return tuple(
        CheckResult(f"c{number}", True, Verdict.PASSED if number < passed else Verdict.FAILED, "語" * width)
        for number in range(count)
    )


def loud(generation: int, checks: int = 0, lines: int = 0) -> TrialEvidence:
    """Return a trial of three boots that each say this much."""
    tail = tuple(f"{number} " + "語" * 150 for number in range(lines))
    return TrialEvidence(
        B, None, generation, tuple(Attempt(n, CHECKS, checks=many(checks), tail=tail) for n in (1, 2, 3))
    )


def test_lines_of_the_oldest_trials_are_left_out_first_and_no_more_than_is_needed() -> None:
    kept = read(encode_half(Evidence(tuple(loud(number, 1, 28) for number in (1, 2, 3, 4)), 9)))
    assert kept.serial == 9
    assert [(trial.generation, *(len(item.tail) for item in trial.attempts)) for trial in kept.trials] == [
        (1, 0, 0, 0),
        (2, 28, 28, 28),
        (3, 28, 28, 28),
        (4, 28, 28, 28),
    ]
    assert [len(item.checks) for item in kept.trials[0].attempts] == [1, 1, 1]


def test_where_lines_are_not_enough_the_oldest_trials_are_left_out() -> None:
    kept = read(encode_half(Evidence(tuple(loud(number, 20) for number in (1, 2, 3, 4)))))
    assert [trial.generation for trial in kept.trials] == [2, 3, 4]
    assert [len(item.checks) for trial in kept.trials for item in trial.attempts] == [20] * 9


@pytest.mark.parametrize(
    ("checks", "tail", "kept_checks", "kept_tail"),
    [
        (many(3, passed=2), ("a", "b", "c", "d"), ["c2"], ("c", "d")),
        ((*many(4, passed=2), FAN), ("a", "b", "c"), ["c2", "c3"], ("c",)),
        (many(1), ("a",), [], ()),
        ((), (), [], ()),
    ],
    ids=["four lines", "three lines", "one of each", "none"],
)
def test_of_the_newest_trial_the_end_of_the_lines_and_the_checks_that_failed_stay(
    checks: tuple[CheckResult, ...], tail: tuple[str, ...], kept_checks: list[str], kept_tail: tuple[str, ...]
) -> None:
    _, *others = loud(2, 64, 60).attempts
    small = Attempt(1, CHECKS, Seconds(5), "it hums", checks, tail)
    newest = TrialEvidence(B, None, 2, (small, *others))
    (trial,) = read(encode_half(Evidence((loud(1, 64), newest)))).trials
    first, *halved = trial.attempts
    assert (trial.generation, first.ended, first.at) == (2, "it hums", 5)
    assert [item.name for item in first.checks] == kept_checks
    assert first.tail == kept_tail
    assert [(len(item.checks), item.tail[0][:3], len(item.tail)) for item in halved] == [(32, "30 ", 30)] * 2
