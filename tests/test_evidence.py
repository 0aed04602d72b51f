"""What is kept of trials always fits, a cut costs the last note at most, and garbage counts as nothing."""

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abctl.core.evidence import (
    FILE_SIZE,
    FORM,
    LINE_MAX,
    TAIL_MAX,
    TRIALS_MAX,
    Attempt,
    Evidence,
    Stage,
    TrialEvidence,
    clean_tail,
    decode,
    decode_half,
    empty_file,
    encode_half,
)
from abctl.core.explain import NO_MARK, say_all, say_attempt, with_marks, without_kernel
from abctl.core.health import CheckResult, Verdict
from abctl.core.marks import FILE_SIZE as MARKS_SIZE
from abctl.core.marks import LINE_SIZE, Mark, What, encode_marks, parse_marks
from abctl.core.settling import NO_KERNEL
from abctl.core.slot import SlotName
from abctl.core.units import KIB, Seconds, Version
from abctl.errors import WriteFailed
from abctl.host.pstore import read_crash_logs
from abctl.update.memory import ConfigEvidence
from tests.trials import ConfigMedium

A, B = SlotName.A, SlotName.B

texts = st.text(max_size=10) | st.text(min_size=1, max_size=6).map(lambda text: text * 60)
checks = st.builds(
    CheckResult,
    name=texts,
    required=st.booleans(),
    verdict=st.sampled_from(Verdict),
    text=texts,
    took=st.floats(0, 1e6).map(lambda value: round(value, 3)),
)
notes = st.fixed_dictionaries(
    {
        "slot_set": st.sampled_from(SlotName),
        "version": st.none() | st.sampled_from(["1.0.0", "v" * 64]).map(Version),
        "generation": st.integers(1, 6),
        "number": st.integers(1, 3),
        "stage": st.sampled_from(Stage),
        "at": st.none() | st.integers(0, 2**33).map(Seconds),
        "ended": texts,
        "checks": st.lists(checks, max_size=2),
        "tail": st.lists(texts, max_size=3),
    }
)


def take_notes(taken: list[dict[str, object]]) -> Evidence:
    evidence = Evidence()
    for values in taken:
        evidence = evidence.note(**values)  # type: ignore[arg-type]
    return evidence


def loud(number: int, letter: str, evidence: Evidence, generation: int = 1, checks: int = 100) -> Evidence:
    """Note a boot with as much as anybody may say."""
    return evidence.note(
        A,
        Version("v" * 64),
        generation,
        number,
        Stage.CHECKS,
        ended=letter * 500,
        checks=[CheckResult(letter * 200, True, Verdict.FAILED, letter * 500)] * checks,
        tail=[letter * 500] * 200,
    )


# --- notes ------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.lists(notes, max_size=6))
def test_any_notes_are_read_as_they_were_written(taken: list[dict[str, object]]) -> None:
    evidence = take_notes(taken)
    assert len(evidence.trials) <= TRIALS_MAX
    assert decode_half(encode_half(evidence)) == evidence
    for trial in evidence.trials:
        numbers = [attempt.number for attempt in trial.attempts]
        assert numbers == sorted(set(numbers))
        for attempt in trial.attempts:
            assert all(line.isprintable() and 0 < len(line) <= LINE_MAX for line in attempt.tail)


@given(st.lists(st.sampled_from(Stage), min_size=1))
def test_a_stage_that_was_reached_stays_reached(stages: list[Stage]) -> None:
    evidence = Evidence()
    for stage in stages:
        evidence = evidence.note(A, None, 1, 2, stage)
    [trial] = evidence.trials
    assert trial.attempts == (Attempt(2, max(stages, key=lambda item: item.rank)),)


def test_what_is_given_replaces_and_what_is_not_stays() -> None:
    check = CheckResult("units", True, Verdict.FAILED, "ssh.service failed")
    first = Evidence().note(B, Version("2"), 7, 1, Stage.CHECKS, at=Seconds(5), checks=[check], tail=["one"])
    again = first.note(B, Version("2"), 7, 1, Stage.CHECKS, ended="it gave up", tail=["two"])
    [trial] = again.trials
    assert trial.attempts == (Attempt(1, Stage.CHECKS, Seconds(5), "it gave up", (check,), ("two",)),)
    assert (trial.slot_set, trial.version, again.find(7), again.find(8)) == (B, "2", trial, None)


def test_only_boots_that_a_trial_has_are_noted() -> None:
    for number in (0, 4):
        with pytest.raises(ValueError, match="boots 1 to 3"):
            Evidence().note(A, None, 1, number, Stage.GRUB)


def test_a_trial_that_goes_on_under_another_generation_is_the_same_trial() -> None:
    evidence = Evidence().note(A, None, 5, 1, Stage.CHECKS).renumber(5, 6)
    assert evidence.find(5) is None
    assert [attempt.number for attempt in evidence.note(A, None, 6, 2, Stage.KERNEL).trials[0].attempts] == [
        1,
        2,
    ]


def test_only_what_is_known_goes_on_under_another_generation_and_takes_nobodys_place() -> None:
    two = Evidence().note(A, None, 5, 1, Stage.CHECKS).note(B, None, 6, 1, Stage.KERNEL)
    assert two.renumber(4, 7) == two
    assert two.renumber(5, 6) == two
    assert [trial.generation for trial in two.renumber(5, 7).trials] == [7, 6]


# --- room -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["x", '"', "\\", "ä", "语", "🙂", "\x00", "\ud800"])
def test_however_much_is_said_it_fits_and_the_stages_stay(letter: str) -> None:
    evidence = Evidence()
    for generation in range(1, 7):
        for number in (1, 2, 3):
            evidence = loud(number, letter, evidence, generation)
    half = encode_half(evidence)
    assert len(half) == FORM.half_size == 128 * KIB
    kept = decode_half(half)
    assert kept is not None
    assert kept.trials[-1].generation == 6
    assert [item.stage for item in kept.trials[-1].attempts] == [Stage.CHECKS] * 3
    assert [item.ended for item in kept.trials[-1].attempts] == [
        item.ended for item in evidence.trials[-1].attempts
    ]


def test_the_newest_trial_keeps_its_lines_before_any_older_one() -> None:
    evidence = Evidence()
    for generation in range(1, 5):
        for number in (1, 2, 3):
            evidence = loud(number, "ä", evidence, generation, checks=12)
    kept = decode_half(encode_half(evidence))
    assert kept is not None
    assert [len(attempt.tail) for attempt in kept.trials[-1].attempts] == [TAIL_MAX] * 3
    assert len(kept.trials) > 1


def test_a_tail_is_the_end_of_a_log() -> None:
    assert clean_tail(["", "\x1b[31mred", "  ", *map(str, range(100))])[-1] == "99"
    assert clean_tail(["a\x1b[31mb", "", "\n"]) == ("a [31mb",)
    assert len(clean_tail(map(str, range(100)))) == TAIL_MAX


# --- cuts and damage --------------------------------------------------------------------------------


def write_all(medium: ConfigMedium, *kept: Evidence) -> ConfigEvidence:
    store = ConfigEvidence(medium)
    for evidence in kept:
        store.write(replace(evidence, serial=store.read().serial + 1))
    return store


@settings(max_examples=40)
@given(st.lists(notes, min_size=1, max_size=4), st.integers(0, FORM.half_size), st.booleans())
def test_a_cut_costs_at_most_the_last_note(taken: list[dict[str, object]], cut: int, odd: bool) -> None:
    before, after = take_notes(taken[:-1]), take_notes(taken)
    medium = ConfigMedium(empty_file())
    store = write_all(medium, *[before] * (2 if odd else 1))
    medium.cut = cut % (len(encode_half(after).rstrip()) + 1)
    with suppress(WriteFailed):
        store.write(replace(after, serial=store.read().serial + 1))
    assert len(medium.data) == FILE_SIZE
    assert store.read().trials in (before.trials, after.trials)


@settings(max_examples=60)
@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda body: FORM.seal(body) or b""))
def test_hostile_bytes_are_as_if_nothing_was_kept(data: bytes) -> None:
    assert decode(data) == Evidence()


def one_attempt(**wrong: object) -> dict[str, object]:
    """Return evidence with one boot that is sound but for this."""
    attempt = {"number": 1, "stage": "checks", "at": 5, "ended": "", "checks": [], "tail": [], **wrong}
    return {"trials": [{"slot_set": "A", "version": None, "generation": 1, "attempts": [attempt]}]}


def one_check(**wrong: object) -> dict[str, object]:
    check = {
        "name": "units",
        "required": True,
        "verdict": "failed",
        "text": "a.service",
        "took": 0.5,
        **wrong,
    }
    return one_attempt(checks=[check])


def test_the_evidence_that_is_spoiled_below_is_sound_before() -> None:
    half = FORM.seal(json.dumps({"serial": 1, **one_check()}).encode())
    assert half is not None
    (attempt,) = decode(half).trials[0].attempts
    assert (attempt.number, attempt.at, attempt.failed[0].text) == (1, 5, "a.service")


@pytest.mark.parametrize(
    "spoil",
    [
        {"serial": -1},
        {"serial": True},
        {"serial": 10**30},
        {"trials": {}},
        {"trials": [None]},
        {"trials": [{"slot_set": "C", "version": None, "generation": 1, "attempts": []}]},
        {"trials": [{"slot_set": "A", "version": "a b", "generation": 1, "attempts": []}]},
        {"trials": [{"slot_set": "A", "version": 3, "generation": 1, "attempts": []}]},
        {"trials": [{"slot_set": "A", "version": None, "generation": 1.5, "attempts": []}]},
        {"trials": [{"slot_set": "A", "version": None, "generation": 1, "attempts": [[]]}]},
        *(one_attempt(**wrong) for wrong in ({"number": 0}, {"number": 4}, {"ended": 7}, {"tail": "x"})),
        *(one_attempt(**wrong) for wrong in ({"at": "now"}, {"stage": "moon"}, {"tail": [7]})),
        *(one_check(**wrong) for wrong in ({"required": 1}, {"took": "long"}, {"took": -1}, {"took": 1e12})),
        *(one_check(**wrong) for wrong in ({"verdict": "so so"}, {"name": None}, {"text": 7})),
    ],
    ids=str,
)
def test_values_that_cannot_be_are_as_if_nothing_was_kept(spoil: dict[str, object]) -> None:
    half = FORM.seal(json.dumps({"serial": 1, "trials": [], **spoil}).encode())
    assert half is not None
    assert decode(half) == Evidence()


def test_fields_of_a_newer_abctl_are_passed_over() -> None:
    evidence = loud(1, "x", Evidence())
    values = json.loads(FORM.unseal(encode_half(evidence)) or b"")
    values["mood"] = "good"
    values["trials"][0]["weather"] = {"rain": [1, 2]}
    values["trials"][0]["attempts"][0]["colour"] = None
    values["trials"][0]["attempts"][0]["checks"][0]["weight"] = 3
    half = FORM.seal(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode())
    assert half is not None
    assert decode(half) == evidence


# --- marks ------------------------------------------------------------------------------------------


@given(st.sets(st.tuples(st.integers(0, 2), st.sampled_from(What))), st.integers(0, 2**31 - 1))
def test_marks_are_read_as_they_were_written(wanted: set[tuple[int, What]], generation: int) -> None:
    ends = {left: what for left, what in wanted if what is not What.KERNEL}
    marks = {Mark(generation, left) for left, what in wanted if what is What.KERNEL}
    marks |= {Mark(generation, left, what) for left, what in ends.items()}
    data = encode_marks(marks)
    assert len(data) == MARKS_SIZE
    found = parse_marks(data)
    assert set(found) == marks
    assert len(found) == len(marks)
    assert [mark.number for mark in found] == sorted(3 - mark.attempts_left for mark in marks)


def test_a_line_that_dd_wrote_is_a_mark() -> None:
    data = bytearray(encode_marks(()))
    data[2 * LINE_SIZE : 3 * LINE_SIZE] = b"17 2 kernel".ljust(63) + b"\n"
    data[10 * LINE_SIZE : 11 * LINE_SIZE] = b"17 2 deadline".ljust(63) + b"\n"
    assert parse_marks(bytes(data)) == (Mark(17, 2), Mark(17, 2, What.DEADLINE))


@pytest.mark.parametrize(
    "line",
    [
        b"17 1 kernel",
        b"17 2 userland",
        b"17 2 deadline",
        b"x17 2 kernel",
        b"17  2 kernel",
        b"99999999999 2 kernel",
        b"",
    ],
)
def test_a_line_in_another_place_or_torn_is_no_mark(line: bytes) -> None:
    data = bytearray(encode_marks(()))
    data[2 * LINE_SIZE : 3 * LINE_SIZE] = line.ljust(63) + b"\n"
    assert parse_marks(bytes(data)) == ()
    data[2 * LINE_SIZE : 3 * LINE_SIZE] = b"17 2 kernel".ljust(64)
    assert parse_marks(bytes(data)) == ()


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reader_of_marks(data: bytes) -> None:
    assert len(parse_marks(data)) <= 6


# --- pstore -----------------------------------------------------------------------------------------


def crash(folder: Path, name: str, text: str, at: float = 1_796_000_000) -> None:
    path = folder / f"dmesg-efi-{name}"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    os.utime(path, (at, at))


def test_the_parts_of_a_panic_are_put_in_order(tmp_path: Path) -> None:
    for part in (1, 2, 3, 10):
        crash(
            tmp_path, f"1796000000{part:02}001", f"Panic#1 Part{part}\n<4>[ 1.{10 - part:02}] line {part}\n"
        )
    [found] = read_crash_logs(tmp_path)
    assert found.lines == ("[ 1.00] line 10", "[ 1.07] line 3", "[ 1.08] line 2", "[ 1.09] line 1")


def test_each_panic_is_told_apart_and_the_newest_is_last(tmp_path: Path) -> None:
    for boot in (2, 1):
        for part in (1, 2):
            text = f"Panic#1 Part{part}\n<0>boot {boot} part {part}\n"
            crash(tmp_path, f"{boot}{part}", text, 1_796_000_000 + 60 * boot)
    assert [log.lines for log in read_crash_logs(tmp_path)] == [
        ("boot 1 part 2", "boot 1 part 1"),
        ("boot 2 part 2", "boot 2 part 1"),
    ]


def test_a_panic_tells_more_than_the_oops_before_it(tmp_path: Path) -> None:
    crash(tmp_path, "1", "Oops#1 Part1\nfirst the oops\n")
    crash(tmp_path, "2", "Panic#2 Part1\nthen the panic\n", 1_796_000_001)
    assert [log.lines for log in read_crash_logs(tmp_path)] == [("then the panic",)]


def test_what_is_no_part_of_a_crash_log_is_passed_over(tmp_path: Path) -> None:
    crash(tmp_path, "1", "no head\n")
    crash(tmp_path, "2", "Panic#1 Part1")
    crash(tmp_path, "3.enc.z", "Panic#1 Part1\npacked\n")
    crash(tmp_path, "4", "Shutdown#1 Part1\nnot a crash\n")
    (tmp_path / "dmesg-efi-5").mkdir()
    (tmp_path / "dmesg-efi-6").symlink_to("/dev/zero")
    (tmp_path / "console-efi-7").write_text("Panic#1 Part1\nanother kind\n")
    assert read_crash_logs(tmp_path) == ()
    assert read_crash_logs(tmp_path / "none") == ()


def test_a_crash_log_is_bounded_and_fit_for_a_terminal(tmp_path: Path) -> None:
    crash(tmp_path, "1", "Panic#1 Part1\n" + "".join(f"\x1b[31m\udcff line {n}\n" for n in range(9000)))
    [found] = read_crash_logs(tmp_path)
    assert len(found.lines) == TAIL_MAX
    assert all(line.isprintable() for line in found.lines)


# --- what is made of it -----------------------------------------------------------------------------


def test_a_boot_whose_kernel_could_not_be_loaded_is_counted_once_and_says_so() -> None:
    trial = without_kernel(TrialEvidence(B, None, 1))
    assert [(item.number, item.stage, item.ended) for item in trial.attempts] == [(1, Stage.GRUB, NO_KERNEL)]
    assert without_kernel(trial) == trial
    assert say_attempt(trial.attempts[0]) == f"did not start: {NO_KERNEL}"
    assert say_all(trial) == ""
    full = TrialEvidence(B, None, 1, tuple(Attempt(number, Stage.CHECKS) for number in (1, 2, 3)))
    assert without_kernel(full) == full


def test_of_a_trial_without_a_boot_nothing_is_said_and_of_boots_without_a_mark_that() -> None:
    assert say_all(TrialEvidence(B, None, 1)) == ""
    assert say_all(TrialEvidence(B, None, 1, (Attempt(1, Stage.GRUB),))) == NO_MARK


def test_the_first_end_of_a_boot_counts_and_later_marks_do_not_change_it() -> None:
    marks = [Mark(1, 2), Mark(1, 2, What.DEADLINE), Mark(1, 2, What.FAILED)]
    (once,) = with_marks(TrialEvidence(B, None, 1), marks[:2]).attempts
    (both,) = with_marks(TrialEvidence(B, None, 1), marks).attempts
    assert both == once
    assert once.ended


def test_the_last_boot_that_left_a_mark_is_the_one_that_is_told() -> None:
    attempts = (Attempt(1, Stage.CHECKS, ended="too slow"), Attempt(2, Stage.GRUB))
    assert say_all(TrialEvidence(B, None, 1, attempts)).startswith("boot 1 ")
    assert say_all(TrialEvidence(B, None, 1, attempts[:1])).startswith("the last boot ")
