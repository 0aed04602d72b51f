"""What the doctor makes of facts: each verdict, its reason, and the command that mends it."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from abctl.cli.doctor_checks import CHECKS
from abctl.cli.render_explain import render_findings
from abctl.cli.report_explain import DoctorReport, FindingReport
from abctl.cli.style import Style, wrap
from abctl.core.advice import Prompt
from abctl.core.bootenv import BootEnv, Copy, EnvFiles, SlotSet, SlotState, Trial, Why, encode, read_boot_env
from abctl.core.clock import judge_clock
from abctl.core.doctor import (
    Finding,
    Verdict,
    judge_boot_env,
    judge_grub_wrote,
    judge_kernels,
    judge_places,
    judge_scripts,
    judge_versions,
    worst,
)
from abctl.core.doctor_disk import (
    UnitState,
    VolumeUse,
    judge_kept,
    judge_lock,
    judge_own_units,
    judge_room,
    judge_settings,
    judge_snapshots,
    judge_space,
    judge_watchdogs,
)
from abctl.core.events import Running
from abctl.core.found import Extent
from abctl.core.halves import Harm, Unsound
from abctl.core.holder import Holder
from abctl.core.newest import find_newest
from abctl.core.signed_dates import FIELD, read_dates, say_expired
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.space import Foreign
from abctl.core.trust_state import TrustState
from abctl.core.units import MIB, Seconds, Version
from abctl.errors import ToolFailed
from abctl.host.unit_states import parse_unit_states
from abctl.host.volume_use import parse_volume_use
from abctl.host.watchdogs import has_softdog, list_watchdogs
from tests.repositories import make_repository
from tests.states import files_of

A, B = SlotName.A, SlotName.B
HOST = Prompt()
IMAGE = Prompt("host.img", B)
TRIAL = BootEnv(A, Trial(B, 2), generation=7)


def wrote(env: BootEnv, running: Running, files: EnvFiles | None = None) -> Finding:
    found = files or files_of(env)
    return judge_grub_wrote(running, read_boot_env(found), found, HOST)


def booted(name: SlotName, why: Why, generation: int | None, attempts: int | None = None) -> Running:
    return Running(name, name, name, why, None, generation, attempts)


# --- the boot environment ---------------------------------------------------------------------------


def test_a_torn_copy_is_a_fault_that_the_doctor_repairs() -> None:
    whole = files_of(TRIAL)
    torn = whole.with_copy(Copy.SECOND, b"x" * 512)
    assert judge_boot_env(read_boot_env(whole), HOST, adopted=True).verdict is Verdict.OK
    found = judge_boot_env(read_boot_env(torn), IMAGE, adopted=True)
    assert (found.verdict, found.can_repair) == (Verdict.FAULT, True)
    assert "env2/grubenv is damaged" in found.sentence
    assert found.command == "abctl --disk host.img --booted B doctor --repair"


def test_copies_that_differ_are_a_warning_and_lost_ones_a_fault() -> None:
    behind = files_of(TRIAL).with_copy(Copy.FIRST, encode(replace(TRIAL, generation=6)))
    assert judge_boot_env(read_boot_env(behind), HOST, adopted=True).verdict is Verdict.WARNING
    assert judge_boot_env(read_boot_env(EnvFiles()), HOST, adopted=True).verdict is Verdict.FAULT


def test_a_host_of_the_older_system_is_told_to_adopt_and_not_repaired() -> None:
    older = EnvFiles(older=files_of(TRIAL).older)
    found = judge_boot_env(read_boot_env(older), HOST, adopted=False)
    assert (found.verdict, found.command, found.can_repair) == (Verdict.WARNING, "abctl adopt", False)
    scripts = judge_scripts(["state.cfg"], ["grub.cfg"], adopted=False, sound=False, prompt=HOST)
    assert (scripts.verdict, scripts.command, scripts.can_repair) == (Verdict.WARNING, "abctl adopt", False)


@pytest.mark.parametrize(
    ("running", "verdict", "words"),
    [
        (booted(B, Why.TRIAL, 7, 2), Verdict.OK, "both copies say that 2 are left"),
        # GRUB said so to the kernel, but the disk did not keep it.
        (booted(B, Why.TRIAL, 7, 1), Verdict.FAULT, "still say 2: what GRUB writes does not stay"),
        (booted(A, Why.UNSAVED, 7), Verdict.FAULT, "could not write"),
        (
            booted(A, Why.PRIMARY, 9),
            Verdict.FAULT,
            "GRUB read generation 9 at this boot, and the newest",
        ),
        (booted(A, Why.LOST, 0), Verdict.WARNING, "no whole copy"),
        (booted(A, Why.PRIMARY, 5), Verdict.OK, "since then it has come to 7"),
        (booted(A, Why.PRIMARY, None), Verdict.UNKNOWN, "does not say"),
    ],
)
def test_whether_grub_wrote_is_read_from_the_kernels_command_line(
    running: Running, verdict: Verdict, words: str
) -> None:
    found = wrote(TRIAL, running)
    assert found.verdict is verdict
    assert words in found.sentence


def test_a_write_that_reached_one_copy_only_is_a_warning_that_names_the_other() -> None:
    half = files_of(TRIAL).with_copy(Copy.SECOND, encode(replace(TRIAL, trial=Trial(B, 1))))
    found = wrote(TRIAL, booted(B, Why.TRIAL, 7, 1), half)
    assert found.verdict is Verdict.WARNING
    assert "env1/grubenv still says 2" in found.sentence


# --- the grub partition and the slot sets -----------------------------------------------------------


def test_a_copy_that_is_no_sector_is_a_fault_and_a_script_in_pieces_is_none() -> None:
    whole = (Extent(4096, 512),)
    good = {"env1/grubenv": whole, "env2/grubenv": whole, "grub.cfg": (Extent(0, 2000),)}
    assert judge_places(good, HOST).verdict is Verdict.OK
    for spoilt in ((Extent(4096, 2048),), (Extent(4096, 256), Extent(8192, 256)), (Extent(4000, 512),)):
        found = judge_places({**good, "env2/grubenv": spoilt}, HOST)
        assert (found.verdict, found.can_repair) == (Verdict.FAULT, True)
        assert "env2/grubenv" in found.sentence
    assert judge_places({**good, "grub.cfg": (Extent(0, 512), Extent(4096, 512))}, HOST).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("missing", "differing", "sound", "verdict"),
    [
        ([], [], True, Verdict.OK),
        (["select.cfg"], [], True, Verdict.FAULT),
        ([], ["select.cfg"], True, Verdict.WARNING),
        ([], ["select.cfg"], False, Verdict.FAULT),
        ([], ["select.cfg"], None, Verdict.FAULT),
    ],
)
def test_other_scripts_are_a_fault_unless_grub_is_seen_to_decide_the_same(
    missing: list[str], differing: list[str], sound: bool | None, verdict: Verdict
) -> None:
    found = judge_scripts(missing, differing, adopted=True, sound=sound, prompt=HOST)
    assert found.verdict is verdict
    assert found.can_repair is (verdict is not Verdict.OK)


def test_a_kernel_counts_where_grub_may_have_to_boot_it() -> None:
    env = BootEnv(A, slot_sets={A: SlotSet(SlotState.GOOD), B: SlotSet(SlotState.EMPTY)})
    for state, verdict in (
        (SlotState.EMPTY, Verdict.OK),
        (SlotState.BAD, Verdict.WARNING),
        (SlotState.GOOD, Verdict.FAULT),
        (SlotState.UNTESTED, Verdict.FAULT),
    ):
        found = judge_kernels(env.with_state(B, state), {A: True, B: False}, by_grub=True, command="x")
        assert found.verdict is verdict
    assert judge_kernels(env, {A: False, B: False}, by_grub=False, command=None).verdict is Verdict.FAULT


def test_a_slot_set_that_holds_something_else_is_named() -> None:
    env = BootEnv(
        A, slot_sets={A: SlotSet(SlotState.GOOD, Version("2")), B: SlotSet(SlotState.EMPTY, Version("3"))}
    )
    assert judge_versions(env, {A: Version("2"), B: Version("1")}, HOST).verdict is Verdict.OK
    assert judge_versions(env, {A: None, B: None}, HOST).verdict is Verdict.OK
    found = judge_versions(env, {A: Version("1"), B: None}, HOST)
    assert "slot set A is said to hold 2, but its files say 1" in found.sentence


# --- the rest ---------------------------------------------------------------------------------------


def test_a_lock_is_a_fault_where_its_holder_was_stopped_and_a_warning_where_it_hangs() -> None:
    assert judge_lock(None).verdict is Verdict.OK
    assert judge_lock(Holder(7, "today", 60.0)).verdict is Verdict.OK
    stopped = judge_lock(Holder(7, "today", 60.0, stopped=True))
    assert (stopped.verdict, stopped.command) == (Verdict.FAULT, "kill -CONT 7")
    hangs = judge_lock(Holder(7, "yesterday", 90_000.0))
    assert (hangs.verdict, hangs.command) == (Verdict.WARNING, "kill 7")


# As lvs 2.03.16 prints them: a volume, a snapshot, one that overflowed, a thin pool and its metadata.
LVS = """{"report": [{"lv": [
 {"lv_name":"A_var", "lv_attr":"owi-aos---", "data_percent":"", "metadata_percent":""},
 {"lv_name":"snap", "lv_attr":"swi-a-s---", "data_percent":"%s", "metadata_percent":""},
 {"lv_name":"old", "lv_attr":"%s", "data_percent":"100.00", "metadata_percent":""},
 {"lv_name":"[pool_tmeta]", "lv_attr":"ewi-ao----", "data_percent":"", "metadata_percent":""}
]}]}"""


@pytest.mark.parametrize(
    ("percent", "attributes", "verdict", "words"),
    [
        ("12.00", "-wi-a-----", Verdict.OK, "no snapshot"),
        ("93.40", "-wi-a-----", Verdict.WARNING, "snap is 93 % full"),
        ("12.00", "swi-I-s---", Verdict.FAULT, "old is lost"),
    ],
)
def test_a_snapshot_is_told_of_before_it_overflows_and_after(
    percent: str, attributes: str, verdict: Verdict, words: str
) -> None:
    found = judge_snapshots(parse_volume_use(LVS % (percent, attributes)))
    assert found.verdict is verdict
    assert words in found.sentence


@pytest.mark.parametrize("text", ["", "[]", '{"report": 1}', '{"report": [{"lv": [{}]}]}'])
def test_what_lvs_never_prints_is_an_error_with_a_sentence(text: str) -> None:
    with pytest.raises(ToolFailed, match="lvs printed"):
        parse_volume_use(text)


def test_a_thin_pool_is_as_full_as_its_metadata() -> None:
    assert judge_snapshots([VolumeUse("pool", "twi-aot---", 10.0, 91.0)]).verdict is Verdict.WARNING


SHOWN = """Id=boot.mount
LoadState=loaded
ActiveState={mount}

Id=abctl-health.service
LoadState={health}
ActiveState=active
UnitFileState={file}

Id=abctl-deadline.timer
LoadState=loaded
ActiveState=inactive
"""


@pytest.mark.parametrize(
    ("mount", "health", "file", "command"),
    [
        ("active", "loaded", "static", None),
        ("inactive", "loaded", "static", "systemctl restart boot.mount"),
        ("failed", "loaded", "static", "systemctl status boot.mount"),
        ("active", "masked", "masked", "systemctl unmask abctl-health.service"),
        ("active", "masked", "masked-runtime", "systemctl unmask --runtime abctl-health.service"),
        ("active", "not-found", "", "systemctl status abctl-health.service"),
    ],
)
def test_a_unit_that_is_not_as_it_has_to_be_is_named_with_a_command(
    mount: str, health: str, file: str, command: str | None
) -> None:
    units = tuple(parse_unit_states(SHOWN.format(mount=mount, health=health, file=file)))
    assert [unit.name for unit in units] == ["boot.mount", "abctl-health.service", "abctl-deadline.timer"]
    found = judge_own_units(units, frozenset({"boot.mount", "abctl-health.service"}))
    assert found.command == command
    assert found.verdict is (Verdict.FAULT if command else Verdict.OK)
    assert UnitState("abctl-deadline.timer", "loaded", "inactive") in units


def test_watchdogs_are_found_where_the_kernel_shows_them(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("root")
    assert not has_softdog(root, "6.1.0")
    assert judge_watchdogs(list_watchdogs(root), has_softdog=False).verdict is Verdict.WARNING
    folder = root / "sys/class/watchdog/watchdog0"
    folder.mkdir(parents=True)
    (folder / "identity").write_text("Software Watchdog\n")
    assert list_watchdogs(root) == ("Software Watchdog",)
    said = judge_watchdogs(list_watchdogs(root), has_softdog=False).sentence
    assert "needs a kernel that still runs" in said


def test_a_watchdog_that_only_trials_load_is_no_reason_for_a_warning(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("root")
    module = root / "lib/modules/6.1.0/kernel/drivers/watchdog/softdog.ko"
    module.parent.mkdir(parents=True)
    module.touch()
    found = judge_watchdogs(list_watchdogs(root), has_softdog=has_softdog(root, "6.1.0"))
    assert (found.verdict, "a trial loads softdog" in found.sentence) == (Verdict.OK, True)


class Half:
    f_frsize, f_blocks, f_bavail = 4096, 16 * MIB // 4096, 4


def test_a_full_config_volume_is_a_warning() -> None:
    found = judge_space(Half(), None, "du")
    assert (found.verdict, found.command) == (Verdict.WARNING, "du")
    assert "16 KiB of 16 MiB are free" in found.sentence


def test_what_fills_the_config_volume_is_named_with_the_command_that_removes_it() -> None:
    found = judge_space(Half(), Foreign("/boot/config/core", 12 * MIB, "rm -i /boot/config/core"), "du")
    assert found.command == "rm -i /boot/config/core"
    assert "/boot/config/core takes 12 MiB of it" in found.sentence


def unread(path: str, harm: Harm, why: str) -> Unsound:
    return Unsound(path, harm, b"", (), why)


def test_a_half_that_cannot_be_read_is_a_warning_with_a_repair() -> None:
    found = judge_kept([], [], HOST, [unread("abctl/trust", Harm.HALF, "the disk reports an I/O error")])
    assert (found.verdict, found.command) == (Verdict.WARNING, "abctl doctor --repair")
    assert found.sentence == (
        "on the config volume, one half of abctl/trust cannot be read, and the other one counts: "
        "the disk reports an I/O error"
    )


def test_what_is_lost_with_a_file_is_a_fault_with_a_repair() -> None:
    found = judge_kept([], [], HOST, [unread("abctl/trust", Harm.UNREADABLE, "EIO")])
    assert (found.verdict, found.can_repair) == (Verdict.FAULT, True)
    assert found.sentence == "on the config volume, abctl/trust cannot be read, and what it held is lost: EIO"


def test_files_that_cannot_be_opened_for_one_cause_are_told_together_and_not_repaired() -> None:
    files = [unread(f"abctl/{name}", Harm.CLOSED, "no superblock") for name in ("a", "b", "c", "d")]
    found = judge_kept([], [], HOST, files)
    assert (found.verdict, found.command, found.can_repair) == (Verdict.FAULT, None, False)
    assert found.sentence == (
        "on the config volume, abctl/a, abctl/b, abctl/c and 1 more cannot be read: no superblock"
    )
    assert judge_kept(["abctl/e"], [], HOST, files).can_repair


def test_what_is_missing_on_a_file_system_with_a_journal_left_may_be_hidden() -> None:
    found = judge_kept(["abctl/jobs"], [], HOST, is_unclean=True)
    assert found.sentence == (
        "on the config volume, abctl/jobs is missing, or hidden, for the file system was not left clean"
    )
    assert (found.verdict, found.can_repair) == (Verdict.WARNING, True)


@pytest.mark.parametrize(
    ("problems", "is_copy", "is_damaged", "verdict", "command"),
    [
        ((), False, False, Verdict.OK, None),
        (("it is gone",), True, False, Verdict.WARNING, "abctl doctor --repair"),
        (("it is damaged",), True, True, Verdict.WARNING, "abctl doctor --repair"),
        (("it is damaged",), False, True, Verdict.FAULT, "abctl identity set --help"),
        (("node_id is left out",), False, False, Verdict.WARNING, "abctl identity set --help"),
    ],
)
def test_settings_are_a_fault_only_where_nothing_is_left_of_them(
    problems: tuple[str, ...], is_copy: bool, is_damaged: bool, verdict: Verdict, command: str | None
) -> None:
    found = judge_settings(problems, HOST, is_copy=is_copy, is_damaged=is_damaged)
    assert (found.verdict, found.command) == (verdict, command)
    assert found.can_repair is is_copy


def targets_of(*releases: tuple[str, list[str], Any]) -> TrustState:
    targets = {
        f"{version}/manifest.json": {
            "custom": {FIELD: {"version": version, "layouts": layouts, "sizes": sizes}}
        }
        for version, layouts, sizes in releases
    }
    return TrustState(metadata={"targets": json.dumps({"signed": {"targets": targets}})})


def test_the_newest_release_that_was_on_offer_is_measured_against_the_slots() -> None:
    small, large = {"boot": MIB, "root": 2 * MIB}, {"boot": MIB, "root": 9 * MIB}
    state = targets_of(
        ("1.9", ["hostos"], small),
        ("1.10", ["hostos"], large),
        ("2.0", ["guestos"], small),
        ("3.0", ["hostos"], None),
        ("4.0", ["hostos"], {"boot": "x"}),
    )
    newest = find_newest(state, "hostos")
    assert newest is not None
    assert newest.version == "1.10"
    rooms = {Slot(B, Part.BOOT): MIB, Slot(B, Part.ROOT): 9 * MIB}
    assert judge_room(newest, rooms).verdict is Verdict.OK
    found = judge_room(newest, {**rooms, Slot(B, Part.ROOT): 9 * MIB - 1})
    assert found.verdict is Verdict.FAULT
    assert "1.10, the newest on offer, does not fit: B_root has" in found.sentence
    assert judge_room(find_newest(state, "other"), rooms).verdict is Verdict.OK


@pytest.mark.parametrize("text", ["", "{", "[]", '{"signed": {"targets": [5]}}', '{"signed": 1}', "[" * 9999])
def test_what_is_no_metadata_has_no_newest_release(text: str) -> None:
    assert find_newest(TrustState(metadata={"targets": text}), "hostos") is None


def report_of(*verdicts: Verdict, repaired: str | None = None) -> DoctorReport:
    findings = tuple(
        FindingReport(
            name=f"check-{number}",
            verdict=verdict,
            sentence=f"it is {verdict}",
            command=None,
            repaired=repaired if number == 1 else None,
        )
        for number, verdict in enumerate(verdicts)
    )
    return DoctorReport(disk=None, verdict=Verdict.FAULT, findings=findings)


def test_the_worst_is_told_first_and_what_is_well_is_only_named() -> None:
    report = report_of(Verdict.OK, Verdict.WARNING, Verdict.OK, Verdict.UNKNOWN, Verdict.FAULT)
    lines = render_findings(report, Style()).splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        ["FAULT", "check-4"],
        ["WARNING", "check-1"],
        ["unknown", "check-3"],
        ["ok", "check-0,"],
    ]
    assert "It is ok." not in "\n".join(lines)
    every = render_findings(report, Style(), every=True).splitlines()
    assert [line.split()[1] for line in every[:5]] == [f"check-{number}" for number in range(5)]
    assert sum("It is ok." in line for line in every) == 2


def test_where_all_is_well_that_is_all_that_is_said_save_what_was_repaired() -> None:
    said = render_findings(report_of(Verdict.OK, Verdict.OK), Style())
    assert said == "All 2 checks are ok. 'abctl doctor --all' says what each has found."
    repaired = render_findings(report_of(Verdict.OK, Verdict.OK, repaired="made it anew"), Style())
    assert "Repaired: Made it anew." in repaired
    assert "\x1b" not in repaired
    assert "\x1b" in render_findings(report_of(Verdict.OK, Verdict.FAULT), Style(colour=True))


def test_a_line_never_ends_between_a_number_and_its_unit() -> None:
    for width in range(8, 40):
        for line in wrap("13.8 MiB were written in 0.7 s until 2026-11-27 00:50 UTC", width):
            assert not re.search(r"(?<![:\d])\d[\d.-]*$", line), line
            assert not line.startswith(("MiB", "s ", "00:50", "UTC"))


def test_dates_are_those_that_the_repository_signed(tmp_path_factory: pytest.TempPathFactory) -> None:
    repo = make_repository(tmp_path_factory.mktemp("repo") / "repo", ["1.0.0"])
    metadata = {
        role: next(iter(sorted(repo.metadata.glob(f"*{role}.json")))).read_text()
        for role in ("timestamp", "snapshot", "targets")
    }
    dates = read_dates(TrustState(metadata=metadata), repo.root.decode())
    published = repo.state.published
    assert published is not None
    assert dates.expires["targets"] == published.targets.expires
    assert dates.signed == repo.clock.now
    assert say_expired(dates, repo.clock()) is None
    repo.expire("timestamp")
    assert "timestamp metadata expired" in (say_expired(dates, repo.clock()) or "")
    assert "the clock is behind" in (judge_clock(Seconds(dates.signed - 86_400), dates.signed) or "")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"signed": 1}', '{"signed": {"expires": 5}}', "[" * 10_000])
def test_damaged_metadata_has_no_dates(text: str) -> None:
    dates = read_dates(TrustState(roots=(text,), metadata={"timestamp": text}), text)
    assert (dates.signed, dict(dates.expires)) == (0, {})


def test_the_worst_finding_is_that_of_all_and_names_are_said_once() -> None:
    findings = [Finding(verdict, "x") for verdict in Verdict]
    assert worst(findings) is Verdict.FAULT
    assert worst([]) is Verdict.OK
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
