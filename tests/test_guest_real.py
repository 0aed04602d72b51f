"""A guest in QEMU, under a libvirt daemon of the tests' own: starts, crashes, power buttons and restarts."""

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from abctl.core.bootenv import read_boot_env
from abctl.core.guest_state import GuestState
from abctl.core.slot import SlotName
from abctl.host.disk import DiskGrubPartition, open_disk
from abctl.host.guest_file import read_state
from tests.disks import GUEST, copy_of, run
from tests.hostile_repository import make_guest_repository
from tests.libvirt_daemon import LibvirtDaemon
from tests.releases import Archive, digest_of
from tests.repositories import Clock
from tests.test_cli import ABCTL
from tests.tiny_guest import KERNEL, ONE_CORE, make_initramfs

pytestmark = pytest.mark.machine

_LIMIT = 90.0  # seconds for what takes two or three


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibvirtDaemon]:
    daemon = LibvirtDaemon(tmp_path_factory.mktemp("libvirt"))
    try:
        yield daemon
    finally:
        daemon.close()


@pytest.fixture(scope="module")
def initramfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_initramfs(tmp_path_factory.mktemp("guest") / "initramfs")


@dataclass
class Host:
    """A host whose guest is the tiny one; ``play`` is what it does at its next start."""

    root: Path
    daemon: LibvirtDaemon
    initramfs: Path
    life: str = "ready_within = 60\nstop_within = 20\n"
    services: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.root / "etc").mkdir()
        (self.root / "run").mkdir()
        disk = self.root / "disk.img"
        disk.touch()
        os.truncate(disk, 16 * 1024 * 1024)
        (self.root / "config").mkdir()
        (self.root / "config/network.conf").write_text("ipv6_prefix=2602:ffe4:801:17\n")

    def play(self, what: str, more: str = "") -> None:
        """Describe a guest that does this."""
        arguments = f"console=ttyS0 quiet panic=-1 play={what}"
        boot = (
            f'firmware = "bios"\nkernel = "{KERNEL}"\ninitrd = "{self.initramfs}"\narguments = "{arguments}"'
        )
        self._describe(boot, "128 MiB", more)

    def start_from_disk(self) -> None:
        """Describe a guest that firmware and the GRUB on its disk start."""
        self._describe('firmware = "uefi"', "256 MiB")

    def _describe(self, boot: str, memory: str, more: str = "") -> None:
        (self.root / "etc/guest.toml").write_text(
            f"""
            uri = "{self.daemon.uri}"
            accel = "tcg"
            {more}
            {ONE_CORE}
            [memory]
            size = "{memory}"
            hugepages = "never"
            [boot]
            {boot}
            [disk]
            path = "{self.root}/disk.img"
            cache = "writethrough"
            [media]
            folder = "{self.root}/config"
            [network]
            enabled = false
            [vsock]
            enabled = false
            [serial]
            log = "{self.root}/serial.log"
            [life]
            {self.life}
            """
        )

    @property
    def _command(self) -> list[str]:
        return [sys.executable, "-m", "abctl", "--config", str(self.root / "etc"), "guest"]

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "ABCTL_ROOT": str(self.root)}

    def abctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._command, *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    @contextmanager
    def terminal(self, *words: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
        """Run a command on a terminal, and yield the other end of it."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*self._command, *words], env=self._environment, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        try:
            yield ours, process
        finally:
            process.kill()
            process.wait()
            os.close(ours)

    def status(self) -> dict[str, Any]:
        done = self.abctl("status", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    @contextmanager
    def service(self) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen([*self._command, "run"], env=self._environment)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(60)

    def wait(self, is_so: Callable[[GuestState], bool]) -> GuestState:
        """Wait until the service says what is wanted."""
        until = time.monotonic() + _LIMIT
        while True:
            state = read_state(self.root)
            if state is not None and is_so(state):
                return state
            assert time.monotonic() < until, f"it says {state}; the guest says {self.said()}"
            time.sleep(0.1)

    def ready(self, *, not_run: str | None = None) -> GuestState:
        return self.wait(lambda state: state.phase == "ready" and state.run != not_run)

    def said(self) -> str:
        path = self.root / "serial.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def machine(self) -> int:
        (pid,) = self.daemon.find_machines()
        return pid


@pytest.fixture
def host(tmp_path: Path, daemon: LibvirtDaemon, initramfs: Path) -> Iterator[Host]:
    host = Host(tmp_path, daemon, initramfs)
    try:
        yield host
    finally:
        daemon.end_machines()


def test_a_guest_is_started_reports_and_powers_off(host: Host) -> None:
    host.play("ready")
    done = host.abctl("start")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Guestos runs and says that it is healthy" in done.stdout
    report = host.status()
    assert (report["phase"], report["watched"], report["outdated"]) == ("ready", False, False)
    assert "GUESTOS BOOT SUCCESS" in report["said"]
    again = host.abctl("start", "--no-wait")
    assert "it runs already" in again.stdout.lower()
    stopped = host.abctl("stop")
    assert "has powered off" in stopped.stdout
    assert "the power button was pressed" in host.said()
    assert host.daemon.find_machines() == []
    assert host.abctl("stop").returncode == 75


def test_a_guest_that_ignores_acpi_is_ended_when_its_time_is_up(host: Host) -> None:
    host.life = "ready_within = 60\nstop_within = 2\n"
    host.play("deaf")
    assert host.abctl("start").returncode == 0
    stopped = host.abctl("stop", "--json")
    assert json.loads(stopped.stdout)["forced"] is True
    assert host.daemon.find_machines() == []


def test_a_guest_that_never_gets_ready_is_told_of_and_left_for_its_console(host: Host) -> None:
    host.life = "ready_within = 8\nstop_within = 2\n"
    host.play("silent")
    done = host.abctl("start")
    assert done.returncode == 74
    assert "it did not say within 8 s that it is healthy; it said last: tiny guest: silent" in done.stderr
    assert host.status()["phase"] == "not_ready"
    assert "tiny guest: silent" in host.abctl("console", "--log", "5").stdout


def test_a_terminal_is_connected_with_the_guests_console_and_let_go(host: Host) -> None:
    host.play("shell")
    assert host.abctl("start").returncode == 0
    with host.terminal("console") as (terminal, process):
        read_until(terminal, b"ends it.", _LIMIT)
        # What is typed before the terminal is raw is thrown away, so it is typed again.
        said = b""
        while b"six by seven is 42" not in said:
            assert len(said) < 2000, said
            os.write(terminal, b"echo six by seven is $((6*7))\n")
            said += read_until(terminal, b"is 42", 2.0)
        os.write(terminal, b"\x1d")
        assert process.wait(20) == 0
    assert host.status()["phase"] == "ready"


def read_until(terminal: int, word: bytes, seconds: float) -> bytes:
    said, until = b"", time.monotonic() + seconds
    while word not in said and time.monotonic() < until:
        if select.select([terminal], [], [], 0.2)[0]:
            said += os.read(terminal, 4096)
    return said


def test_the_service_outlasts_crashes_kills_restarts_of_libvirt_and_its_own_end(host: Host) -> None:
    host.play("ready")
    with host.service() as service:
        first = host.ready()
        host.daemon.stop()
        host.wait(lambda state: state.phase == "unknown")
        host.daemon.start()
        assert host.ready().run == first.run
        # QEMU dies, as when the kernel is out of memory.
        os.kill(host.machine(), signal.SIGKILL)
        second = host.ready(not_run=first.run)
        # The service itself dies; the guest goes on, and the next service takes it over.
        machine = host.machine()
        service.kill()
        service.wait()
        with host.service():
            third = host.wait(lambda state: state.beat > second.beat + 0.5 and state.phase == "ready")
            assert (third.run, host.machine()) == (second.run, machine)
            held = host.abctl("stop")
            assert held.returncode == 0, held.stderr
            assert host.daemon.find_machines() == []
            assert host.status()["held"] == "an admin stopped it"
            started = host.abctl("start")
            assert started.returncode == 0, started.stderr
        # SIGTERM, as at a reboot of the host: the guest powers off first.
        assert "the power button was pressed" in host.said()
        assert host.daemon.find_machines() == []
        host.wait(lambda state: state.phase == "stopped")


def test_a_guest_that_panics_is_started_again_by_the_service(host: Host) -> None:
    host.play("crash")
    with host.service():
        crashed = host.wait(lambda state: state.failed >= 1 and "it ended before it was healthy" in state.why)
        host.play("ready")
        assert host.ready().failed >= 1
        assert crashed.phase == "waiting"
    assert (host.root / "serial-1.log").exists()


def test_two_machines_never_get_the_same_disk(host: Host) -> None:
    host.play("ready")
    assert host.abctl("start").returncode == 0
    host.play("ready", 'name = "second"\nuuid = "fd897da5-8017-41c8-8575-a706dba30767"')
    done = host.abctl("start")
    assert done.returncode == 71
    assert "disk.img is open in another program, such as a virtual machine" in done.stderr
    assert len(host.daemon.find_machines()) == 1


def test_a_foreign_domain_of_that_name_is_left_alone(host: Host) -> None:
    host.play("ready")
    xml = host.abctl("xml").stdout
    start, end = xml.index("<metadata>"), xml.index("</metadata>") + len("</metadata>")
    (host.root / "foreign.xml").write_text(xml[:start] + xml[end:])
    (host.root / "run/abctl").mkdir(exist_ok=True)
    make = [*("virsh", "-c", host.daemon.uri, "create"), str(host.root / "foreign.xml")]
    media = host.root / "run/abctl/guest-config.img"
    media.touch()
    os.truncate(media, 1024 * 1024)
    made = subprocess.run(make, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    done = host.abctl("start")
    assert done.returncode == 73
    assert (
        "a domain guestos (fd897da5-8017-41c8-8575-a706dba30766) is there that abctl did not make"
        in done.stderr
    )
    assert host.abctl("stop", "--force").returncode == 73
    assert len(host.daemon.find_machines()) == 1


def test_a_release_is_installed_in_the_guest_tried_and_kept(host: Host, archive: Archive) -> None:
    (host.root / "disk.img").unlink()
    image = copy_of(GUEST, host.root)
    (host.root / "etc/config.toml").write_text('[unsigned]\nallow = "admin"\n')
    host.play("ready")
    with host.service():
        first = host.ready()
        assert (first.slot_set, first.on_trial) == ("A", False)
        words = ["upgrade", str(archive.path), "--sha256", archive.sha256, "--progress", "none"]
        plan = host.abctl(*words, "--dry-run")
        assert (plan.returncode, plan.stderr) == (0, "")
        assert host.ready().run == first.run
        done = host.abctl(*words)
        assert done.returncode == 0, done.stderr
        assert "guestos runs slot set B (2.0.0) and says that it is healthy" in done.stdout
        report = host.status()
        assert (report["slot_set"], report["on_trial"], report["slots"]["trial"]["version"]) == (
            "B",
            True,
            "2.0.0",
        )
    env = read_boot_env(DiskGrubPartition(open_disk(image)).read()).env
    assert env is not None
    assert (env.primary, env.trial) == ("B", None)


def test_the_newest_release_of_a_signed_repository_is_installed_in_the_guest(host: Host) -> None:
    (host.root / "disk.img").unlink()
    copy_of(GUEST, host.root)
    repo = make_guest_repository(host.root / "repository", "2.0.0", clock=Clock(int(time.time())))
    (host.root / "etc/root.json").write_bytes(repo.root)
    (host.root / "etc/config.toml").touch()
    host.play("ready")
    with host.service():
        assert host.ready().slot_set == "A"
        done = host.abctl("upgrade", "--repository", f"file://{repo.folder}/", "--progress", "none")
        assert done.returncode == 0, done.stderr
        assert "guestos runs slot set B (2.0.0) and says that it is healthy" in done.stdout


def test_a_release_that_does_not_get_healthy_is_left_by_the_guests_own_grub(host: Host) -> None:
    # Firmware, shim, GRUB and its scripts are those of a real guest.
    first, second = (make_system(host, *words) for words in (("1.0.0", "ready"), ("2.0.0", "failure")))
    (host.root / "disk.img").unlink()
    run(
        ABCTL, "disk", "create", host.root / "disk.img",
        "--layout", GUEST, "--efi", "--quiet", "--release", *first,
    )  # fmt: skip
    (host.root / "etc/config.toml").write_text('[unsigned]\nallow = "admin"\n')
    host.start_from_disk()
    with host.service():
        assert host.ready().slot_set == "A"
        done = host.abctl("upgrade", *second, "--progress", "none")
        assert done.returncode == 76, done.stderr
        assert "2.0.0 did not get healthy, and guestos runs slot set A (1.0.0) again" in done.stderr
        report = host.status()
        assert (report["slot_set"], report["on_trial"]) == ("A", False)
    env = read_boot_env(DiskGrubPartition(open_disk(host.root / "disk.img")).read()).env
    assert env is not None
    assert (env.primary, env.trial, env[SlotName.B].state) == ("A", None, "bad")
    assert [
        log
        for log in host.root.glob("serial-*.log")
        if "GUESTOS BOOT FAILURE" in log.read_text(errors="replace")
    ]


def make_system(host: Host, version: str, play: str) -> tuple[str, str, str]:
    """Return a release as words for abctl: a tiny guest that does ``play``, started by its own kernel."""
    tree, made = host.root / f"tree-{version}", host.root / version
    (tree / "boot").mkdir(parents=True)
    shutil.copy(KERNEL, tree / "boot/vmlinuz-1")
    shutil.copy(host.initramfs, tree / "boot/initrd.img-1")
    arguments = f"console=ttyS0 quiet play={play}"
    run(
        ABCTL,
        "build", "image", "--tree", tree, "--no-install-abctl", "--kernel-arguments", arguments, "--quiet",
        "--version", version, "--layout", GUEST, "--output", made,
    )  # fmt: skip
    return str(made / "release"), "--sha256", digest_of(made / "release/manifest.json")
