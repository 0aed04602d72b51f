"""What the health service last found, as a file that other commands read: ``/run/abctl/health.json``."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from abctl.core.fields import checked
from abctl.core.health import CheckResult, Verdict
from abctl.core.slot import SlotName
from abctl.core.units import KIB, Seconds

PATH = "run/abctl/health.json"
SIZE_MAX = 256 * KIB
_CHECKS_MAX = 1000


class Stand(StrEnum):
    """Where the health service stands."""

    WATCHING = "watching"  # it goes on checking
    CONFIRMED = "confirmed"  # the trial is over, and its slot set is the primary
    GAVE_UP = "gave_up"  # the trial did not get healthy in time: the host reboots
    STAYED_UP = "stayed_up"  # it did not either, but the other slot set is no better
    CHECKED = "checked"  # there was no trial; this is how the boot went


@dataclass(frozen=True, slots=True)
class HealthState:
    """The last round of checks; ``at`` by the host's clock, ``why`` a sentence for people."""

    at: Seconds
    slot_set: SlotName | None
    on_trial: bool
    stand: Stand
    why: str
    results: tuple[CheckResult, ...]

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The required checks that failed."""
        return tuple(result for result in self.results if result.is_failure)


def encode(state: HealthState) -> bytes:
    return json.dumps(asdict(state), indent=1).encode() + b"\n"


def decode(data: bytes) -> HealthState | None:
    """Return the state, or None where it is damaged; what a newer abctl adds is left out."""
    try:
        values = json.loads(data)
        slot_set = values["slot_set"]
        return HealthState(
            at=Seconds(checked(values["at"], int)),
            slot_set=None if slot_set is None else SlotName(slot_set),
            on_trial=checked(values["on_trial"], bool),
            stand=Stand(values["stand"]),
            why=checked(values["why"], str),
            results=tuple(_parse_result(item) for item in values["results"][:_CHECKS_MAX]),
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _parse_result(values: Any) -> CheckResult:
    return CheckResult(
        name=checked(values["name"], str),
        required=checked(values["required"], bool),
        verdict=Verdict(values["verdict"]),
        text=checked(values["text"], str),
        took=float(checked(values["took"], int, float)),
    )
