"""A host that fell back says why: from marks, notes and crash logs, or that there are none."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from abctl.cli.describe_evidence import describe_evidence
from abctl.cli.motd import make_motd
from abctl.cli.render import render_status
from abctl.cli.render_evidence import render_evidence
from abctl.cli.report import Verdict
from abctl.cli.style import Style
from abctl.core import evidence
from abctl.core import marks as marks_file
from abctl.core import record as record_module
from abctl.core.bootenv import (
    BLOCK_SIZE,
    BootEnv,
    Copy,
    Outcome,
    Trial,
    Why,
    _checksum,
    decode,
    encode,
    encode_older,
)
from abctl.core.envblock import make_block, parse_block
from abctl.core.evidence import Evidence, Stage, TrialEvidence
from abctl.core.explain import NO_MARK, NO_VOLUME
from abctl.core.health import CheckResult
from abctl.core.health import Verdict as CheckVerdict
from abctl.core.machine import Confirm, MarkBad, RollBack, Unhealthy
from abctl.core.marks import What
from abctl.core.record import TEXT_MAX, Entry, Happened, Record, decode_half, encode_half
from abctl.core.slot import SlotName
from abctl.core.units import Seconds, Version
from abctl.errors import WriteFailed
from abctl.host.layouts import read_layout
from abctl.host.live import LiveConfigFile, LiveGrubPartition, LiveSlots, LiveSystem
from abctl.host.motd import write_motd
from abctl.ports import Ports
from abctl.update.memory import ConfigEvidence
from abctl.update.operate import apply, note_stage, settle
from abctl.update.witness import make_marks_file
from tests.enumeration import fresh_host
from tests.fake_live import FakeHost, live_record
from tests.trials import ALL_FINE, DISK_FULL, PANIC, TWO, TrialWorld, armed
from tests.world import Kind, Release

A, B = SlotName.A, SlotName.B
EACH_WAY = pytest.mark.parametrize("primary", [A, B], ids=["A to B", "B to A"])
USED_UP = "never confirmed: all 3 attempts are used up; "


def reason_of(world: TrialWorld) -> str:
    """Return why the last trial ended, as the record and the refusal say it."""
    entry = world.state.record.entries[-1]
    assert entry.what is Happened.FELL_BACK
    [refusal] = world.state.record.refusals
    assert refusal.reason == entry.text
    assert len(entry.text) <= TEXT_MAX
    return entry.text


def screen_of(world: TrialWorld) -> str:
    lines = render_status(world.status(), Style()).splitlines()
    assert max(map(len, lines)) <= 80
    return "\n".join(lines)


# --- how far it got ---------------------------------------------------------------------------------


@EACH_WAY
def test_without_any_mark_it_says_so_and_what_that_means(primary: SlotName) -> None:
    world = armed(primary)
    for _ in range(3):
        world.boot_trial(Stage.GRUB)
    world.fall_back()
    assert reason_of(world) == USED_UP + NO_MARK
    [trial] = world.kept.trials
    assert [attempt.stage for attempt in trial.attempts] == [Stage.GRUB] * 3
    assert (trial.slot_set, trial.version) == (primary.other, "2.0.0")
    assert "3. Did not get as far as leaving a mark." in screen_of(world)


@EACH_WAY
def test_a_kernel_that_panics_is_told_by_its_panic(primary: SlotName) -> None:
    world = armed(primary)
    for _ in range(3):
        world.boot_trial(Stage.KERNEL, crash=PANIC)
    world.fall_back()
    assert reason_of(world) == (
        USED_UP
        + "the last boot started its kernel, but did not reach userland: Kernel panic - not syncing: VFS: "
        "Unable to mount root fs on unknown-block(0,0)"
    )
    [trial] = world.kept.trials
    assert [attempt.tail for attempt in trial.attempts] == [PANIC] * 3
    assert "Rebooting in 10 seconds.." in screen_of(world)


@EACH_WAY
def test_health_checks_that_failed_are_named(primary: SlotName) -> None:
    world = armed(primary)
    for number in (1, 2, 3):
        lines = [f"journal line {n} of boot {number}" for n in range(10)]
        world.boot_trial(Stage.CHECKS, [ALL_FINE, DISK_FULL], lines)
    world.fall_back()
    assert reason_of(world) == USED_UP + "the last boot reached the health checks: " + DISK_FULL.sentence
    screen = screen_of(world)
    assert "journal line 9 of boot 3" in screen
    assert "journal line 0" not in screen
    assert "abctl evidence" in screen
    every = render_evidence(describe_evidence(world.kept, None, disk=None), Style())
    for number in (1, 2, 3):
        assert f"journal line 0 of boot {number}" in every
    assert "passed  units: no unit failed" in every


@EACH_WAY
def test_each_boot_may_have_got_elsewhere_and_the_last_that_tells_counts(primary: SlotName) -> None:
    world = armed(primary)
    world.boot_trial(Stage.CHECKS, [DISK_FULL], ended="rebooted at the deadline")
    world.boot_trial(Stage.USERLAND)
    world.boot_trial(Stage.GRUB)
    world.fall_back()
    assert reason_of(world) == USED_UP + "boot 2 reached userland, but no health check"
    [trial] = world.kept.trials
    assert [attempt.stage for attempt in trial.attempts] == [Stage.CHECKS, Stage.USERLAND, Stage.GRUB]
    assert [attempt.ended for attempt in trial.attempts] == ["rebooted at the deadline", "", ""]


@pytest.mark.parametrize(
    ("what", "ended"),
    [
        (What.DEADLINE, "rebooted when its time was up"),
        (What.FAILED, "rebooted, for the health service failed"),
        (What.EMERGENCY, "ended in emergency mode, and was rebooted"),
    ],
)
@EACH_WAY
def test_what_the_scripts_of_a_trial_ended_is_told(primary: SlotName, what: What, ended: str) -> None:
    """Where all of Python hangs, sh leaves a mark of what it did."""
    world = armed(primary)
    world.boot_trial(Stage.CHECKS, [DISK_FULL], ended="given up")
    world.leave_mark(world.boot_trial(Stage.CHECKS, [DISK_FULL]), what)
    world.leave_mark(world.boot_trial(Stage.KERNEL), what)
    world.fall_back()
    assert [attempt.ended for attempt in world.kept.trials[0].attempts] == [
        "given up",
        f"{ended}: {DISK_FULL.sentence}",
        ended,
    ]
    assert reason_of(world) == USED_UP + f"the last boot reached userland, but no health check: {ended}"


def test_what_cannot_fit_into_the_record_is_in_the_evidence() -> None:
    world = armed(A)
    checks = [replace(DISK_FULL, name=f"check-{n}", text="x" * 150) for n in range(9)]
    for _ in range(3):
        world.boot_trial(Stage.CHECKS, checks)
    world.fall_back()
    assert len(reason_of(world)) == TEXT_MAX
    assert len(world.kept.trials[0].attempts[2].checks) == 9


def test_a_kernel_without_a_mark_is_not_taken_for_one_of_another_trial() -> None:
    """The marks of an older trial stand in the same lines."""
    world = armed(A)
    for _ in range(3):
        world.boot_trial(Stage.KERNEL)
    world.fall_back()
    world.install(Release(Version("3.0.0"), Kind.PANICS))
    for _ in range(3):
        world.boot_trial(Stage.GRUB)
    world.fall_back()
    assert world.state.record.entries[-1].text == USED_UP + NO_MARK
    assert [trial.version for trial in world.kept.trials] == ["2.0.0", "3.0.0"]


@EACH_WAY
def test_a_second_boot_without_a_kernel_keeps_what_the_first_one_told(primary: SlotName) -> None:
    world = armed(primary)
    world.boot_trial(Stage.CHECKS, [DISK_FULL])
    contents = world.state.contents
    gone = replace(contents[primary.other], boot=(None, None))
    world.state = replace(world.state, contents={**contents, primary.other: gone})
    boot = world.start_grub()
    world.run(boot)
    assert reason_of(world) == (
        "its kernel could not be loaded; boot 1 reached the health checks: " + DISK_FULL.sentence
    )
    assert world.kept.trials[0].attempts[1].ended == "its kernel could not be loaded"


@EACH_WAY
def test_a_primary_without_a_kernel_is_not_held_against_the_trial(primary: SlotName) -> None:
    world = armed(primary)
    world.boot_trial(Stage.CHECKS, [DISK_FULL])
    contents = world.state.contents
    gone = replace(contents[primary], boot=(None, None))
    world.state = replace(world.state, contents={**contents, primary: gone})
    for _ in range(2):
        world.boot_trial(Stage.GRUB)
    boot = world.start_grub()
    assert (boot.booted, boot.why) == (primary.other, Why.NO_KERNEL)
    world.run(boot)
    assert [item.ended for item in world.kept.trials[0].attempts] == ["", "", ""]
    assert world.kept.trials[0].attempts[0].stage is Stage.CHECKS


# --- crash logs -------------------------------------------------------------------------------------


def test_a_panic_belongs_to_the_boot_before_the_one_that_finds_it() -> None:
    world = armed(A)
    world.boot_trial(Stage.KERNEL, crash=PANIC)
    world.boot_trial(Stage.CHECKS, [DISK_FULL], ["a line"])
    assert world.kept.trials[0].attempts[0].tail == PANIC
    assert world.kept.trials[0].attempts[1].tail == ("a line",)


def test_a_panic_from_before_the_trial_is_not_its_own() -> None:
    world = armed(A)
    installed = world.state.record.entries[-1]
    world.state = replace(
        world.state,
        record=replace(world.state.record, entries=(replace(installed, at=Seconds(world.clock)),)),
    )
    world.clock -= 10 * 3600
    world.boot_trial(Stage.GRUB, crash=PANIC)
    world.clock += 10 * 3600
    for _ in range(2):
        world.boot_trial(Stage.GRUB)
    world.fall_back()
    assert reason_of(world) == USED_UP + NO_MARK


def test_a_panic_before_the_mark_proves_that_the_kernel_came_up() -> None:
    world = armed(A)
    for _ in range(3):
        world.boot_trial(Stage.GRUB, crash=PANIC)
    world.fall_back()
    assert "Kernel panic - not syncing" in reason_of(world)


# --- a trial that goes well, and one that is still on -----------------------------------------------


@EACH_WAY
def test_a_confirmed_trial_is_noted_and_nobody_is_bothered(primary: SlotName) -> None:
    world = armed(primary)
    world.boot_trial(Stage.CHECKS, [ALL_FINE])
    apply(world.ports, Confirm(Seconds(0)))
    [trial] = world.kept.trials
    assert [attempt.stage for attempt in trial.attempts] == [Stage.CONFIRMED]
    assert world.status().last_trial is None
    assert make_motd(world.status()) == ""


@EACH_WAY
def test_a_trial_that_an_admin_gives_up_says_so(primary: SlotName) -> None:
    world = armed(primary)
    world.boot_trial(Stage.CHECKS, [ALL_FINE], ["a line"])
    apply(world.ports, RollBack(Seconds(0)))
    assert world.kept.trials[0].attempts[0].ended == "given up by an admin"
    assert "1. Reached the health checks: given up by an admin." in screen_of(world)


def test_a_running_trial_shows_how_its_earlier_boots_ended() -> None:
    world = armed(B)
    world.boot_trial(Stage.CHECKS, [DISK_FULL], ["the end of boot 1"])
    world.boot_trial(Stage.USERLAND)
    report = world.status()
    assert report.last_trial
    assert [boot.stage for boot in report.last_trial.boots] == [Stage.CHECKS, Stage.USERLAND]
    assert "the end of boot 1" in screen_of(world)


def test_status_tells_it_before_anything_was_settled() -> None:
    world = armed(A)
    for _ in range(3):
        world.boot_trial(Stage.KERNEL)
    boot = world.start_grub()
    world.state = replace(
        world.state, running=replace(world.state.running, kernel=A, root=A, boot=A, why=boot.why)
    )
    before = world.evidence.writes
    report = world.status()
    assert report.last_trial
    assert report.last_trial.sentence == "the last boot started its kernel, but did not reach userland"
    assert world.evidence.writes == before


def test_a_trial_is_one_whatever_an_admin_says_of_the_other_slot_set_meanwhile() -> None:
    world = armed(A)
    world.boot_trial(Stage.CHECKS, [DISK_FULL], ended="required check disk-space failed")
    world.boot_trial(Stage.USERLAND)
    apply(world.ports, MarkBad(Seconds(world.clock), A, "it is old"))
    note_stage(world.ports, Stage.CHECKS, ended="required check net failed")
    [trial] = world.kept.trials
    assert [(item.number, item.ended) for item in trial.attempts] == [
        (1, "required check disk-space failed"),
        (2, "required check net failed"),
    ]


def test_what_an_earlier_trial_left_is_not_told_of_one_of_the_same_generation() -> None:
    """Generations start anew where both copies of the boot environment were lost."""
    world = armed(A)
    generation = world.current.generation if world.current else 0
    other = TrialEvidence(A, Version("1.5.0"), generation).reached(1, Stage.CONFIRMED)
    world.evidence.data = bytearray(world.evidence.data)
    ConfigEvidence(world.evidence).write(Evidence((other,), serial=1))
    current = world.current
    assert current is not None
    assert (current.slot_set, current.version, current.attempts) == (B, "2.0.0", ())
    world.boot_trial(Stage.USERLAND)
    [kept] = world.kept.trials
    assert (kept.slot_set, kept.version, [item.stage for item in kept.attempts]) == (
        B,
        "2.0.0",
        [Stage.USERLAND],
    )


def test_a_trial_begins_without_the_marks_of_another() -> None:
    first = armed(A).current
    assert first is not None
    world = TrialWorld(fresh_host(A))
    world.power_on()
    mark = f"{first.generation} 2 {What.KERNEL}".encode().ljust(marks_file.LINE_SIZE - 1) + b"\n"
    world.marks.overwrite(2 * marks_file.LINE_SIZE, mark)
    world.install(TWO)
    assert world.current == first


def test_a_trial_keeps_its_evidence_when_a_copy_of_the_boot_environment_is_mended() -> None:
    world = armed(A)
    world.boot_trial(Stage.CHECKS, [DISK_FULL])
    torn = world.state.files.with_copy(Copy.FIRST, b"\0" * 512)
    world.state = replace(world.state, files=torn)
    world.boot_trial(Stage.CHECKS, [DISK_FULL])
    world.boot_trial(Stage.CHECKS, [DISK_FULL])
    world.fall_back()
    [trial] = world.kept.trials
    assert [attempt.number for attempt in trial.attempts] == [1, 2, 3]
    assert [attempt.stage for attempt in trial.attempts] == [Stage.CHECKS] * 3


# --- nothing of it may stop a boot ------------------------------------------------------------------


@EACH_WAY
@pytest.mark.parametrize("damage", ["unmounted", "full", "garbage"])
def test_without_a_config_volume_a_trial_ends_all_the_same(
    primary: SlotName, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = armed(primary)
    for file in (world.evidence, world.marks):
        file.broken = damage == "unmounted"
        file.cut = 0 if damage == "full" else None
        if damage == "garbage":
            file.data[:] = b"\xff" * len(file.data)
    for _ in range(3):
        world.boot_trial(Stage.USERLAND)
        note_stage(world.ports, Stage.CHECKS, checks=[DISK_FULL])
    world.fall_back()
    entry = world.state.record.entries[-1]
    assert entry.text.startswith(USED_UP)
    assert (entry.text == USED_UP + NO_VOLUME) is (damage == "unmounted")
    assert ("could not be noted" in caplog.text) is (damage != "garbage")


def test_where_the_boot_environment_cannot_be_written_one_entry_is_enough() -> None:
    """Also with a reason that is longer than the record takes."""
    world = armed(A)
    for _ in range(3):
        world.boot_trial(Stage.CHECKS, [replace(DISK_FULL, text="x" * 200)])
    boot = world.start_grub()
    env = world.state.files
    for _ in range(3):
        world.state = replace(world.state, files=env)
        world.run(boot)
    ended = [entry for entry in world.state.record.entries if entry.what is Happened.FELL_BACK]
    assert len(ended) == 1


def test_a_marks_file_that_is_missing_is_made_before_the_trial() -> None:
    world = TrialWorld(armed(A).state)
    world.roll_back()
    world.marks.data[:] = b""
    world.install(TWO)
    assert len(world.marks.data) == 4096


# --- what people read -------------------------------------------------------------------------------


def test_status_after_a_fallback_says_all_that_an_admin_asks_at_night() -> None:
    world = armed(A)
    world.boot_trial(Stage.KERNEL, crash=PANIC)
    world.boot_trial(Stage.CHECKS, [ALL_FINE, DISK_FULL], ["ssh.service: Failed with result 'exit-code'."])
    world.boot_trial(Stage.CHECKS, [ALL_FINE, DISK_FULL], ["[FAILED] Failed to start ssh.service."])
    world.fall_back()
    report = world.status()
    assert report.verdict is Verdict.ATTENTION
    screen = screen_of(world)
    for said in (
        "2.0.0 in slot set B, 3 boots, 2026-11-30",
        "1. Started its kernel, but did not reach userland: Kernel panic",
        "3. Reached the health checks: required check disk-space failed",
        "[FAILED] Failed to start ssh.service.",
        "Refused",
        "abctl allow 2.0.0",
        "abctl evidence",
    ):
        assert said in screen, screen
    assert len(screen.splitlines()) <= 30
    assert json.loads(report.to_json())["last_trial"]["boots"][2]["checks"][1]["name"] == "disk-space"


def test_the_login_message_is_short_and_names_the_command() -> None:
    world = armed(A)
    for _ in range(3):
        world.boot_trial(Stage.CHECKS, [DISK_FULL])
    world.fall_back()
    text = make_motd(world.status())
    assert "ATTENTION: Slot set A (1) runs and is the primary, but 2.0.0 in slot" in text
    assert "abctl status" in text
    assert max(map(len, text.splitlines())) <= 80


def test_failing_health_checks_are_in_status_and_in_the_login_message() -> None:
    world = TrialWorld(armed(A).state)
    world.roll_back()
    warned = CheckResult("ntp", False, CheckVerdict.WARNED, "not in step", 0.1)
    report = world.status([DISK_FULL, warned])
    assert report.verdict is Verdict.ATTENTION
    assert DISK_FULL.sentence in report.headline
    screen = render_status(report, Style())
    assert "Health     Required check disk-space failed: /var has 1 % free" in screen
    assert "Wanted check ntp warned: not in step." in screen
    assert "disk-space failed" in make_motd(report)
    assert make_motd(world.status([warned])) == ""


def test_where_nothing_is_kept_the_evidence_says_so() -> None:
    assert "Nothing is kept" in render_evidence(describe_evidence(Evidence(), None, disk=None), Style())


@EACH_WAY
def test_a_trial_that_stays_up_says_so_and_why(primary: SlotName) -> None:
    world = armed(primary)
    world.boot_trial(Stage.CHECKS, [DISK_FULL], ended=DISK_FULL.sentence)
    world.mark_bad(primary)
    apply(world.ports, Unhealthy(Seconds(0), DISK_FULL.sentence))
    report = world.status()
    assert report.verdict is Verdict.DEGRADED
    assert report.headline == (
        f"2.0.0 in slot set {primary.other} is not healthy, but stays up, "
        "as the other slot set is no better: " + DISK_FULL.sentence
    )
    assert report.last_trial
    assert [item.version for item in report.refused] == ["2.0.0", "1"]
    assert "DEGRADED" in make_motd(report)


# --- the login message as a file --------------------------------------------------------------------


def test_the_login_message_is_there_as_long_as_something_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "run/motd.d/50-abctl"
    write_motd("", path)
    assert not path.parent.exists()
    for text in ("one\n", "another ä\n"):
        write_motd(text, path)
        assert path.read_text("utf-8") == text
        assert path.stat().st_mode & 0o777 == 0o644
    write_motd("", path)
    assert list(path.parent.iterdir()) == []


def test_a_login_message_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(WriteFailed, match="50-abctl cannot be written"):
        write_motd("text", tmp_path / "run/50-abctl")


# --- on a running host ------------------------------------------------------------------------------


@EACH_WAY
def test_a_running_host_keeps_evidence_and_marks_on_its_config_volume(
    tmp_path: Path, primary: SlotName
) -> None:
    host = FakeHost(tmp_path, read_layout("hostos"), primary.other)
    env = replace(fresh_env(primary), trial=Trial(primary.other, 1), generation=17)
    grub = LiveGrubPartition(host.paths)
    for copy in (Copy.FIRST, Copy.SECOND):
        grub.overwrite(copy, encode(env))
    grub.overwrite(Copy.OLDER, encode_older(env))
    host.tell_kernel(
        f"ro dfinity.system={primary.other} abctl.why=trial abctl.generation=17 abctl.attempts=1"
    )
    ports = live_ports(host)
    make_marks_file(ports)
    marks = host.root / "boot/config/abctl/marks"
    with marks.open("r+b") as file:
        file.seek(2 * 64)
        file.write(b"17 2 kernel".ljust(63) + b"\n")
    settle(ports)
    [trial] = live_ports(host).evidence.read().trials  # type: ignore[union-attr]
    assert (trial.slot_set, trial.generation) == (primary.other, 17)
    assert [(item.number, item.stage) for item in trial.attempts] == [(1, Stage.KERNEL), (2, Stage.USERLAND)]
    assert (marks.stat().st_size, (host.root / "boot/config/abctl/evidence").stat().st_size) == (4096, 262144)


def fresh_env(primary: SlotName) -> BootEnv:
    env = fresh_host(primary).env
    assert env is not None
    return env


def live_ports(host: FakeHost) -> Ports:
    system = LiveSystem(host.layout, host.paths)
    return Ports(
        grub=LiveGrubPartition(host.paths),
        slots=LiveSlots(host.layout, host.paths),
        records=live_record(host.paths),
        running=system.running(),
        now=lambda: Seconds(5),
        version_in=lambda name: None,
        evidence=ConfigEvidence(LiveConfigFile(evidence.PATH, evidence.FILE_SIZE, host.paths)),
        marks=LiveConfigFile(marks_file.PATH, marks_file.FILE_SIZE, host.paths),
    )


# --- two versions of abctl --------------------------------------------------------------------------


def test_an_outcome_of_a_newer_abctl_does_not_make_a_copy_unreadable() -> None:
    """After a fallback the older abctl reads what the newer one wrote."""
    env = replace(fresh_env(A), outcome=Outcome.STAYED_UP)
    values = parse_block(encode(env)) or {}
    newer = {**values, "outcome": "went_fishing"}
    newer["checksum"] = _checksum(newer)
    assert decode(make_block(newer, BLOCK_SIZE)) == replace(env, outcome=Outcome.NONE)


def test_an_entry_of_a_newer_abctl_costs_that_entry_alone() -> None:
    record = (
        Record(serial=3)
        .with_entry(Entry(Seconds(1), Happened.CONFIRMED, A))
        .with_entry(Entry(Seconds(2), Happened.STAYED_UP, B))
    )
    body = record_module.FORM.unseal(encode_half(record)) or b""
    half = record_module.FORM.seal(body.replace(b"stayed_up", b"went_fishing"))
    assert half is not None
    found = decode_half(half)
    assert found is not None
    assert [entry.what for entry in found.entries] == [Happened.CONFIRMED]
