"""One virtual host: its disk, its firmware's memory, its power button, and what it says on its lines."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Self

from abctl.core.bootenv import BootEnv, read_boot_env
from abctl.core.bootstate import Why
from abctl.core.command_line import GrubsWord, parse_command_line
from abctl.core.slot import SlotName
from abctl.host.disk import DiskGrubPartition, open_disk
from tests.lab.console import Console, ConsoleEnded, NotSeen
from tests.lab.events import Phase, Story
from tests.lab.qemu import Hardware, Lines, command_line
from tests.lab.qmp import Qmp, QmpError
from tests.lab.shell import Done, Shell
from tests.lab.timeline import draw_timeline

_LIFE_MAX = 3600.0  # seconds of a power-on; then it is cut, whatever happens
_BOOT_LIMIT = 420.0  # from power-on to the shell; it takes about 60 on an idle core
_POLL = 0.3  # seconds
# Much like a start of abctl: modules are loaded. It prints the CPU seconds of its process.
_WORK = """import asyncio, email.message, http.client, unittest, xml.dom.minidom, time
print(time.process_time())"""
_CPU_MESSAGE = "ae8f7b866b0347b9af31fe1c80b127c0"  # systemd's SD_MESSAGE_UNIT_RESOURCES


class Machine:
    """A machine in ``folder``, where its console.log, events.json and timeline.svg go; use it in ``with``."""

    def __init__(
        self, folder: Path, disk: Path, hardware: Hardware | None = None, *, port: int | None = None
    ) -> None:
        self.folder = folder
        self.disk = disk
        self.hardware = hardware or Hardware()
        self.story = Story()
        self._port = port
        self._zero = time.monotonic()
        self._is_wanted = False
        self._why_off = "off"
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self._resets = False  # the guest has just reset itself
        self._boot_id = ""
        self._shell_start = 0
        self._firmware = folder / "firmware.fd"
        shutil.copy(self.hardware.blank_vars, self._firmware)
        self.console = Console(self.clock, log=folder / "console.log", on_line=self.story.read)
        self._shell_line = Console(self.clock)
        self.shell = Shell(self._shell_line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.power_cut("end of the scenario")
        self.console.close()
        self._shell_line.close()
        self.story.write(self.folder / "events.json", self.folder.name)
        (self.folder / "timeline.svg").write_text(draw_timeline(self.folder.name, self.story, self.clock()))

    def clock(self) -> float:
        """Seconds since this machine was made."""
        return time.monotonic() - self._zero

    def note(self, what: str, text: str = "") -> None:
        self.story.note(self.clock(), what, text)

    # --- power ---

    @property
    def is_on(self) -> bool:
        return self._keeper is not None and self._keeper.is_alive()

    def power_on(self) -> None:
        """Press the power button; QEMU's own words go to qemu.log."""
        assert not self.is_on, "it is on already"
        self._why_off = "off"
        self._is_wanted = True
        for line in (self.console, self._shell_line):
            line.begin()
        self._keeper = threading.Thread(target=self._keep_running, daemon=True)
        self._keeper.start()

    def _keep_running(self) -> None:
        """Run QEMU, and again after each reset.

        After a reset inside QEMU everything is much slower than after a start of it.
        """
        how = "power on"
        while self._is_wanted and how:
            self.story.begin(self.clock(), how)
            self._resets = False
            self._run_once()
            how = "reset" if self._resets else ""
        self.story.off(self.clock(), self._why_off)
        for line in (self.console, self._shell_line):
            line.end()

    def _run_once(self) -> None:
        pairs = [socket.socketpair() for _ in range(3)]
        lines = Lines(*(theirs.fileno() for _, theirs in pairs))
        command = command_line(self.hardware, self.disk, self._firmware, lines, self._port)
        with (self.folder / "qemu.log").open("ab") as log:
            # It is this thread with which it would die, and this thread waits for it.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[theirs.fileno() for _, theirs in pairs],
            )  # fmt: skip
        self._process = process
        for _, theirs in pairs:
            theirs.close()
        console, shell, control = (ours for ours, _ in pairs)
        self.console.attach(console)
        self._shell_line.attach(shell)
        qmp = Qmp(control, self._take_event)
        with contextlib.suppress(QmpError):
            qmp.command("qmp_capabilities")
        try:
            process.wait(_LIFE_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        qmp.wait_end()  # its last word says whether this was a reset
        for line in (self.console, self._shell_line):
            line.detach()
        qmp.close()

    def power_cut(self, why: str = "power cut") -> None:
        """Take the power away: what the guest had not handed to its disk is lost."""
        self.pull_plug(why)
        self.wait_plug()

    def pull_plug(self, why: str = "power cut") -> None:
        """Take the power away at this very moment, from any thread; ``wait_plug`` belongs to it."""
        self._is_wanted = False
        if self.is_on and self._process is not None:
            self._why_off = why
            self._process.send_signal(signal.SIGKILL)

    def wait_plug(self) -> None:
        """Wait until the machine is off."""
        if self._keeper:
            self._keeper.join(30)
            assert not self._keeper.is_alive()

    def wait_off(self, limit: float = 180) -> None:
        """Wait until the guest has switched itself off."""
        assert self._keeper is not None
        self._keeper.join(limit)
        if self._keeper.is_alive():
            raise NotSeen(f"it is still on after {limit:g} s:\n{self.console.tail()}")

    def shut_down(self) -> None:
        """Let the guest switch itself off, as an admin does."""
        self.start_command("systemctl poweroff")
        self.wait_off()

    def press(self, keys: bytes) -> None:
        """Press keys at the console."""
        self.console.type(keys)

    def _take_event(self, name: str, data: dict[str, Any]) -> None:
        if name == "WATCHDOG":
            self.note("watchdog bites")
        elif name == "SHUTDOWN":
            self._resets = data.get("reason") == "guest-reset"

    # --- what it does ---

    def wait_up(self, limit: float = _BOOT_LIMIT) -> GrubsWord:
        """Wait for the next boot that has a shell, and return what GRUB said about it."""
        end = time.monotonic() + limit
        while True:
            boot_id = self.shell.wait_ready(max(1.0, end - time.monotonic()), self._shell_start)
            self._shell_start = self._shell_line.count
            if boot_id != self._boot_id:
                break
        self._boot_id = boot_id
        self.note("shell")
        return parse_command_line(self.run("cat /proc/cmdline").out)

    def boot(self, limit: float = _BOOT_LIMIT) -> GrubsWord:
        """Power on, and wait for the shell."""
        self.power_on()
        return self.wait_up(limit)

    def wait_booted(self, slot_set: str, why: Why, limit: float = _BOOT_LIMIT) -> GrubsWord:
        """Wait for a boot with a shell of this slot set for this reason; others on the way are let go."""
        end = time.monotonic() + limit
        while True:
            word = self.wait_up(max(1.0, end - time.monotonic()))
            if (word.slot_set, word.why) == (SlotName(slot_set), why):
                return word

    def run(self, command: str, limit: float = 120) -> Done:
        """Run a command as root, whatever its exit code."""
        return self.shell.run(command, limit)

    def settle(self, limit: float = 400) -> None:
        """Wait until systemd has started everything: the shell comes up long before that."""
        self.run("systemctl is-system-running --wait", limit)

    def start_command(self, command: str) -> None:
        """Start a command that the shell does not live to see the end of."""
        self.shell.run(f"(sleep 1; {command}) </dev/null >/dev/null 2>&1 &")

    def abctl(self, arguments: str, limit: float = 600) -> Done:
        """Run abctl; its words are in the console's log too."""
        done = self.run(f"abctl {arguments}", limit)
        self.note(
            "abctl", f"{arguments.partition(' --json')[0]}{'' if done.code == 0 else f' -> {done.code}'}"
        )
        with (self.folder / "commands.log").open("a", encoding="utf-8") as log:
            log.write(f"{self.clock():9.3f} {done}\n\n")
        return done

    def status(self) -> Any:
        return self.abctl("status --json").check().json

    def history(self) -> list[str]:
        """Return what happened to it, oldest first, in abctl's words."""
        return [entry["what"] for entry in self.abctl("history --json").check().json["entries"]]

    def wait_phase(self, phase: Phase, limit: float = _BOOT_LIMIT) -> None:
        """Wait until the last boot has come so far."""
        boot = self.story.boots[-1]
        self.wait_for(lambda: phase in boot.phases, limit, f"{phase} runs", poll=0.02)

    # --- what is on its disk, read from outside ---

    def boot_env(self) -> BootEnv:
        """Return the boot environment as it is on the medium now."""
        env = read_boot_env(DiskGrubPartition(open_disk(self.disk)).read()).env
        assert env is not None, "all copies of the boot environment are lost"
        return env

    def wait_for(self, holds: Callable[[], bool], limit: float, what: str, *, poll: float = _POLL) -> None:
        """Wait until something holds that is looked at from outside."""
        end = time.monotonic() + limit
        while not holds():
            if not self.is_on:
                raise ConsoleEnded(f"it went off before {what}:\n{self.console.tail()}")
            if time.monotonic() > end:
                raise NotSeen(f"not within {limit:g} s: {what}:\n{self.console.tail()}")
            time.sleep(poll)
        self.note(what)

    def wait_confirmed(self, slot_set: str, limit: float = 300) -> None:
        """Wait until the boot environment says that this slot set is the primary, and nothing is on trial."""

        def is_confirmed() -> bool:
            env = self.boot_env()
            return env.trial is None and env.primary == SlotName(slot_set)

        self.wait_for(is_confirmed, limit, "confirmed")

    def measure(self) -> dict[str, float]:
        """Note the CPU seconds of abctl's units in this boot, of the whole guest, and of a piece of work.

        The same work is done here, so that CPU seconds of the emulated guest can be turned into a host's. In
        both it comes from the disk, as at a boot: emulation makes code dearest where it is new.
        """
        fields = "--output-fields=UNIT,CPU_USAGE_NSEC"
        ended = self.run(f"journalctl -b -o json {fields} MESSAGE_ID={_CPU_MESSAGE}").out
        loaded = self.run("systemctl show -p Id -p CPUUsageNSec 'abctl-*.service'").out
        boot = self.story.boots[-1]
        boot.cpu |= read_cpu(ended, loaded)
        whole = self.run("cat /sys/fs/cgroup/cpu.stat /proc/stat").out
        boot.cpu["all"] = int(dict(line.split()[:2] for line in whole.splitlines())["usage_usec"]) / 1e6
        command = f"sync; echo 3 > /proc/sys/vm/drop_caches; /usr/bin/python3 -I -c {shlex.quote(_WORK)}"
        boot.cpu["work in the guest"] = median(float(self.run(command).check().out) for _ in range(3))
        boot.cpu["work on a host"] = median(_work_here() for _ in range(5))
        return boot.cpu


def _work_here() -> float:
    _forget_cached(Path(sysconfig.get_path("stdlib")))
    command = ["/usr/bin/python3", "-I", "-c", _WORK]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _forget_cached(folder: Path) -> None:
    """Let the kernel read the files in a folder from the disk the next time."""
    for path in folder.rglob("*.py*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_cpu(ended: str, loaded: str) -> dict[str, float]:
    """Return CPU seconds of abctl's units: from systemd's words on those that ended, and its properties."""
    used: dict[str, float] = {}
    for line in ended.splitlines():
        entry = json.loads(line)
        unit = str(entry.get("UNIT", ""))
        if unit.startswith("abctl") and "CPU_USAGE_NSEC" in entry:
            used[unit] = used.get(unit, 0.0) + int(entry["CPU_USAGE_NSEC"]) / 1e9
    for block in loaded.split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines())
        if values.get("CPUUsageNSec", "").isdecimal():
            used[values["Id"]] = max(used.get(values["Id"], 0.0), int(values["CPUUsageNSec"]) / 1e9)
    return used
