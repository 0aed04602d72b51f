"""The units that a host gets, as systemd reads them, and the mounts that the generator writes."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from abctl.core import marks
from abctl.core.health import HealthPolicy
from abctl.core.slot import SlotName
from abctl.host.confine import USER
from abctl.host.layouts import read_layout
from abctl.host.live import LivePaths
from abctl.host.systemd import DEADLINE_TIMER, WATCHDOG
from tests.fake_live import FakeHost
from tests.host_files import FILES, GENERATOR, INITRAMFS, SCRIPTS, UNITS

A, B = SlotName.A, SlotName.B
OURS = sorted(path.name for path in UNITS.glob("abctl-*"))
# As `systemd-analyze security` counts; docs/units.md says why the health service stands above 2.5.
EXPOSURE_MAX = {
    "abctl-agent.service": 2.0,
    "abctl-deadline.service": 2.2,
    "abctl-failed.service": 2.2,
    "abctl-firewall.service": 2.2,
    "abctl-guest.service": 2.5,
    "abctl-health.service": 6.7,
    "abctl-identity.service": 2.2,
    "abctl-job@.service": 3.4,
    "abctl-metrics.service": 1.6,
    "abctl-settle.service": 1.8,
    "abctl-watchdog.service": 1.8,
}


def generate(host: FakeHost, command_line: str = "dfinity.system=A") -> Path:
    """Run the generator on a host, and return the folder of its units."""
    host.tell_kernel(command_line)
    units = host.root / "generated"
    units.mkdir()
    subprocess.run(
        [GENERATOR, units, units, units], env={**os.environ, "ABCTL_ROOT": str(host.root)}, check=True
    )
    return units


def what(units: Path, unit: str) -> str:
    return read_unit(units / unit)["Mount"]["What"]


def read_unit(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(path.read_text())
    return parser


@pytest.fixture
def hostos(tmp_path: Path) -> FakeHost:
    """A host whose volumes lie on the third partition of sda, beside an older disk with the same names."""
    host = FakeHost(tmp_path / "host", read_layout("hostos"))
    for name in ("hostlvm-A_root", "hostlvm-B_root"):
        folder = host.root / "sys/dev/block" / host.devices[name]
        (folder / "slaves/below").symlink_to((host.root / "sys/dev/block/8:3").resolve())
    return host


# --- systemd's own opinion --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with our files, systemd's units and the generated mounts."""
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(
        "/lib/systemd/system",
        root / "usr/lib/systemd/system",
        symlinks=True,
        ignore=shutil.ignore_patterns("*.wants"),  # what else this machine has is not our matter
    )
    shutil.copytree(FILES, root, symlinks=True, dirs_exist_ok=True)
    (root / "lib").symlink_to("usr/lib")
    for program in ("usr/bin/abctl", "lib/systemd/systemd-sulogin-shell", "sbin/modprobe"):
        (root / program).parent.mkdir(parents=True, exist_ok=True)
        (root / program).write_text("#!/bin/sh\n")
        (root / program).chmod(0o755)
    units = generate(FakeHost(root / "host", read_layout("hostos")))
    shutil.copytree(units, root / "etc/systemd/system", symlinks=True)
    return root


def analyze(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", f"--root={tree}", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_systemd_has_nothing_to_say_against_the_units(tree: Path) -> None:
    mounts = [path.name for path in (tree / "etc/systemd/system").glob("*.mount")]
    assert len(mounts) == 6
    verdict = analyze(
        tree,
        *("verify", "--man=no", *OURS, *mounts, "etc-hostname.mount"),
        *("emergency.service", "rescue.service", "multi-user.target"),
    )
    assert (verdict.stdout + verdict.stderr, verdict.returncode) == ("", 0)


def test_every_service_has_a_limit_of_exposure() -> None:
    assert set(EXPOSURE_MAX) == {name for name in OURS if name.endswith(".service")}


@pytest.mark.parametrize("unit", EXPOSURE_MAX)
def test_a_service_is_exposed_no_more_than_it_must_be(tree: Path, unit: str) -> None:
    threshold = f"--threshold={int(EXPOSURE_MAX[unit] * 10)}"
    verdict = analyze(tree, "security", "--offline=true", threshold, unit)
    assert verdict.returncode == 0, verdict.stdout.splitlines()[-1]


def test_the_health_service_still_counts_when_its_last_check_is_made() -> None:
    """A host on which it is not active has a fault: the doctor says so."""
    assert read_unit(UNITS / "abctl-health.service")["Service"].getboolean("RemainAfterExit")


def test_a_guest_that_asks_for_many_names_does_not_make_a_unit_of_its_host_fail() -> None:
    """The agent restarts it for each; a failed unit would let every trial fall back."""
    assert read_unit(UNITS / "abctl-identity.service")["Unit"]["StartLimitIntervalSec"] == "0"


def test_what_flushes_all_rules_comes_before_the_firewall() -> None:
    after = words_of("abctl-firewall.service", "After")
    assert {"nftables.service", "netfilter-persistent.service"} <= set(after)


@pytest.mark.parametrize(
    "unit", ["abctl-agent.service", "abctl-guest.service", "abctl-health.service", "abctl-job@.service"]
)
def test_at_a_shutdown_lvm_waits_for_what_uses_its_volumes(unit: str) -> None:
    """Its blk-availability.service unmounts each volume that is not busy, as soon as it is stopped."""
    assert "blk-availability.service" in words_of(unit, "After")


def test_at_a_shutdown_the_guest_ends_before_all_that_could_end_it() -> None:
    """libvirt has a service of its own that suspends or shuts down guests."""
    after = words_of("abctl-guest.service", "After")
    assert {"libvirtd.service", "libvirt-guests.service", "virt-guest-shutdown.target"} <= set(after)


def test_what_a_unit_may_write_is_there_when_it_starts() -> None:
    """A folder that comes later can only be read there; mount points and /var/lib come with the slot set."""
    optional = {
        word for unit in UNITS.glob("abctl-*.service") for word in words_of(unit.name, "ReadWritePaths")
        if word.startswith("-")
    }  # fmt: skip
    assert optional == {"-/boot/grub", "-/boot/config", "-/var/lib"}
    assert words_of("abctl-guest.service", "LogsDirectory") == ["libvirt"]


def words_of(unit: str, setting: str) -> list[str]:
    """Return the words of all lines of a unit that say this."""
    return " ".join(re.findall(rf"^{setting}=(.*)$", (UNITS / unit).read_text(), re.M)).split()


# --- what hangs together ----------------------------------------------------------------------------


def test_what_a_unit_runs_is_there_and_executable() -> None:
    commands = re.findall(
        r"^Exec\w+=[-+]*(/\S+)", "".join(p.read_text() for p in UNITS.rglob("*.*") if p.is_file()), re.M
    )
    assert set(commands) - {"/usr/bin/abctl", "/sbin/modprobe"} == {
        "/usr/lib/abctl/abctl-trial",
        "/usr/lib/abctl/abctl-watchdog",
    }
    scripts = [
        *SCRIPTS.glob("abctl-*"),
        GENERATOR,
        *(FILES / "usr/sbin").iterdir(),
        *INITRAMFS.rglob("abctl"),
    ]
    assert len(scripts) == 9
    assert [script for script in scripts if not os.access(script, os.X_OK)] == []


def test_no_file_is_a_link() -> None:
    """A wheel would make a copy of it, and systemd takes no copy for a link in a folder of wants."""
    assert [path for path in FILES.rglob("*") if path.is_symlink()] == []


def test_each_unit_is_started_by_something() -> None:
    wants = "".join(path.read_text() for path in UNITS.glob("*.target.d/*.conf"))
    wanted = {word for line in wants.splitlines() if line.startswith("Wants=") for word in line[6:].split()}
    assert wanted == {
        *("abctl-settle.service", "abctl-health.service", DEADLINE_TIMER, WATCHDOG),
        *("abctl-identity.service", "abctl-metrics.timer", "abctl-agent.service"),
        *("abctl-guest.service", "abctl-firewall.service"),
    }
    assert read_unit(UNITS / "abctl-health.service")["Unit"]["OnFailure"] == "abctl-failed.service"


@pytest.mark.parametrize("unit", ["abctl-deadline.timer", "abctl-deadline.service", "abctl-failed.service"])
def test_what_ends_a_trial_waits_for_nothing_and_outlives_emergency_mode(unit: str) -> None:
    section = read_unit(UNITS / unit)["Unit"]
    assert (section["DefaultDependencies"], section["IgnoreOnIsolate"]) == ("no", "yes")
    assert not {"After", "Requires", "Conflicts", "BindsTo"} & set(section)
    assert section["ConditionKernelCommandLine"] == "abctl.why=trial"
    if unit.endswith(".service"):
        assert section["FailureAction"] == "reboot-force"


def test_scripts_and_program_agree() -> None:
    assert f"u {USER} " in (FILES / "usr/lib/sysusers.d/abctl.conf").read_text()
    trial = (SCRIPTS / "abctl-trial").read_text()
    assert re.search(rf"^DEADLINE={HealthPolicy().deadline:.0f} ", trial, re.M)
    assert f"bs={marks.LINE_SIZE}" in trial
    mark = (INITRAMFS / "scripts/local-premount/abctl").read_text()
    assert re.search(rf"^LINE={marks.LINE_SIZE} ", mark, re.M)
    assert marks.PATH in mark
    assert marks.PATH in trial


# --- the generator ----------------------------------------------------------------------------------


def test_a_host_on_lvm_mounts_its_slot_set_and_what_both_share(hostos: FakeHost) -> None:
    units = generate(hostos, "root=/dev/mapper/hostlvm-B_root dfinity.system=B abctl.why=trial")
    paths = LivePaths()
    found = {read_unit(path)["Mount"]["Where"]: what(units, path.name) for path in units.glob("*.mount")}
    assert found == {
        paths.boot: "/dev/mapper/hostlvm-B_boot",
        paths.grub: "/dev/sda2",
        paths.config: "/dev/mapper/hostlvm-config",
        "/boot/efi": "/dev/sda1",
        "/tmp": "tmpfs",
        "/var": "abctl-var",
    }
    var = read_unit(units / "var.mount")
    assert "abctl-slot-set=B,abctl-device=/dev/mapper/hostlvm-B_var" in var["Mount"]["Options"]
    assert r"dev-mapper-hostlvm\x2dB_var.device" in var["Unit"]["After"].split()
    assert "sync" in read_unit(units / "boot-config.mount")["Mount"]["Options"].split(",")


def test_a_guest_mounts_partitions(tmp_path: Path) -> None:
    units = generate(
        FakeHost(tmp_path / "host", read_layout("guestos"), B), "root=PARTUUID=x dfinity.system=B"
    )
    assert [what(units, unit) for unit in ("boot.mount", "boot-grub.mount", "boot-config.mount")] == [
        "/dev/sda7",
        "/dev/sda2",
        "/dev/sda3",
    ]
    assert "abctl-device=/dev/sda9" in (units / "var.mount").read_text()


@pytest.mark.parametrize("older", ["hostos", "guestos"])
def test_a_second_disk_with_partitions_of_the_same_names_is_left_alone(hostos: FakeHost, older: str) -> None:
    partitions = [partition.name for partition in read_layout(older).partitions]
    hostos.add_disk("aaa", 100, partitions)
    units = generate(hostos)
    assert (what(units, "boot-grub.mount"), what(units, "boot-efi.mount")) == ("/dev/sda2", "/dev/sda1")
    assert what(units, "boot.mount") == "/dev/mapper/hostlvm-A_boot"


def test_of_the_disks_below_a_volume_group_the_one_with_the_grub_partition_counts(hostos: FakeHost) -> None:
    hostos.add_disk("aaa", 100, ["data"])
    root = hostos.root / "sys/dev/block" / hostos.devices["hostlvm-A_root"]
    (root / "slaves/a_first").symlink_to((hostos.root / "sys/dev/block/8:101").resolve())
    assert what(generate(hostos), "boot-grub.mount") == "/dev/sda2"


def test_a_root_under_dm_verity_is_found(hostos: FakeHost) -> None:
    hostos.add_mapped("verity", 40, on=hostos.devices["hostlvm-A_root"])
    hostos.mount("/", hostos.devices["verity"])
    units = generate(hostos, "root=/dev/mapper/verity dfinity.system=A")
    assert (what(units, "boot.mount"), what(units, "boot-grub.mount")) == (
        "/dev/mapper/hostlvm-A_boot",
        "/dev/sda2",
    )


def test_without_sys_the_command_line_and_names_of_partitions_must_do(tmp_path: Path) -> None:
    host = FakeHost(tmp_path / "host", read_layout("hostos"))
    host.mount("/", "0:99")
    units = generate(host, "root=/dev/mapper/my--group-A_root dfinity.system=A")
    assert what(units, "boot.mount") == "/dev/mapper/my--group-A_boot"
    assert what(units, "boot-grub.mount") == "/dev/disk/by-partlabel/grub"
    assert (units / r"dev-mapper-my\x2d\x2dgroup\x2dA_boot.device.d").is_dir()


@pytest.mark.parametrize(
    "words", ["root=/dev/sda1 ro quiet", "dfinity.system=", "dfinity.system=C xdfinity.system=A"]
)
def test_a_machine_that_grub_of_abctl_did_not_start_gets_nothing(hostos: FakeHost, words: str) -> None:
    assert list(generate(hostos, words).iterdir()) == []


def test_what_stands_in_fstab_counts(hostos: FakeHost) -> None:
    fstab = "# /dev/x /var ext4\n\nLABEL=mine /boot/efi vfat rw 0 0\n"
    (hostos.root / "etc").mkdir()
    (hostos.root / "etc/fstab").write_text(fstab)
    units = generate(hostos)
    assert not (units / "boot-efi.mount").exists()
    assert (units / "var.mount").exists()


def test_no_mount_can_end_in_emergency_mode_or_wait_for_long(hostos: FakeHost) -> None:
    units = generate(hostos)
    mounts = {path.name for path in units.glob("*.mount")}
    assert {path.name for path in (units / "local-fs.target.wants").iterdir()} == mounts
    assert not list(units.glob("*.requires"))
    for path in units.glob("*.mount"):
        assert "Requires" not in path.read_text()
    limits = {path.name.removesuffix(".device.d") for path in units.glob("dev-*.device.d")}
    assert limits == {
        "dev-sda1",
        "dev-sda2",
        *(rf"dev-mapper-hostlvm\x2d{name}" for name in ("A_boot", "A_var", "config")),
    }
