"""The ten invariants of docs/boot-state.md, as checks of a world at any moment."""

from dataclasses import replace

from abctl.core.bootenv import MAX_ATTEMPTS, UNSETTLED_MAX, Copy, EnvFiles, SlotState, Why, read_boot_env
from abctl.core.machine import Host, find_refusal
from abctl.core.slot import SlotName
from abctl.errors import StateUnwritable
from tests.grubs import Boot
from tests.world import State, World

# A damaged copy may give a trial its attempts back, once; and a primary that never comes up has its boots.
PATIENCE = 2 * MAX_ATTEMPTS + UNSETTLED_MAX + 2


def check(state: State, *, damaged: bool = False) -> None:
    """Assert that power may fail now, and come back, without harm.

    ``damaged`` is True where more has happened to the grub partition than power cuts.
    """
    assert_trial_is_whole(state)
    # Where power was cut before userland so often, the other slot set has its turn, whatever it does with it.
    turn = UNSETTLED_MAX if state.env and state.env.unsettled else 0
    assert_comes_up(state, MAX_ATTEMPTS + turn if not damaged else PATIENCE)
    assert_comes_to_rest(state, MAX_ATTEMPTS if not damaged else PATIENCE - 1)
    assert_refused(state)


def assert_comes_to_rest(state: State, most_reboots: int = PATIENCE - 1) -> None:
    """Invariant 8: where every trial is given up by its health checks, no host reboots for ever.

    It ends in what runs; in a trial that runs itself where the primary is known to be bad.
    """
    world, given_up = World(state), 0
    for _ in range(PATIENCE + 1):
        booted = world.power_on().booted
        if booted is None:
            return
        if not world.state.contents[booted].runs:
            continue
        env = world.state.env
        if env is None or env.trial is None or env.trial.slot_set is not booted:
            return
        hopeless = env[env.primary].state in (SlotState.BAD, SlotState.EMPTY)
        try:
            reboots = world.give_up()
        except StateUnwritable:
            reboots = not hopeless
        assert not (reboots and hopeless), f"{booted} runs, and gives way to {env.primary}, which is bad"
        if not reboots:
            assert_stays(world, booted)
            return
        given_up += 1
        assert given_up <= most_reboots, "the host reboots for ever, and something runs"
    intact = [name for name in state.trusted if state.contents[name].runs]
    assert not intact, "the host reboots for ever"


def assert_stays(world: World, booted: SlotName) -> None:
    """What stayed up, degraded, is what every later power-on boots, and it is on trial no more."""
    env = world.state.env
    if world.state.unwritable:
        return
    assert env is not None
    assert (env.primary, env.trial) == (booted, None)
    assert env[booted].state is SlotState.BAD
    for _ in range(MAX_ATTEMPTS + 1):
        assert world.power_on().booted is booted
        assert not world.give_up(), "an ordinary boot was given up"


def assert_comes_up(state: State, most_panics: int) -> None:
    """Invariants 1, 4, 8, 9, 10 and 11, where nobody ever does anything but power the host on again.

    It ends in what comes up by itself, and stays in it however often power is cycled before userland answers,
    up to what GRUB counts.
    """
    world, panics = World(state), 0
    intact = [name for name in state.trusted if state.contents[name].runs]
    for _ in range(PATIENCE + 1):
        booted = world.power_on().booted
        if booted is None:
            assert not intact, "GRUB gives up although a good slot set is there"
            return
        content = world.state.contents[booted]
        assert content.release is not None, f"GRUB boots {booted}, which is torn"
        panics += not content.runs
        env = world.state.env
        if content.runs and (env is None or env.trial is None or env.trial.slot_set is not booted):
            break
    assert not intact or content.runs, f"{booted} panics for ever"
    assert not intact or panics <= most_panics, f"{panics} boots of a slot set that panics"
    if intact:
        assert_is_not_left(world, booted)


def assert_is_not_left(world: World, booted: SlotName | None) -> None:
    """Invariant 12: what came up is booted again, also where each boot but the last is cut short."""
    for _ in range(UNSETTLED_MAX - 1):
        assert world.start_grub().booted is booted, f"{booted} came up, and was left"
    assert world.power_on().booted is booted


def assert_trial_is_whole(state: State) -> None:
    """Invariant 3: whatever copy counts, what it has on trial was read back and matched."""
    for copy in (Copy.FIRST, Copy.SECOND):
        env = read_boot_env(EnvFiles(**{copy.name.lower(): state.files[copy]})).env
        if env and env.trial:
            assert env.trial.slot_set in state.verified, f"{copy} has a trial that was never verified"


def assert_refused(state: State) -> None:
    """Invariant 7: what fell back is refused until somebody allows it."""
    env = state.env
    for version in state.fell_back:
        host = Host(env, state.running, state.record) if env else None
        refused = host is None or find_refusal(host, version, None) is not None
        assert refused, f"{version} fell back and is not refused"


def assert_one_loss_changes_nothing(state: State) -> None:
    """Invariant 10: with all copies in step, any one may be lost, and both if nothing is on trial."""
    boot = boot_of(state.files, state)
    for lost in Copy:
        after = boot_of(state.files.with_copy(lost, None), state)
        assert (after.booted, after.why) == (boot.booted, boot.why), f"without {lost} it is {after.booted}"
    both = boot_of(EnvFiles(older=state.files.older), state)
    if boot.why is Why.PRIMARY and boot.booted:
        assert both.booted is boot.booted, f"without both copies it is {both.booted}"


def boot_of(files: EnvFiles, state: State) -> Boot:
    return World(replace(state, files=files)).start_grub()
