"""The ten invariants of docs/boot-state.md, as checks of a world at any moment."""

from dataclasses import replace

from abctl.core.bootenv import MAX_ATTEMPTS, Copy, EnvFiles, read_boot_env
from tests.world import State, World

# A lost or damaged copy may give a trial its attempts back, once.
PATIENCE = 2 * MAX_ATTEMPTS + 2


def check(state: State) -> None:
    """Assert that power may fail now, and come back, without harm."""
    assert_trial_is_whole(state)
    assert_comes_up(state)


def assert_comes_up(state: State) -> None:
    """Invariants 1, 4, 8, 9 and 10, where nobody ever does anything but power the host on again."""
    world = World(replace(state, unwritable=state.unwritable))
    intact = [name for name in state.trusted if state.contents[name].runs]
    booted = None
    for _ in range(PATIENCE):
        before = world.state.files
        booted = world.start_grub().booted
        if booted is None:
            assert not intact, "GRUB gives up although a good slot set is there"
            return
        assert world.state.contents[booted].release is not None, f"GRUB boots {booted}, which is torn"
        if world.state.files == before:
            break
    assert not intact or (booted and world.state.contents[booted].runs), f"{booted} is booted for ever"


def assert_trial_is_whole(state: State) -> None:
    """Invariant 3: whatever copy counts, what it has on trial was read back and matched."""
    for copy in (Copy.FIRST, Copy.SECOND):
        env = read_boot_env(EnvFiles(**{copy.name.lower(): state.files[copy]})).env
        if env and env.trial:
            assert env.trial.slot_set in state.verified, f"{copy} has a trial that was never verified"
