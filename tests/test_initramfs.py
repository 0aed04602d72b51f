"""What abctl does in the initramfs, with its scripts run by the shells that may be there."""

from pathlib import Path

import pytest

from abctl.core.marks import FILE_SIZE, PATH, Mark, empty_file, encode_marks, parse_marks
from tests.host_files import INITRAMFS, Stage

SHELLS = [("busybox", "sh"), ("dash",)]
MARK = INITRAMFS / "scripts/local-premount/abctl"
EARLY = INITRAMFS / "scripts/init-top/abctl"
TRIAL = (
    "root=/dev/mapper/hostlvm-B_root dfinity.system=B abctl.why=trial abctl.generation=17 abctl.attempts=2"
)
DROP_IN = "run/systemd/system.conf.d/50-abctl-trial.conf"


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return tuple(request.param)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """An initramfs in a trial, whose config volume is the folder ``volume``."""
    stage = Stage(tmp_path)
    (tmp_path / "bin").symlink_to("programs")
    (tmp_path / "sbin").symlink_to("programs")
    (tmp_path / "scripts").symlink_to(INITRAMFS / "scripts")
    (tmp_path / "usr/lib/abctl").mkdir(parents=True)
    for program in ("dd", "timeout"):
        (tmp_path / "usr/lib/abctl" / program).symlink_to(f"/usr/bin/{program}")
    stage.tell_kernel(TRIAL)
    stage.write("dev/mapper/hostlvm-config", "")
    stage.play("mount", 'for last; do :; done; rmdir "$last" && ln -s "$ABCTL_ROOT/volume" "$last"')
    stage.play("umount", 'rm "$1"; mkdir "$1"')
    stage.play("lvm", "exit 5")
    stage.play("modprobe", "exit 1")
    stage.write(f"volume/{PATH}", empty_file().decode())
    return stage


def marks_on(stage: Stage) -> tuple[Mark, ...]:
    return parse_marks((stage.root / "volume" / PATH).read_bytes())


# --- the mark ---------------------------------------------------------------------------------------


def test_a_trial_leaves_a_mark_for_each_of_its_boots(stage: Stage, shell: tuple[str, ...]) -> None:
    for left in (2, 1, 0):
        stage.tell_kernel(TRIAL.replace("attempts=2", f"attempts={left}"))
        assert stage.run(*shell, MARK).returncode == 0
    expected = encode_marks([Mark(17, left) for left in (2, 1, 0)])
    assert (stage.root / "volume" / PATH).read_bytes() == expected
    assert stage.calls[-1].startswith("umount ")


def test_only_the_config_volume_is_activated_and_only_where_it_is_missing(
    stage: Stage, shell: tuple[str, ...]
) -> None:
    stage.tell_kernel(TRIAL.replace("hostlvm-", "my--group-"))
    stage.play("lvm", 'touch "$ABCTL_ROOT/dev/mapper/my--group-config"')
    stage.run(*shell, MARK)
    assert stage.calls[0] == "lvm lvchange -aay -y my-group/config"
    assert marks_on(stage) == (Mark(17, 2),)
    stage.run(*shell, MARK)
    assert [call for call in stage.calls if call.startswith("lvm")] == stage.calls[:1]


@pytest.mark.parametrize("lvm", ["exit 5", "sleep 100"])
def test_without_the_volume_the_boot_goes_on(stage: Stage, shell: tuple[str, ...], lvm: str) -> None:
    (stage.root / "dev/mapper/hostlvm-config").unlink()
    stage.play("lvm", lvm)
    stage.environment["ABCTL_LIMIT"] = "0.2"
    done = stage.run(*shell, MARK)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "abctl: the config volume is not there")
    assert [call.split()[0] for call in stage.calls] == ["lvm"]


@pytest.mark.parametrize("mount", ["exit 32", "sleep 100"])
def test_a_volume_that_cannot_be_mounted_or_hangs_does_not_stop_the_boot(
    stage: Stage, shell: tuple[str, ...], mount: str
) -> None:
    stage.play("mount", mount)
    stage.environment["ABCTL_LIMIT"] = "0.2"
    done = stage.run(*shell, MARK)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "abctl: the config volume cannot be mounted")
    assert marks_on(stage) == ()


def test_a_missing_file_is_not_made_for_the_volume_may_be_full(stage: Stage, shell: tuple[str, ...]) -> None:
    (stage.root / "volume" / PATH).unlink()
    assert stage.run(*shell, MARK).returncode == 0
    assert not (stage.root / "volume" / PATH).exists()
    assert stage.calls[-1].startswith("umount ")


def test_the_file_keeps_its_size(stage: Stage, shell: tuple[str, ...]) -> None:
    stage.run(*shell, MARK)
    assert (stage.root / "volume" / PATH).stat().st_size == FILE_SIZE


@pytest.mark.parametrize(
    "words",
    [
        TRIAL.replace("why=trial", "why=primary"),
        TRIAL.replace("generation=17", "generation="),
        TRIAL.replace("generation=17", "generation=17;reboot"),
        TRIAL.replace("generation=17", "generation=" + "1" * 50),
        TRIAL.replace("attempts=2", "attempts=3"),
        TRIAL.replace(" abctl.attempts=2", ""),
        "root=/dev/sda1 quiet",
    ],
)
def test_outside_a_trial_nothing_is_touched(stage: Stage, shell: tuple[str, ...], words: str) -> None:
    stage.tell_kernel(words)
    assert stage.run(*shell, MARK).returncode == 0
    assert stage.calls == []


def test_a_guest_s_config_partition_is_that_of_the_root_s_disk(stage: Stage, shell: tuple[str, ...]) -> None:
    stage.tell_kernel(TRIAL.replace("/dev/mapper/hostlvm-B_root", "PARTUUID=1234"))
    stage.environment["ROOT"] = "/dev/vdb5"
    for disk, node in (("vda", "vda3"), ("vdb", "vdb3")):
        stage.write(f"sys/block/{disk}/{node}/uevent", f"DEVNAME={node}\nPARTNAME=config\n")
        stage.write(f"dev/{node}", "")
    stage.write("sys/block/vdb/vdb5/partition", "5\n")
    stage.run(*shell, MARK)
    assert f"{stage.root}/dev/vdb3" in stage.calls[0]
    assert marks_on(stage) == (Mark(17, 2),)


# --- early ------------------------------------------------------------------------------------------


def test_a_trial_starts_the_watchdog_and_lets_systemd_take_over(stage: Stage, shell: tuple[str, ...]) -> None:
    stage.play("modprobe", '[ "$2" != softdog ] || : >"$ABCTL_ROOT/dev/watchdog0"')
    done = stage.run(*shell, EARLY)
    assert done.returncode == 0
    assert (stage.root / "dev/watchdog0").read_text() == "start\n"
    assert "RuntimeWatchdogSec=60\n" in (stage.root / DROP_IN).read_text()
    assert [call.split()[2] for call in stage.calls] == [
        "efi_pstore",
        "wdat_wdt",
        "iTCO_wdt",
        "i6300esb",
        "sp5100_tco",
        "softdog",
    ]


def test_a_watchdog_of_the_machine_comes_before_that_of_the_kernel(
    stage: Stage, shell: tuple[str, ...]
) -> None:
    stage.play("modprobe", '[ "$2" != i6300esb ] || : >"$ABCTL_ROOT/dev/watchdog0"')
    stage.run(*shell, EARLY)
    assert stage.calls[-1] == "modprobe -q i6300esb heartbeat=300"


def test_without_a_watchdog_a_trial_says_so_and_systemd_is_told_nothing(
    stage: Stage, shell: tuple[str, ...]
) -> None:
    done = stage.run(*shell, EARLY)
    assert done.returncode == 0
    assert "no watchdog" in done.stdout
    assert not (stage.root / DROP_IN).exists()


def test_outside_a_trial_only_the_memory_for_panics_is_loaded(stage: Stage, shell: tuple[str, ...]) -> None:
    stage.tell_kernel("dfinity.system=A abctl.why=primary")
    stage.write("dev/watchdog0", "")
    assert stage.run(*shell, EARLY).returncode == 0
    assert stage.calls == ["modprobe -q efi_pstore"]
    assert (stage.root / "dev/watchdog0").read_text() == ""


@pytest.mark.parametrize(
    "script", [MARK, EARLY, INITRAMFS / "scripts/local-bottom/abctl", INITRAMFS / "hooks/abctl"]
)
def test_initramfs_tools_is_told_that_nothing_comes_first(
    stage: Stage, shell: tuple[str, ...], script: Path
) -> None:
    done = stage.run(*shell, script, "prereqs")
    assert (done.returncode, done.stdout.strip(), done.stderr, stage.calls) == (0, "", "", [])
