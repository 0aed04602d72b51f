"""Make the report on the guest from what libvirt, the service and the guest's disk say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from abctl.cli.guest_host import LiveGuest, is_watched
from abctl.cli.report import StatusReport
from abctl.cli.report_guest import GuestReport
from abctl.core.clock import format_time
from abctl.core.guest import Domain, Power
from abctl.core.guest_state import GuestState, Phase
from abctl.core.units import KIB
from abctl.errors import AbctlError
from abctl.host.serial_log import SerialLog
from abctl.vm.description import Description
from abctl.vm.domain import digest_of
from abctl.vm.serial import clean_lines

_SAID_LINES, _SAID_BYTES = 10, 4 * KIB


def describe_guest(host: LiveGuest) -> GuestReport:
    """Look at the guest; raise BadGuest where it is not described."""
    description = host.describe()
    state, watched = host.last_state(), is_watched(host.root)
    domain, problem = _find(host, description)
    phase, why = _judge(domain, problem, state, watched=watched)
    runs = domain is not None and domain.is_active
    known = state if state and domain and domain.tag and state.run == domain.tag.run else None
    slots, adopted, slots_problem = _read_slots(host, description, known)
    hold = host.read_hold() if watched else None
    return GuestReport(
        name=description.name,
        uuid=description.uuid,
        cpus=description.cpu.count,
        memory=description.memory.size,
        disk=description.disk.path,
        phase=phase,
        why=why,
        since=format_time(known.since) if known and known.since else None,
        watched=watched,
        held=hold.why if hold else None,
        failed=state.failed if state and watched else 0,
        outdated=bool(runs and domain and domain.tag and domain.tag.digest != digest_of(description)),
        slot_set=known.slot_set if known else None,
        version=known.version if known else None,
        on_trial=bool(known and known.on_trial),
        said=clean_lines(SerialLog(Path(description.serial.log)).tail(_SAID_BYTES), _SAID_LINES),
        adopted=adopted,
        slots=slots,
        slots_problem=slots_problem,
    )


def _find(host: LiveGuest, description: Description) -> tuple[Domain | None, str | None]:
    """Return the domain, and why it is not known whether there is one."""
    try:
        return host.hypervisor.find(description.name, description.uuid), None
    except AbctlError as error:
        return None, str(error)


def _judge(
    domain: Domain | None, problem: str | None, state: GuestState | None, *, watched: bool
) -> tuple[Phase, str]:
    """Return how it stands: libvirt knows whether it runs, the service how it is."""
    if problem is not None:
        return Phase.UNKNOWN, problem
    if domain is None or not domain.is_active:
        return _judge_off(state, watched=watched)
    if domain.tag is None:
        return Phase.UNKNOWN, f"a domain {domain.name} runs that abctl did not make"
    if domain.power is Power.PAUSED:
        return Phase.PAUSED, domain.detail
    if state is not None and state.run == domain.tag.run:
        return state.phase, state.why
    return Phase.STARTING, "nobody listened to what it says"


def _judge_off(state: GuestState | None, *, watched: bool) -> tuple[Phase, str]:
    if watched and state is not None and state.phase in (Phase.HELD, Phase.WAITING, Phase.STARTING):
        return state.phase, state.why
    return Phase.STOPPED, "it does not run"


def _read_slots(
    host: LiveGuest, description: Description, known: GuestState | None
) -> tuple[StatusReport | None, bool | None, str | None]:
    disk = host.disk(description)
    if known is not None:
        disk = replace(disk, target=replace(disk.target, booted=known.slot_set))
    try:
        return disk.report(), disk.is_adopted, None
    except AbctlError as error:
        return None, None, str(error)
