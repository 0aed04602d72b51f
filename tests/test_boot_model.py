"""One host, at random: production code decides and performs, the real GRUB boots, and anything may break.

The invariants are those of docs/boot-state.md; tests/test_boot_enumeration.py goes through the small world
completely, this goes far: many things may be broken at once, and every power-on is that of grub-emu.
"""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from abctl.core.bootenv import BLOCK_SIZE, Copy, EnvFiles, Why, read_boot_env
from abctl.core.machine import Host, find_refusal
from abctl.core.slot import SlotName
from abctl.core.units import Version
from abctl.errors import Refused, StateUnwritable
from tests.enumeration import fresh_host
from tests.grubs import Boot, assert_predicted
from tests.invariants import assert_one_loss_changes_nothing, check
from tests.world import Content, Kind, PowerCut, Release, Tear, World

NAMES = st.sampled_from(SlotName)
TEARS = st.none() | st.builds(Tear, st.integers(0, 22), st.integers(0, BLOCK_SIZE), st.booleans())
RELEASES = st.builds(Release, st.sampled_from(["2", "3", "4"]).map(Version), st.sampled_from(Kind))


def real_grub(files: EnvFiles, kernels: tuple[bool, bool], unwritable: frozenset[Copy]) -> Boot:
    return assert_predicted(files, dict(zip(SlotName, kernels, strict=True)), unwritable)


class HostMachine(RuleBasedStateMachine):
    """The rules; ``trial_boots`` counts how often the trial was booted since it was armed."""

    @initialize(primary=NAMES)
    def make_host(self, primary: SlotName) -> None:
        self.world = World(fresh_host(primary), start_grub=real_grub)
        self.damaged = False
        self.trial_boots = 0

    def act(self, action: object, tear: Tear | None) -> bool:
        """Do it, with power cut where ``tear`` says; return whether it was done."""
        world, world.tear, world.writes = self.world, tear, []
        assert callable(action)
        try:
            action()
        except PowerCut:
            world.lose_power()
            return False
        except StateUnwritable:
            assert world.state.unwritable
            return False
        except Refused:
            return False
        finally:
            world.tear = None
        return True

    @property
    def running(self) -> SlotName | None:
        return self.world.state.running.kernel

    @property
    def trial(self) -> SlotName | None:
        env = self.world.state.env
        return env.trial.slot_set if env and env.trial else None

    # --- people ---

    @rule(release=RELEASES, tear=TEARS)
    def install(self, release: Release, tear: Tear | None) -> None:
        before, trusted = self.world.state, self.world.state.trusted
        refused = self.refused_versions()
        if self.act(lambda: self.world.install(release), tear):
            assert release.version not in refused, "a refused version was installed"
            running = before.running.kernel
            way_back = running is None or running in trusted or running.other in before.given_up
            assert way_back, "the way back was overwritten, and nobody had given it up"
            self.trial_boots = 0

    @rule(tear=TEARS)
    def confirm(self, tear: Tear | None) -> None:
        trial, running = self.trial, self.running
        if self.act(self.world.confirm, tear):
            assert running is not None
            assert running is trial, "confirmed what did not run on trial"
            assert self.world.state.env is not None
            assert self.world.state.env.primary is running

    @rule(tear=TEARS)
    def give_up(self, tear: Tear | None) -> None:
        """The health service gives up what runs; a reboot that follows is the next power-on."""
        self.act(self.world.give_up, tear)

    @rule(tear=TEARS)
    def roll_back(self, tear: Tear | None) -> None:
        self.act(self.world.roll_back, tear)

    @rule(slot_set=NAMES, tear=TEARS)
    def mark_bad(self, slot_set: SlotName, tear: Tear | None) -> None:
        self.act(lambda: self.world.mark_bad(slot_set), tear)

    @rule(version=st.sampled_from(["1", "2", "3", "4"]).map(Version), tear=TEARS)
    def allow(self, version: Version, tear: Tear | None) -> None:
        self.act(lambda: self.world.allow(version), tear)

    def refused_versions(self) -> set[Version]:
        state = self.world.state
        host = Host(state.env, state.running, state.record) if state.env else None
        versions = [Version(text) for text in "1234"]
        return {v for v in versions if host and find_refusal(host, v, None) is not None}

    # --- power ---

    @rule(tear=TEARS)
    def power_on(self, tear: Tear | None) -> None:
        self.world.tear, self.world.writes = tear, []
        try:
            boot = self.world.power_on()
        except PowerCut:
            self.world.lose_power()
            return
        finally:
            self.world.tear = None
        if boot.why is Why.TRIAL:
            self.trial_boots += 1
            assert self.damaged or self.trial_boots <= 3, "an attempt was not spent"

    # --- what breaks ---

    @rule(copy=st.sampled_from(Copy), how=st.sampled_from(["lose", "tear", "zero"]), at=st.integers(0, 300))
    def damage(self, copy: Copy, how: str, at: int) -> None:
        """Break a file of the boot environment; never the last two that are whole."""
        state = self.world.state
        if self.damaged:
            return
        block = state.files[copy] or b""
        broken = {"lose": None, "tear": block[:at].ljust(len(block), b"\0"), "zero": bytes(len(block))}[how]
        self.world.state = replace(state, files=state.files.with_copy(copy, broken)).without_power()
        self.damaged = True

    @precondition(lambda self: not self.damaged)
    @rule()
    def lose_both_copies(self) -> None:
        state = self.world.state
        if read_boot_env(state.files).in_step:
            self.world.state = replace(state, files=EnvFiles(older=state.files.older)).without_power()
            self.damaged = True

    @precondition(lambda self: not self.damaged)
    @rule(copy=st.sampled_from(Copy))
    def break_a_sector(self, copy: Copy) -> None:
        self.world.state = replace(self.world.state, unwritable=frozenset({copy}))
        self.damaged = True

    @precondition(lambda self: not self.damaged)
    @rule(slot_set=NAMES)
    def lose_a_kernel(self, slot_set: SlotName) -> None:
        state = self.world.state
        contents = {**state.contents, slot_set: Content()}
        state = replace(state, contents=contents, trusted=state.trusted - {slot_set})
        self.world.state = state.without_power()
        self.damaged = True

    @rule()
    def mend(self) -> None:
        """Replace the disk's bad sector; what is in step again is as good as new."""
        self.world.state = replace(self.world.state, unwritable=frozenset())
        state = self.world.state
        if read_boot_env(state.files).in_step and state.trusted:
            self.damaged = False
            assert_one_loss_changes_nothing(state)

    @invariant()
    def power_may_fail_now(self) -> None:
        if hasattr(self, "world"):
            check(self.world.state, damaged=self.damaged)


HostMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
test_nothing_that_happens_to_a_host_loses_it = pytest.mark.slow(HostMachine.TestCase)
