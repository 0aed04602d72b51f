"""A primary that GRUB can load but that never comes up any more, and one that is only switched off and on.

Power-ons here are those of the real GRUB.
"""

from dataclasses import replace

import pytest

from abctl.core.bootenv import UNSETTLED_MAX, BootEnv, Copy, Outcome, SlotState, Why
from abctl.core.machine import CameUp, Host, RollBack, Running, Settle, transition
from abctl.core.record import Happened
from abctl.core.settling import NEVER_CAME_UP
from abctl.core.slot import SlotName
from abctl.core.units import Seconds, Version
from abctl.errors import NothingToRollBackTo, VersionRefused
from abctl.update.operate import come_up, settle
from tests.enumeration import FIRST, fresh_host
from tests.test_defects import start_real_grub
from tests.world import Content, Kind, PowerCut, Release, Tear, World

pytestmark = pytest.mark.slow

A, B = SlotName.A, SlotName.B
TWO = Release(Version("2"), Kind.GOOD)
EACH_WAY = pytest.mark.parametrize("primary", [A, B], ids=["A to B", "B to A"])


def host_on(primary: SlotName) -> World:
    """Return a host whose primary came up, with a good slot set beside it."""
    world = World(fresh_host(primary.other), start_real_grub)
    world.power_on()
    world.install(TWO)
    world.power_on()
    world.confirm()
    world.power_on()
    assert env_of(world).answering == {A, B}
    return world


def env_of(world: World) -> BootEnv:
    assert world.state.env
    return world.state.env


def damage_root(world: World, slot_set: SlotName) -> None:
    """GRUB finds the kernel still, but it panics."""
    release = world.state.contents[slot_set].release
    assert release
    broken = Content.of(replace(release, kind=Kind.PANICS))
    world.state = replace(world.state, contents={**world.state.contents, slot_set: broken})


def boots(world: World, count: int) -> list[tuple[SlotName | None, Why]]:
    return [(boot.booted, boot.why) for boot in (world.power_on() for _ in range(count))]


# --- it never comes up ------------------------------------------------------------------------------


@EACH_WAY
def test_a_primary_that_never_comes_up_gives_way_to_the_other_slot_set(primary: SlotName) -> None:
    world = host_on(primary)
    damage_root(world, primary)
    assert boots(world, 5) == [(primary, Why.PRIMARY)] * 5
    assert boots(world, 2) == [(primary.other, Why.UNSETTLED), (primary.other, Why.PRIMARY)]
    env = env_of(world)
    assert (env.primary, env.outcome, env[primary].state) == (
        primary.other,
        Outcome.GAVE_WAY,
        SlotState.UNTESTED,
    )
    entry = world.state.record.entries[-1]
    assert (entry.what, entry.slot_set, entry.version, entry.text) == (
        Happened.GAVE_WAY,
        primary,
        TWO.version,
        NEVER_CAME_UP,
    )
    assert {booted for booted, _ in boots(world, 12)} == {primary.other}


@EACH_WAY
def test_a_bad_slot_set_that_comes_up_is_better_than_a_primary_that_does_not(primary: SlotName) -> None:
    world = host_on(primary)
    world.mark_bad(primary.other)
    damage_root(world, primary)
    assert boots(world, 6)[-1] == (primary.other, Why.UNSETTLED)
    env = env_of(world)
    assert (env.primary, env[primary.other].state) == (primary.other, SlotState.BAD)
    assert {booted for booted, _ in boots(world, 12)} == {primary.other}


@EACH_WAY
def test_where_neither_comes_up_they_take_turns(primary: SlotName) -> None:
    """So whichever comes up again, by itself or once somebody mends the host, is booted."""
    world = host_on(primary)
    damage_root(world, primary)
    damage_root(world, primary.other)
    first, second = [(primary, Why.PRIMARY)] * 5, [(primary.other, Why.UNSETTLED)] * 5
    assert boots(world, 20) == first + second + first + second
    world.state = replace(world.state, contents={**world.state.contents, primary.other: Content.of(FIRST)})
    assert (primary.other, Why.UNSETTLED) in boots(world, 6)
    assert env_of(world).primary is primary.other


@EACH_WAY
def test_without_another_slot_set_the_primary_is_booted_as_ever_and_nothing_is_written(
    primary: SlotName,
) -> None:
    world = World(fresh_host(primary), start_real_grub)
    world.power_on()
    damage_root(world, primary)
    before = world.state.files
    assert boots(world, 7) == [(primary, Why.PRIMARY)] * 7
    assert world.state.files == before


@EACH_WAY
def test_a_slot_set_whose_turn_it_is_without_a_kernel_costs_nothing(primary: SlotName) -> None:
    world = host_on(primary)
    world.state = replace(world.state, contents={**world.state.contents, primary.other: Content()})
    for _ in range(UNSETTLED_MAX):
        world.start_grub()
    assert boots(world, 2) == [(primary, Why.NO_KERNEL), (primary, Why.PRIMARY)]
    assert env_of(world).primary is primary


@EACH_WAY
def test_a_trial_that_only_runs_is_kept_where_the_primary_never_comes_up(primary: SlotName) -> None:
    """It is not healthy, but can be reached."""
    world = World(fresh_host(primary), start_real_grub)
    world.power_on()
    world.install(Release(Version("3"), Kind.UNHEALTHY))
    damage_root(world, primary)
    for _ in range(3):
        assert world.power_on().why is Why.TRIAL
        assert world.give_up()
    assert boots(world, 5) == [(primary, Why.FALLBACK)] * 5
    assert boots(world, 1) == [(primary.other, Why.UNSETTLED)]
    assert not world.give_up()
    assert (env_of(world).primary, env_of(world).outcome) == (primary.other, Outcome.STAYED_UP)
    assert {booted for booted, _ in boots(world, 12)} == {primary.other}


@EACH_WAY
def test_a_slot_set_that_was_rolled_back_to_and_never_comes_up_does_not_keep_the_host(
    primary: SlotName,
) -> None:
    """It answered when it was the primary, so its boots are counted at once."""
    world = host_on(primary)
    damage_root(world, primary.other)
    world.roll_back()
    assert boots(world, 6) == [(primary.other, Why.PRIMARY)] * 5 + [(primary, Why.UNSETTLED)]


@EACH_WAY
def test_what_came_up_takes_over_also_where_power_was_lost_while_grub_counted(primary: SlotName) -> None:
    """Then the copies are not in step, and mending them gives them a generation GRUB did not tell."""
    world = host_on(primary)
    damage_root(world, primary)
    boots(world, UNSETTLED_MAX)
    world.tear, world.writes = Tear(1), []
    with pytest.raises(PowerCut):
        world.power_on()
    world.tear = None
    world.state = replace(world.state, unwritable=frozenset({Copy.SECOND}))
    assert boots(world, 2) == [(primary.other, Why.UNSETTLED), (primary.other, Why.PRIMARY)]


# --- it is only switched off and on -----------------------------------------------------------------


@EACH_WAY
def test_a_healthy_primary_is_never_left_however_often_it_is_started(primary: SlotName) -> None:
    world = host_on(primary)
    assert {booted for booted, _ in boots(world, 12)} == {primary}
    for _ in range(3):
        for _ in range(UNSETTLED_MAX - 1):
            assert world.start_grub().booted is primary
        assert boots(world, 1) == [(primary, Why.PRIMARY)]
    assert env_of(world).primary is primary


@EACH_WAY
def test_who_switches_a_host_off_too_often_can_go_back(primary: SlotName) -> None:
    world = host_on(primary)
    for _ in range(UNSETTLED_MAX):
        assert world.start_grub().booted is primary
    assert boots(world, 1) == [(primary.other, Why.UNSETTLED)]
    world.roll_back()
    assert boots(world, 2) == [(primary, Why.PRIMARY)] * 2
    assert env_of(world).primary is primary


def test_what_gave_way_for_its_kernel_and_never_answered_is_not_rolled_back_to() -> None:
    env = replace(BootEnv(A), outcome=Outcome.GAVE_WAY, answering=frozenset({A}))
    with pytest.raises(NothingToRollBackTo):
        transition(Host(env, Running.all_of(A)), RollBack(Seconds(0)))


@EACH_WAY
def test_a_count_that_cannot_be_written_sends_nobody_away(primary: SlotName) -> None:
    world = host_on(primary)
    for _ in range(UNSETTLED_MAX):
        world.start_grub()
    world.state = replace(world.state, unwritable=frozenset({Copy.FIRST, Copy.SECOND}))
    assert {booted for booted, _ in boots(world, 4)} == {primary}


# --- who is counted ---------------------------------------------------------------------------------


@EACH_WAY
def test_a_system_that_does_not_answer_is_never_counted(primary: SlotName) -> None:
    """An older release, or a host of the older system: only the health service of what runs starts it."""
    world = World(fresh_host(primary), start_real_grub)
    world.state = replace(world.state, running=Running.all_of(primary, Why.PRIMARY))
    world.install(TWO)
    world.state = replace(world.state, running=Running.all_of(primary.other, Why.TRIAL))
    settle(world.ports)
    world.confirm()
    assert env_of(world).answering == frozenset()
    before = world.state.files
    assert [world.start_grub().booted for _ in range(12)] == [primary.other] * 12
    assert world.state.files == before


@pytest.mark.parametrize("running", [Running(), Running(A, B, A), Running.all_of(B, Why.MENU)])
def test_only_what_runs_as_the_primary_answers(running: Running) -> None:
    env = BootEnv(A, answering=frozenset({A}), unsettled=UNSETTLED_MAX + 1)
    host = Host(env, running)
    assert transition(host, CameUp(Seconds(0))) == (host, ())
    assert transition(host, Settle(Seconds(0))) == (host, ())


@EACH_WAY
def test_what_is_written_anew_answers_no_more(primary: SlotName) -> None:
    world = host_on(primary)
    world.install(Release(Version("3"), Kind.GOOD))
    assert env_of(world).answering == {primary}


# --- what is taken again ----------------------------------------------------------------------------


@EACH_WAY
def test_a_version_may_be_installed_again_once_after_it_gave_way(primary: SlotName) -> None:
    """Once, that may have been its disk, and writing it anew mends that; twice, it is the release."""
    world = host_on(primary)
    for number in (1, 2):
        damage_root(world, primary)
        assert boots(world, 6)[-1] == (primary.other, Why.UNSETTLED)
        if number == 1:
            world.install(TWO)
            world.power_on()
            world.confirm()
            world.power_on()
    assert env_of(world)[primary].state is SlotState.BAD
    with pytest.raises(VersionRefused, match="not for the first time"):
        world.install(TWO)
    world.allow(TWO.version)
    world.install(TWO)
    world.power_on()
    world.confirm()
    world.power_on()
    damage_root(world, primary)
    boots(world, 6)
    assert env_of(world)[primary].state is SlotState.UNTESTED


def test_come_up_writes_once_and_then_nothing() -> None:
    world = host_on(A)
    before = world.state.files
    come_up(world.ports)
    assert world.state.files == before
