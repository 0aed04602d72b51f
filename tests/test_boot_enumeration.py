"""Every event in every reachable state, cut in every write; and every such state with one thing broken."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import pytest

from abctl.core.bootenv import read_boot_env
from abctl.core.slot import SlotName
from abctl.errors import AbctlError
from tests.enumeration import FIRST, Action, Enumeration, events_of, faults_of, fresh_host, noted
from tests.invariants import assert_one_loss_changes_nothing, check
from tests.world import Content, Kind, Release, State, World

pytestmark = pytest.mark.slow


@cache
def reach_everything(kind: Kind) -> Enumeration:
    """Walk through all that can become of a host, in both directions, with a release of this kind on offer.

    The record is lost each time, so that no refusal keeps the release out: that is the harder case, and
    versions decide nothing then.
    """
    logging.getLogger("abctl").setLevel(logging.CRITICAL)
    walk = Enumeration((Release(FIRST.version, kind),))
    for primary in SlotName:
        walk.reach(fresh_host(primary))
    walk.walk()
    return walk


@pytest.mark.parametrize("kind", [Kind.GOOD, Kind.PANICS, Kind.NO_KERNEL])
def test_no_event_and_no_cut_loses_a_host(kind: Kind) -> None:
    walk = reach_everything(kind)
    assert len(walk.states) > 300
    assert walk.cuts > 10 * walk.events
    primaries = {state.env.primary for state in walk.states.values() if state.env}
    assert primaries == set(SlotName)


@pytest.mark.parametrize("kind", [Kind.PANICS, Kind.NO_KERNEL])
def test_no_loss_and_no_event_after_it_loses_a_host(kind: Kind) -> None:
    walk = reach_everything(kind)
    in_step = [state for state in walk.states.values() if read_boot_env(state.files).in_step]
    assert len(in_step) > 50
    events = list(events_of(walk.releases))
    for state in in_step:
        with noted(f"in {state}"):
            assert_one_loss_changes_nothing(state)
        for name, broken in faults_of(state):
            with noted(f"{name} in {state}"):
                check(broken, damaged=True)
                check_every_event(broken, events)


def test_no_loss_makes_a_host_reboot_for_ever_whose_trials_run() -> None:
    """A release that runs is on trial and given up, and what it would fall back to is gone."""
    walk = reach_everything(Kind.GOOD)
    in_step = [state for state in walk.states.values() if read_boot_env(state.files).in_step]
    assert len(in_step) > 50
    for state in in_step:
        for name, broken in faults_of(state):
            with noted(f"{name} in {state}"):
                check(broken, damaged=True)


def test_no_primary_that_never_comes_up_any_more_keeps_a_host() -> None:
    """Its root is damaged, wherever GRUB counts its boots: what else runs is booted, and stays."""
    walk, left = reach_everything(Kind.GOOD), 0
    for state in walk.states.values():
        env = state.env
        if env is None or not env.is_counted or not read_boot_env(state.files).in_step:
            continue
        contents = {**state.contents, env.primary: Content.of(Release(FIRST.version, Kind.PANICS))}
        broken = replace(state, contents=contents, trusted=state.trusted - {env.primary})
        left += env.primary.other in broken.trusted and contents[env.primary.other].runs
        with noted(f"the root of {env.primary} broken in {state}"):
            check(broken, damaged=True)
    assert left > 10


def check_every_event(state: State, events: Iterable[tuple[str, Action]]) -> None:
    for name, action in events:
        world = World(state)
        with noted(name):
            try:
                action(world)
            except AbctlError:
                continue
            check(world.state, damaged=True)
