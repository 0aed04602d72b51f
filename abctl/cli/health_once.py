"""All checks once, as a report."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from abctl.cli.health_host import make_environment, read_policy, running_trial
from abctl.cli.report_health import CheckDoneReport, HealthReport, ServiceReport
from abctl.cli.wiring import Target, open_machine
from abctl.core.clock import format_time
from abctl.core.events import Running
from abctl.core.health import CheckResult
from abctl.core.health_state import HealthState
from abctl.core.slot import SlotName
from abctl.errors import AbctlError
from abctl.host.check_files import Done
from abctl.host.checks import Round, Scene
from abctl.host.config import DEFAULT_FOLDER
from abctl.host.firewall_files import has_firewall
from abctl.host.health_file import read_health
from abctl.update.operate import observe


def check_once(target: Target) -> HealthReport:
    """Run each check once; what cannot be looked at is a check that fails."""
    folder = target.config or DEFAULT_FOLDER
    try:
        with open_machine(target, write=False) as machine:
            trial = running_trial(observe(machine.ports).host)
            scene = Scene(
                read_policy(folder),
                lambda: machine.ports.running,
                lambda: trial,
                config=folder,
                more=list_more(folder),
            )
            return run_scene(scene, machine.ports.running, trial)
    except AbctlError as error:
        return run_scene(blind_scene(folder, error), Running(), None)


def blind_scene(folder: Path, error: AbctlError) -> Scene:
    """Return what there is to check where ``error`` says why it is not known what runs."""

    def fail() -> NoReturn:
        raise error

    return Scene(read_policy(folder), fail, config=folder, more=list_more(folder))


def list_more(folder: Path) -> tuple[tuple[str, Callable[[], CheckResult]], ...]:
    """Return the checks of what this host has beyond its slot sets."""
    if not has_firewall(folder):
        return ()
    from abctl.cli.firewall_standing import CHECK, check_firewall  # noqa: PLC0415

    return ((CHECK, lambda: check_firewall(folder)),)


def run_scene(scene: Scene, running: Running, trial: SlotName | None) -> HealthReport:
    """Run each check of ``scene`` once."""
    done = Round(scene, environment=make_environment(running, trial)).run(scene.policy.deadline)
    return describe_health(done, running, trial, read_health(scene.paths.root))


def describe_health(
    done: Sequence[Done], running: Running, trial: SlotName | None, state: HealthState | None
) -> HealthReport:
    """Return the report of one round; ``state`` is what the service has left."""
    return HealthReport(
        healthy=not any(item.result.is_failure for item in done),
        slot_set=None if running.disagreement else running.kernel,
        on_trial=trial is not None,
        checks=tuple(_describe_check(item) for item in done),
        service=ServiceReport(at=format_time(state.at), stand=state.stand, why=state.why) if state else None,
    )


def _describe_check(item: Done) -> CheckDoneReport:
    result = item.result
    return CheckDoneReport(
        name=result.name,
        required=result.required,
        verdict=result.verdict,
        text=result.text,
        took=round(result.took, 3),
        output=item.output,
    )
