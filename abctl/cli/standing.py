"""How a machine stands: what ``abctl status`` reports, and what is told to who logs in."""

import logging
from collections.abc import Mapping
from pathlib import Path

from abctl.cli.concerns import find_concerns
from abctl.cli.describe import describe_status
from abctl.cli.describe_evidence import find_last_trial
from abctl.cli.motd import make_motd
from abctl.cli.report import StatusReport
from abctl.cli.verdict import Scene
from abctl.cli.wiring import Machine
from abctl.core.advice import Prompt
from abctl.core.bootenv import Copy
from abctl.core.contents import Contents
from abctl.core.evidence import Evidence
from abctl.core.health import CheckResult, Verdict
from abctl.core.holder import Holder
from abctl.core.slot import Part, Slot, SlotName
from abctl.errors import AbctlError
from abctl.update.operate import observe
from abctl.update.witness import gather

log = logging.getLogger(__name__)


def look_at(machine: Machine, disk: str | None = None, prompt: Prompt | None = None) -> Scene:
    """Look at a machine once; ``disk`` is None for the running host.

    ``prompt`` is how the user named it, for the commands that are advised.
    """
    observed = observe(machine.ports)
    return Scene(
        observed.host,
        observed.reading,
        machine.ports.grub.read(),
        prompt or Prompt(disk, observed.host.running.kernel),
        () if disk else _read_failing(),
        look_into_slot_sets(machine),
        _find_holder(disk),
        _find_lost_scripts(machine),
        has_wrong_sizes=not observed.reading.in_step and _has_wrong_sizes(machine),
    )


def report_scene(machine: Machine, scene: Scene) -> StatusReport:
    """Return how a machine that was looked at stands, and what its releases and volumes call for."""
    ports, host = machine.ports, scene.host
    evidence = ports.evidence.read() if ports.evidence else Evidence()
    return describe_status(
        scene,
        layout=machine.layout.name,
        concerns=tuple(find_concerns(machine, host, machine.trust.read(), scene.prompt)),
        last_trial=find_last_trial(host, evidence, gather(ports, host)),
    )


def report_status(machine: Machine, disk: str | None = None, prompt: Prompt | None = None) -> StatusReport:
    """Look at a machine and return how it stands; ``disk`` and ``prompt`` are those of ``look_at``."""
    return report_scene(machine, look_at(machine, disk, prompt))


def look_into_slot_sets(machine: Machine) -> Mapping[SlotName, Contents]:
    """Return whether each slot set has its volumes, and a kernel."""
    return {name: _look_into(machine, name) for name in SlotName}


def _look_into(machine: Machine, name: SlotName) -> Contents:
    for part in Part:
        try:
            with machine.ports.slots.open_for_reading(Slot(name, part)):
                pass
        except AbctlError as error:
            return Contents(problem=str(error))
    return Contents(has_kernel=machine.has_kernel(name))


def _read_failing() -> tuple[CheckResult, ...]:
    """Return the checks of this boot that did not pass."""
    from abctl.host.health_file import read_health  # noqa: PLC0415

    state = read_health()
    if state is None:
        return ()
    return tuple(item for item in state.results if item.verdict is not Verdict.PASSED)


def _find_lost_scripts(machine: Machine) -> tuple[str, ...] | None:
    """Return which of GRUB's scripts are not there, or are not abctl's; None where that cannot be seen."""
    from abctl.host.scripts import find_lost  # noqa: PLC0415

    try:
        return find_lost(machine.grub_files())
    except AbctlError:
        return None


def _has_wrong_sizes(machine: Machine) -> bool:
    """Whether a copy of the boot environment that is there cannot be overwritten as it has to be."""
    try:
        files = machine.grub_files()
        found = {copy: files.read(copy.value) for copy in Copy}
    except AbctlError:
        return False
    return any(content is not None and len(content) != copy.block_size for copy, content in found.items())


def _find_holder(disk: str | None) -> Holder | None:
    """Return who else works on the host or disk at this moment."""
    from abctl.host.lock import find_holder  # noqa: PLC0415

    return find_holder(Path(disk) if disk else None)


def refresh_motd(machine: Machine) -> None:
    """Tell who logs in to the running host what is wrong, or nothing where all is right; never raises."""
    from abctl.host.motd import write_motd  # noqa: PLC0415

    try:
        write_motd(make_motd(report_status(machine)))
    except AbctlError as error:
        log.warning("the login message could not be written: %s", error)
