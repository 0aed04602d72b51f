"""The state machine of the slot sets. Everything that decides what an event does is in this file.

    event            allowed when                                   what it does
    ---------------  ---------------------------------------------  --------------------------------------
    Settle           always                                         a trial whose attempts are used up, or
                                                                    that GRUB passed over, ends: its slot
                                                                    set is bad, its version refused; a
                                                                    primary without a kernel gives way; what
                                                                    GRUB could not count is called off, and
                                                                    refused at the second time
    CameUp           always                                         GRUB counts the boots of the primary that
                                                                    runs, from 0; what runs because they ran
                                                                    out becomes the primary
    Unhealthy        always                                         a running trial that gave up: nothing,
                                                                    where it is left by a reboot; where the
                                                                    primary is bad too, or has no kernel, it
                                                                    stays up instead: primary although bad,
                                                                    version refused
    InstallStarted   nothing on trial, the running slot set is the  every copy is proven writable; the other
                     primary (or nothing runs), version not refused slot set is empty in every copy, then made
                                                                    unbootable on the disk
    InstallVerified  an installation was started                    the other slot set is on trial
    InstallFailed    an installation was started                    it is recorded; the slot set stays empty
    Confirm          the running slot set is on trial               it becomes the primary
    RollBack         a trial, or the other slot set is good, or     the trial is called off, or the other
                     gave way and answers                           slot set becomes the primary
    MarkBad          always                                         the slot set is bad, its version
                                                                    refused; a good other one takes over
    Allow            the version is refused                         it may be installed again

Fallback is not in the table: GRUB does it when nothing is done, and Settle records it afterwards. Who gives
up a trial reboots only where ``must_reboot`` says so: with both slot sets bad there is nothing better.
A power cut may fall between any two effects, so each prefix must leave a host that boots.
"""

from dataclasses import replace
from typing import assert_never

from abctl.core.bootstate import MAX_ATTEMPTS, UNSETTLED_MAX, BootEnv, Outcome, SlotSet, SlotState, Trial, Why
from abctl.core.events import (
    Allow,
    CameUp,
    Confirm,
    Effect,
    Event,
    Host,
    InstallFailed,
    InstallStarted,
    InstallVerified,
    InvalidateSlotSet,
    MarkBad,
    RollBack,
    Running,
    Settle,
    Unhealthy,
    WriteBootEnv,
    WriteRecord,
)
from abctl.core.record import Entry, Happened, Record
from abctl.core.refusing import find_refusal, refuse, remember_bad
from abctl.core.slot import SlotName
from abctl.core.units import Digest, Seconds, Version
from abctl.errors import (
    Busy,
    NotConfirmed,
    NothingToConfirm,
    NothingToDo,
    NothingToRollBackTo,
    VersionRefused,
    WrongSlotSet,
)

__all__ = [
    "NO_KERNEL",
    "Allow",
    "CameUp",
    "Confirm",
    "Decision",
    "Effect",
    "Event",
    "Host",
    "InstallFailed",
    "InstallStarted",
    "InstallVerified",
    "InvalidateSlotSet",
    "MarkBad",
    "RollBack",
    "Running",
    "Settle",
    "Unhealthy",
    "WriteBootEnv",
    "WriteRecord",
    "check_install",
    "find_ended_trial",
    "find_refusal",
    "must_reboot",
    "transition",
]

NO_KERNEL = "its kernel could not be loaded"
NOTED_LATER = "noted later: the power went before it could be"
NEVER_CAME_UP = f"its last {UNSETTLED_MAX} boots never came as far as the health service"

Decision = tuple[Host, tuple[Effect, ...]]


def transition(host: Host, event: Event) -> Decision:  # noqa: C901, PLR0911 - a table
    """Decide what ``event`` means on ``host``; the caller performs the effects in order.

    A power cut may fall between any two effects, so each prefix must leave a host that boots.
    Raise a Refused error where the event is not allowed; then there are no effects.
    """
    match event:
        case Settle():
            return _settle(host, event)
        case CameUp():
            return _come_up(host, event)
        case InstallStarted():
            return _start_install(host, event)
        case InstallVerified():
            return _arm(host, event)
        case InstallFailed():
            return _give_up_install(host, event)
        case Confirm():
            return _confirm(host, event)
        case Unhealthy():
            return _give_up_trial(host, event)
        case RollBack():
            return _roll_back(host, event)
        case MarkBad():
            return _mark_bad(host, event)
        case Allow():
            return _allow(host, event)
        case _:
            assert_never(event)


def _decide(
    host: Host, env: BootEnv, record: Record, *, record_first: bool = False, every_copy: bool = False
) -> Decision:
    """Return the host with this boot environment and record, and the effects that make it so."""
    effects: list[Effect] = []
    if env != host.env:
        env = replace(env, generation=host.env.generation + 1)
        effects.append(WriteBootEnv(env, every_copy))
    if record != host.record:
        record = replace(record, serial=host.record.serial + 1)
        effects.insert(0 if record_first else len(effects), WriteRecord(record))
    return replace(host, env=env, record=record), tuple(effects)


def _settle(host: Host, event: Settle) -> Decision:
    env = host.env
    if _gave_way(host):
        # It is confirmed and runs, so it carries the host from now on; the other can be written again.
        lost, way_out = env.primary, env.primary.other
        taken_over = replace(env.with_primary(way_out), outcome=Outcome.GAVE_WAY).with_state(
            lost, SlotState.UNTESTED
        )
        entry = Entry(event.at, Happened.GAVE_WAY, lost, env[lost].version, text=NO_KERNEL)
        return _decide(host, taken_over, host.record.with_entry(entry))
    ended = find_ended_trial(host)
    if ended is None or env.trial is None:
        return _decide(host, env, _with_confirmation(host, event.at))
    if host.why is Why.UNSAVED:
        return _call_off_unsaved(host, event.at, env.trial.slot_set, ended)
    reason = f"{ended}; {event.note}" if event.note else ended
    return _end_trial(host, event.at, reason, Outcome.FELL_BACK, Happened.FELL_BACK)


def _with_confirmation(host: Host, at: Seconds) -> Record:
    """Return the record with the entry of a confirmation that a power cut came in between."""
    env, entries = host.env, host.record.entries
    armed = entries[-1] if entries and env.outcome is Outcome.CONFIRMED else None
    if armed is None or (armed.what, armed.slot_set) != (Happened.INSTALLED, env.primary):
        return host.record
    entry = Entry(at, Happened.CONFIRMED, env.primary, env[env.primary].version, text=NOTED_LATER)
    return host.record.with_entry(entry)


def _call_off_unsaved(host: Host, at: Seconds, trial: SlotName, ended: str) -> Decision:
    """End a trial that GRUB could not count: not the release's fault, so its slot set stays what it is.

    At the second time its version is refused all the same, or an unattended host would reboot for ever.
    """
    version = host.env[trial].version
    entry = Entry(at, Happened.CALLED_OFF, trial, version, text=ended)
    record = host.record
    if record.was_called_off(version, entry.text):
        record = refuse(host, at, trial, f"{ended}, and not for the first time")
    called_off = replace(host.env, trial=None, outcome=Outcome.CALLED_OFF)
    return _decide(host, called_off, record.with_entry(entry))


def _gave_way(host: Host) -> bool:
    env, running = host.env, host.running
    return (
        host.why is Why.NO_KERNEL
        and running.passed_over is env.primary
        and not running.disagreement
        and running.kernel is env.primary.other
        and env[env.primary.other].state is SlotState.GOOD
    )


def _come_up(host: Host, event: CameUp) -> Decision:
    env, running = host.env, host.running
    if env.trial or running.disagreement or running.kernel is None:
        return host, ()
    if running.kernel is env.primary:
        answered = replace(env, answering=env.answering | {env.primary}, unsettled=0)
        return _decide(host, answered, _with_confirmation(host, event.at))
    # Not by the generation: mending the copies may have given them another one since GRUB said so.
    is_its_turn = running.why is Why.UNSETTLED and env.unsettled > UNSETTLED_MAX
    if not is_its_turn or running.passed_over is not env.primary:
        return host, ()
    return _take_over(host, event.at)


def _take_over(host: Host, at: Seconds) -> Decision:
    """Make what runs the primary, whatever its state: it came up, and the primary does not.

    The primary was confirmed once, so what ails it may be its disk, or an admin with a power switch: its
    version may be installed again, which mends a damaged slot set. If it gave way before, it is the release.
    """
    env = host.env
    lost, way_out = env.primary, env.primary.other
    record = host.record.with_entry(Entry(at, Happened.GAVE_WAY, lost, env[lost].version, text=NEVER_CAME_UP))
    state = SlotState.UNTESTED if env[lost].state is SlotState.GOOD else env[lost].state
    if host.record.gave_way(env[lost].version):
        state = SlotState.BAD
        record = refuse(
            replace(host, record=record), at, lost, f"{NEVER_CAME_UP}, and not for the first time"
        )
    taken_over = replace(
        env.with_primary(way_out), outcome=Outcome.GAVE_WAY, answering=env.answering | {way_out}
    ).with_state(lost, state)
    return _decide(host, taken_over, record)


def find_ended_trial(host: Host) -> str | None:
    """Return why the trial is over although nobody said so, or None where it is not."""
    env, running = host.env, host.running
    if env.trial is None or running.kernel is env.trial.slot_set:
        return None
    if host.why is Why.UNSAVED:
        return "GRUB could not write the boot environment, so it did not spend an attempt"
    if host.why is Why.NO_KERNEL and running.passed_over is env.trial.slot_set:
        return NO_KERNEL
    if env.trial.attempts == 0:
        return f"never confirmed: all {MAX_ATTEMPTS} attempts are used up"
    return None


def _end_trial(host: Host, at: Seconds, reason: str, outcome: Outcome, what: Happened) -> Decision:
    """End the trial as a failure: bad slot set, refused version, and the reason kept."""
    trial = _trial_of(host)
    env = replace(host.env, trial=None, outcome=outcome).with_state(trial, SlotState.BAD)
    entry = Entry(at, what, trial, host.env[trial].version, text=reason)
    record = host.record
    # Where the boot environment cannot be written, every boot comes here again; once is enough.
    if not record.entries or replace(record.entries[-1], at=at, text=reason) != entry:
        record = refuse(host, at, trial, reason).with_entry(entry)
    # The record first: between the two, the next Settle comes to the same end.
    return _decide(host, env, record, record_first=True)


def _trial_of(host: Host) -> SlotName:
    assert host.env.trial is not None
    return host.env.trial.slot_set


def check_install(host: Host, version: Version | None, sha256: Digest | None) -> SlotName:
    """Return the slot set that an installation would write, or raise why there is none."""
    env, booted = host.env, host.running.booted
    if env.trial:
        trial, release = env.trial.slot_set, env[env.trial.slot_set].version or "a release"
        if booted is trial:
            raise NotConfirmed(
                f"slot set {trial} is still on trial with {release}: run 'abctl confirm' first"
            )
        raise NotConfirmed(
            f"{release} in slot set {trial} is on trial and was not confirmed: reboot into it, or call it "
            "off with 'abctl rollback'"
        )
    if booted not in (None, env.primary):
        raise WrongSlotSet(
            f"slot set {booted} runs, but {env.primary} is the primary: reboot, or say "
            f"'abctl mark-bad {env.primary}' if it does not start any more"
        )
    reason = find_refusal(host, version, sha256)
    if reason is not None:
        recorded = host.record.find_refusal(version, sha256)
        refused = recorded.version if recorded else version
        raise VersionRefused(f"{refused} is refused here: {reason}; 'abctl allow {refused}' takes that back")
    return env.primary.other


def _start_install(host: Host, event: InstallStarted) -> Decision:
    target = check_install(host, event.version, event.sha256)
    # Every copy has to take a write before any of them says that the way back is gone.
    proof = replace(host.env, generation=host.env.generation + 1)
    env = replace(proof, outcome=Outcome.INSTALLING, generation=proof.generation + 1)
    env = replace(env, answering=env.answering - {target})
    env = env.with_slot_set(target, SlotSet(SlotState.EMPTY, event.version))
    record, remember = remember_bad(host, target, event.at)
    return replace(host, env=env, record=record), (
        *remember,
        WriteBootEnv(proof, every_copy=True),
        WriteBootEnv(env, every_copy=True),
        InvalidateSlotSet(target),
    )


def _give_up_install(host: Host, event: InstallFailed) -> Decision:
    target = host.env.primary.other
    entry = Entry(event.at, Happened.INSTALL_FAILED, target, event.version, text=event.reason)
    return _decide(host, host.env, host.record.with_entry(entry))


def _arm(host: Host, event: InstallVerified) -> Decision:
    target = check_install(host, event.version, event.sha256)
    if host.env[target].state is not SlotState.EMPTY:
        raise Busy(
            f"slot set {target} is {host.env[target].state} and not empty: something else changed the boot "
            "environment meanwhile; run 'abctl upgrade' again"
        )
    env = replace(host.env, trial=Trial(target, MAX_ATTEMPTS), outcome=Outcome.ARMED).with_slot_set(
        target, SlotSet(SlotState.UNTESTED, event.version)
    )
    entry = Entry(
        event.at,
        Happened.INSTALLED,
        target,
        event.version,
        event.sha256,
        event.note,
        written=event.written,
        took=event.took,
    )
    return _decide(host, env, host.record.with_entry(entry))


def _confirm(host: Host, event: Confirm) -> Decision:
    env, booted = host.env, host.running.booted
    if env.trial is None:
        raise NothingToConfirm(f"nothing is on trial: slot set {env.primary} is the primary already")
    trial = env.trial.slot_set
    if booted is not trial:
        where = f"slot set {booted} runs" if booted else "nothing of this disk runs"
        raise NothingToConfirm(
            f"slot set {trial} is on trial, but {where}: only a running trial can be confirmed"
        )
    release = env[trial].version
    confirmed = (
        replace(env, trial=None, outcome=Outcome.CONFIRMED)
        .with_primary(trial)
        .with_state(trial, SlotState.GOOD)
    )
    return _decide(
        host, confirmed, host.record.with_entry(Entry(event.at, Happened.CONFIRMED, trial, release))
    )


def must_reboot(host: Host) -> bool:
    """Whether a trial that gave up is to be left by a reboot: GRUB tries it again, or boots the primary.

    Not where the primary is known to be bad, or has no kernel: then what runs, and can be reached, is the
    better one. The answer is the same before and after ``Unhealthy``.
    """
    env = host.env
    if env.trial is None or host.running.kernel is not env.trial.slot_set:
        return False
    # With its attempts used up a trial runs only because GRUB cannot load the primary, and comes back to it.
    if host.running.passed_over is env.primary:
        return False
    return env[env.primary].state in (SlotState.GOOD, SlotState.UNTESTED)


def _give_up_trial(host: Host, event: Unhealthy) -> Decision:
    env, running = host.env, host.running
    # A mixed system is no slot set that could be the primary: nothing is changed from it.
    is_running_trial = (
        env.trial is not None and not running.disagreement and running.kernel is env.trial.slot_set
    )
    if not is_running_trial or must_reboot(host):
        return host, ()
    trial = _trial_of(host)
    stays = (
        replace(env, trial=None, outcome=Outcome.STAYED_UP)
        .with_primary(trial)
        .with_state(trial, SlotState.BAD)
    )
    if running.passed_over is env.primary and env[env.primary].state is SlotState.GOOD:
        stays = stays.with_state(env.primary, SlotState.UNTESTED)
    entry = Entry(event.at, Happened.STAYED_UP, trial, env[trial].version, text=event.reason)
    record = refuse(host, event.at, trial, event.reason).with_entry(entry)
    return _decide(host, stays, record, record_first=True)


def _roll_back(host: Host, event: RollBack) -> Decision:
    env, booted = host.env, host.running.booted
    if env.trial and booted is env.trial.slot_set:
        return _end_trial(host, event.at, "given up by an admin", Outcome.ROLLED_BACK, Happened.ROLLED_BACK)
    if env.trial:
        called_off = replace(env, trial=None, outcome=Outcome.CALLED_OFF)
        trial = env.trial.slot_set
        entry = Entry(event.at, Happened.CALLED_OFF, trial, env[trial].version, text="called off by an admin")
        return _decide(host, called_off, host.record.with_entry(entry))
    target = env.primary.other
    # What gave way is no more than untested; but where its boots are counted, it cannot keep the host.
    may_come_up = (
        env[target].state is SlotState.UNTESTED
        and env.outcome is Outcome.GAVE_WAY
        and target in env.answering
    )
    if env[target].state is not SlotState.GOOD and not may_come_up:
        holds = env[target].version or "no release"
        raise NothingToRollBackTo(
            f"slot set {target} is {env[target].state} ({holds}), so {env.primary} stays: install the "
            "release you want with 'abctl upgrade'"
        )
    record = refuse(host, event.at, env.primary, "rolled back by an admin")
    version = env[target].version
    if version:
        record = record.without_refusal(version)
    record = record.with_entry(Entry(event.at, Happened.ROLLED_BACK, target, version))
    rolled_back = replace(env.with_primary(target), outcome=Outcome.ROLLED_BACK)
    return _decide(host, rolled_back, record, record_first=True)


def _mark_bad(host: Host, event: MarkBad) -> Decision:
    env, bad = host.env, event.slot_set
    if env[bad].state is SlotState.EMPTY:
        raise NothingToDo(f"slot set {bad} is empty: it is not booted anyway")
    marked = replace(env, outcome=Outcome.MARKED_BAD).with_state(bad, SlotState.BAD)
    if env.trial and env.trial.slot_set is bad:
        marked = replace(marked, trial=None)
    # What runs at least starts: better than a bad one, whatever its state.
    better = marked[bad.other].state is SlotState.GOOD or host.running.booted is bad.other
    if bad is env.primary and marked.trial is None and better:
        marked = marked.with_primary(bad.other)
    reason = event.reason.strip() or "an admin said so"
    entry = Entry(event.at, Happened.MARKED_BAD, bad, env[bad].version, text=reason)
    record = refuse(host, event.at, bad, reason).with_entry(entry)
    return _decide(host, marked, record, record_first=True)


def _allow(host: Host, event: Allow) -> Decision:
    if find_refusal(host, event.version, None) is None:
        raise NothingToDo(f"{event.version} is not refused: nothing to allow")
    env = host.env
    for name in SlotName:
        if env[name] == SlotSet(SlotState.BAD, event.version):
            env = env.with_state(name, SlotState.UNTESTED)
    entry = Entry(event.at, Happened.ALLOWED, version=event.version)
    return _decide(host, env, host.record.without_refusal(event.version).with_entry(entry))
