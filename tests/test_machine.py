"""What each event does to a host, and when it is refused; test_boot_enumeration.py goes through them all."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from abctl.core.bootenv import (
    UNSETTLED_MAX,
    BootEnv,
    Copy,
    EnvFiles,
    Outcome,
    SlotSet,
    SlotState,
    Trial,
    Why,
    decode,
)
from abctl.core.machine import (
    Allow,
    CameUp,
    Confirm,
    Host,
    InstallFailed,
    InstallStarted,
    InstallVerified,
    InvalidateSlotSet,
    MarkBad,
    RollBack,
    Running,
    Settle,
    WriteBootEnv,
    WriteRecord,
    transition,
)
from abctl.core.rebuild import rebuild
from abctl.core.record import Entry, Happened, Record, Refusal
from abctl.core.settling import NEVER_CAME_UP
from abctl.core.slot import SlotName
from abctl.core.units import Digest, Seconds, Version
from abctl.errors import (
    Busy,
    NotConfirmed,
    NothingToConfirm,
    NothingToDo,
    NothingToRollBackTo,
    RunningMismatch,
    StateUnwritable,
    VersionRefused,
    WrongSlotSet,
)
from tests.enumeration import fresh_host
from tests.states import files_of
from tests.world import Content, Kind, Release, World

A, B = SlotName.A, SlotName.B
AT = Seconds(0)
SHA = Digest("0" * 64)
ONE = Release(Version("1"), Kind.GOOD)
GOOD = Release(Version("2"), Kind.GOOD)
PANICS = Release(Version("2"), Kind.PANICS)
NO_KERNEL = Release(Version("2"), Kind.NO_KERNEL)
NEXT = Release(Version("3"), Kind.GOOD)
EACH_WAY = pytest.mark.parametrize("primary", [A, B], ids=["A to B", "B to A"])


def host_on(primary: SlotName) -> World:
    """Return a host that runs its primary."""
    world = World(fresh_host(primary))
    world.power_on()
    return world


def env_of(world: World) -> BootEnv:
    env = world.state.env
    assert env is not None
    return env


def power_on_until(world: World, why: Why) -> None:
    for _ in range(5):
        if world.power_on().why is why:
            return
    raise AssertionError(f"GRUB never said {why}")


# --- installing -------------------------------------------------------------------------------------


@EACH_WAY
def test_an_installation_proves_the_copies_disarms_and_then_invalidates(primary: SlotName) -> None:
    _, effects = transition(Host(BootEnv(primary)), InstallStarted(AT, GOOD.version, SHA))
    proof, disarm, invalidate = effects
    assert proof == WriteBootEnv(BootEnv(primary, generation=2), every_copy=True)
    assert isinstance(disarm, WriteBootEnv)
    assert disarm.every_copy
    assert disarm.env[primary.other] == SlotSet(SlotState.EMPTY, GOOD.version)
    assert invalidate == InvalidateSlotSet(primary.other)


@EACH_WAY
@pytest.mark.parametrize("broken", Copy)
def test_a_copy_that_cannot_be_written_costs_the_way_back_nothing(primary: SlotName, broken: Copy) -> None:
    world = host_on(primary)
    world.install(GOOD)
    world.power_on()
    world.confirm()
    world.state = replace(world.state, unwritable=frozenset({broken}))
    with pytest.raises(StateUnwritable, match=str(broken)):
        world.install(NEXT)
    assert env_of(world)[primary].state is SlotState.GOOD
    assert world.state.contents[primary].release == ONE


@EACH_WAY
def test_arming_is_one_write_of_a_slot_set_that_is_empty_no_more(primary: SlotName) -> None:
    host = Host(BootEnv(primary).with_slot_set(primary.other, SlotSet(SlotState.EMPTY)))
    _, effects = transition(host, InstallVerified(AT, GOOD.version, SHA, 1, 1.0))
    written = [effect.env for effect in effects if isinstance(effect, WriteBootEnv)]
    assert [env.trial for env in written] == [Trial(primary.other, 3)]
    assert written[0][primary.other] == SlotSet(SlotState.UNTESTED, GOOD.version)


@pytest.mark.parametrize("state", [SlotState.GOOD, SlotState.UNTESTED, SlotState.BAD])
def test_what_was_not_emptied_first_is_not_armed(state: SlotState) -> None:
    host = Host(BootEnv(A).with_slot_set(B, SlotSet(state)))
    with pytest.raises(Busy, match="not empty"):
        transition(host, InstallVerified(AT, GOOD.version, SHA, 1, 1.0))


@pytest.mark.parametrize("booted", [A, B, None])
def test_nothing_is_installed_while_a_trial_lasts(booted: SlotName | None) -> None:
    host = Host(BootEnv(A, Trial(B, 1)), Running.all_of(booted))
    with pytest.raises(NotConfirmed):
        transition(host, InstallStarted(AT, GOOD.version, SHA))


def test_nothing_is_installed_from_what_is_not_the_primary() -> None:
    with pytest.raises(WrongSlotSet):
        transition(Host(BootEnv(A), Running.all_of(B)), InstallStarted(AT, GOOD.version, SHA))


def test_nothing_is_installed_from_a_mixed_system() -> None:
    with pytest.raises(RunningMismatch):
        transition(Host(BootEnv(A), Running(A, B, A)), InstallStarted(AT, GOOD.version, SHA))


# --- how a trial ends -------------------------------------------------------------------------------


@EACH_WAY
def test_a_trial_that_runs_is_confirmed_and_stays(primary: SlotName) -> None:
    world = host_on(primary)
    world.install(GOOD)
    assert world.power_on().booted is primary.other
    world.confirm()
    env = env_of(world)
    assert (env.primary, env.trial, env[primary.other].state) == (primary.other, None, SlotState.GOOD)
    assert [world.power_on().booted for _ in range(5)] == [primary.other] * 5


@pytest.mark.parametrize("running", [Running.all_of(A), Running(), Running.all_of(None, Why.TRIAL)])
def test_only_a_running_trial_is_confirmed(running: Running) -> None:
    with pytest.raises(NothingToConfirm):
        transition(Host(BootEnv(A, Trial(B, 3)), running), Confirm(AT))


@pytest.mark.parametrize(
    "running", [Running(B, A, B), Running(B, B, A), Running(A, B, B), Running(B, None, B)]
)
def test_a_trial_is_confirmed_only_if_every_witness_agrees(running: Running) -> None:
    with pytest.raises(RunningMismatch):
        transition(Host(BootEnv(A, Trial(B, 3)), running), Confirm(AT))


@EACH_WAY
@pytest.mark.parametrize("release", [PANICS, NO_KERNEL], ids=lambda release: release.kind)
def test_a_trial_that_never_ran_ends_bad_and_refused(primary: SlotName, release: Release) -> None:
    world = host_on(primary)
    world.install(release)
    power_on_until(world, Why.FALLBACK if release is PANICS else Why.NO_KERNEL)
    env = env_of(world)
    assert (env.primary, env.trial, env[primary.other].state) == (primary, None, SlotState.BAD)
    assert env.outcome is Outcome.FELL_BACK
    with pytest.raises(VersionRefused):
        world.install(GOOD)


@EACH_WAY
def test_the_record_is_written_before_the_state_that_forgets_the_trial(primary: SlotName) -> None:
    host = Host(BootEnv(primary, Trial(primary.other, 0)), Running.all_of(primary))
    _, effects = transition(host, Settle(AT))
    assert [type(effect) for effect in effects] == [WriteRecord, WriteBootEnv]


@EACH_WAY
def test_what_grub_said_of_one_trial_does_not_end_the_next(primary: SlotName) -> None:
    """The kernel's command line stays as it was when the next release is armed in the same boot."""
    world = host_on(primary)
    world.install(NO_KERNEL)
    assert world.power_on().why is Why.NO_KERNEL
    world.install(NEXT)
    with pytest.raises(NothingToConfirm):
        world.confirm()
    assert env_of(world).trial == Trial(primary.other, 3)
    assert world.power_on().booted is primary.other


@EACH_WAY
def test_a_trial_that_grub_could_not_count_is_called_off_and_not_refused(primary: SlotName) -> None:
    world = host_on(primary)
    world.install(GOOD)
    world.state = replace(world.state, unwritable=frozenset({Copy.FIRST, Copy.SECOND}))
    boot = world.start_grub()
    assert (boot.booted, boot.why) == (primary, Why.UNSAVED)
    running = Running(primary, primary, primary, boot.why, None, boot.generation)
    world.state = replace(world.state, running=running, unwritable=frozenset())
    world.install(GOOD)
    assert env_of(world).trial == Trial(primary.other, 3)
    with pytest.raises(NothingToConfirm):
        world.confirm()
    assert env_of(world).trial == Trial(primary.other, 3)


@EACH_WAY
def test_a_trial_that_grub_cannot_count_is_not_tried_for_ever(primary: SlotName) -> None:
    """Else a host that upgrades by itself would reboot, call off and upgrade again as long as it lives."""
    world = host_on(primary)
    for _ in range(2):
        world.install(GOOD)
        world.state = replace(world.state, unwritable=frozenset({Copy.FIRST, Copy.SECOND}))
        boot = world.start_grub()
        assert boot.why is Why.UNSAVED
        running = Running(primary, primary, primary, boot.why, None, boot.generation)
        world.state = replace(world.state, running=running, unwritable=frozenset())
    with pytest.raises(VersionRefused, match="not for the first time"):
        world.install(GOOD)
    assert env_of(world)[primary.other].state is SlotState.UNTESTED
    world.install(NEXT)


@EACH_WAY
def test_a_confirmation_whose_entry_was_lost_is_noted_later(primary: SlotName) -> None:
    world = host_on(primary)
    world.install(GOOD)
    world.power_on()
    armed = world.state.record
    world.confirm()
    world.state = replace(world.state, record=armed)
    for _ in range(2):
        world.power_on()
    told = [(entry.what, entry.version) for entry in world.state.record.entries]
    assert told == [(Happened.INSTALLED, GOOD.version), (Happened.CONFIRMED, GOOD.version)]


# --- without a kernel, and with nothing good --------------------------------------------------------


def lose_kernel(world: World, slot_set: SlotName) -> None:
    contents = {**world.state.contents, slot_set: Content()}
    world.state = replace(world.state, contents=contents, trusted=world.state.trusted - {slot_set})


@EACH_WAY
def test_a_good_slot_set_takes_over_from_a_primary_without_a_kernel(primary: SlotName) -> None:
    world = host_on(primary)
    world.install(GOOD)
    world.power_on()
    world.confirm()
    lose_kernel(world, primary.other)
    assert world.power_on().booted is primary
    env = env_of(world)
    assert (env.primary, env.outcome, env[primary.other].state) == (
        primary,
        Outcome.GAVE_WAY,
        SlotState.UNTESTED,
    )
    world.install(NEXT)


@EACH_WAY
def test_a_host_on_its_last_bad_slot_set_can_still_be_upgraded(primary: SlotName) -> None:
    """The primary lost its kernel and the trial was given up: what runs is bad, and all there is."""
    world = host_on(primary)
    world.install(GOOD)
    world.power_on()
    world.roll_back()
    lose_kernel(world, primary)
    assert world.power_on().booted is primary.other
    with pytest.raises(WrongSlotSet, match=f"abctl mark-bad {primary}"):
        world.install(NEXT)
    world.mark_bad(primary)
    assert env_of(world).primary is primary.other
    world.install(NEXT)
    assert world.power_on().booted is primary


@EACH_WAY
def test_with_both_slot_sets_bad_the_host_comes_up(primary: SlotName) -> None:
    world = host_on(primary)
    world.install(GOOD)
    world.power_on()
    world.mark_bad(primary.other)
    world.power_on()
    world.mark_bad(primary)
    env = env_of(world)
    assert {env[name].state for name in SlotName} == {SlotState.BAD}
    assert world.power_on().booted is primary


# --- what admins say --------------------------------------------------------------------------------


@EACH_WAY
def test_a_rollback_goes_back_and_refuses_what_it_left(primary: SlotName) -> None:
    world = host_on(primary)
    world.install(GOOD)
    world.power_on()
    world.confirm()
    world.roll_back()
    assert world.power_on().booted is primary
    with pytest.raises(VersionRefused):
        world.install(GOOD)
    world.allow(GOOD.version)
    world.install(GOOD)


def test_a_rollback_to_what_is_not_known_to_be_good_is_refused() -> None:
    for state in (SlotState.UNTESTED, SlotState.BAD, SlotState.EMPTY):
        with pytest.raises(NothingToRollBackTo):
            transition(Host(BootEnv(A).with_state(B, state)), RollBack(AT))


def test_a_version_that_is_bad_for_no_reason_is_refused_all_the_same() -> None:
    world = host_on(A)
    world.install(GOOD)
    world.power_on()
    world.do(MarkBad(AT, B, " "))
    world.power_on()
    with pytest.raises(VersionRefused, match="an admin said so"):
        world.install(GOOD)


# --- writing ----------------------------------------------------------------------------------------


def test_the_older_systems_file_never_goes_ahead_of_the_copies() -> None:
    world = host_on(A)
    world.install(GOOD)
    world.power_on()
    world.state = replace(world.state, unwritable=frozenset({Copy.FIRST, Copy.SECOND}))
    older = world.state.files.older
    with pytest.raises(StateUnwritable):
        world.confirm()
    assert world.state.files.older == older


def test_a_write_outranks_a_copy_that_only_grub_believes() -> None:
    """Its version is damaged, so abctl reads the other; GRUB does not look at versions."""
    world = host_on(A)
    env = replace(env_of(world), generation=50, primary=A)
    damaged = (files_of(env).second or b"").replace(b"version_A=1", b"version_A=9")
    world.state = replace(world.state, files=world.state.files.with_copy(Copy.SECOND, damaged))
    world.state = replace(world.state, unwritable=frozenset({Copy.SECOND}))
    world.mark_bad(A)
    assert decode(world.state.files.first or b"").generation > 50
    assert world.power_on().origin == "1"


@pytest.mark.parametrize(
    ("running", "primary"), [(Running(), A), (Running.all_of(A), A), (Running.all_of(B), B)]
)
def test_a_lost_boot_environment_is_rebuilt_around_what_runs(running: Running, primary: SlotName) -> None:
    versions: Callable[[SlotName], Version | None] = {A: Version("1"), B: None}.get
    env = rebuild(running, versions)
    assert (env.primary, env.trial) == (primary, None)
    assert env[primary].state is SlotState.GOOD
    assert env[primary.other].state is SlotState.UNTESTED
    assert (env[A].version, env[B].version) == ("1", None)


def test_lost_files_are_made_anew() -> None:
    world = host_on(B)
    world.state = replace(world.state, files=EnvFiles())
    world.state = replace(world.state, running=Running.all_of(B, Why.LOST))
    world.do(Settle(AT))
    assert None not in (world.state.files.first, world.state.files.second, world.state.files.older)
    assert env_of(world).primary is B


# --- what an admin says in vain ---------------------------------------------------------------------


def test_an_empty_slot_set_cannot_get_worse() -> None:
    with pytest.raises(NothingToDo, match="slot set B is empty"):
        transition(Host(BootEnv(A).with_state(B, SlotState.EMPTY)), MarkBad(AT, B, "it smells"))


def test_a_version_that_nobody_refuses_cannot_be_allowed() -> None:
    with pytest.raises(NothingToDo, match="is not refused: nothing to allow"):
        transition(Host(BootEnv(A)), Allow(AT, Version("2.0.0")))


def test_a_slot_set_of_unknown_version_can_be_rolled_back_to_and_written_though_it_is_bad() -> None:
    env = BootEnv(A, slot_sets={A: SlotSet(SlotState.GOOD, Version("2.0.0")), B: SlotSet(SlotState.GOOD)})
    back, _ = transition(Host(env), RollBack(AT))
    assert back.env.primary is B
    assert [item.version for item in back.record.refusals] == ["2.0.0"]
    assert back.record.entries[-1].version is None
    # There is no version that the record could remember as bad.
    bad = Host(env.with_state(B, SlotState.BAD), Running.all_of(A))
    started, effects = transition(bad, InstallStarted(AT, Version("3.0.0"), Digest("ab" * 32)))
    assert started.record == bad.record
    assert not any(isinstance(effect, WriteRecord) for effect in effects)
    assert started.env[B] == SlotSet(SlotState.EMPTY, Version("3.0.0"))


# --- a primary that never comes up ------------------------------------------------------------------

GAVE_WAY = Entry(Seconds(3), Happened.GAVE_WAY, A, GOOD.version)


def come_up_instead(state: SlotState, *before: Entry) -> Host:
    """Return a host whose primary A, of this state, never came up, after B has come up in its place."""
    sets = {A: SlotSet(state, GOOD.version), B: SlotSet(SlotState.GOOD, ONE.version)}
    env = BootEnv(A, slot_sets=sets, answering=frozenset({A}), unsettled=UNSETTLED_MAX + 1)
    running = Running(B, B, B, Why.UNSETTLED, passed_over=A)
    return transition(Host(env, running, Record(entries=before)), CameUp(Seconds(7)))[0]


@pytest.mark.parametrize(
    ("state", "left"),
    [(SlotState.GOOD, SlotState.UNTESTED), (SlotState.BAD, SlotState.BAD)],
)
def test_what_comes_up_instead_becomes_the_primary_and_that_is_recorded(
    state: SlotState, left: SlotState
) -> None:
    host = come_up_instead(state)
    assert (host.env.primary, host.env[A].state, host.env[B].state) == (B, left, SlotState.GOOD)
    assert (host.env.outcome, host.env.answering) == (Outcome.GAVE_WAY, frozenset({A, B}))
    entry = Entry(Seconds(7), Happened.GAVE_WAY, A, GOOD.version, text=NEVER_CAME_UP)
    assert host.record.entries == (entry,)
    assert host.record.refusals == ()


def test_a_version_that_gives_way_for_the_second_time_is_refused_unless_it_was_allowed_since() -> None:
    again = come_up_instead(SlotState.GOOD, GAVE_WAY)
    assert again.env[A].state is SlotState.BAD
    why = f"{NEVER_CAME_UP}, and not for the first time"
    assert again.record.refusals == (Refusal(Seconds(7), GOOD.version, None, why),)
    assert [entry.at for entry in again.record.entries] == [3, 7]
    allowed = come_up_instead(
        SlotState.GOOD, GAVE_WAY, Entry(Seconds(4), Happened.ALLOWED, version=GOOD.version)
    )
    assert (allowed.env[A].state, allowed.record.refusals) == (SlotState.UNTESTED, ())


# --- how a trial ends -------------------------------------------------------------------------------


def ended(why: Why, attempts: int, *, event: Settle, record: Record | None = None) -> Host:
    """Return a host that runs A and whose trial of B ended, after that was settled."""
    sets = {A: SlotSet(SlotState.GOOD, ONE.version), B: SlotSet(SlotState.UNTESTED, GOOD.version)}
    env = BootEnv(A, Trial(B, attempts), sets)
    running = Running(A, A, A, why, passed_over=B if why is Why.NO_KERNEL else None)
    return transition(Host(env, running, record or Record()), event)[0]


def test_the_end_of_a_trial_is_recorded_with_its_time_its_slot_set_and_its_reason() -> None:
    host = ended(Why.FALLBACK, 0, event=Settle(Seconds(7), "boot 3 left no mark"))
    reason = "never confirmed: all 3 attempts are used up; boot 3 left no mark"
    entry = Entry(Seconds(7), Happened.FELL_BACK, B, GOOD.version, text=reason)
    assert host.record.entries == (entry,)
    assert host.record.refusals == (Refusal(Seconds(7), GOOD.version, None, reason),)
    assert (host.env.trial, host.env.outcome, host.env[B].state) == (None, Outcome.FELL_BACK, SlotState.BAD)
    # Where the boot environment cannot be written the next boot settles the same trial: once is enough.
    again = ended(Why.FALLBACK, 0, event=Settle(Seconds(8), "another note"), record=host.record)
    assert again.record == host.record


def test_a_trial_that_could_not_be_counted_is_recorded_as_called_off_and_refused_at_the_second_time() -> None:
    why = "GRUB could not write the boot environment, so it did not spend an attempt"
    once = ended(Why.UNSAVED, 3, event=Settle(Seconds(7)))
    assert once.record.entries == (Entry(Seconds(7), Happened.CALLED_OFF, B, GOOD.version, text=why),)
    assert once.record.refusals == ()
    assert (once.env.trial, once.env.outcome) == (None, Outcome.CALLED_OFF)
    assert once.env[B].state is SlotState.UNTESTED
    twice = ended(Why.UNSAVED, 3, event=Settle(Seconds(9)), record=once.record)
    refusal = Refusal(Seconds(9), GOOD.version, None, f"{why}, and not for the first time")
    assert twice.record.refusals == (refusal,)


def test_an_installation_that_failed_is_recorded_and_its_slot_set_stays_empty() -> None:
    env = BootEnv(A, outcome=Outcome.INSTALLING).with_slot_set(B, SlotSet(SlotState.EMPTY, GOOD.version))
    host, effects = transition(Host(env), InstallFailed(Seconds(7), GOOD.version, "no room"))
    entry = Entry(Seconds(7), Happened.INSTALL_FAILED, B, GOOD.version, text="no room")
    assert (host.env, host.record.entries) == (env, (entry,))
    assert effects == (WriteRecord(host.record),)
