"""What an admin reads of what the doctor makes of a disk, its config volume and what runs, to the letter."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from abctl.core.advice import Prompt
from abctl.core.compare import Difference, Severity
from abctl.core.doctor import Finding, Verdict
from abctl.core.doctor_disk import (
    UnitState,
    VolumeUse,
    find_missing,
    judge_differences,
    judge_kept,
    judge_lock,
    judge_own_units,
    judge_room,
    judge_settings,
    judge_snapshots,
    judge_space,
    judge_watchdogs,
    make_lvcreate,
)
from abctl.core.holder import Holder
from abctl.core.newest import Newest
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.space import Foreign
from abctl.core.units import GIB, MIB, Bytes, Version
from abctl.host.layouts import read_layout

OK, WARNING, FAULT = Verdict.OK, Verdict.WARNING, Verdict.FAULT
HOST, IMAGE = Prompt(), Prompt("host.img")
REPAIR = "abctl doctor --repair"
LAYOUT = read_layout("hostos")


# --- the disk ---------------------------------------------------------------------------------------


def light(text: str) -> Difference:
    return Difference("esp", text)


def grave(text: str) -> Difference:
    return Difference("esp", text, grave=True)


def remark(text: str) -> Difference:
    return Difference("esp", text, Severity.REMARK, grave=True)


@pytest.mark.parametrize(
    ("differences", "found"),
    [
        ([], Finding(OK, "its partitions are as the layout says")),
        ([remark("a")], Finding(OK, "its partitions are as the layout says")),
        ([light("a")], Finding(WARNING, "a", "show it")),
        ([light("a"), light("b"), remark("c")], Finding(WARNING, "a; b", "show it")),
        ([light("a"), light("b"), light("c")], Finding(WARNING, "a; b; and 1 more difference", "show it")),
        (
            [light("a"), grave("b"), light("c"), grave("d"), remark("e")],
            Finding(FAULT, "b; d; and 2 more differences", "show it"),
        ),
        ([light("a"), light("b"), grave("c")], Finding(FAULT, "c; a; and 1 more difference", "show it")),
    ],
)
def test_two_differences_are_told_the_gravest_first_and_the_others_counted(
    differences: Sequence[Difference], found: Finding
) -> None:
    assert judge_differences(differences, "its partitions", "show it") == found


def test_only_logical_volumes_that_are_not_there_are_made_anew() -> None:
    differences = [
        Difference("B_root", "gone", grave=True, missing=True),
        Difference("A_boot", "gone", grave=True, missing=True),
        Difference("A_root", "too small", grave=True),
        Difference("esp", "gone", grave=True, missing=True),
    ]
    assert [volume.name for volume in find_missing(differences, LAYOUT)] == ["A_boot", "B_root"]
    assert find_missing(differences, read_layout("guestos")) == ()


def test_a_volume_is_made_anew_where_its_bytes_lie() -> None:
    assert LAYOUT.volume_group is not None
    made = make_lvcreate(LAYOUT, LAYOUT.volume_group.volumes[1], "/dev/sda3")
    assert made == "lvcreate -y -Zn -Wn -n A_boot -l 256 hostlvm /dev/sda3:25-280"


SOUND = Finding(OK, "no snapshot or thin pool is near its end")
SEEN_LOST = "lvs -a -o +data_percent,lv_health_status"
SEEN_FULL = "lvs -a -o +data_percent,metadata_percent"


@pytest.mark.parametrize("letter", "ISFDM")
def test_a_volume_that_lvs_calls_lost_is(letter: str) -> None:
    found = judge_snapshots([VolumeUse("snap", f"swi-{letter}-s---", 100.0)])
    text = "snap is lost: it overflowed, or its metadata is damaged"
    assert found == Finding(FAULT, text, SEEN_LOST)


@pytest.mark.parametrize("kind", "sStV")
def test_a_snapshot_or_thin_volume_is_full_from_eighty_per_cent_on(kind: str) -> None:
    attributes = f"{kind}wi-a-s---"
    assert judge_snapshots([VolumeUse("snap", attributes, 79.9, 79.9)]) == SOUND
    text = "snap is 80 % full: give it more room, or remove it, before it overflows"
    for data, metadata in ((80.0, None), (None, 80.0), (80.0, 1.0)):
        assert judge_snapshots([VolumeUse("snap", attributes, data, metadata)]) == Finding(
            WARNING, text, SEEN_FULL
        )


def test_a_volume_of_another_kind_may_be_full_and_one_of_which_nothing_is_known_is_not() -> None:
    others = [VolumeUse("A_var", "owi-aos---", 100.0), VolumeUse("snap", "swi-a-s---")]
    assert judge_snapshots(others) == SOUND


def test_of_many_volumes_three_are_named_and_the_lost_come_before_the_full() -> None:
    full = [VolumeUse(f"s{number}", "swi-a-s---", 90.0) for number in range(4)]
    assert judge_snapshots(full).sentence == (
        "s0 is 90 % full, s1 is 90 % full, s2 is 90 % full and 1 more: give it more room, or remove it, "
        "before it overflows"
    )
    lost = judge_snapshots([*full, VolumeUse("old", "swi-I-s---", 100.0)])
    assert lost.sentence == "old is lost: it overflowed, or its metadata is damaged"


# --- the config volume ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lost", "damaged", "verdict", "what"),
    [
        (["marks"], [], WARNING, "marks is missing"),
        ([], ["record"], FAULT, "record is damaged, and what it held is lost"),
        (
            ["marks", "trust"],
            ["record"],
            FAULT,
            "record is damaged, and what it held is lost and marks, trust are missing",
        ),
    ],
)
def test_files_that_abctl_keeps_are_told_by_name(
    lost: Sequence[str], damaged: Sequence[str], verdict: Verdict, what: str
) -> None:
    expected = Finding(verdict, f"on the config volume, {what}", REPAIR, can_repair=True)
    assert judge_kept(lost, damaged, HOST) == expected


def test_files_that_are_whole_are_told_in_one_sentence() -> None:
    assert judge_kept([], [], HOST) == Finding(
        OK, "record, evidence, marks and what is known of the repository are whole"
    )


@dataclass
class Space:
    """A config volume of 100 MiB."""

    f_bavail: int
    f_frsize: int = MIB
    f_blocks: int = 100


CORE = Foreign("/boot/config/core", 90 * MIB, "rm -i /boot/config/core")
FULL = "the config volume is full: 4 MiB of 100 MiB are free; remove what is not abctl's from it"


@pytest.mark.parametrize(
    ("free", "foreign", "found"),
    [
        (5, CORE, Finding(OK, "5 MiB are free on the config volume")),
        (4, None, Finding(WARNING, FULL, "du -x")),
        (4, CORE, Finding(WARNING, f"{FULL}; /boot/config/core takes 90 MiB of it", CORE.command)),
        (
            4,
            replace(CORE, command=None),
            Finding(WARNING, f"{FULL}; /boot/config/core takes 90 MiB of it"),
        ),
    ],
)
def test_a_config_volume_is_full_below_a_twentieth(
    free: int, foreign: Foreign | None, found: Finding
) -> None:
    assert judge_space(Space(free), foreign, "du -x") == found


TWO_PROBLEMS = ("it is damaged", "the copy counts")


@pytest.mark.parametrize(
    ("is_copy", "is_damaged", "found"),
    [
        (True, True, Finding(WARNING, "it is damaged; the copy counts", REPAIR, True)),
        (True, False, Finding(WARNING, "it is damaged; the copy counts", REPAIR, True)),
        (False, True, Finding(FAULT, "it is damaged; the copy counts", "abctl identity set --help")),
        (False, False, Finding(WARNING, "it is damaged; the copy counts", "abctl identity set --help")),
    ],
)
def test_settings_that_do_not_count(is_copy: bool, is_damaged: bool, found: Finding) -> None:
    assert judge_settings(TWO_PROBLEMS, HOST, is_copy=is_copy, is_damaged=is_damaged) == found
    sound = judge_settings((), HOST, is_copy=is_copy, is_damaged=is_damaged)
    assert sound == Finding(OK, "the settings are sound, or there are none")


def test_the_settings_of_a_disk_elsewhere_are_set_there() -> None:
    assert judge_settings(TWO_PROBLEMS, IMAGE, is_copy=False, is_damaged=True).command is None


# --- what runs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("holder", "found"),
    [
        (None, Finding(OK, "no other abctl works on it")),
        (Holder(7), Finding(OK, "another abctl (pid 7) works on it at this moment")),
        (
            Holder(7, "12:00", 21_600.0),
            Finding(OK, "another abctl (pid 7, since 12:00) works on it at this moment"),
        ),
        (
            Holder(7, "12:00", 21_600.1),
            Finding(WARNING, "another abctl (pid 7, since 12:00) works on it for hours: it hangs", "kill 7"),
        ),
        (
            Holder(7, "12:00", 21_600.1, stopped=True),
            Finding(
                FAULT,
                "another abctl (pid 7, since 12:00) was stopped in the middle of its work: nothing can be "
                "changed until it ends",
                "kill -CONT 7",
            ),
        ),
    ],
    ids=str,
)
def test_who_keeps_others_from_working(holder: Holder | None, found: Finding) -> None:
    assert judge_lock(holder) == found


@pytest.mark.parametrize(
    ("names", "has_softdog", "found"),
    [
        (
            (),
            False,
            Finding(
                WARNING,
                "there is no watchdog: a trial whose kernel hangs would hang for ever",
                "modprobe softdog",
            ),
        ),
        (
            (),
            True,
            Finding(OK, "a trial loads softdog: it needs a kernel that still runs, a device would not"),
        ),
        (
            ("Software Watchdog",),
            True,
            Finding(OK, "Software Watchdog: it needs a kernel that still runs, a device would not"),
        ),
        (("iTCO_wdt",), True, Finding(OK, "iTCO_wdt")),
        (("Software Watchdog", "iTCO_wdt"), False, Finding(OK, "Software Watchdog, iTCO_wdt")),
    ],
)
def test_the_watchdog_that_ends_a_kernel_that_hangs(
    names: tuple[str, ...], has_softdog: bool, found: Finding
) -> None:
    assert judge_watchdogs(names, has_softdog=has_softdog) == found


RUNS = UnitState("boot.mount", "loaded", "active")
RESTS = UnitState("abctl-deadline.timer", "loaded", "inactive")
MASKED = replace(RESTS, load="masked", file="masked")


@pytest.mark.parametrize(
    ("units", "found"),
    [
        ((RUNS, RESTS), Finding(OK, "2 units of abctl are there, and those run that have to")),
        (
            (RUNS, MASKED),
            Finding(FAULT, "abctl-deadline.timer is masked", "systemctl unmask abctl-deadline.timer"),
        ),
        (
            (RUNS, MASKED, replace(MASKED, name="a.service", file="masked-runtime")),
            Finding(FAULT, "a.service is masked until the next boot", "systemctl unmask --runtime a.service"),
        ),
        (
            (RUNS, replace(RESTS, load="not-found"), replace(RESTS, name="a.timer", load="error")),
            Finding(
                FAULT,
                "abctl-deadline.timer, a.timer is not there",
                "systemctl status abctl-deadline.timer",
            ),
        ),
        (
            (replace(RUNS, active="inactive"), replace(RESTS, active="failed")),
            Finding(FAULT, "abctl-deadline.timer failed", "systemctl status abctl-deadline.timer"),
        ),
        (
            (replace(RUNS, active="activating"), RESTS),
            Finding(FAULT, "boot.mount does not run", "systemctl restart boot.mount"),
        ),
    ],
)
def test_the_units_of_abctl(units: Sequence[UnitState], found: Finding) -> None:
    assert judge_own_units(units, frozenset({"boot.mount"})) == found


# --- what is on offer -------------------------------------------------------------------------------

NEWEST = Newest(Version("3.1"), {Part.BOOT: Bytes(GIB), Part.ROOT: Bytes(10 * GIB)})
BOOT, ROOT = Slot(SlotName.B, Part.BOOT), Slot(SlotName.B, Part.ROOT)


@pytest.mark.parametrize(
    ("newest", "boot", "root", "found"),
    [
        (None, 0, 0, Finding(OK, "nothing that was on offer says how large it is")),
        (
            NEWEST,
            GIB,
            10 * GIB,
            Finding(OK, "3.1, the newest that was on offer, fits into the slots"),
        ),
        (
            NEWEST,
            GIB,
            10 * GIB - MIB,
            Finding(
                FAULT,
                "3.1, the newest on offer, does not fit: B_root has 10.0 GiB, and its root takes 10 GiB. "
                "Give the slot more room, or have a smaller release published",
            ),
        ),
        (
            NEWEST,
            512 * MIB,
            9 * GIB,
            Finding(
                FAULT,
                "3.1, the newest on offer, does not fit: B_boot has 512 MiB, and its boot takes 1 GiB; "
                "B_root has 9 GiB, and its root takes 10 GiB. Give the slot more room, or have a smaller "
                "release published",
            ),
        ),
    ],
    ids=["none", "fits", "one", "two"],
)
def test_the_newest_release_and_the_slots(
    newest: Newest | None, boot: int, root: int, found: Finding
) -> None:
    assert judge_room(newest, {BOOT: boot, ROOT: root}) == found
