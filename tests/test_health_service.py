"""The health service on a host made of files: real boot environment, record, evidence and check files."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from abctl.cli.health_once import run_scene
from abctl.cli.health_watch import Service, serve
from abctl.cli.render_health import render_health
from abctl.cli.style import Style
from abctl.cli.wiring import Machine
from abctl.core import evidence, trust_state
from abctl.core.bootenv import Copy, SlotState, Trial
from abctl.core.bootstate import BootEnv, SlotSet
from abctl.core.evidence import Attempt, Stage
from abctl.core.health import HealthPolicy, MinFree
from abctl.core.health_state import HealthState, Stand
from abctl.core.layout import Layout
from abctl.core.record import Happened
from abctl.core.slot import SlotName
from abctl.core.units import Version
from abctl.errors import Busy, DiskUnusable, ToolFailed, WriteFailed
from abctl.host.checks import Scene
from abctl.host.health_file import read_health
from abctl.host.layouts import read_layout
from abctl.host.live import LiveConfigFile, LiveSystem
from abctl.host.notify import Notifier
from abctl.host.systemd import Systemd
from abctl.update.memory import ConfigEvidence, ConfigTrust
from tests.fake_live import FakeHost
from tests.fake_volumes import MemoryDisk
from tests.test_health_checks import FakeSystemctl

A, B = SlotName.A, SlotName.B


@dataclass
class Host:
    """Slot set B of a host, in its second boot on trial unless it is told otherwise."""

    files: FakeHost
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    systemctl: FakeSystemctl = field(default_factory=FakeSystemctl)
    now: float = 20.0
    locked_until: float = 0.0
    closed_until: float = 0.0
    logins_told: list[float] = field(default_factory=list)  # when the login message was written

    @property
    def layout(self) -> Layout:
        return self.files.layout

    @property
    def evidence(self) -> ConfigEvidence:
        return ConfigEvidence(LiveConfigFile(evidence.PATH, evidence.FILE_SIZE, self.files.paths))

    @contextmanager
    def open(self) -> Iterator[Machine]:
        if self.now < self.closed_until:
            raise DiskUnusable("the grub partition is not mounted on /boot/grub: mount it first")
        running = LiveSystem(self.layout, self.files.paths).running()
        ports = replace(self.disk.ports, running=running, evidence=self.evidence)
        trust = ConfigTrust(LiveConfigFile(trust_state.PATH, trust_state.FORM.file_size, self.files.paths))
        yield Machine(ports, self.layout, lambda _: True, lambda: NotImplemented, trust)

    @contextmanager
    def lock(self) -> Iterator[None]:
        if self.now < self.locked_until:
            raise Busy("another abctl works on this host: wait until it has ended")
        yield

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def serve(self) -> HealthState:
        """Let the service run to its end, and return what it left."""
        serve(
            Service(
                self.open,
                self.lock,
                self.files.root / "etc/abctl",
                self.files.paths,
                Notifier({}),
                self.systemctl.run,
                lambda: self.now,
                self.sleep,
                lambda _: self.logins_told.append(self.now),
            )
        )
        state = read_health(self.files.root)
        assert state is not None
        return state

    def boot(self, why: str, booted: SlotName, *, attempts: int | None = None) -> None:
        word = f"dfinity.system={booted} abctl.why={why} abctl.passed_over= abctl.generation=9"
        self.files.tell_kernel(word if attempts is None else f"{word} abctl.attempts={attempts}")

    def add_check(self, text: str) -> None:
        path = self.files.root / "etc/abctl/health.d/required/net"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    @property
    def reboots(self) -> list[str]:
        return [call for call in self.systemctl.calls if call.startswith("systemctl reboot")]

    @property
    def is_disarmed(self) -> bool:
        return "systemctl stop abctl-deadline.timer abctl-watchdog.service" in self.systemctl.calls

    @property
    def attempt(self) -> Attempt:
        trial = self.evidence.read().find(9)
        assert trial is not None
        found = trial.find(2)
        assert found is not None
        return found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    files = FakeHost(tmp_path, read_layout("hostos"), B)
    files.mount("/var", files.devices["B_var"])
    host = Host(files)
    host.disk.set_env(
        BootEnv(
            primary=A,
            slot_sets={
                A: SlotSet(SlotState.GOOD, Version("1.0.0")),
                B: SlotSet(SlotState.UNTESTED, Version("2.0.0")),
            },
            trial=Trial(B, 1),
            generation=9,
        )
    )
    host.boot("trial", B, attempts=1)
    (tmp_path / "var").mkdir()
    (tmp_path / "etc/abctl").mkdir(parents=True)
    (tmp_path / "etc/abctl/config.toml").write_text('[health]\nmin_free = "0%"\ndeadline = 120\n')
    return host


def test_a_healthy_trial_becomes_the_primary_and_nothing_reboots_it_any_more(host: Host) -> None:
    state = host.serve()
    assert (host.disk.env.primary, host.disk.env.trial) == (B, None)
    assert host.is_disarmed
    assert host.reboots == []
    assert 50 <= host.now < 60
    assert host.attempt.stage is Stage.CONFIRMED
    assert (state.stand, state.slot_set, state.on_trial) == (Stand.CONFIRMED, B, True)


def test_an_unhealthy_trial_reboots_and_the_evidence_outlasts_it(host: Host) -> None:
    host.add_check("echo gateway does not answer; exit 1")
    state = host.serve()
    assert host.disk.env.trial == Trial(B, 1)
    assert host.reboots == ["systemctl reboot"]
    assert not host.is_disarmed
    assert host.attempt.stage is Stage.CHECKS
    assert host.attempt.ended == "required check net failed: exit code 1: gateway does not answer"
    assert [item.name for item in host.attempt.failed] == ["net"]
    assert (state.stand, state.why) == (Stand.GAVE_UP, host.attempt.ended)


def test_a_unit_that_fails_later_breaks_the_health(host: Host) -> None:
    sleep = host.sleep

    def fail_later(seconds: float) -> None:
        sleep(seconds)
        host.systemctl.failed = "guest.service loaded failed failed x\n" if host.now > 45 else ""

    host.sleep = fail_later  # type: ignore[method-assign]
    host.serve()
    assert host.disk.env.primary is A
    assert "guest.service" in host.attempt.ended


def test_with_a_bad_primary_an_unhealthy_trial_stays_up(host: Host) -> None:
    host.disk.set_env(host.disk.env.with_state(A, SlotState.BAD))
    host.add_check("exit 1")
    state = host.serve()
    assert host.reboots == []
    assert host.is_disarmed
    assert state.stand is Stand.STAYED_UP
    assert (host.disk.env.primary, host.disk.env.trial) == (B, None)
    assert host.disk.record.entries[-1].what is Happened.STAYED_UP


def test_a_grub_partition_that_is_read_only_gives_the_trial_up(host: Host) -> None:

    host.disk.unwritable = frozenset(Copy)
    host.serve()
    assert host.reboots == ["systemctl reboot"]
    assert host.attempt.ended.startswith("it is healthy, but cannot be confirmed: the boot environment")


def test_a_full_config_volume_does_not_keep_a_trial_from_being_confirmed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LiveConfigFile, "overwrite", raise_full)
    host.serve()
    assert host.disk.env.primary is B


def raise_full(*_: object) -> None:

    raise WriteFailed("abctl/evidence cannot be made: No space left on device")


def test_another_abctl_that_works_on_the_host_is_waited_for(host: Host) -> None:
    host.locked_until = 90
    host.serve()
    assert host.disk.env.primary is B
    assert 90 <= host.now < 100


def test_where_the_lock_was_somebody_elses_the_boot_is_answered_for_at_its_end(host: Host) -> None:
    env = replace(host.disk.env, primary=B, trial=None, answering=frozenset({B}), unsettled=4)
    host.disk.set_env(env)
    host.boot("primary", B)
    host.add_check("exit 0")
    locks: list[float] = []
    before = host.lock

    @contextmanager
    def lock() -> Iterator[None]:
        locks.append(host.now)
        host.now += 1
        with before():
            yield

    host.lock = lock  # type: ignore[method-assign]
    host.locked_until = host.now + 2.5
    host.serve()
    assert len(locks) == 3
    assert host.disk.env.unsettled == 0


def test_a_trial_that_was_confirmed_answers_from_then_on(host: Host) -> None:
    host.add_check("exit 0")
    host.serve()
    env = host.disk.env
    assert (env.primary, env.trial, env.is_counted, env.unsettled) == (B, None, True, 0)


@pytest.mark.parametrize("passed_over", ["A", ""])
def test_what_runs_because_the_primary_never_came_up_takes_over(host: Host, passed_over: str) -> None:
    env = replace(host.disk.env, trial=None, answering=frozenset({A}), unsettled=6)
    host.disk.set_env(env)
    host.files.tell_kernel(
        f"dfinity.system=B abctl.why=unsettled abctl.passed_over={passed_over} abctl.generation=9"
    )
    host.serve()
    assert host.disk.env.primary is (B if passed_over else A)


def test_an_admin_who_confirms_by_hand_ends_the_watch(host: Host) -> None:
    host.add_check("exit 1")
    sleep = host.sleep

    def confirm_meanwhile(seconds: float) -> None:
        sleep(seconds)
        host.disk.set_env(replace(host.disk.env, primary=B, trial=None))

    host.sleep = confirm_meanwhile  # type: ignore[method-assign]
    assert host.serve().stand is Stand.CHECKED
    assert (host.reboots, host.is_disarmed) == ([], True)


@pytest.mark.parametrize("all_of_it", [True, False])
def test_a_boot_environment_that_is_lost_meanwhile_does_not_let_a_bad_trial_stay(
    host: Host, all_of_it: bool
) -> None:
    host.add_check("exit 1")
    sleep = host.sleep

    def lose(seconds: float) -> None:
        sleep(seconds)
        older = None if all_of_it else host.disk.files.older
        host.disk.files = replace(host.disk.files, first=None, second=None, older=older)

    host.sleep = lose  # type: ignore[method-assign]
    state = host.serve()
    assert (state.stand, state.why) == (Stand.GAVE_UP, "required check net failed: exit code 1")
    assert host.reboots == ["systemctl reboot"]


def test_a_trial_of_which_nothing_can_be_seen_is_rebooted_at_the_deadline(host: Host) -> None:
    host.closed_until = 10**6
    assert host.serve().stand is Stand.GAVE_UP
    assert host.reboots == ["systemctl reboot"]
    assert 120 <= host.now < 122


def test_a_host_that_was_confirmed_is_not_rebooted_when_it_can_no_longer_be_seen(host: Host) -> None:
    """The kernel's command line calls it a trial until the next reboot."""
    assert host.serve().stand is Stand.CONFIRMED
    host.closed_until = 10**9
    host.now = 40 * 86400.0
    with pytest.raises(DiskUnusable):
        host.serve()
    assert host.reboots == []


def test_a_grub_partition_that_is_mounted_late_costs_nothing(host: Host) -> None:
    host.closed_until = 60
    host.serve()
    assert host.disk.env.primary is B


def test_a_reboot_that_systemd_refuses_is_made_by_force(host: Host) -> None:
    host.add_check("exit 1")
    run = host.systemctl.run

    def refuse(*command: str, **options: object) -> str:
        said = run(*command, **options)
        if command[:2] == ("systemctl", "reboot") and command.count("--force") < 2:
            raise ToolFailed("Transport endpoint is not connected")
        return said

    host.systemctl.run = refuse  # type: ignore[method-assign]
    host.serve()
    assert host.reboots[-1] == "systemctl reboot --force --force"


# --- a boot that is no trial ------------------------------------------------------------------------


def test_an_ordinary_boot_is_checked_and_answers_for_itself(host: Host) -> None:
    host.disk.set_env(replace(host.disk.env, primary=B, trial=None))
    host.boot("primary", B)
    host.add_check("echo no link; exit 1")
    before = host.disk.env
    state = host.serve()
    assert (state.stand, state.on_trial) == (Stand.CHECKED, False)
    assert state.why == "required check net failed: exit code 1: no link"
    assert host.disk.env == replace(before, answering=frozenset({B}), generation=10)
    assert (host.reboots, host.is_disarmed) == ([], False)


def test_who_logs_in_is_told_what_fails_long_before_the_watch_ends(host: Host) -> None:
    host.disk.set_env(replace(host.disk.env, primary=B, trial=None))
    host.boot("primary", B)
    host.add_check("echo no link; exit 1")
    host.serve()
    first, last = host.logins_told
    assert first < 60 < last == host.now


def test_who_logs_in_to_a_healthy_host_is_told_once(host: Host) -> None:
    host.disk.set_env(replace(host.disk.env, primary=B, trial=None))
    host.boot("primary", B)
    host.serve()
    assert host.logins_told == [host.now]


def test_after_a_fallback_the_ordinary_boot_records_it(host: Host) -> None:
    host.disk.set_env(replace(host.disk.env, trial=Trial(B, 0)))
    host.files.mount("/", host.files.devices["A_root"])
    host.files.mount("/boot", host.files.devices["A_boot"])
    host.boot("fallback", A)
    host.serve()
    assert host.disk.env[B].state is SlotState.BAD
    assert host.reboots == []


def test_an_ordinary_boot_of_which_nothing_can_be_seen_says_so_and_does_not_reboot(host: Host) -> None:
    host.boot("primary", B)
    host.closed_until = 10**6
    with pytest.raises(DiskUnusable):
        host.serve()
    state = read_health(host.files.root)
    assert state is not None
    assert "the grub partition is not mounted" in state.why
    assert host.reboots == []


# --- for people -------------------------------------------------------------------------------------


def test_the_table_names_what_failed_and_shows_what_it_printed(host: Host) -> None:
    host.add_check("echo trying the gateway; echo it does not answer; exit 1")
    host.serve()
    with host.open() as machine:
        scene = Scene(
            HealthPolicy(min_free=MinFree()),
            lambda: machine.ports.running,
            lambda: B,
            host.files.paths,
            host.files.root / "etc/abctl",
            lambda: Systemd(host.systemctl.run),
        )
        report = run_scene(scene, machine.ports.running, B)
    text = render_health(report, Style())
    assert text.startswith("UNHEALTHY  Slot set B, which is on trial, is not healthy: net.")
    assert "failed     net            exit code 1: it does not answer" in text
    assert "| trying the gateway" in text
    assert "passed     units          no unit has failed" in text
    assert "Service    The trial is given up: required check net failed" in text
