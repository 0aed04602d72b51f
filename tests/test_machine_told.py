"""What each event leaves in the boot environment and the history, to the letter, and what a refusal says."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from abctl.core.bootenv import BootEnv, Outcome, SlotSet, SlotState, Trial, Why
from abctl.core.machine import (
    Allow,
    CameUp,
    Confirm,
    Effect,
    Event,
    Host,
    InstallStarted,
    InstallVerified,
    MarkBad,
    RollBack,
    Running,
    Settle,
    Unhealthy,
    WriteBootEnv,
    WriteRecord,
    transition,
)
from abctl.core.record import Entry, Happened, Record, Refusal
from abctl.core.settling import NO_KERNEL, NOTED_LATER
from abctl.core.slot import SlotName
from abctl.core.units import Digest, Seconds, Version
from abctl.errors import (
    AbctlError,
    Busy,
    NotConfirmed,
    NothingToConfirm,
    NothingToDo,
    NothingToRollBackTo,
    VersionRefused,
    WrongSlotSet,
)

A, B = SlotName.A, SlotName.B
AT = Seconds(7)
ONE, TWO, THREE = Version("1"), Version("2"), Version("3")
SHA, OTHER = Digest("ab" * 32), Digest("cd" * 32)
GOOD, BAD, UNTESTED, EMPTY = SlotState.GOOD, SlotState.BAD, SlotState.UNTESTED, SlotState.EMPTY
INSTALLED = Entry(Seconds(3), Happened.INSTALLED, B, TWO, SHA)
KNOWN = Record(entries=(INSTALLED,))
Order = tuple[type[Effect], ...]
ENV_THEN_RECORD, RECORD_THEN_ENV = (WriteBootEnv, WriteRecord), (WriteRecord, WriteBootEnv)


def sets(a: SlotState, b: SlotState) -> dict[SlotName, SlotSet]:
    return {A: SlotSet(a, ONE), B: SlotSet(b, TWO)}


BOTH_GOOD, TRIED = sets(GOOD, GOOD), sets(GOOD, UNTESTED)


def trial_of_b(running: Running, attempts: int = 2) -> Host:
    return Host(BootEnv(A, Trial(B, attempts), TRIED), running, KNOWN)


def refusal(version: Version, reason: str, sha256: Digest | None = None) -> Refusal:
    return Refusal(AT, version, sha256, reason)


# --- what is left -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """An event on a host, and all that it leaves; ``order`` is that of the effects."""

    host: Host
    event: Event
    env: BootEnv
    entries: tuple[Entry, ...]
    refusals: tuple[Refusal, ...]
    order: Order


def case(
    host: Host, event: Event, entry: Entry, *refusals: Refusal, order: Order = RECORD_THEN_ENV, **changes: Any
) -> Case:
    """Return a case in which an entry comes to the history, and this changes in the boot environment."""
    env = replace(host.env, generation=host.env.generation + 1, **changes) if changes else host.env
    return Case(host, event, env, (*host.record.entries, entry), refusals, order)


ON_TRIAL = trial_of_b(Running.all_of(B))
WAITING = trial_of_b(Running.all_of(A))
SETTLED = Host(BootEnv(B, slot_sets=BOTH_GOOD, outcome=Outcome.CONFIRMED), Running.all_of(B), KNOWN)
ONE_GAVE_WAY = BootEnv(
    B, slot_sets=sets(UNTESTED, GOOD), outcome=Outcome.GAVE_WAY, answering=frozenset({A, B})
)
GAVE_WAY = replace(SETTLED, env=ONE_GAVE_WAY)
EMPTIED = Host(BootEnv(A, slot_sets=sets(GOOD, EMPTY), outcome=Outcome.INSTALLING), Running.all_of(A))
REFUSED_TWO = Host(
    BootEnv(A, slot_sets=sets(GOOD, BAD)), Running.all_of(A), Record(refusals=(refusal(TWO, "it hums"),))
)
NOWHERE_BETTER = trial_of_b(Running(B, B, B, Why.TRIAL, passed_over=A), 0)
LOST_KERNEL = Host(BootEnv(A, slot_sets=BOTH_GOOD), Running(B, B, B, Why.NO_KERNEL, passed_over=A))
CALLED_OFF = Entry(AT, Happened.CALLED_OFF, B, TWO, text="called off by an admin")
ROLLED_BACK = Entry(AT, Happened.ROLLED_BACK, A, ONE)
NO_MORE_TWO = refusal(TWO, "rolled back by an admin", SHA)
ALLOWED = Entry(AT, Happened.ALLOWED, version=TWO)
INSTALLED_NOW = Entry(AT, Happened.INSTALLED, B, TWO, SHA, "not signed", written=4096, took=1.5)

CASES = {
    "confirm": case(
        ON_TRIAL,
        Confirm(AT),
        Entry(AT, Happened.CONFIRMED, B, TWO),
        order=ENV_THEN_RECORD,
        primary=B,
        trial=None,
        slot_sets=BOTH_GOOD,
        outcome=Outcome.CONFIRMED,
    ),
    "give up the trial that runs": case(
        ON_TRIAL,
        RollBack(AT),
        Entry(AT, Happened.ROLLED_BACK, B, TWO, text="given up by an admin"),
        refusal(TWO, "given up by an admin", SHA),
        trial=None,
        slot_sets=sets(GOOD, BAD),
        outcome=Outcome.ROLLED_BACK,
    ),
    **{
        f"call the trial off{where}": case(
            trial_of_b(running),
            RollBack(AT),
            CALLED_OFF,
            order=ENV_THEN_RECORD,
            trial=None,
            outcome=Outcome.CALLED_OFF,
        )
        for where, running in (("", Running.all_of(A)), (" on a disk that does not run", Running()))
    },
    **{
        f"roll back{what}": case(
            host, RollBack(AT), ROLLED_BACK, NO_MORE_TWO, primary=A, outcome=Outcome.ROLLED_BACK
        )
        for what, host in (
            ("", SETTLED),
            (
                " to what was refused",
                replace(SETTLED, record=replace(KNOWN, refusals=(refusal(ONE, "it hums"),))),
            ),
            (" to what gave way", GAVE_WAY),
        )
    },
    "mark the primary bad": case(
        SETTLED,
        MarkBad(AT, B, " it hums "),
        Entry(AT, Happened.MARKED_BAD, B, TWO, text="it hums"),
        refusal(TWO, "it hums", SHA),
        primary=A,
        slot_sets=sets(GOOD, BAD),
        outcome=Outcome.MARKED_BAD,
    ),
    "mark the trial bad": case(
        WAITING,
        MarkBad(AT, B, ""),
        Entry(AT, Happened.MARKED_BAD, B, TWO, text="an admin said so"),
        refusal(TWO, "an admin said so", SHA),
        trial=None,
        slot_sets=sets(GOOD, BAD),
        outcome=Outcome.MARKED_BAD,
    ),
    "mark the primary bad beside a trial": case(
        WAITING,
        MarkBad(AT, A, "it hums"),
        Entry(AT, Happened.MARKED_BAD, A, ONE, text="it hums"),
        refusal(ONE, "it hums"),
        slot_sets=sets(BAD, UNTESTED),
        outcome=Outcome.MARKED_BAD,
    ),
    "allow": case(REFUSED_TWO, Allow(AT, TWO), ALLOWED, order=ENV_THEN_RECORD, slot_sets=TRIED),
    "allow what only its slot set refuses": case(
        replace(REFUSED_TWO, record=Record()),
        Allow(AT, TWO),
        ALLOWED,
        order=ENV_THEN_RECORD,
        slot_sets=TRIED,
    ),
    "arm": case(
        EMPTIED,
        InstallVerified(AT, TWO, SHA, 4096, 1.5, note="not signed"),
        INSTALLED_NOW,
        order=ENV_THEN_RECORD,
        trial=Trial(B, 3),
        slot_sets=TRIED,
        outcome=Outcome.ARMED,
    ),
    "stay up": case(
        NOWHERE_BETTER,
        Unhealthy(AT, "it hums"),
        Entry(AT, Happened.STAYED_UP, B, TWO, text="it hums"),
        refusal(TWO, "it hums", SHA),
        primary=B,
        trial=None,
        slot_sets=sets(UNTESTED, BAD),
        outcome=Outcome.STAYED_UP,
    ),
    "a primary that lost its kernel": case(
        LOST_KERNEL,
        Settle(AT),
        Entry(AT, Happened.GAVE_WAY, A, ONE, text=NO_KERNEL),
        order=ENV_THEN_RECORD,
        primary=B,
        slot_sets=sets(UNTESTED, GOOD),
        outcome=Outcome.GAVE_WAY,
    ),
    "the entry of a confirmation that was lost": case(
        SETTLED,
        Settle(AT),
        Entry(AT, Happened.CONFIRMED, B, TWO, text=NOTED_LATER),
        order=(WriteRecord,),
    ),
}


@pytest.mark.parametrize("told", CASES.values(), ids=CASES)
def test_an_event_leaves_just_this(told: Case) -> None:
    host, effects = transition(told.host, told.event)
    assert host.env == told.env
    assert host.record == Record(told.refusals, told.entries, told.host.record.serial + 1)
    written = {WriteBootEnv: WriteBootEnv(told.env), WriteRecord: WriteRecord(host.record)}
    assert effects == tuple(written[kind] for kind in told.order)


# --- what is left alone -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "event"),
    [
        (ON_TRIAL, CameUp(AT)),
        (Host(BootEnv(A, slot_sets=BOTH_GOOD), Running(A, B, A)), CameUp(AT)),
        (Host(BootEnv(A, slot_sets=BOTH_GOOD), Running()), CameUp(AT)),
        (ON_TRIAL, Unhealthy(AT, "it hums")),
        (WAITING, Unhealthy(AT, "it hums")),
        (SETTLED, Unhealthy(AT, "it hums")),
        (trial_of_b(Running(B, A, B)), Unhealthy(AT, "it hums")),
        (WAITING, Settle(AT)),
        (replace(LOST_KERNEL, running=Running(B, A, B, Why.NO_KERNEL, passed_over=A)), Settle(AT)),
        (replace(LOST_KERNEL, running=Running(B, B, B, Why.NO_KERNEL, passed_over=B)), Settle(AT)),
    ],
    ids=lambda item: type(item).__name__ if not isinstance(item, Host) else "",
)
def test_an_event_that_means_nothing_here_changes_nothing(host: Host, event: Event) -> None:
    assert transition(host, event) == (host, ())


# --- what is refused --------------------------------------------------------------------------------

HOLLOW = {A: SlotSet(GOOD, ONE), B: SlotSet(EMPTY)}
REFUSALS: dict[str, tuple[Host, Event, type[AbctlError], str]] = {
    "nothing to confirm": (
        SETTLED,
        Confirm(AT),
        NothingToConfirm,
        "nothing is on trial: slot set B is the primary already",
    ),
    "a trial that waits is not confirmed": (
        WAITING,
        Confirm(AT),
        NothingToConfirm,
        "slot set B is on trial, but slot set A runs: only a running trial can be confirmed",
    ),
    "a disk that does not run is not confirmed": (
        trial_of_b(Running()),
        Confirm(AT),
        NothingToConfirm,
        "slot set B is on trial, but nothing of this disk runs: only a running trial can be confirmed",
    ),
    "no way back to an empty slot set": (
        Host(BootEnv(A, slot_sets=HOLLOW)),
        RollBack(AT),
        NothingToRollBackTo,
        "slot set B is empty (no release), so A stays: install the release you want with 'abctl upgrade'",
    ),
    "no way back to what is untested": (
        Host(BootEnv(A, slot_sets=TRIED)),
        RollBack(AT),
        NothingToRollBackTo,
        "slot set B is untested (2), so A stays: install the release you want with 'abctl upgrade'",
    ),
    "no way back to what gave way and does not answer": (
        replace(GAVE_WAY, env=replace(GAVE_WAY.env, answering=frozenset({B}))),
        RollBack(AT),
        NothingToRollBackTo,
        "slot set A is untested (1), so B stays: install the release you want with 'abctl upgrade'",
    ),
    "no way back to what answers and did not give way": (
        replace(GAVE_WAY, env=replace(GAVE_WAY.env, outcome=Outcome.ROLLED_BACK)),
        RollBack(AT),
        NothingToRollBackTo,
        "slot set A is untested (1), so B stays: install the release you want with 'abctl upgrade'",
    ),
    "an empty slot set is not marked": (
        Host(BootEnv(A, slot_sets=HOLLOW)),
        MarkBad(AT, B, "it hums"),
        NothingToDo,
        "slot set B is empty: it is not booted anyway",
    ),
    "what nobody refuses is not allowed": (
        SETTLED,
        Allow(AT, THREE),
        NothingToDo,
        "3 is not refused: nothing to allow",
    ),
    "nothing is installed from a trial": (
        ON_TRIAL,
        InstallStarted(AT, THREE, SHA),
        NotConfirmed,
        "slot set B is still on trial with 2: run 'abctl confirm' first",
    ),
    "nothing is installed beside a trial": (
        WAITING,
        InstallStarted(AT, THREE, SHA),
        NotConfirmed,
        "2 in slot set B is on trial and was not confirmed: reboot into it, or call it off with "
        "'abctl rollback'",
    ),
    "nothing is installed beside a trial of unknown version": (
        Host(BootEnv(A, Trial(B, 2))),
        InstallStarted(AT, THREE, SHA),
        NotConfirmed,
        "a release in slot set B is on trial and was not confirmed: reboot into it, or call it off with "
        "'abctl rollback'",
    ),
    "nothing is installed from what is not the primary": (
        replace(SETTLED, running=Running.all_of(A)),
        InstallStarted(AT, THREE, SHA),
        WrongSlotSet,
        "slot set A runs, but B is the primary: reboot, or say 'abctl mark-bad B' if it does not start any "
        "more",
    ),
    "a refused version is not installed": (
        REFUSED_TWO,
        InstallStarted(AT, TWO, OTHER),
        VersionRefused,
        "2 is refused here: it hums; 'abctl allow 2' takes that back",
    ),
    "a refused release is not installed by another name": (
        replace(SETTLED, record=Record(refusals=(refusal(TWO, "it hums", SHA),))),
        InstallStarted(AT, THREE, SHA),
        VersionRefused,
        "2 is refused here: it hums; 'abctl allow 2' takes that back",
    ),
    "what a bad slot set holds is not installed": (
        replace(REFUSED_TWO, record=Record()),
        InstallStarted(AT, TWO, SHA),
        VersionRefused,
        "2 is refused here: slot set B holds it and is bad; 'abctl allow 2' takes that back",
    ),
    "what was not emptied is not armed": (
        replace(WAITING, env=BootEnv(A, slot_sets=TRIED)),
        InstallVerified(AT, THREE, SHA, 1, 1.0),
        Busy,
        "slot set B is untested and not empty: something else changed the boot environment meanwhile; run "
        "'abctl upgrade' again",
    ),
}


@pytest.mark.parametrize(("host", "event", "kind", "said"), REFUSALS.values(), ids=REFUSALS)
def test_what_is_not_allowed_is_refused_in_these_words(
    host: Host, event: Event, kind: type[AbctlError], said: str
) -> None:
    with pytest.raises(kind) as refused:
        transition(host, event)
    assert str(refused.value) == said
