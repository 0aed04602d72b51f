"""How a machine stands: what ``abctl status`` reports, and what is told to who logs in."""

import logging
from collections.abc import Iterable

from abctl.cli.describe import describe_status
from abctl.cli.describe_evidence import find_last_trial
from abctl.cli.motd import make_motd
from abctl.cli.report import StatusReport
from abctl.cli.sentences import warn_of_releases
from abctl.cli.wiring import Machine
from abctl.core.evidence import Evidence
from abctl.core.health import CheckResult, Verdict
from abctl.errors import AbctlError
from abctl.update.operate import observe
from abctl.update.witness import gather

log = logging.getLogger(__name__)


def report_status(machine: Machine, disk: str | None = None) -> StatusReport:
    """Look at a machine and return how it stands; ``disk`` is None for the running host."""
    ports = machine.ports
    observed = observe(ports)
    evidence = ports.evidence.read() if ports.evidence else Evidence()
    return describe_status(
        observed.host,
        observed.reading,
        ports.grub.read(),
        layout=machine.layout.name,
        disk=disk,
        warnings=warn_of_releases(observed.host, machine.trust.read()),
        last_trial=find_last_trial(observed.host, evidence, gather(ports, observed.host)),
        health=() if disk else _read_failing(),
    )


def _read_failing() -> Iterable[CheckResult]:
    """Return the checks of this boot that did not pass."""
    from abctl.host.health_file import read_health  # noqa: PLC0415

    state = read_health()
    return () if state is None else [item for item in state.results if item.verdict is not Verdict.PASSED]


def refresh_motd(machine: Machine) -> None:
    """Tell who logs in to the running host what is wrong, or nothing where all is right; never raises."""
    from abctl.host.motd import write_motd  # noqa: PLC0415

    try:
        write_motd(make_motd(report_status(machine)))
    except AbctlError as error:
        log.warning("the login message could not be written: %s", error)
