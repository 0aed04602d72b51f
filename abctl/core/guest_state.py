"""How the guest stands, as a file that other commands read: ``/run/abctl/guest.json``."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from abctl.core.fields import checked, checked_number
from abctl.core.health import CheckResult, judge
from abctl.core.problems import clean_text
from abctl.core.slot import SlotName
from abctl.core.units import KIB, Seconds

PATH = "run/abctl/guest.json"
SIZE_MAX = 16 * KIB
TEXT_MAX = 400  # characters
SILENT_AFTER = 90.0  # seconds without a word, after which nobody watches the guest any more


class Phase(StrEnum):
    """Where the guest stands."""

    STARTING = "starting"  # it runs, and has not said yet how it is
    READY = "ready"  # it said that it is healthy
    NOT_READY = "not_ready"  # it runs, and said that it is not healthy, or nothing in time
    PAUSED = "paused"  # it stands still
    STOPPING = "stopping"
    WAITING = "waiting"  # it does not run, and is started again soon
    HELD = "held"  # it does not run, because an admin or an upgrade wants it so
    STOPPED = "stopped"  # it does not run, and nobody watches
    UNKNOWN = "unknown"  # libvirt does not answer


@dataclass(frozen=True, slots=True)
class Hold:
    """That somebody wants the guest stopped, and why; ``mark`` tells two wishes in the same words apart."""

    why: str
    mark: int


@dataclass(frozen=True, slots=True)
class GuestState:
    """How the guest stands; ``why`` is a sentence for people, in one clean line.

    ``at`` is by the host's clock, ``beat`` in seconds since its boot: when the watcher last looked. ``run``
    names the start that is meant. ``failed`` are the starts in a row that came to nothing.
    ``slot_set`` is what the guest's GRUB booted, None where that is not known; ``generation`` is that of its
    boot environment then.
    """

    at: Seconds
    beat: float
    phase: Phase
    why: str
    run: str | None = None
    since: Seconds | None = None
    failed: int = 0
    slot_set: SlotName | None = None
    version: str | None = None
    on_trial: bool = False
    generation: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "why", clean_text(" ".join(self.why.split()))[:TEXT_MAX])


def encode(state: GuestState) -> bytes:
    return json.dumps(asdict(state), indent=1).encode() + b"\n"


def decode(data: bytes) -> GuestState | None:
    """Return the state, or None where it is damaged; what a newer abctl adds is left out."""
    try:
        values = json.loads(data)
        slot_set, since = values["slot_set"], values["since"]
        return GuestState(
            at=Seconds(checked(values["at"], int)),
            beat=float(checked(values["beat"], int, float)),
            phase=Phase(values["phase"]),
            why=checked(values["why"], str),
            run=_text(values["run"]),
            since=None if since is None else Seconds(checked(since, int)),
            failed=checked(values["failed"], int),
            slot_set=None if slot_set is None else SlotName(slot_set),
            version=_text(values["version"]),
            on_trial=checked(values["on_trial"], bool),
            generation=_number(values["generation"]),
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _number(value: Any) -> int | None:
    return None if value is None else checked_number(value)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = checked(value, str)
    if not text.isprintable() or len(text) > TEXT_MAX:
        raise ValueError("cannot be shown")
    return str(text)


def judge_guest(state: GuestState | None, *, since_boot: float) -> CheckResult:
    """Return the health check ``guest-ready``: whether the guest reports that it is healthy."""
    if state is None:
        return _judge("nothing watches over the guest: see 'systemctl status abctl-guest'")
    age = since_boot - state.beat
    if state.phase is Phase.STOPPED or age > SILENT_AFTER:
        silent = f"nothing has watched over the guest for {age:.0f} s"
        return _judge(f"{silent}: see 'systemctl status abctl-guest'")
    match state.phase:
        case Phase.READY:
            runs = f", in slot set {state.slot_set}" if state.slot_set else ""
            return _judge(None, f"the guest reports that it is healthy{runs}")
        case Phase.HELD:
            return _judge(None, f"the guest does not run: {state.why}")
        case _:
            return _judge(f"the guest is not healthy: {state.why}")


def _judge(problem: str | None, said: str = "") -> CheckResult:
    return judge("guest-ready", problem, required=True, said=said)
