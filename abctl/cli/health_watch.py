"""The health service: watch this boot, from opening the host to its end."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from abctl.cli.health_host import LiveSurroundings, is_trial_boot, read_policy, reboot, tell
from abctl.cli.health_once import blind_scene, list_more
from abctl.cli.standing import refresh_motd
from abctl.cli.wiring import Machine, Target, lock_machine, open_machine
from abctl.core.health import HealthPolicy
from abctl.core.health_state import HealthState, Stand
from abctl.errors import AbctlError
from abctl.host import clock
from abctl.host.checks import Round, Scene
from abctl.host.config import DEFAULT_FOLDER
from abctl.host.live import LivePaths
from abctl.host.notify import Notifier
from abctl.host.run import run
from abctl.host.systemd import Run, Systemd
from abctl.update.operate import come_up, settle
from abctl.update.watch import TrialWatch, watch_boot

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """What the service works with; tests give it other clocks, paths and programs."""

    open_host: Callable[[], AbstractContextManager[Machine]]
    lock: Callable[[], AbstractContextManager[None]]
    config: Path = DEFAULT_FOLDER
    paths: LivePaths = field(default_factory=LivePaths)
    notifier: Notifier = field(default_factory=Notifier)
    run: Run = run
    since_boot: Callable[[], float] = clock.since_boot
    sleep: Callable[[float], None] = time.sleep
    tell_logins: Callable[[Machine], None] = lambda machine: None


def watch_host(target: Target) -> None:
    """Watch the running host; raise AbctlError where it is not known what runs, and no trial."""
    service = Service(
        lambda: open_machine(target, write=False),
        lambda: lock_machine(target),
        target.config or DEFAULT_FOLDER,
        tell_logins=refresh_motd,
    )
    try:
        serve(service)
    except KeyboardInterrupt:
        service.notifier.stopping()


def serve(service: Service) -> None:
    """Watch until nothing is to be waited for any more."""
    service.notifier.ready()
    policy = read_policy(service.config)
    while True:
        try:
            with service.open_host() as machine:
                _watch(service, machine, policy)
                return
        except AbctlError as error:
            if not is_trial_boot(service.paths):
                _tell_blind(service, error)
                raise
            if service.since_boot() >= policy.deadline:
                log.error("the trial is given up, for it cannot be told what runs: %s", error)
                _tell_blind(service, error)
                # With the boot environment out of reach, this ends when GRUB has spent the attempts.
                reboot(service.run)
                return
            log.warning("it cannot be told yet what runs: %s", error)
        _pause(service, min(policy.interval, policy.deadline - service.since_boot()))


def _watch(service: Service, machine: Machine, policy: HealthPolicy) -> None:
    _settle(service, machine)
    # Now, and not when all is well: what runs can be reached or mended, and who resets a host loses nothing.
    _come_up(service, machine)
    scene = Scene(
        policy,
        lambda: machine.ports.running,
        lambda: host.trial,
        service.paths,
        service.config,
        lambda: Systemd(service.run),
        more=list_more(service.config),
    )
    host = LiveSurroundings(
        machine,
        scene,
        service.notifier,
        service.lock,
        tell_logins=service.tell_logins,
        run=service.run,
        since_boot=service.since_boot,
        sleep=service.sleep,
    )
    stand = TrialWatch(host, policy).run() if host.trial else watch_boot(host, policy)
    log.info("health: %s", stand)
    # Where it was on trial until now, or the lock was somebody else's.
    if stand is not Stand.GAVE_UP:
        _come_up(service, machine)
    service.tell_logins(machine)


def _settle(service: Service, machine: Machine) -> None:
    try:
        with service.lock():
            settle(machine.ports)
    except AbctlError as error:
        log.warning("how the last trial ended could not be recorded: %s", error)


def _come_up(service: Service, machine: Machine) -> None:
    try:
        with service.lock():
            come_up(machine.ports)
    except AbctlError as error:
        log.warning("that this boot came up could not be noted, and GRUB may think it did not: %s", error)


def _pause(service: Service, seconds: float) -> None:
    until = service.since_boot() + seconds
    while (left := until - service.since_boot()) > 0.001:  # noqa: PLR2004 - seconds that are worth a sleep
        service.notifier.ping()
        service.sleep(min(left, service.notifier.pause))


def _tell_blind(service: Service, error: AbctlError) -> None:
    scene = blind_scene(service.config, error)
    scene = Scene(
        scene.policy,
        scene.running,
        scene.trial,
        service.paths,
        service.config,
        lambda: Systemd(service.run),
        more=scene.more,
    )
    done = Round(scene, tick=service.notifier.ping).run(scene.policy.check_timeout)
    results = tuple(item.result for item in done)
    is_trial = is_trial_boot(service.paths)
    stand = Stand.GAVE_UP if is_trial else Stand.CHECKED
    tell(service.paths, HealthState(clock.now(), None, is_trial, stand, str(error), results))
