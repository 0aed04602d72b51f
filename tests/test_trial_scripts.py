"""What ends a trial when the rest of abctl does not, and what lets systemd feed the watchdog."""

import pytest

from abctl.core.bootenv import BootEnv, Trial, encode
from abctl.core.marks import PATH, empty_file
from abctl.core.slot import SlotName
from abctl.host.health_file import note_trial_over
from tests.host_files import SCRIPTS, Stage

A, B = SlotName.A, SlotName.B
ON_TRIAL = encode(BootEnv(A, Trial(B, 2), generation=17))
CONFIRMED = encode(BootEnv(B, None, generation=18))
OTHER_TRIAL = encode(BootEnv(B, Trial(A, 3), generation=19))
TRIAL = "dfinity.system=B abctl.why=trial abctl.generation=17 abctl.attempts=1"
GET, SET = "busctl get-property", "busctl set-property"
PROPERTY = (
    "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager RuntimeWatchdogUSec"
)


@pytest.fixture
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A trial of B, long past its deadline."""
    stage = Stage(tmp_path_factory.mktemp("stage"))
    stage.tell_kernel(TRIAL)
    stage.write("proc/uptime", "5000.17 100.0\n")
    stage.write("dev/kmsg", "")
    stage.write("proc/sysrq-trigger", "")
    for name in ("systemctl", "journalctl", "sleep"):
        stage.play(name)
    set_copies(stage, ON_TRIAL, ON_TRIAL)
    return stage


def set_copies(stage: Stage, first: bytes | None, second: bytes | None) -> None:
    for number, block in ((1, first), (2, second)):
        if block is not None:
            stage.write(f"boot/grub/env{number}/grubenv", block.decode())


def end(stage: Stage, how: str) -> int:
    return stage.run(SCRIPTS / "abctl-trial", how).returncode


@pytest.mark.parametrize("how", ["deadline", "failed"])
def test_a_trial_that_ended_well_is_not_rebooted_though_nothing_of_it_can_be_read(
    stage: Stage, how: str
) -> None:
    """The grub partition may be unmounted long after."""
    set_copies(stage, b"", b"")
    assert end(stage, how) == 1
    note_trial_over(stage.root)
    assert end(stage, how) == 0


# --- whether it is over -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deadline", "failed"])
@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (ON_TRIAL, ON_TRIAL, 1),
        (ON_TRIAL, CONFIRMED, 0),
        (CONFIRMED, ON_TRIAL, 0),
        (OTHER_TRIAL, CONFIRMED, 0),
        (ON_TRIAL, CONFIRMED.replace(b"generation_end=18", b"generation_end=17"), 1),  # torn
        (b"\0" * 512, b"\xff" * 512, 1),
    ],
)
def test_only_a_trial_that_is_not_confirmed_is_rebooted(
    stage: Stage, how: str, first: bytes, second: bytes, code: int
) -> None:
    for number, block in ((1, first), (2, second)):
        (stage.root / f"boot/grub/env{number}/grubenv").write_bytes(block)
    assert end(stage, how) == code


@pytest.mark.parametrize("how", ["deadline", "failed", "emergency"])
def test_where_the_boot_environment_cannot_be_read_a_trial_must_not_stay(stage: Stage, how: str) -> None:
    for number in (1, 2):
        (stage.root / f"boot/grub/env{number}/grubenv").unlink()
    end(stage, how)
    assert f"abctl: {'the' if how != 'deadline' else 'slot'}" in (stage.root / "dev/kmsg").read_text()


@pytest.mark.parametrize("how", ["deadline", "failed", "emergency"])
@pytest.mark.parametrize("why", ["primary", "fallback", "menu", "no_kernel", ""])
def test_another_boot_than_a_trial_is_never_rebooted(stage: Stage, how: str, why: str) -> None:
    stage.tell_kernel(f"dfinity.system=B abctl.why={why} abctl.attempts=")
    assert (end(stage, how), stage.calls) == (0, [])


# --- the deadline -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uptime", "config", "words", "code"),
    [
        (899, "", "", 0),
        (900, "", "", 1),
        (399, "[health]\ndeadline = 100\n", "", 0),
        (400, "[health]\ndeadline = 100  # for the lab\n", "", 1),
        (900, "[health]\ndeadline = 3600\n[other]\ndeadline = 1\n", "", 0),
        (900, "[health]\ndeadline = soon\n", "", 1),
        (200, "[health]\ndeadline = 100\n", "abctl.deadline=200", 1),
        (199, "", "abctl.deadline=200", 0),
        (899, "", "abctl.deadline=-1", 0),
    ],
)
def test_the_health_checks_have_their_own_deadline_and_a_while_on_top(
    stage: Stage, uptime: int, config: str, words: str, code: int
) -> None:
    stage.write("proc/uptime", f"{uptime}.99 100.0\n")
    stage.write("etc/abctl/config.toml", config)
    stage.tell_kernel(f"{TRIAL} {words}")
    assert end(stage, "deadline") == code


@pytest.mark.parametrize("how", ["deadline", "failed", "emergency"])
def test_how_a_trial_was_ended_stands_beside_the_marks_of_the_kernel(stage: Stage, how: str) -> None:
    marks = stage.write(f"boot/config/{PATH}", empty_file().decode())
    end(stage, how)
    lines = marks.read_text().splitlines()
    assert {number: line.strip() for number, line in enumerate(lines) if line.strip()} == {9: f"17 1 {how}"}
    assert marks.stat().st_size == len(empty_file())


# --- emergency mode ---------------------------------------------------------------------------------


def test_a_trial_in_emergency_mode_shows_why_and_reboots(stage: Stage) -> None:
    end(stage, "emergency")
    programs = [call.split()[0] for call in stage.calls]
    assert programs[:2] == ["systemctl", "journalctl"]
    assert "systemctl --force reboot" in stage.calls
    assert (stage.root / "proc/sysrq-trigger").read_text() == "b\n"


def test_programs_that_fail_do_not_keep_it_there(stage: Stage) -> None:
    for name in ("systemctl", "journalctl"):
        stage.play(name, "exit 1")
    end(stage, "emergency")
    assert (stage.root / "proc/sysrq-trigger").read_text() == "b\n"


@pytest.mark.parametrize("word", ["systemd.unit=rescue.target", "emergency", "single", "1"])
def test_who_asked_for_emergency_mode_gets_it(stage: Stage, word: str) -> None:
    stage.tell_kernel(f"{TRIAL} {word}")
    assert (end(stage, "emergency"), stage.calls) == (0, [])


# --- the watchdog -----------------------------------------------------------------------------------


def test_systemd_is_told_to_feed_a_watchdog_that_it_does_not_feed(stage: Stage) -> None:
    stage.write("dev/watchdog0", "")
    stage.play("busctl", "case $1 in get-property) echo 't 0' ;; esac")
    assert stage.run(SCRIPTS / "abctl-watchdog", "arm").returncode == 0
    assert stage.calls == [f"{GET} {PROPERTY}", f"{SET} {PROPERTY} t 60000000"]
    assert (stage.root / "dev/watchdog0").read_text() == ""


def test_what_the_initramfs_or_an_admin_set_is_left(stage: Stage) -> None:
    stage.write("dev/watchdog0", "")
    stage.play("busctl", "echo 't 30000000'")
    stage.run(SCRIPTS / "abctl-watchdog", "arm")
    assert stage.calls == [f"{GET} {PROPERTY}"]


@pytest.mark.parametrize("busctl", ["exit 1", "case $1 in get-property) echo 't 0' ;; *) exit 1 ;; esac"])
def test_a_watchdog_that_nobody_will_feed_is_stopped(stage: Stage, busctl: str) -> None:
    stage.write("dev/watchdog0", "")
    stage.play("busctl", busctl)
    assert stage.run(SCRIPTS / "abctl-watchdog", "arm").returncode == 0
    assert (stage.root / "dev/watchdog0").read_text() == "V"


def test_without_a_watchdog_nothing_is_set(stage: Stage) -> None:
    stage.play("busctl")
    done = stage.run(SCRIPTS / "abctl-watchdog", "arm")
    assert (done.returncode, stage.calls) == (0, [])
    assert "there is no watchdog" in done.stderr


@pytest.mark.parametrize(
    ("configured", "wanted"),
    [
        ("#RuntimeWatchdogSec=off", "0"),
        ("RuntimeWatchdogSec=off", "0"),
        ("RuntimeWatchdogSec=1min 30s", "90000000"),
        ("RuntimeWatchdogSec=10\nRuntimeWatchdogSec=20", "20000000"),
    ],
)
def test_after_the_trial_the_configuration_of_systemd_counts_again(
    stage: Stage, configured: str, wanted: str
) -> None:
    drop_in = stage.write("run/systemd/system.conf.d/50-abctl-trial.conf", "[Manager]\n")
    config = stage.write("system.conf", f"[Manager]\n{configured}\n")
    stage.play("busctl")
    stage.play(
        "systemd-analyze",
        f'case $1 in cat-config) cat {config} ;; *) exec /usr/bin/systemd-analyze "$@" ;; esac',
    )
    assert stage.run(SCRIPTS / "abctl-watchdog", "disarm").returncode == 0
    assert stage.calls[-1] == f"{SET} {PROPERTY} t {wanted}"
    assert not drop_in.exists()


def test_a_trial_that_reboots_keeps_its_watchdog(stage: Stage) -> None:
    stage.play("systemctl", "echo stopping; exit 1")
    stage.play("busctl")
    stage.run(SCRIPTS / "abctl-watchdog", "disarm")
    assert stage.calls == ["systemctl is-system-running"]
