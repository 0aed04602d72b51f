"""Note how far each boot of a trial gets, and tell afterwards why it ended. Nothing here decides.

What cannot be written or read is only missed later: it never stops a boot.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace

from abctl.core import marks as marks_file
from abctl.core.bootstate import MAX_ATTEMPTS, Why
from abctl.core.clock import BUILT_AT
from abctl.core.crash_log import CrashLog
from abctl.core.evidence import Evidence, Stage, TrialEvidence
from abctl.core.explain import (
    NO_MARK,
    NO_VOLUME,
    complete,
    say_all,
    with_crash_logs,
    with_marks,
    without_kernel,
)
from abctl.core.health import CheckResult
from abctl.core.machine import Host
from abctl.core.marks import parse_marks
from abctl.core.record import Happened
from abctl.core.settling import find_ended_trial
from abctl.errors import AbctlError
from abctl.ports import Ports

log = logging.getLogger(__name__)

_CLOCK_TOLERANCE = 3600  # seconds that the clock may be set back by a reboot


def note_attempt(  # noqa: PLR0913 - the fields of an attempt
    ports: Ports,
    host: Host,
    stage: Stage,
    *,
    ended: str = "",
    checks: Iterable[CheckResult] = (),
    tail: Iterable[str] = (),
) -> None:
    """Note how far this boot of the trial that runs on ``host`` got; nothing where none does.

    Stage and lines that stand there already are kept, unless others are given.
    """
    if ports.evidence is None or not is_trial_boot(host):
        return
    trial = host.env.trial
    assert trial is not None
    before = ports.evidence.read()
    after = before.note(
        trial.slot_set,
        host.env[trial.slot_set].version,
        host.env.generation,
        attempt_number(host),
        stage,
        at=ports.now(),
        ended=ended,
        checks=checks,
        tail=tail,
    )
    _write(ports, before, after)


def is_trial_boot(host: Host) -> bool:
    """Whether what runs is a trial that GRUB spent an attempt for."""
    trial, running = host.env.trial, host.running
    # Of a disk that is worked on from outside, nobody says why it was booted.
    return trial is not None and running.kernel is trial.slot_set and running.why in (None, Why.TRIAL)


def attempt_number(host: Host) -> int:
    """Return which boot of its trial runs, 1 for the first."""
    assert host.env.trial is not None
    left = host.env.trial.attempts if host.running.attempts is None else host.running.attempts
    return min(MAX_ATTEMPTS, max(1, MAX_ATTEMPTS - left))


def gather(ports: Ports, host: Host) -> TrialEvidence | None:
    """Return all that is known of the trial that is on, or that ended and is not recorded yet."""
    trial = host.env.trial
    generation = host.env.generation
    if ports.evidence is None or trial is None or generation == 0:
        return None  # the older system's boot environment has no generations
    this = TrialEvidence(trial.slot_set, host.env[trial.slot_set].version, generation)
    known = ports.evidence.read().known_of(this)
    marks = parse_marks(ports.marks.read()) if ports.marks else ()
    known = with_marks(known, (mark for mark in marks if mark.generation == generation))
    if host.why is Why.NO_KERNEL and host.running.passed_over is trial.slot_set:
        # GRUB took the other attempts away, so how many boots there were is not known.
        return without_kernel(known)
    running = attempt_number(host) if is_trial_boot(host) else MAX_ATTEMPTS + 1
    return with_crash_logs(
        complete(known, MAX_ATTEMPTS - trial.attempts), _crash_logs_of(ports, host), running
    )


def _crash_logs_of(ports: Ports, host: Host) -> tuple[CrashLog, ...]:
    """Return what the kernel said when it crashed, without what is left of crashes before this trial."""
    armed = next((entry for entry in reversed(host.record.entries) if entry.what is Happened.INSTALLED), None)
    since = armed.at - _CLOCK_TOLERANCE if armed else 0
    # A host without a clock that runs on crashes in 1970.
    return tuple(log for log in ports.crash_logs() if log.at >= since or log.at < BUILT_AT)


def note_boots(ports: Ports, host: Host) -> str:
    """Keep what the boots of a trial left behind, and where it ended by itself say how far they got."""
    found = gather(ports, host)
    if found is None or ports.evidence is None:
        return ""
    if is_trial_boot(host):
        number = attempt_number(host)
        known = found.find(number)
        if known is None or known.stage.rank < Stage.USERLAND.rank:
            found = found.reached(number, Stage.USERLAND, ports.now())
    before = ports.evidence.read()
    if found.attempts:
        _write(ports, before, before.with_trial(found))
    if find_ended_trial(host) is None or host.why is Why.UNSAVED:
        return ""
    said = say_all(found)
    # The file is there since the disk was made, or since the trial was armed.
    is_lost = said == NO_MARK and ports.marks is not None and not ports.marks.read()
    return NO_VOLUME if is_lost else said


def follow(ports: Ports, before: Host, after: Host) -> None:
    """Keep the evidence of a trial together where it goes on under another generation."""
    if ports.evidence is None or after.env.trial is None or before.env.trial is None:
        return
    if after.env.trial.slot_set is not before.env.trial.slot_set:
        return
    known = ports.evidence.read()
    _write(ports, known, known.renumber(before.env.generation, after.env.generation))


def make_marks_file(ports: Ports, *, anew: bool = False) -> None:
    """Make the file that an initramfs leaves its marks in; it makes none itself.

    With ``anew`` no mark of an earlier trial is left: marks name a generation alone.
    """
    if ports.marks is None or (ports.marks.read() and not anew):
        return
    try:
        ports.marks.overwrite(0, marks_file.empty_file())
    except AbctlError as error:
        log.warning("no room for marks of the kernel could be made: %s", error)


def _write(ports: Ports, before: Evidence, after: Evidence) -> None:
    if after == before or ports.evidence is None:
        return
    try:
        ports.evidence.write(replace(after, serial=before.serial + 1))
    except AbctlError as error:
        log.warning("how far the trial got could not be noted: %s", error)
