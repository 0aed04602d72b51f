"""No host reboots for ever, and none takes what failed here again by itself: it comes to rest."""

from dataclasses import replace

import pytest

from abctl.core.bootenv import BootEnv, Copy, Outcome, SlotSet, SlotState, Trial, Why
from abctl.core.machine import Host, InstallStarted, Running, Unhealthy, WriteRecord, transition
from abctl.core.record import Happened, Record
from abctl.core.settling import must_reboot
from abctl.core.slot import SlotName
from abctl.core.units import Digest, Seconds, Version
from abctl.errors import NotConfirmed, VersionRefused, WriteFailed
from abctl.ports import Ports
from tests.enumeration import fresh_host
from tests.invariants import assert_comes_to_rest
from tests.states import all_states
from tests.world import Content, FakeRecords, Kind, Release, World

A, B = SlotName.A, SlotName.B
AT = Seconds(0)
EACH_WAY = pytest.mark.parametrize("primary", [A, B], ids=["A to B", "B to A"])
TWO = Release(Version("2"), Kind.UNHEALTHY)
THREE = Release(Version("3"), Kind.UNHEALTHY)
FOUR = Release(Version("4"), Kind.UNHEALTHY)
PANICS = Release(Version("2"), Kind.PANICS)


def host_on(primary: SlotName) -> World:
    world = World(fresh_host(primary))
    world.power_on()
    return world


def env_of(world: World) -> BootEnv:
    assert world.state.env is not None
    return world.state.env


def leave_alone(world: World, most: int = 12) -> list[SlotName | None]:
    """Let the host do what it does by itself until it comes to rest; return what each power-on booted."""
    booted = []
    for _ in range(most):
        booted.append(world.power_on().booted)
        assert booted[-1] is not None
        env = env_of(world)
        if not world.state.contents[booted[-1]].runs:
            continue
        if env.trial is None or env.trial.slot_set is not booted[-1] or not world.give_up():
            return booted
    raise AssertionError(f"it reboots for ever: {booted}")


# --- which trial reboots ----------------------------------------------------------------------------


@EACH_WAY
def test_a_trial_that_gives_up_three_times_falls_back_and_rests(primary: SlotName) -> None:
    world = host_on(primary)
    world.install(TWO)
    assert leave_alone(world) == [primary.other] * 3 + [primary]
    assert (env_of(world).outcome, env_of(world)[primary.other].state) == (Outcome.FELL_BACK, SlotState.BAD)
    with pytest.raises(VersionRefused):
        world.install(TWO)


@EACH_WAY
def test_with_a_bad_primary_an_unhealthy_trial_stays_up(primary: SlotName) -> None:
    world = host_on(primary)
    world.mark_bad(primary)
    world.install(TWO)
    assert leave_alone(world) == [primary.other]
    env = env_of(world)
    assert (env.primary, env.trial, env.outcome) == (primary.other, None, Outcome.STAYED_UP)
    assert {env[name].state for name in SlotName} == {SlotState.BAD}
    assert [world.power_on().booted for _ in range(4)] == [primary.other] * 4
    entry = world.state.record.entries[-1]
    assert (entry.what, entry.slot_set, entry.version) == (Happened.STAYED_UP, primary.other, TWO.version)


@EACH_WAY
def test_what_stayed_up_is_refused_and_a_newer_release_is_not(primary: SlotName) -> None:
    world = host_on(primary)
    world.mark_bad(primary)
    world.install(TWO)
    leave_alone(world)
    for release in (TWO, Release(Version("1"), Kind.GOOD)):
        with pytest.raises(VersionRefused):
            world.install(release)
    world.install(Release(Version("9"), Kind.GOOD))
    assert world.power_on().booted is primary
    world.confirm()
    assert env_of(world)[primary].state is SlotState.GOOD


@EACH_WAY
def test_a_trial_that_panics_falls_back_even_to_a_bad_primary(primary: SlotName) -> None:
    """What does not run at all is no better than what an admin does not want."""
    world = host_on(primary)
    world.mark_bad(primary)
    world.install(PANICS)
    assert leave_alone(world) == [primary.other] * 3 + [primary]
    assert leave_alone(world) == [primary]


@EACH_WAY
def test_a_trial_is_healthy_late_or_never_but_its_attempts_are_never_more(primary: SlotName) -> None:
    world = host_on(primary)
    world.install(TWO)
    world.power_on()
    assert world.give_up()
    assert world.power_on().why is Why.TRIAL
    world.confirm()
    assert leave_alone(world) == [primary.other]


@pytest.mark.parametrize("env", all_states(), ids=str)
def test_only_a_running_trial_beside_a_primary_that_may_do_better_reboots(env: BootEnv) -> None:
    for running in (Running(), Running.all_of(A), Running.all_of(B), Running(B, A, B), Running(A, A, None)):
        host = Host(env, running)
        on_trial = env.trial is not None and running.kernel is env.trial.slot_set
        hopeful = env[env.primary].state in (SlotState.GOOD, SlotState.UNTESTED)
        assert must_reboot(host) is (on_trial and hopeful)
        after, effects = transition(host, Unhealthy(AT, "net failed"))
        assert must_reboot(after) is must_reboot(host)
        if not on_trial or hopeful or running.disagreement:
            assert (after, effects) == (host, ())
        else:
            assert env.trial
            assert (after.env.primary, after.env.trial) == (env.trial.slot_set, None)
            assert after.env[env.trial.slot_set].state is SlotState.BAD


@EACH_WAY
def test_a_trial_that_is_all_that_can_be_booted_stays_up(primary: SlotName) -> None:
    """The primary is good by its state, but GRUB cannot load its kernel, and comes back to the trial."""
    world = host_on(primary)
    world.install(TWO)
    world.state = replace(world.state, contents={**world.state.contents, primary: Content()})
    assert leave_alone(world) == [primary.other] * 4
    env = env_of(world)
    assert (env.primary, env.trial, env.outcome) == (primary.other, None, Outcome.STAYED_UP)
    assert env[primary].state is SlotState.UNTESTED
    assert leave_alone(world) == [primary.other]
    world.install(Release(Version("9"), Kind.GOOD))
    assert world.power_on().booted is primary


def test_giving_up_where_the_primary_may_do_better_writes_nothing() -> None:
    """The attempts are GRUB's to spend: a write here could only spoil what is in step."""
    world = host_on(A)
    world.install(TWO)
    world.power_on()
    before, world.writes = world.state.files, []
    assert world.give_up()
    assert (world.state.files, world.writes) == (before, [])


@EACH_WAY
@pytest.mark.parametrize("lost", Copy)
def test_with_a_copy_that_cannot_be_written_it_rests_too(primary: SlotName, lost: Copy) -> None:
    world = host_on(primary)
    world.mark_bad(primary)
    world.install(TWO)
    assert_comes_to_rest(replace(world.state, unwritable=frozenset({lost})))
    assert_comes_to_rest(replace(world.state, files=world.state.files.with_copy(lost, None)))


# --- what failed here is not taken again ------------------------------------------------------------


class Forgetful(World):
    """A host whose config volume is broken: the record is always empty, and cannot be written."""

    @property
    def ports(self) -> Ports:
        return replace(super().ports, records=_NoRecords(self))


class _NoRecords(FakeRecords):
    def read(self) -> Record:
        return Record()

    def write(self, record: Record) -> None:
        raise WriteFailed("the config volume is not mounted on /boot/config: mount it first")


@EACH_WAY
def test_without_a_record_two_bad_releases_are_not_taken_in_turn(primary: SlotName) -> None:
    world = Forgetful(fresh_host(primary))
    world.power_on()
    world.install(TWO)
    leave_alone(world)
    before = world.state
    for release in (TWO, THREE):
        with pytest.raises((VersionRefused, WriteFailed), match="2"):
            world.install(release)
    assert world.state == before, "something was written"
    world.allow(TWO.version)
    world.install(THREE)


@EACH_WAY
def test_a_record_that_was_lost_learns_again_what_is_bad_before_it_is_overwritten(primary: SlotName) -> None:
    world = host_on(primary)
    world.install(TWO)
    leave_alone(world)
    world.state = replace(world.state, record=Record())
    world.install(THREE)
    leave_alone(world)
    for release in (TWO, THREE):
        with pytest.raises(VersionRefused):
            world.install(release)


def test_what_the_record_knows_already_is_not_written_again() -> None:
    env = BootEnv(A).with_slot_set(B, SlotSet(SlotState.BAD, Version("2")))
    world = host_on(A)
    world.install(TWO)
    leave_alone(world)
    host = Host(env, Running.all_of(A), world.state.record)
    _, effects = transition(host, InstallStarted(AT, Version("3"), Digest("0" * 64)))
    assert not [effect for effect in effects if isinstance(effect, WriteRecord)]


@EACH_WAY
def test_releases_that_come_one_after_the_other_each_fall_back_once(primary: SlotName) -> None:
    """An unattended host tries every release on offer, newest first, until none is left."""
    world = host_on(primary)
    offers, trials = [FOUR, THREE, TWO], 0
    for _ in range(10):
        for release in offers:
            try:
                world.install(release)
            except VersionRefused:
                continue
            trials += 1
            assert leave_alone(world)[-1] is primary
            break
    assert trials == len(offers)


def test_no_trial_is_started_while_one_lasts() -> None:
    world = host_on(A)
    world.install(TWO)
    for _ in range(3):
        world.power_on()
        with pytest.raises(NotConfirmed):
            world.install(THREE)
    assert env_of(world).trial == Trial(B, 0)
