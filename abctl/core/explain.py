"""Why a trial ended, in words: from what is kept of how far each of its boots got."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from abctl.core.bootstate import MAX_ATTEMPTS
from abctl.core.crash_log import CrashLog
from abctl.core.evidence import Attempt, Stage, TrialEvidence, clean_line
from abctl.core.marks import Mark, What
from abctl.core.record import TEXT_MAX
from abctl.core.settling import NO_KERNEL

NO_MARK = "the kernel or its initramfs never got as far as leaving a mark"
NO_VOLUME = "how far its boots got is lost: the config volume cannot be read"
_FAR = {
    Stage.GRUB: "did not get as far as leaving a mark",
    Stage.KERNEL: "started its kernel, but did not reach userland",
    Stage.USERLAND: "reached userland, but no health check",
    Stage.CHECKS: "reached the health checks",
    Stage.CONFIRMED: "was confirmed",
}
_ENDED = {
    What.DEADLINE: "rebooted when its time was up",
    What.FAILED: "rebooted, for the health service failed",
    What.EMERGENCY: "ended in emergency mode, and was rebooted",
}
# What tells most, first; a log mostly ends with less.
_TELLING = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"kernel panic - not syncing",
        r"out of memory|oom-kill",
        r"\bBUG:|\bOops\b|watchdog: .*lockup",
        r"emergency mode|dependency failed",
        r"failed to|\bfailed\b|\berror\b|cannot|unable to",
    )
)
_STAMP = re.compile(r"^(<\d+>)?\s*(\[\s*\d+\.\d+\]\s*)?(\[\s*T\d+\]\s*)?")


def complete(trial: TrialEvidence, spent: int) -> TrialEvidence:
    """Return the trial with an entry for each of the boots that GRUB spent, also where one left no mark."""
    for number in range(1, min(spent, MAX_ATTEMPTS) + 1):
        if trial.find(number) is None:
            trial = trial.with_attempt(Attempt(number, Stage.GRUB))
    return trial


def with_marks(trial: TrialEvidence, marks: Iterable[Mark]) -> TrialEvidence:
    """Return the trial with what the marks of its own boots say; ``marks`` are earliest first."""
    for mark in marks:
        if mark.what is What.KERNEL:
            trial = trial.reached(mark.number, Stage.KERNEL)
            continue
        trial = trial.reached(mark.number, Stage.USERLAND)
        attempt = trial.find(mark.number)
        if attempt and not attempt.ended:
            reason = find_reason(attempt)
            ended = f"{_ENDED[mark.what]}: {reason}" if reason else _ENDED[mark.what]
            trial = trial.with_attempt(replace(attempt, ended=clean_line(ended, TEXT_MAX)))
    return trial


def without_kernel(trial: TrialEvidence) -> TrialEvidence:
    """Return the trial with a last boot for which GRUB could not load the kernel."""
    last = trial.attempts[-1] if trial.attempts else None
    number = last.number + 1 if last else 1
    if number > MAX_ATTEMPTS or (last and last.ended == NO_KERNEL):
        return trial
    return trial.with_attempt(Attempt(number, Stage.GRUB, ended=NO_KERNEL))


def say_attempt(attempt: Attempt) -> str:
    """Return how far a boot got and why it ended, as ``reached the health checks: required check ...``."""
    if attempt.ended == NO_KERNEL:
        return f"did not start: {NO_KERNEL}"
    reason = find_reason(attempt)
    return _FAR[attempt.stage] + (f": {reason}" if reason else "")


def say_all(trial: TrialEvidence) -> str:
    """Return in one line what is known of the boots of a trial that ended; nothing where there was none."""
    if not trial.attempts:
        return ""
    left_marks = [attempt for attempt in trial.attempts if attempt.stage is not Stage.GRUB]
    if not left_marks:
        return "" if trial.attempts[-1].ended == NO_KERNEL else NO_MARK
    last = left_marks[-1]
    which = "the last boot" if last is trial.attempts[-1] else f"boot {last.number}"
    return clean_line(f"{which} {say_attempt(last)}", TEXT_MAX)


def find_reason(attempt: Attempt) -> str:
    """Return why a boot ended: what was noted, which checks failed, or what its log says of it."""
    if attempt.ended:
        return attempt.ended
    if attempt.failed:
        return "; ".join(item.sentence for item in attempt.failed)
    return "" if attempt.stage is Stage.CONFIRMED else find_telling_line(attempt.tail)


def find_telling_line(lines: tuple[str, ...]) -> str:
    """Return the line of a log that says most about its end, without its time; the last one by default."""
    for pattern in _TELLING:
        for line in reversed(lines):
            if pattern.search(line):
                return _STAMP.sub("", line)
    return _STAMP.sub("", lines[-1]) if lines else ""


def with_crash_logs(trial: TrialEvidence, logs: Sequence[CrashLog], before: int) -> TrialEvidence:
    """Return the trial with the kernel's last lines at the boots that left none; ``logs`` are oldest first.

    Only boots before number ``before`` can have crashed. A crash is proof that the kernel came up.
    """
    silent = [
        attempt
        for attempt in trial.attempts
        if attempt.number < before and not attempt.tail and not attempt.ended
    ]
    for attempt, log in zip(reversed(silent), reversed(logs), strict=False):
        stage = max(attempt.stage, Stage.KERNEL, key=lambda item: item.rank)
        trial = trial.with_attempt(replace(attempt, stage=stage, tail=log.lines))
    return trial
