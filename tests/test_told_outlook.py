"""What abctl explain foresees, power-on by power-on, and what an admin's word would come to."""

from dataclasses import replace

import pytest

from abctl.core.bootenv import (
    GENERATION_MAX,
    OLDER_BLOCK_SIZE,
    BootEnv,
    EnvFiles,
    SlotSet,
    SlotState,
    Trial,
    Why,
)
from abctl.core.envblock import make_block
from abctl.core.machine import Host, Running
from abctl.core.outlook import ask, foresee, with_room
from abctl.core.record import Entry, Happened, Record, Refusal
from abctl.core.slot import SlotName
from abctl.core.units import Digest, Seconds, Version
from abctl.errors import NothingToConfirm, NothingToRollBackTo
from tests.states import files_of

A, B = SlotName.A, SlotName.B
NOW = Seconds(7)
ON_TRIAL = BootEnv(A, Trial(B, 3))
COUNTED = BootEnv(A, answering=frozenset({A}), unsettled=4)
FIRST_BOOT = EnvFiles(
    older=make_block({"boot_alternative": "B", "boot_cycle": "first_boot"}, OLDER_BLOCK_SIZE)
)


@pytest.mark.parametrize(
    ("files", "without_kernel", "seen"),
    [
        (
            files_of(ON_TRIAL),
            (),
            ["B B A trial 2", "B B A trial 1", "B B A trial 0", *["A A B fallback 0"] * 3],
        ),
        # A trial without a kernel is over at once: GRUB takes all its attempts.
        (files_of(ON_TRIAL), (B,), ["B A A no_kernel 2", *["A A B fallback 0"] * 5]),
        (files_of(ON_TRIAL), (A, B), ["B None A trial 2", *["A None B fallback 0"] * 5]),
        (
            files_of(ON_TRIAL),
            (A,),
            ["B B A trial 2", "B B A trial 1", "B B A trial 0", *["A B B no_kernel 0"] * 3],
        ),
        (
            files_of(BootEnv(A, slot_sets={A: SlotSet(), B: SlotSet(SlotState.EMPTY)})),
            (A,),
            ["A None None primary "] * 6,
        ),
        # A primary that comes up says so, and is counted anew each time.
        (files_of(COUNTED), (), ["A A B primary "] * 6),
        (files_of(replace(COUNTED, unsettled=5)), (), ["B B A unsettled "] * 5 + ["A A B primary "]),
        (files_of(COUNTED), (A,), ["A B B no_kernel ", *["B B A unsettled "] * 5]),
        (files_of(replace(COUNTED, trial=Trial(B, 0))), (), ["A A B fallback 0"] * 6),
        (EnvFiles(), (), ["A A B lost "] * 6),
        (FIRST_BOOT, (), ["B B A trial 0", *["A A B fallback 0"] * 5]),
        (FIRST_BOOT, (B,), ["B A A no_kernel 0", *["A A B fallback 0"] * 5]),
    ],
    ids=[
        "trial",
        "trial without kernel",
        "no kernel at all",
        "primary without kernel",
        "no way out",
        "primary that answers",
        "primary that did not answer",
        "primary whose kernel was lost",
        "primary that answers after a trial",
        "lost",
        "older system",
        "older system without kernel",
    ],
)
def test_the_next_six_power_ons_are_these(
    files: EnvFiles, without_kernel: tuple[SlotName, ...], seen: list[str]
) -> None:
    kernels = {name: name not in without_kernel for name in SlotName}
    found = [
        f"{item.chosen} {item.booted} {item.second} {item.why} {item.attempts}"
        for item in foresee(files, kernels)
    ]
    assert found == seen


def test_as_many_power_ons_are_foreseen_as_are_asked_for() -> None:
    kernels = dict.fromkeys(SlotName, True)
    assert [len(foresee(EnvFiles(), kernels, count)) for count in (0, 1, 9)] == [0, 1, 9]


# --- an admin's word --------------------------------------------------------------------------------

ONE, TWO = Version("1"), Version("2")
TRIED = {A: SlotSet(SlotState.GOOD, ONE), B: SlotSet(SlotState.UNTESTED, TWO)}
SHA = Digest("ab" * 32)
KNOWN = Record(entries=(Entry(Seconds(3), Happened.INSTALLED, B, TWO, SHA),))


def test_the_three_words_are_answered_in_this_order_from_the_host_as_it_is_settled() -> None:
    host = Host(BootEnv(A, Trial(B, 2), TRIED, generation=9), Running.all_of(B, Why.TRIAL), KNOWN)
    upgrade, confirm, rollback = ask(host, NOW)
    assert [answer.word for answer in (upgrade, confirm, rollback)] == ["upgrade", "confirm", "rollback"]
    assert [answer.before for answer in (upgrade, confirm, rollback)] == [with_room(host)] * 3
    assert (upgrade.after, str(upgrade.refusal)) == (
        None,
        "slot set B is still on trial with 2: run 'abctl confirm' first",
    )
    assert confirm.refusal is rollback.refusal is None
    assert confirm.after is not None
    assert (confirm.after.env.primary, confirm.after.env.trial) == (B, None)
    assert confirm.after.record.entries[-1] == Entry(NOW, Happened.CONFIRMED, B, TWO)
    assert rollback.after is not None
    assert (rollback.after.env.primary, rollback.after.env[B].state) == (A, SlotState.BAD)
    assert rollback.after.record.refusals == (Refusal(NOW, TWO, SHA, "given up by an admin"),)


def test_how_the_last_trial_ended_is_settled_before_the_words_are_answered() -> None:
    fell_back = Running(A, A, A, Why.FALLBACK, None, 9)
    host = Host(BootEnv(A, Trial(B, 0), TRIED, generation=9), fell_back, KNOWN)
    upgrade, confirm, rollback = ask(host, NOW)
    assert upgrade.before.env.trial is None
    assert upgrade.before.record.entries[-1] == Entry(
        NOW, Happened.FELL_BACK, B, TWO, text="never confirmed: all 3 attempts are used up"
    )
    assert upgrade.after is not None
    assert upgrade.after.env[B] == SlotSet(SlotState.EMPTY, None)
    assert (type(confirm.refusal), type(rollback.refusal)) == (NothingToConfirm, NothingToRollBackTo)


def test_an_upgrade_over_what_is_bad_refuses_it_from_then_on() -> None:
    bad = {**TRIED, B: SlotSet(SlotState.BAD, TWO)}
    upgrade, _, _ = ask(Host(BootEnv(A, slot_sets=bad), Running.all_of(A), KNOWN), NOW)
    assert upgrade.after is not None
    assert upgrade.after.record.refusals == (Refusal(NOW, TWO, SHA, "slot set B held it and was bad"),)


@pytest.mark.parametrize("generation", [1, GENERATION_MAX])
def test_a_host_whose_generation_is_the_last_is_answered_as_any(generation: int) -> None:
    host = Host(BootEnv(A, slot_sets=TRIED, generation=generation), Running.all_of(A))
    upgrade, _, _ = ask(host, NOW)
    assert upgrade.refusal is None


@pytest.mark.parametrize(
    ("told", "why"), [(None, Why.FALLBACK), (9, Why.FALLBACK), (8, None), (0, None), (1, None)]
)
def test_what_grub_said_of_another_generation_counts_as_little_as_before(
    told: int | None, why: Why | None
) -> None:
    host = Host(BootEnv(A, generation=9), Running(A, A, A, Why.FALLBACK, None, told))
    roomy = with_room(host)
    assert (host.why, roomy.why) == (why, why)
    assert (roomy.env, roomy.record) == (replace(host.env, generation=1), host.record)
