"""The running host as the watch of a trial sees it: its checks, its evidence, and systemd."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from abctl.cli.wiring import Machine
from abctl.core.bootenv import BootEnv, Origin, Why, read_boot_env
from abctl.core.events import Confirm, Running, Unhealthy
from abctl.core.evidence import Stage
from abctl.core.health import CheckResult, HealthPolicy, Verdict
from abctl.core.health_state import HealthState, Stand
from abctl.core.machine import Host
from abctl.core.settling import must_reboot
from abctl.core.slot import SlotName
from abctl.errors import AbctlError
from abctl.host import clock
from abctl.host.check_files import Done
from abctl.host.checks import Round, Scene
from abctl.host.config import read_config
from abctl.host.health_file import is_trial_over, note_trial_over, write_health
from abctl.host.live import LivePaths, read_command_line
from abctl.host.notify import Notifier
from abctl.host.run import run
from abctl.host.systemd import DEADLINE_TIMER, WATCHDOG, Run, read_journal_tail, stop_units
from abctl.update.operate import apply, note_stage, observe

log = logging.getLogger(__name__)

_SHORTEST = 0.001  # seconds that are worth a sleep


def read_policy(folder: Path) -> HealthPolicy:
    """Return what config.toml wants; as by default where it is not sound, which is a check's business."""
    try:
        return read_config(folder).config.health.policy
    except AbctlError as error:
        log.warning("%s; health is judged as by default", error)
        return HealthPolicy()


def running_trial(host: Host) -> SlotName | None:
    """Return the slot set on trial where it is the one that runs."""
    trial = host.env.trial
    return trial.slot_set if trial and host.running.kernel is trial.slot_set else None


def make_environment(running: Running, trial: SlotName | None) -> dict[str, str]:
    """Return what a check is told of the boot."""
    return {"ABCTL_SLOT_SET": running.kernel or "", "ABCTL_TRIAL": "1" if trial else "0"}


class LiveSurroundings:
    """The running host; implements update.watch.Surroundings."""

    def __init__(
        self,
        machine: Machine,
        scene: Scene,
        notifier: Notifier,
        lock: Callable[[], AbstractContextManager[None]],
        *,
        tell_logins: Callable[[Machine], None],
        run: Run = run,
        since_boot: Callable[[], float] = clock.since_boot,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._machine = machine
        self._scene = scene
        self._notifier = notifier
        self._lock = lock
        self._run = run
        self._sleep = sleep
        self.since_boot = since_boot
        self.trial = running_trial(observe(machine.ports).host)
        self._tell_logins = tell_logins
        self._logged: tuple[tuple[str, str], ...] = ()
        self._told: tuple[str, ...] = ()

    def wait(self, seconds: float) -> None:
        until = self.since_boot() + seconds
        while True:
            self._notifier.ping()
            left = until - self.since_boot()
            if left < _SHORTEST:
                return
            self._sleep(min(left, self._notifier.pause))

    def is_on_trial(self) -> bool:
        env = self._read_env()
        return env is None or (env.trial is not None and env.trial.slot_set is self.trial)

    def _read_env(self) -> BootEnv | None:
        """Return the boot environment; None where it is out of reach: then nobody has ended the trial."""
        reading = read_boot_env(self._machine.ports.grub.read())
        return None if reading.origin is Origin.OLDER else reading.env

    def run_checks(self, seconds: float) -> tuple[CheckResult, ...]:
        environment = make_environment(self._machine.ports.running, self.trial)
        done = Round(self._scene, environment=environment, tick=self._notifier.ping).run(seconds)
        self._log_output(done)
        return tuple(item.result for item in done)

    def _log_output(self, done: Sequence[Done]) -> None:
        """Leave in the journal what the checks that did not pass have printed, once."""
        said = tuple(
            (item.result.name, line)
            for item in done
            if item.result.verdict is not Verdict.PASSED
            for line in item.output
        )
        for name, line in said if said != self._logged else ():
            log.warning("check %s printed: %s", name, line)
        self._logged = said

    def is_boot_complete(self) -> bool:
        try:
            return not self._scene.systemd().manager.is_starting
        except AbctlError as error:
            log.info("%s", error)
            return False

    def tell(self, stand: Stand, why: str, results: tuple[CheckResult, ...]) -> None:
        self._notifier.status(f"{'on trial: ' if self.trial else ''}{why}")
        tell(
            self._scene.paths, HealthState(clock.now(), self._booted(), bool(self.trial), stand, why, results)
        )
        if stand is Stand.WATCHING and not self.trial:
            self._tell_failing(results)

    def _tell_failing(self, results: tuple[CheckResult, ...]) -> None:
        """Tell who logs in what ails the host as soon as it is seen; the end of the watch is told anyway."""
        failing = tuple(item.name for item in results if item.is_failure)
        if failing != self._told:
            self._told = failing
            self._tell_logins(self._machine)

    def _booted(self) -> SlotName | None:
        running = self._machine.ports.running
        return None if running.disagreement else running.kernel

    def note(self, stage: Stage, *, ended: str = "", checks: tuple[CheckResult, ...] = ()) -> None:
        try:
            tail = read_journal_tail(self._run)
        except AbctlError as error:
            log.warning("the end of the journal cannot be read: %s", error)
            tail = ()
        with self._lock():
            note_stage(self._machine.ports, stage, ended=ended, checks=checks, tail=tail)

    def confirm(self) -> None:
        with self._lock():
            apply(self._machine.ports, Confirm(self._machine.ports.now()))

    def give_up(self, reason: str) -> bool:
        if self._read_env() is None:
            # GRUB can read it and spends attempts, or it is lost and GRUB knows of no trial: no endless loop.
            return True
        with self._lock():
            decided = must_reboot(observe(self._machine.ports).host)
            apply(self._machine.ports, Unhealthy(self._machine.ports.now(), reason))
        return decided

    def must_reboot(self) -> bool:
        return self._read_env() is None or must_reboot(observe(self._machine.ports).host)

    def disarm(self) -> None:
        try:
            note_trial_over(self._scene.paths.root)
        except AbctlError as error:
            log.warning("that the trial is over cannot be kept for this boot: %s", error)
        stop_units(DEADLINE_TIMER, WATCHDOG, run=self._run)

    def reboot(self) -> None:
        reboot(self._run)


def tell(paths: LivePaths, state: HealthState) -> None:
    """Leave the state for other commands."""
    try:
        write_health(state, paths.root)
    except AbctlError as error:
        log.warning("%s", error)


def is_trial_boot(paths: LivePaths) -> bool:
    """Whether GRUB said that this boot is one of a trial, and it has not ended since."""
    return read_command_line(paths).why is Why.TRIAL and not is_trial_over(paths.root)


def reboot(run: Run = run) -> None:
    """Reboot, and by force where systemd does not do it otherwise."""
    for force in ((), ("--force",), ("--force", "--force")):
        try:
            run("systemctl", "reboot", *force, timeout=30.0)
            return
        except AbctlError as error:
            log.error("the host does not reboot: %s", error)
