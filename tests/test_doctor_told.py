"""What an admin reads of each finding of the doctor, to the letter: verdict, sentence, command, repair."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from abctl.core.advice import Prompt
from abctl.core.bootenv import (
    BootEnv,
    Copy,
    EnvFiles,
    Origin,
    Reading,
    SlotSet,
    SlotState,
    Trial,
    Why,
    encode,
)
from abctl.core.doctor import (
    Finding,
    Verdict,
    judge_boot_env,
    judge_grub_wrote,
    judge_kernels,
    judge_places,
    judge_scripts,
    judge_versions,
    name_some,
    worst,
)
from abctl.core.events import Running
from abctl.core.found import Extent
from abctl.core.slot import SlotName
from abctl.core.units import Version
from tests.states import files_of

A, B = SlotName.A, SlotName.B
OK, UNKNOWN, WARNING, FAULT = Verdict.OK, Verdict.UNKNOWN, Verdict.WARNING, Verdict.FAULT
GOOD, BAD, UNTESTED, EMPTY = SlotState.GOOD, SlotState.BAD, SlotState.UNTESTED, SlotState.EMPTY
ONE, TWO, THREE = Version("1"), Version("2"), Version("3")
HOST, IMAGE = Prompt(), Prompt("host.img", B)
REPAIR, REPAIR_IMAGE = "abctl doctor --repair", "abctl --disk host.img --booted B doctor --repair"
ADOPT = "abctl adopt"
CHECK = "fsck.vfat -n /dev/disk/by-partlabel/grub"
TRIAL = BootEnv(A, Trial(B, 2), generation=7)


def sets(a: SlotState, b: SlotState, of_a: Version | None = ONE, of_b: Version | None = TWO) -> BootEnv:
    return BootEnv(A, slot_sets={A: SlotSet(a, of_a), B: SlotSet(b, of_b)})


# --- what an admin types ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "typed"),
    [
        (HOST, "abctl status --json"),
        (IMAGE, "abctl --disk host.img --booted B status --json"),
        (Prompt("a b.img"), "abctl --disk 'a b.img' status --json"),
        # Only on a disk can somebody say what was booted.
        (Prompt(booted=B), "abctl status --json"),
        (
            Prompt("d", A, "guestos", "a etc"),
            "abctl --disk d --booted A --layout guestos --config 'a etc' status --json",
        ),
    ],
    ids=str,
)
def test_a_command_is_typed_for_the_disk_that_is_looked_at(prompt: Prompt, typed: str) -> None:
    assert prompt.command("status --json") == typed


def test_what_is_no_command_of_abctl_is_only_told_on_the_host_itself() -> None:
    assert HOST.on_host("lvs -a") == "lvs -a"
    assert IMAGE.on_host("lvs -a") is None


# --- findings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "named"),
    [(1, "n1"), (2, "n1, n2"), (3, "n1, n2, n3"), (4, "n1, n2, n3 and 1 more"), (9, "n1, n2, n3 and 6 more")],
)
def test_three_are_named_and_the_others_counted(names: int, named: str) -> None:
    assert name_some([f"n{number}" for number in range(1, names + 1)]) == named


def test_the_worst_of_any_two_is_the_later_of_the_four() -> None:
    for better, worse in pairwise((OK, UNKNOWN, WARNING, FAULT)):
        assert worst([Finding(worse, "x"), Finding(better, "x")]) is worse
        assert worst([Finding(better, "x"), Finding(worse, "x")]) is worse


def test_what_the_doctor_repairs_it_says_so_in_the_place_of_any_other_command() -> None:
    found = Finding(WARNING, "it is bent", "bend it").with_repair(IMAGE)
    assert found == Finding(WARNING, "it is bent", REPAIR_IMAGE, can_repair=True)


# --- the boot environment ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reading", "adopted", "found"),
    [
        (
            Reading(TRIAL, Origin.BOTH, in_step=True),
            True,
            Finding(OK, "both copies are whole and say the same, in generation 7"),
        ),
        (
            Reading(TRIAL, Origin.FIRST),
            True,
            Finding(
                WARNING, "the copies are whole, but do not say the same: a write was cut short", REPAIR, True
            ),
        ),
        (
            Reading(TRIAL, Origin.OLDER, ("env1/grubenv is torn", "env2/grubenv is gone")),
            True,
            Finding(FAULT, "env1/grubenv is torn; env2/grubenv is gone", REPAIR, True),
        ),
        (
            Reading(None, Origin.NONE, ("env1/grubenv is torn",)),
            True,
            Finding(FAULT, "the boot environment is lost: no copy of it can be read", REPAIR, True),
        ),
        (
            Reading(None, Origin.NONE, ("env1/grubenv is gone",)),
            False,
            Finding(WARNING, "the boot state is still that of the older system", ADOPT),
        ),
    ],
)
def test_the_copies_of_the_boot_environment(reading: Reading, adopted: bool, found: Finding) -> None:
    assert judge_boot_env(reading, HOST, adopted=adopted) == found


def told(generation: int | None, why: Why = Why.PRIMARY, attempts: int | None = None) -> Running:
    return Running(B, B, B, why, None, generation, attempts)


@pytest.mark.parametrize(
    ("running", "found"),
    [
        (told(None), Finding(UNKNOWN, "the kernel's command line does not say what GRUB read")),
        (
            told(7, Why.UNSAVED),
            Finding(FAULT, "GRUB could not write the boot environment at this boot", CHECK),
        ),
        (
            told(8),
            Finding(
                FAULT,
                "GRUB read generation 8 at this boot, and the newest here is 7: writes were lost, or GRUB "
                "reads another disk",
                CHECK,
            ),
        ),
        (told(7), Finding(OK, "GRUB read generation 7 at this boot")),
        (told(6), Finding(OK, "GRUB read generation 6 at this boot; since then it has come to 7")),
        (told(1), Finding(OK, "GRUB read generation 1 at this boot; since then it has come to 7")),
        (
            told(0, Why.LOST),
            Finding(WARNING, "GRUB found no whole copy of the boot environment at this boot"),
        ),
        (
            told(7, Why.TRIAL, 2),
            Finding(OK, "GRUB spent an attempt at this boot, and both copies say that 2 are left"),
        ),
        (
            told(7, Why.TRIAL, 1),
            Finding(
                FAULT,
                "GRUB told the kernel that 1 attempt is left, but env1/grubenv and env2/grubenv still say "
                "2: what GRUB writes does not stay",
                CHECK,
            ),
        ),
        # Only the trial that is still the same, and whose attempts GRUB told, can be compared.
        (told(7, Why.TRIAL), Finding(OK, "GRUB read generation 7 at this boot")),
        (told(7, Why.FALLBACK, 1), Finding(OK, "GRUB read generation 7 at this boot")),
        (
            told(6, Why.TRIAL, 1),
            Finding(OK, "GRUB read generation 6 at this boot; since then it has come to 7"),
        ),
    ],
    ids=str,
)
def test_what_grub_wrote_at_this_boot(running: Running, found: Finding) -> None:
    reading = Reading(TRIAL, Origin.BOTH, in_step=True)
    assert judge_grub_wrote(running, reading, files_of(TRIAL), HOST) == found
    elsewhere = judge_grub_wrote(running, reading, files_of(TRIAL), IMAGE)
    assert elsewhere == replace(found, command=None)


def test_with_the_boot_environment_lost_there_is_nothing_to_compare_with() -> None:
    found = judge_grub_wrote(told(7), Reading(None, Origin.NONE), EnvFiles(), HOST)
    assert found == Finding(
        UNKNOWN, "the boot environment is lost, so there is nothing to compare with", None, can_repair=False
    )


@pytest.mark.parametrize(
    ("copy", "other"), [(Copy.FIRST, "env2/grubenv"), (Copy.SECOND, "env1/grubenv")], ids=str
)
def test_an_attempt_that_one_copy_did_not_keep_names_that_copy(copy: Copy, other: str) -> None:
    spent = encode(replace(TRIAL, trial=Trial(B, 1)))
    files = files_of(TRIAL).with_copy(copy, spent)
    found = judge_grub_wrote(told(7, Why.TRIAL, 1), Reading(TRIAL, Origin.BOTH), files, HOST)
    assert found == Finding(
        WARNING,
        f"GRUB told the kernel that 1 attempt is left, but {other} still says 2: what GRUB writes does not "
        "stay",
        CHECK,
    )


def test_where_the_only_whole_copy_did_not_keep_an_attempt_no_copy_did() -> None:
    files = files_of(TRIAL).with_copy(Copy.SECOND, None)
    found = judge_grub_wrote(told(7, Why.TRIAL, 1), Reading(TRIAL, Origin.FIRST), files, HOST)
    assert found.verdict is FAULT
    assert "but env1/grubenv still says 2: " in found.sentence


# --- the grub partition -----------------------------------------------------------------------------

SOUND_PLACES = Finding(
    OK, "the file system is whole, and each copy of the boot environment lies in one sector"
)


@pytest.mark.parametrize(
    ("first", "second", "wrong"),
    [
        ((Extent(512, 512),), (Extent(1024, 512),), None),
        (None, None, None),
        (
            None,
            (Extent(512, 513),),
            "env2/grubenv has 513 bytes instead of 512",
        ),
        (
            (Extent(511, 512),),
            None,
            "env1/grubenv does not lie in one sector, so a torn write could mix two states",
        ),
        (
            (Extent(512, 256), Extent(1024, 256)),
            (),
            "env1/grubenv does not lie in one sector, so a torn write could mix two states; env2/grubenv has "
            "0 bytes instead of 512",
        ),
    ],
)
def test_each_copy_lies_in_one_sector(
    first: tuple[Extent, ...] | None, second: tuple[Extent, ...] | None, wrong: str | None
) -> None:
    places = {"env1/grubenv": first, "env2/grubenv": second, "grub.cfg": (Extent(0, 7),)}
    expected = Finding(FAULT, wrong, REPAIR, can_repair=True) if wrong else SOUND_PLACES
    assert judge_places(places, HOST) == expected


LOST = "on the grub partition, select.cfg is missing"
OTHER = "on the grub partition, a.cfg, b.cfg are not those of this abctl"


@pytest.mark.parametrize(
    ("missing", "differing", "sound", "found"),
    [
        ([], [], None, Finding(OK, "they are those that ship with this abctl")),
        (["select.cfg"], [], True, Finding(FAULT, LOST, REPAIR_IMAGE, True)),
        (["select.cfg"], ["a.cfg"], True, Finding(FAULT, LOST, REPAIR_IMAGE, True)),
        (
            [],
            ["a.cfg", "b.cfg"],
            True,
            Finding(
                WARNING,
                f"{OTHER}, but GRUB decides the same with it: it is of another version",
                "abctl --disk host.img --booted B adopt",
                True,
            ),
        ),
        (
            [],
            ["a.cfg", "b.cfg"],
            False,
            Finding(
                FAULT,
                f"{OTHER}: GRUB does not decide with it as it should",
                "abctl --disk host.img --booted B adopt",
                True,
            ),
        ),
        (
            [],
            ["a.cfg", "b.cfg"],
            None,
            Finding(
                FAULT,
                f"{OTHER}: and whether GRUB can use it is not known",
                "abctl --disk host.img --booted B adopt",
                True,
            ),
        ),
    ],
)
def test_the_scripts_of_grub(
    missing: Sequence[str], differing: Sequence[str], sound: bool | None, found: Finding
) -> None:
    assert judge_scripts(missing, differing, adopted=True, sound=sound, prompt=IMAGE) == found
    older = judge_scripts(missing, differing, adopted=False, sound=sound, prompt=HOST)
    assert older == Finding(
        WARNING, "GRUB runs the older system's scripts, and would not try a release", ADOPT
    )


# --- slot sets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "lacking", "verdict", "sentence"),
    [
        ((GOOD, UNTESTED), (), OK, "GRUB finds and reads the kernel of slot sets A and B"),
        ((GOOD, EMPTY), (B,), OK, "GRUB finds and reads the kernel of slot set A"),
        ((EMPTY, EMPTY), (A, B), OK, "there is nothing to boot yet"),
        ((GOOD, GOOD), (B,), FAULT, "GRUB finds no kernel in slot set B"),
        ((GOOD, GOOD), (A, B), FAULT, "GRUB finds no kernel in slot sets A and B"),
        ((GOOD, BAD), (B,), WARNING, "GRUB finds no kernel in slot set B"),
        # One that may have to be booted is enough for a fault.
        ((UNTESTED, BAD), (A, B), FAULT, "GRUB finds no kernel in slot sets A and B"),
    ],
)
def test_the_kernels_that_grub_may_have_to_boot(
    states: tuple[SlotState, SlotState], lacking: Sequence[SlotName], verdict: Verdict, sentence: str
) -> None:
    kernels = {name: name not in lacking for name in SlotName}
    found = judge_kernels(sets(*states), kernels, by_grub=True, command="mend it")
    assert found == Finding(verdict, sentence, None if verdict is OK else "mend it")


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        (True, "abctl (there is no grub-emu to ask GRUB) finds and reads the kernel of slot sets A and B"),
        (False, "abctl (there is no grub-emu to ask GRUB) finds no kernel in slot set B"),
    ],
)
def test_where_grub_cannot_be_asked_that_is_said(there: bool, sentence: str) -> None:
    found = judge_kernels(sets(GOOD, GOOD), {A: True, B: there}, by_grub=False, command=None)
    assert found.sentence == sentence


NAMED = Finding(OK, "the slot sets hold the releases that the boot environment names")


@pytest.mark.parametrize(
    ("env", "files", "wrong"),
    [
        (sets(GOOD, GOOD), (ONE, TWO), None),
        (sets(GOOD, EMPTY), (ONE, THREE), None),
        (sets(GOOD, GOOD), (None, None), None),
        (sets(GOOD, GOOD, None, None), (ONE, TWO), None),
        (sets(GOOD, GOOD), (ONE, THREE), "slot set B is said to hold 2, but its files say 3"),
        (
            sets(GOOD, BAD),
            (TWO, ONE),
            "slot set A is said to hold 1, but its files say 2; slot set B is said to hold 2, but its files "
            "say 1",
        ),
    ],
)
def test_the_releases_that_the_slot_sets_hold(
    env: BootEnv, files: tuple[Version | None, Version | None], wrong: str | None
) -> None:
    expected = Finding(WARNING, wrong, "abctl history") if wrong else NAMED
    assert judge_versions(env, dict(zip(SlotName, files, strict=True)), HOST) == expected
