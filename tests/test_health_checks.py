"""The checks that abctl brings along: on a host made of files, with what systemctl printed on a real one."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from abctl.core import record
from abctl.core.events import Running
from abctl.core.found import Extent
from abctl.core.health import CheckResult, HealthPolicy, MinFree, Verdict
from abctl.core.slot import SlotName
from abctl.errors import RunningMismatch, ToolFailed
from abctl.host import descendants
from abctl.host.checks import Round, Scene
from abctl.host.layouts import read_layout
from abctl.host.live import LiveSystem
from abctl.host.systemd import Systemd, parse_jobs, parse_manager, parse_units, read_journal_tail
from tests.failing_disk import FailingDisk
from tests.fake_live import FakeHost, live_record

A, B = SlotName.A, SlotName.B
FAILED = """\
smartd.service        loaded failed failed Self Monitoring and Reporting Technology (SMART) Daemon
motd-news.service     loaded failed failed Message of the Day
"""
JOBS = """\
 97 multi-user.target        start waiting
 98 guest.service            start running
"""


@dataclass
class FakeSystemctl:
    """What systemctl and journalctl print."""

    state: str = "running"
    failed: str = ""
    jobs: str = ""
    target: str = "ActiveState=active\nRequiredBy=\nWantedBy=abctl-health.service\n"
    broken: str = ""
    calls: list[str] = field(default_factory=list)

    def run(self, *command: str, **_: object) -> str:
        self.calls.append(" ".join(command))
        if self.broken:
            raise ToolFailed(self.broken)
        match command[1:3]:
            case "show", "--property=SystemState,NFailedUnits,NJobs":
                count = len(self.failed.splitlines())
                return f"NFailedUnits={count}\nNJobs=0\nSystemState={self.state}\n"
            case "show", _:
                return self.target
            case "list-units", _:
                return self.failed
            case "list-jobs", _:
                return self.jobs
            case _:
                return ""


def make_free(share: float, files: float = 0.5) -> Callable[[Path], os.statvfs_result]:
    """Return a file system of 1 GiB with so much free."""
    blocks, names = 1 << 18, 65536
    free, favail = int(blocks * share), int(names * files)
    values = (4096, 4096, blocks, free, free, names, favail, favail, 0, 255)
    return lambda _: os.statvfs_result(values)


@dataclass
class Machine:
    """A host in slot set A where all is well, and what the checks look at."""

    host: FakeHost
    systemctl: FakeSystemctl = field(default_factory=FakeSystemctl)
    policy: HealthPolicy = field(default_factory=HealthPolicy)
    trial: SlotName | None = None
    free: Callable[[Path], os.statvfs_result] = field(default_factory=lambda: make_free(0.5))

    def scene(self) -> Scene:
        return Scene(
            self.policy,
            LiveSystem(self.host.layout, self.host.paths).running,
            lambda: self.trial,
            self.host.paths,
            self.host.root / "etc/abctl",
            lambda: Systemd(self.systemctl.run),
            self.free,
        )

    def check(self, name: str) -> CheckResult:
        (found,) = [item for item in self.round() if item.name == name]
        return found

    def round(self) -> list[CheckResult]:
        return [done.result for done in Round(self.scene()).run(60)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    host = FakeHost(tmp_path, read_layout("hostos"))
    host.mount("/var", host.devices["A_var"])
    (tmp_path / "etc/abctl").mkdir(parents=True)
    return Machine(host)


def test_a_host_where_all_is_well_passes_all_checks_with_two_calls_of_systemctl(machine: Machine) -> None:
    results = machine.round()
    assert [item for item in results if item.verdict is not Verdict.PASSED] == []
    assert len(results) == 8
    assert len(machine.systemctl.calls) == 2


# --- systemd ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["starting", "initializing", ""])
def test_a_boot_that_is_not_over_is_not_healthy_and_names_what_it_waits_for(
    machine: Machine, state: str
) -> None:
    machine.systemctl.state, machine.systemctl.jobs = state, JOBS
    found = machine.check("boot-complete")
    assert found.verdict is Verdict.FAILED
    assert found.text == "systemd is still starting: guest.service, multi-user.target"


@pytest.mark.parametrize("state", ["maintenance", "stopping"])
def test_a_host_in_emergency_mode_or_going_down_is_not_healthy(machine: Machine, state: str) -> None:
    machine.systemctl.state = state
    assert machine.check("boot-complete").is_failure


def test_a_boot_target_that_somebody_wants_must_be_reached(machine: Machine) -> None:
    machine.systemctl.target = "ActiveState=inactive\nRequiredBy=\nWantedBy=abctl-health.service\n"
    assert "boot-complete.target was not reached" in machine.check("boot-complete").text
    machine.systemctl.target = "ActiveState=inactive\nRequiredBy=\nWantedBy=\n"
    assert not machine.check("boot-complete").is_failure


def test_a_failed_unit_is_a_failure_unless_it_may_fail(machine: Machine) -> None:
    machine.systemctl.state, machine.systemctl.failed = "degraded", FAILED
    assert machine.check("units").text == (
        "smartd.service, motd-news.service failed; see 'systemctl status smartd.service'"
    )
    machine.policy = replace(machine.policy, may_fail=("smartd.service",))
    assert machine.check("units").text.startswith("motd-news.service failed;")
    machine.policy = replace(machine.policy, may_fail=("smartd.service", "motd-*"))
    assert machine.check("units").verdict is Verdict.PASSED


def test_many_failed_units_are_counted(machine: Machine) -> None:
    machine.systemctl.failed = "".join(f"u{number}.service loaded failed failed x\n" for number in range(9))
    assert machine.check("units").text.startswith("u0.service, u1.service, u2.service and 6 more failed;")


def test_a_systemctl_that_fails_or_hangs_is_a_failed_check_and_the_others_go_on(machine: Machine) -> None:
    machine.systemctl.broken = "systemctl did not end within 15 s"
    failed = {item.name: item.text for item in machine.round() if item.is_failure}
    assert failed == {"boot-complete": machine.systemctl.broken, "units": machine.systemctl.broken}


def test_odd_output_of_systemctl_is_no_error() -> None:
    assert parse_manager("nonsense\nNFailedUnits=many\n=\n").is_starting
    assert parse_units("\n \n") == ()
    assert parse_jobs("No jobs running.\n1 a.service\n") == ()


def test_the_end_of_the_journal_is_bounded() -> None:
    assert sum(map(len, read_journal_tail(lambda *_, **__: "x" * 10**6 + "\nlast\n"))) < 66_000
    assert read_journal_tail(lambda *_, **__: "a\nb\n") == ("a", "b")


# --- the slot set and its volumes -------------------------------------------------------------------


def test_another_slot_set_than_that_on_trial_is_not_healthy(machine: Machine) -> None:
    machine.trial = B
    assert machine.check("slot-set").text == "slot set A runs, but B is on trial"


@pytest.mark.parametrize("point", ["/", "/boot"])
def test_a_mixed_system_is_not_healthy(machine: Machine, point: str) -> None:
    machine.host.mount(point, machine.host.devices["B_root" if point == "/" else "B_boot"])
    assert machine.check("slot-set").is_failure


def test_a_machine_that_grub_did_not_start_is_not_healthy(machine: Machine) -> None:
    machine.host.tell_kernel("quiet")
    assert "was not started by abctl's GRUB" in machine.check("slot-set").text


def test_a_var_in_memory_is_not_healthy_and_says_why(machine: Machine) -> None:
    machine.host.mount("/var", "0:50", "tmpfs")
    assert "in memory only" in machine.check("var").text
    (machine.host.root / "run/abctl").mkdir(parents=True)
    (machine.host.root / "run/abctl/var-problem").write_text("/dev/x is not there\nmore\n")
    assert machine.check("var").text.endswith("lost at the next boot: /dev/x is not there")


def test_without_a_var_a_host_is_not_healthy(machine: Machine) -> None:
    machine.host.unmount("/var")
    assert machine.check("var").is_failure


@pytest.mark.parametrize(
    ("point", "above", "name"), [("/var", "A_root", "var"), ("/boot/config", "A_boot", "config-volume")]
)
def test_a_folder_that_systemd_mounts_on_itself_for_a_service_is_no_volume(
    machine: Machine, point: str, above: str, name: str
) -> None:
    """ReadWritePaths= of the service makes a mount of each folder, volume or not."""
    machine.host.unmount(point)
    machine.host.mount(point, machine.host.devices[above])
    assert machine.check(name).is_failure


# --- space ------------------------------------------------------------------------------------------


def test_a_full_var_fails_and_a_full_config_volume_warns(machine: Machine) -> None:
    machine.free = make_free(0.01)
    assert machine.check("disk-space").text == "/var has 10.2 MiB of 1 GiB free; 51.2 MiB are wanted"
    assert machine.check("disk-space").verdict is Verdict.FAILED
    assert machine.check("config-space").verdict is Verdict.WARNED
    machine.policy = replace(machine.policy, min_free=MinFree(size=1))
    assert machine.check("disk-space").verdict is Verdict.PASSED


def test_a_volume_without_room_for_files_is_full(machine: Machine) -> None:
    machine.free = make_free(0.5, files=0.001)
    assert machine.check("disk-space").text == "/var has room for 65 more files only, of 65536"


def test_a_var_that_cannot_be_looked_at_is_not_healthy(machine: Machine) -> None:
    def fail(_: Path) -> os.statvfs_result:
        raise OSError(5, "Input/output error")

    machine.free = fail
    assert machine.check("disk-space").text == "/var cannot be looked at: Input/output error"


# --- configuration ----------------------------------------------------------------------------------


def test_a_wrong_config_is_not_healthy_and_its_field_is_named(machine: Machine) -> None:
    (machine.host.root / "etc/abctl/config.toml").write_text("[health]\ndeadline = 1\n")
    assert "health.deadline" in machine.check("config").text


def test_without_the_config_volume_a_host_is_not_healthy(machine: Machine) -> None:
    machine.host.unmount("/boot/config")
    assert machine.check("config-volume").text == "the config volume is not mounted on /boot/config"


def test_a_damaged_record_is_a_warning_only(machine: Machine) -> None:
    live_record(machine.host.paths).write(record.Record(serial=1))
    assert machine.check("config-volume").verdict is Verdict.PASSED
    (machine.host.root / "boot/config" / record.PATH).write_bytes(b"x" * record.FILE_SIZE)
    found = machine.check("config-volume")
    assert found.verdict is Verdict.WARNED
    assert "the record" in found.text


def test_a_record_of_which_the_disk_gives_nothing_back_is_a_warning(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_record(machine.host.paths).write(record.Record(serial=1))
    half = record.FILE_SIZE // 2
    disk = FailingDisk(monkeypatch, machine.host.root / "boot/config" / record.PATH)
    disk.spoil([Extent(0, 512)])
    assert machine.check("config-volume").verdict is Verdict.PASSED
    disk.spoil([Extent(half, 512)])
    assert machine.check("config-volume").verdict is Verdict.WARNED


# --- a round ----------------------------------------------------------------------------------------


def add_check(machine: Machine, name: str, text: str, kind: str = "required") -> None:
    path = machine.host.root / "etc/abctl/health.d" / kind / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_files_run_after_the_checks_that_abctl_brings_along(machine: Machine) -> None:
    add_check(machine, "net", "echo $ABCTL_TRIAL $LC_ALL; exit 1")
    done = Round(machine.scene(), environment={"ABCTL_TRIAL": "1"}).run(60)
    assert done[-1].result.sentence == "required check net failed: exit code 1: 1 C.UTF-8"


def test_an_admin_replaces_a_check_of_abctl_or_switches_it_off(machine: Machine) -> None:
    machine.free = make_free(0)
    add_check(machine, "disk-space", "echo enough for us")
    (machine.host.root / "etc/abctl/health.d/required/units").symlink_to("/dev/null")
    assert machine.check("disk-space").text == "enough for us"
    assert "units" not in [item.name for item in machine.round()]


def test_what_does_not_come_to_its_turn_has_failed(machine: Machine) -> None:
    add_check(machine, "net", "exit 0")
    results = [done.result for done in Round(machine.scene()).run(0)]
    assert results[-1].sentence == "required check net failed: it did not come to its turn in time"


def test_a_fault_in_one_check_is_its_failure_and_not_the_end_of_the_others(machine: Machine) -> None:
    def fail() -> Running:
        raise ZeroDivisionError("oh")

    done = Round(replace(machine.scene(), running=fail)).run(60)
    texts = {item.result.name: item.result.text for item in done}
    assert texts["slot-set"] == "this is a fault in abctl (ZeroDivisionError: oh)"
    assert len(texts) == 8


def test_a_refusal_of_the_adapters_is_a_failed_check(machine: Machine) -> None:
    def fail() -> Running:
        raise RunningMismatch("a mixed system")

    done = Round(replace(machine.scene(), running=fail)).run(60)
    assert "a mixed system" in [item.result.text for item in done]


def test_the_watchdog_is_thought_of_between_and_during_checks(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descendants, "_TICK", 0.02)
    add_check(machine, "slow", "sleep 0.2")
    ticks: list[int] = []
    Round(machine.scene(), tick=lambda: ticks.append(1)).run(60)
    assert len(ticks) >= 9 + 3
