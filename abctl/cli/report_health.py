"""What ``abctl health`` reports. Forms as in ``report``."""

from dataclasses import dataclass
from typing import Annotated

from abctl.cli.report import HealthCheckReport, Note, Report, Time
from abctl.core.health_state import Stand
from abctl.core.slot import SlotName


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckDoneReport(HealthCheckReport):
    """How one health check went, and what it printed."""

    output: Annotated[tuple[str, ...], Note("the last lines that a program printed")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReport(Report):
    """Where the health service stands, that runs at each boot."""

    at: Time
    stand: Stand
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport(Report):
    """abctl health: each check, run once."""

    healthy: Annotated[bool, Note("all required checks passed")]
    slot_set: Annotated[SlotName | None, Note("that runs; null where that is not clear")]
    on_trial: bool
    checks: tuple[CheckDoneReport, ...]
    service: Annotated[ServiceReport | None, Note("null where it has left no word in this boot")]
