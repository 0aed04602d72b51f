"""How a machine stands: what ``abctl status`` reports, and what is told to who logs in."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from abctl.cli.describe import describe_status
from abctl.cli.describe_evidence import find_last_trial
from abctl.cli.motd import make_motd
from abctl.cli.report import StatusReport
from abctl.cli.sentences import warn_of_releases
from abctl.cli.wiring import Machine
from abctl.core.advice import Prompt
from abctl.core.contents import Contents
from abctl.core.evidence import Evidence
from abctl.core.health import CheckResult, Verdict
from abctl.core.holder import Holder
from abctl.core.signed_dates import read_dates, warn_of_dates
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.space import say_shortage
from abctl.errors import AbctlError
from abctl.update.operate import observe
from abctl.update.witness import gather

log = logging.getLogger(__name__)


def report_status(machine: Machine, disk: str | None = None, prompt: Prompt | None = None) -> StatusReport:
    """Look at a machine and return how it stands; ``disk`` is None for the running host.

    ``prompt`` is how the user named it, for the commands that are advised.
    """
    ports = machine.ports
    observed = observe(ports)
    evidence = ports.evidence.read() if ports.evidence else Evidence()
    trust = machine.trust.read()
    return describe_status(
        observed.host,
        observed.reading,
        ports.grub.read(),
        layout=machine.layout.name,
        disk=disk,
        warnings=(
            *warn_of_releases(observed.host, trust),
            *warn_of_dates(read_dates(trust), ports.now()),
            *(_warn_of_space(machine) if disk else _warn_of_firewall()),
        ),
        last_trial=find_last_trial(observed.host, evidence, gather(ports, observed.host)),
        health=() if disk else _read_failing(),
        prompt=prompt,
        contents=look_into_slot_sets(machine),
        holder=_find_holder(disk),
        lost_scripts=_find_lost_scripts(machine),
    )


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


def _read_failing() -> Iterable[CheckResult]:
    """Return the checks of this boot that did not pass."""
    from abctl.host.health_file import read_health  # noqa: PLC0415

    state = read_health()
    return () if state is None else [item for item in state.results if item.verdict is not Verdict.PASSED]


def _warn_of_firewall() -> Iterable[str]:
    """Return what is wrong with the firewall, where one is configured."""
    from abctl.host.firewall_files import has_firewall  # noqa: PLC0415

    if not has_firewall():
        return ()
    from abctl.cli.firewall_standing import warn_of_firewall  # noqa: PLC0415

    return warn_of_firewall()


def _find_lost_scripts(machine: Machine) -> tuple[str, ...] | None:
    """Return which of GRUB's scripts are not there, or are not abctl's; None where that cannot be seen."""
    from abctl.host.scripts import find_lost  # noqa: PLC0415

    try:
        return find_lost(machine.grub_files())
    except AbctlError:
        return None


def _warn_of_space(machine: Machine) -> Iterable[str]:
    """Return what is to be said of the config volume of a disk; on a running host a health check says it."""
    try:
        shortage = say_shortage(machine.config_space()) if machine.config_space else None
    except AbctlError as error:
        return (str(error),)
    return (shortage,) if shortage else ()


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
