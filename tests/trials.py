"""Worlds whose trials leave evidence: marks of the initramfs, notes of abctl, crash logs of the firmware."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from abctl.cli.describe import describe_status
from abctl.cli.describe_evidence import find_last_trial
from abctl.cli.report import StatusReport
from abctl.cli.verdict import Scene
from abctl.core import evidence, marks
from abctl.core.bootstate import Why
from abctl.core.crash_log import CrashLog
from abctl.core.evidence import Evidence, Stage, TrialEvidence
from abctl.core.health import CheckResult, Verdict
from abctl.core.machine import Running
from abctl.core.marks import LINE_SIZE, What
from abctl.core.slot import SlotName
from abctl.core.units import Seconds, Version
from abctl.errors import WriteFailed
from abctl.ports import Ports
from abctl.update.memory import ConfigEvidence
from abctl.update.operate import note_stage, observe, settle
from abctl.update.witness import gather
from tests.enumeration import fresh_host
from tests.grubs import Boot
from tests.world import Kind, Release, State, World

NOW = 1_796_000_000  # 2026-11-30 00:53:20 UTC
DISK_FULL = CheckResult("disk-space", True, Verdict.FAILED, "/var has 1 % free, 5 % are wanted", 0.1)
ALL_FINE = CheckResult("units", True, Verdict.PASSED, "no unit failed", 0.2)
PANIC = (
    "[    1.204811] List of all partitions:",
    "[    1.204993] VFS: Cannot open root device or unknown-block(0,0)",
    "[    1.205120] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
    "[    1.205404] Rebooting in 10 seconds..",
)


class ConfigMedium:
    """A file of the config volume; a write ends after ``cut`` bytes, ``broken`` takes and gives none."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self.cut: int | None = None
        self.broken = False
        self.writes = 0

    def read(self) -> bytes:
        return b"" if self.broken else bytes(self.data)

    def overwrite(self, offset: int, data: bytes) -> None:
        if self.broken:
            raise WriteFailed("the config volume is not mounted on /boot/config: mount it first")
        self.writes += 1
        self.data = self.data.ljust(offset + len(data), b" ")
        done = len(data) if self.cut is None else min(self.cut, len(data))
        self.data[offset : offset + done] = data[:done]
        if done < len(data):
            raise WriteFailed("the power went")


class TrialWorld(World):
    """A host whose releases get as far as ``stages`` say, one for each boot of the trial."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.evidence = ConfigMedium(evidence.empty_file())
        self.marks = ConfigMedium(marks.empty_file())
        self.crash_logs: list[CrashLog] = []
        self.clock = NOW

    @property
    def ports(self) -> Ports:
        return replace(
            super().ports,
            now=self._now,
            evidence=ConfigEvidence(self.evidence),
            marks=self.marks,
            crash_logs=lambda: tuple(self.crash_logs),
        )

    def _now(self) -> Seconds:
        self.clock += 1
        return Seconds(self.clock)

    @property
    def kept(self) -> Evidence:
        return evidence.decode(self.evidence.read())

    def boot_trial(
        self,
        stage: Stage,
        checks: Iterable[CheckResult] = (),
        tail: Iterable[str] = (),
        ended: str = "",
        crash: tuple[str, ...] = (),
    ) -> Boot:
        """Power on; the trial gets as far as ``stage``, and leaves what its programs would leave."""
        boot = self.start_grub()
        assert boot.why is Why.TRIAL
        assert boot.booted is not None
        if stage.rank >= Stage.KERNEL.rank:
            self.leave_mark(boot)
        if stage.rank >= Stage.USERLAND.rank:
            self.run(boot)
        if stage.rank >= Stage.CHECKS.rank:
            note_stage(self.ports, stage, checks=checks, tail=tail, ended=ended)
        if crash:
            self.crash_logs.append(CrashLog(float(self._now()), crash))
        return boot

    def leave_mark(self, boot: Boot, what: What = What.KERNEL) -> None:
        """Do what the initramfs and the scripts do with dd, from GRUB's words; it never stops."""
        line = f"{boot.generation} {boot.attempts} {what}".encode().ljust(LINE_SIZE - 1) + b"\n"
        with suppress(WriteFailed):
            below = 0 if what is What.KERNEL else 8
            self.marks.overwrite((int(boot.attempts) + below) * LINE_SIZE, line)

    def run(self, boot: Boot) -> None:
        """Let userland come up, and settle."""
        booted, attempts = boot.booted, int(boot.attempts) if boot.why is Why.TRIAL else None
        running = Running(booted, booted, booted, boot.why, boot.passed_over, boot.generation, attempts)
        self.state = replace(self.state, running=running)
        settle(self.ports)
        self.crash_logs.clear()  # systemd-pstore files them away

    def fall_back(self) -> None:
        boot = self.start_grub()
        assert boot.why is Why.FALLBACK
        self.run(boot)

    @property
    def current(self) -> TrialEvidence | None:
        return gather(self.ports, observe(self.ports).host)

    def status(self, health: Iterable[CheckResult] = ()) -> StatusReport:
        observed = observe(self.ports)
        return describe_status(
            Scene(observed.host, observed.reading, self.state.files, health=tuple(health)),
            layout="hostos",
            last_trial=find_last_trial(observed.host, self.kept, self.current),
        )


TWO = Release(Version("2.0.0"), Kind.UNHEALTHY)


def armed(primary: SlotName, release: Release = TWO) -> TrialWorld:
    """Return a host that runs ``primary`` and has a release on trial in the other slot set."""
    world = TrialWorld(fresh_host(primary))
    world.power_on()
    world.install(release)
    return world
