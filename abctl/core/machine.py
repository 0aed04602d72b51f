"""The state machine of the slot sets: what each event does. What boots come to is decided in ``settling``.

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

from abctl.core.bootstate import MAX_ATTEMPTS, Outcome, SlotSet, SlotState, Trial
from abctl.core.events import (
    Allow,
    CameUp,
    Confirm,
    Decision,
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
    decide,
)
from abctl.core.record import Entry, Happened
from abctl.core.refusing import find_refusal, refuse, remember_bad
from abctl.core.settling import come_up, end_trial, give_up_trial, settle
from abctl.core.slot import SlotName
from abctl.core.units import Digest, Version
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
    "find_refusal",
    "transition",
]


def transition(host: Host, event: Event) -> Decision:  # noqa: C901, PLR0911 - a table
    """Decide what ``event`` means on ``host``; the caller performs the effects in order.

    A power cut may fall between any two effects, so each prefix must leave a host that boots.
    Raise a Refused error where the event is not allowed; then there are no effects.
    """
    match event:
        case Settle():
            return settle(host, event)
        case CameUp():
            return come_up(host, event)
        case InstallStarted():
            return _start_install(host, event)
        case InstallVerified():
            return _arm(host, event)
        case InstallFailed():
            return _give_up_install(host, event)
        case Confirm():
            return _confirm(host, event)
        case Unhealthy():
            return give_up_trial(host, event)
        case RollBack():
            return _roll_back(host, event)
        case MarkBad():
            return _mark_bad(host, event)
        case Allow():
            return _allow(host, event)
        case _:
            assert_never(event)


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
    return decide(host, host.env, host.record.with_entry(entry))


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
    return decide(host, env, host.record.with_entry(entry))


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
    return decide(
        host, confirmed, host.record.with_entry(Entry(event.at, Happened.CONFIRMED, trial, release))
    )


def _roll_back(host: Host, event: RollBack) -> Decision:
    env, booted = host.env, host.running.booted
    if env.trial and booted is env.trial.slot_set:
        return end_trial(host, event.at, "given up by an admin", Outcome.ROLLED_BACK, Happened.ROLLED_BACK)
    if env.trial:
        called_off = replace(env, trial=None, outcome=Outcome.CALLED_OFF)
        trial = env.trial.slot_set
        entry = Entry(event.at, Happened.CALLED_OFF, trial, env[trial].version, text="called off by an admin")
        return decide(host, called_off, host.record.with_entry(entry))
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
    return decide(host, rolled_back, record, record_first=True)


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
    return decide(host, marked, record, record_first=True)


def _allow(host: Host, event: Allow) -> Decision:
    if find_refusal(host, event.version, None) is None:
        raise NothingToDo(f"{event.version} is not refused: nothing to allow")
    env = host.env
    for name in SlotName:
        if env[name] == SlotSet(SlotState.BAD, event.version):
            env = env.with_state(name, SlotState.UNTESTED)
    entry = Entry(event.at, Happened.ALLOWED, version=event.version)
    return decide(host, env, host.record.without_refusal(event.version).with_entry(entry))
