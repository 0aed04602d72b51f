"""Gather what the metrics tell, each part by itself: one that is out of reach does not hide the others."""

import logging
from importlib.metadata import version
from pathlib import Path

from abctl.cli.describe_metrics import Facts
from abctl.cli.report import StatusReport
from abctl.cli.standing import report_status
from abctl.cli.wiring import Target, open_machine
from abctl.core.record import Record
from abctl.errors import AbctlError
from abctl.host.config import DEFAULT_FOLDER
from abctl.host.guest_file import read_state
from abctl.host.health_file import read_health

log = logging.getLogger(__name__)


def gather_facts(target: Target, root: Path = Path("/")) -> Facts:
    """Look at the running host, or at a disk, of which only the slot sets can be told."""
    status, record = _read_machine(target)
    if target.disk:
        return Facts(version("abctl"), status, record)
    return Facts(
        program=version("abctl"),
        status=status,
        record=record,
        health=read_health(root),
        guest=read_state(root),
        drift=_read_drift(target.config or DEFAULT_FOLDER, root),
    )


def _read_machine(target: Target) -> tuple[StatusReport | None, Record]:
    try:
        with open_machine(target, write=False) as machine:
            return report_status(machine, target.name), machine.ports.records.read()
    except AbctlError as error:
        log.warning("the slot sets cannot be looked at: %s", error)
        return None, Record()


def _read_drift(config: Path, root: Path) -> bool | None:
    """Return whether the firewall is not as it should be; None where there is none, or no answer."""
    from abctl.cli.firewall_standing import find_standing  # noqa: PLC0415

    try:
        standing = find_standing(config, root=root)
    except AbctlError as error:
        log.warning("the firewall cannot be looked at: %s", error)
        return None
    return None if standing is None else bool(standing.sentences)
