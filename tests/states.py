"""Boot environments to test with."""

from itertools import product

from hypothesis import strategies as st

from abctl.core.bootenv import (
    GENERATION_MAX,
    UNSETTLED_MAX,
    BootEnv,
    EnvFiles,
    Outcome,
    SlotSet,
    SlotState,
    Trial,
    encode,
    encode_older,
)
from abctl.core.slot import SlotName
from abctl.core.units import Version

VERSIONS = st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.+~_-]{0,63}", fullmatch=True).map(Version)
SLOT_SETS = st.builds(SlotSet, st.sampled_from(SlotState), VERSIONS)


@st.composite
def boot_envs(draw: st.DrawFn) -> BootEnv:
    primary = draw(st.sampled_from(SlotName))
    answering = draw(st.frozensets(st.sampled_from(SlotName)))
    return BootEnv(
        primary=primary,
        trial=draw(st.none() | st.integers(0, 3).map(lambda attempts: Trial(primary.other, attempts))),
        slot_sets={name: draw(SLOT_SETS) for name in SlotName},
        outcome=draw(st.sampled_from(Outcome)),
        generation=draw(st.integers(1, 20) | st.integers(1, GENERATION_MAX)),
        answering=answering,
        unsettled=draw(st.integers(0, 2 * UNSETTLED_MAX)) if primary in answering else 0,
    )


def files_of(env: BootEnv) -> EnvFiles:
    """Return the grub partition with all copies in step."""
    return EnvFiles(encode(env), encode(env), encode_older(env))


def all_states(generation: int = 5) -> list[BootEnv]:
    """Return every state that GRUB can tell from the others: 160 of them."""
    trials = (None, 0, 1, 2, 3)
    return [
        BootEnv(
            primary,
            None if attempts is None else Trial(primary.other, attempts),
            {SlotName.A: SlotSet(in_a), SlotName.B: SlotSet(in_b)},
            generation=generation,
        )
        for primary, attempts, in_a, in_b in product(SlotName, trials, SlotState, SlotState)
    ]


def counted_states(generation: int = 5) -> list[BootEnv]:
    """Return every state in which GRUB counts the boots of the primary, or would if it had another: 88."""
    return [
        BootEnv(
            primary,
            Trial(primary.other, 0) if on_trial else None,
            {primary: SlotSet(SlotState.GOOD), primary.other: SlotSet(state)},
            generation=generation,
            answering=frozenset({primary}),
            unsettled=unsettled,
        )
        for primary, on_trial, state, unsettled in product(
            SlotName, (False, True), (SlotState.BAD, SlotState.EMPTY), range(2 * UNSETTLED_MAX + 1)
        )
    ]
