"""Why a trial ended, to the letter: from what is kept of its boots, marks, and the kernel's last words."""

import pytest

from abctl.core.crash_log import CrashLog, CrashPart, join_crash_logs
from abctl.core.evidence import Attempt, Stage, TrialEvidence
from abctl.core.explain import (
    complete,
    find_reason,
    find_telling_line,
    say_all,
    say_attempt,
    with_crash_logs,
    with_marks,
    without_kernel,
)
from abctl.core.health import CheckResult, Verdict
from abctl.core.marks import Mark, What, empty_file, encode_marks, parse_marks
from abctl.core.slot import SlotName

B = SlotName.B
GRUB, KERNEL, USERLAND, CHECKS, CONFIRMED = Stage
FULL = CheckResult("disk", True, Verdict.FAILED, "/var is full")
SLOW = CheckResult("units", True, Verdict.FAILED, "a.service is slow")
WANTED = CheckResult("fan", False, Verdict.FAILED, "it stands")
NO_KERNEL = "its kernel could not be loaded"
BLANK = b" " * 63 + b"\n"


def trial(*attempts: Attempt) -> TrialEvidence:
    return TrialEvidence(B, None, 7, attempts)


def seen(number: int, stage: Stage = CHECKS, ended: str = "", tail: tuple[str, ...] = ()) -> Attempt:
    return Attempt(number, stage, ended=ended, tail=tail)


# --- the boots of a trial ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spent", "numbers"), [(0, [2]), (1, [1, 2]), (2, [1, 2]), (3, [1, 2, 3]), (9, [1, 2, 3])]
)
def test_each_attempt_that_grub_spent_is_a_boot_and_what_is_known_of_one_stays(
    spent: int, numbers: list[int]
) -> None:
    completed = complete(trial(seen(2)), spent)
    assert completed.attempts == tuple(seen(number, CHECKS if number == 2 else GRUB) for number in numbers)


@pytest.mark.parametrize(
    ("what", "ended"),
    [
        (What.DEADLINE, "rebooted when its time was up"),
        (What.FAILED, "rebooted, for the health service failed"),
        (What.EMERGENCY, "ended in emergency mode, and was rebooted"),
    ],
)
def test_a_mark_of_an_end_is_told_with_the_reason_that_is_known(what: What, ended: str) -> None:
    known = trial(Attempt(1, CHECKS, checks=(FULL,)), seen(2, tail=("it hums",)))
    marks = [Mark(7, left, what) for left in (2, 1, 0)]
    assert [(item.stage, item.ended) for item in with_marks(known, marks).attempts] == [
        (CHECKS, f"{ended}: required check disk failed: /var is full"),
        (CHECKS, f"{ended}: it hums"),
        (USERLAND, ended),
    ]


def test_that_the_kernel_came_up_is_noted_and_later_marks_are_read_all_the_same() -> None:
    marks = [Mark(7, 2), Mark(7, 1), Mark(7, 1, What.DEADLINE)]
    assert with_marks(trial(), marks).attempts == (
        seen(1, KERNEL),
        seen(2, USERLAND, "rebooted when its time was up"),
    )


def test_what_was_told_of_an_end_before_stays_and_a_long_reason_is_cut() -> None:
    known = trial(seen(1, ended="given up"), seen(2, tail=("x" * 300,)))
    first, second = with_marks(known, [Mark(7, 2, What.FAILED), Mark(7, 1, What.FAILED)]).attempts
    assert first.ended == "given up"
    assert second.ended == "rebooted, for the health service failed: " + "x" * 159


@pytest.mark.parametrize(
    ("before", "added"),
    [
        ((), (1,)),
        ((seen(1),), (2,)),
        ((seen(1), seen(2)), (3,)),
        ((seen(1), seen(2), seen(3)), ()),
        ((seen(1, GRUB, NO_KERNEL),), ()),
        ((seen(1, GRUB, NO_KERNEL), seen(2)), (3,)),
    ],
)
def test_a_kernel_that_cannot_be_loaded_is_one_more_boot_as_long_as_there_is_one(
    before: tuple[Attempt, ...], added: tuple[int, ...]
) -> None:
    expected = (*before, *(seen(number, GRUB, NO_KERNEL) for number in added))
    assert without_kernel(trial(*before)).attempts == expected


# --- in words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "far"),
    [
        (GRUB, "did not get as far as leaving a mark"),
        (KERNEL, "started its kernel, but did not reach userland"),
        (USERLAND, "reached userland, but no health check"),
        (CHECKS, "reached the health checks"),
        (CONFIRMED, "was confirmed"),
    ],
)
def test_how_far_a_boot_got_is_told_with_its_reason(stage: Stage, far: str) -> None:
    assert say_attempt(seen(1, stage)) == far
    assert say_attempt(seen(1, stage, "it hums")) == f"{far}: it hums"
    assert say_attempt(seen(1, stage, NO_KERNEL)) == "did not start: its kernel could not be loaded"


@pytest.mark.parametrize(
    ("attempt", "reason"),
    [
        (Attempt(1, CHECKS, ended="it hums", checks=(FULL,), tail=("a panic",)), "it hums"),
        (
            Attempt(1, CHECKS, checks=(FULL, WANTED, SLOW), tail=("a panic",)),
            "required check disk failed: /var is full; required check units failed: a.service is slow",
        ),
        (Attempt(1, CHECKS, checks=(WANTED,), tail=("a panic",)), "a panic"),
        (Attempt(1, CONFIRMED, tail=("a panic",)), ""),
        (Attempt(1, CONFIRMED, ended="it hums"), "it hums"),
        (Attempt(1, CHECKS), ""),
    ],
)
def test_what_was_noted_counts_before_checks_and_these_before_the_log(attempt: Attempt, reason: str) -> None:
    assert find_reason(attempt) == reason


@pytest.mark.parametrize(
    ("attempts", "said"),
    [
        ((), ""),
        ((seen(1, GRUB, NO_KERNEL),), ""),
        ((seen(1, GRUB), seen(2, GRUB)), "the kernel or its initramfs never got as far as leaving a mark"),
        ((seen(1, KERNEL), seen(2)), "the last boot reached the health checks"),
        ((seen(1), seen(2, KERNEL), seen(3, GRUB)), "boot 2 started its kernel, but did not reach userland"),
        (
            (seen(1, CHECKS, "it hums"), seen(2, GRUB, NO_KERNEL)),
            "boot 1 reached the health checks: it hums",
        ),
        (
            (seen(1, CHECKS, "x" * 300),),
            "the last boot reached the health checks: " + "x" * 159,
        ),
    ],
)
def test_all_boots_are_told_by_the_last_that_left_a_mark(attempts: tuple[Attempt, ...], said: str) -> None:
    assert say_all(trial(*attempts)) == said


NOISE = "[   1.0] all is well"
TELLING = (
    "Kernel panic - not syncing: no init",
    "Out of memory: killed process 7",
    "BUG: unable to handle a page",
    "You are in emergency mode",
    "a.service failed",
)


@pytest.mark.parametrize(
    "line",
    [
        *TELLING,
        "kernel PANIC - NOT SYNCING",
        "invoked oom-kill",
        "Oops 0002",
        "watchdog: BUG soft lockup",
        "watchdog: cpu0 lockup",
        "Dependency failed for /var",
        "Failed to mount /var",
        "error 5",
        "cannot mount",
        "unable to mount",
    ],
)
def test_a_line_that_tells_of_trouble_is_found_among_others(line: str) -> None:
    assert find_telling_line((NOISE, f"[  T7] {line}", NOISE)) == line


@pytest.mark.parametrize("number", range(4))
def test_of_two_kinds_of_trouble_the_graver_is_told_wherever_it_stands(number: int) -> None:
    graver, lighter = TELLING[number : number + 2]
    assert find_telling_line((graver, lighter)) == graver
    assert find_telling_line((lighter, graver)) == graver


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ((), ""),
        (("first", "last"), "last"),
        (("a failed", "b failed", "last"), "b failed"),
        (("<6>[   12.345678] last",), "last"),
        (("[    1.204811] [   T1] last",), "last"),
        (("unfailed debug: noerror", "last"), "last"),
    ],
)
def test_of_lines_that_tell_the_same_the_last_counts_without_its_time(
    lines: tuple[str, ...], told: str
) -> None:
    assert find_telling_line(lines) == told


# --- the kernel's last words ------------------------------------------------------------------------


def test_crashes_are_of_the_last_boots_that_left_nothing_else() -> None:
    known = trial(seen(1, GRUB), seen(2, CHECKS), seen(3, GRUB))
    logs = [CrashLog(1, ("first",)), CrashLog(2, ("second",))]
    assert with_crash_logs(known, logs[1:], 3).attempts == (
        seen(1, GRUB),
        seen(2, CHECKS, tail=("second",)),
        seen(3, GRUB),
    )
    assert with_crash_logs(known, logs, 4).attempts == (
        seen(1, GRUB),
        seen(2, CHECKS, tail=("first",)),
        seen(3, KERNEL, tail=("second",)),
    )
    told = trial(seen(1, CHECKS, tail=("a",)), seen(2, CHECKS, ended="b"))
    assert with_crash_logs(told, logs, 4) == told


def part(kind: str, number: int, line: str, *, count: int = 1, at: float = 5.0) -> CrashPart:
    return CrashPart(at, f"{kind}#{count} Part{number}\n<0>{line}\n".encode())


def test_parts_of_one_crash_are_one_log_and_its_time_is_when_it_was_whole() -> None:
    parts = [part("Panic", 3, "a", at=7.0), part("Panic", 1, "c"), part("Panic", 2, "b")]
    assert join_crash_logs(parts) == (CrashLog(7.0, ("a", "b", "c")),)


@pytest.mark.parametrize(
    ("second", "logs"),
    [
        (part("Panic", 1, "b", count=2, at=6.0), (CrashLog(5.0, ("a",)), CrashLog(6.0, ("b",)))),
        (part("Panic", 1, "b", at=6.0), (CrashLog(5.0, ("a",)), CrashLog(6.0, ("b",)))),
        (part("Panic", 2, "b", at=6.0), (CrashLog(6.0, ("b", "a")),)),
        (part("Oops", 2, "b", at=6.0), (CrashLog(5.0, ("a",)),)),
        (CrashPart(6.0, b"Panic#1 Part2\n \n"), (CrashLog(6.0, ("a",)),)),
        (CrashPart(6.0, b"Panic#1 Part2 \nb"), (CrashLog(6.0, ("b", "a")),)),
        (CrashPart(6.0, b"Panic#1 Part2\n<1234>\xff"), (CrashLog(6.0, ("<1234>\ufffd", "a")),)),
        (CrashPart(6.0, b"Panic#1234567 Part2\nb"), (CrashLog(5.0, ("a",)),)),
    ],
)
def test_a_part_that_does_not_go_on_begins_another_crash(
    second: CrashPart, logs: tuple[CrashLog, ...]
) -> None:
    assert join_crash_logs([part("Panic", 1, "a"), second]) == logs


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        ([part("Oops", 1, "b", at=6.0), part("Oops", 1, "a")], ["a", "b"]),
        # The kernel counts anew at each boot.
        ([part("Oops", 1, "b", at=6.0), part("Oops", 1, "a", count=2)], ["a", "b"]),
        ([part("Oops", 1, "b"), part("Oops", 1, "a")], ["b", "a"]),
        ([part("Oops", 1, "b", count=2), part("Oops", 1, "a")], ["a", "b"]),
    ],
)
def test_of_oopses_alone_each_is_told_the_oldest_first(parts: list[CrashPart], lines: list[str]) -> None:
    assert [line for log in join_crash_logs(parts) for line in log.lines] == lines


# --- marks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mark", "line", "text"),
    [
        (Mark(17, 0), 0, b"17 0 kernel"),
        (Mark(17, 2), 2, b"17 2 kernel"),
        (Mark(17, 0, What.FAILED), 8, b"17 0 failed"),
        (Mark(2_147_483_647, 2, What.EMERGENCY), 10, b"2147483647 2 emergency"),
    ],
)
def test_a_mark_stands_where_sh_and_dd_write_it(mark: Mark, line: int, text: bytes) -> None:
    data = encode_marks([mark])
    assert data == BLANK * line + text.ljust(63) + b"\n" + BLANK * (63 - line)
    assert parse_marks(data) == (mark,)
    assert (mark.line, mark.number) == (line, 3 - mark.attempts_left)


def test_marks_are_read_in_the_order_of_the_boots_and_each_end_after_its_kernel() -> None:
    marks = (Mark(1, 2), Mark(1, 2, What.FAILED), Mark(1, 1), Mark(1, 0), Mark(1, 0, What.DEADLINE))
    assert parse_marks(encode_marks(reversed(marks))) == marks


def test_a_generation_that_grub_cannot_count_is_no_mark() -> None:
    data = b"2147483648 0 kernel".ljust(63) + b"\n"
    assert parse_marks(data.ljust(4096)) == ()


def test_a_new_file_has_64_blank_lines() -> None:
    assert empty_file() == BLANK * 64
