"""What the commands report: the form of every ``--json`` output. ``describe...`` fill it in.

Sizes and offsets are in bytes, times are RFC 3339 in UTC, and every field is always there: what is
not known or does not apply is null. ``schemas/`` is made from these classes, by pydantic; a command
that prints a report does without it, since it takes long to load.
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Any

from abctl.core.bootenv import MAX_ATTEMPTS, UNSETTLED_MAX, Origin, Outcome, SlotState, Why
from abctl.core.evidence import Stage
from abctl.core.health import Verdict as CheckVerdict
from abctl.core.record import Happened
from abctl.core.slot import SlotName


@dataclass(frozen=True, slots=True)
class Note:
    """What the schema says about a field beyond its type."""

    text: str = ""
    minimum: int | None = None
    maximum: int | None = None
    pattern: str | None = None
    format: str | None = None
    required: tuple[str, ...] | None = None

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        values = {**asdict(self), "description": self.text or None}
        del values["text"]
        return {**handler(schema), **{key: value for key, value in values.items() if value is not None}}


Time = Annotated[
    str,
    Note(
        "RFC 3339, UTC",
        pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
        format="date-time",
    ),
]
Size = Annotated[int, Note("bytes", minimum=0)]
Digest = Annotated[str, Note("SHA-256 in lower-case hex", pattern="^[0-9a-f]{64}$")]
Attempts = Annotated[int, Note("boots", minimum=0, maximum=MAX_ATTEMPTS)]
Disk = Annotated[str | None, Note("the disk image or device; null for the running host")]


@dataclass(frozen=True, slots=True)
class Report:
    """What all reports and their parts share."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)


# --- status -----------------------------------------------------------------------------------------


class Verdict(StrEnum):
    """How a host is, in one word."""

    OK = "ok"  # the primary is good, and nothing needs an admin
    TRIAL = "trial"  # an upgrade waits to be booted or confirmed
    ATTENTION = "attention"  # the host runs as it should, but an admin is wanted
    DEGRADED = "degraded"  # the host boots what it should not, or may not boot next time


class SlotSetRole(StrEnum):
    """What a slot set is at the moment."""

    BOOTED = "booted"
    PRIMARY = "primary"
    TRIAL = "trial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice(Report):
    """Something an admin should do, or may."""

    sentence: str
    command: Annotated[str | None, Note("exactly what to type; null where no command does it")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReport(Report):
    """The slot set that is booted on approval."""

    slot_set: SlotName
    version: str | None
    attempts_left: Attempts
    attempts_max: Attempts
    ended: Annotated[str | None, Note("why the trial is over, where that is not recorded yet")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSetReport(Report):
    """One slot set."""

    version: str | None
    state: SlotState
    why: Annotated[str, Note("the reason for its state")]
    roles: tuple[SlotSetRole, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NextBootReport(Report):
    """What GRUB will do at the next power-on."""

    slot_set: SlotName
    second: Annotated[
        SlotName | None,
        Note("booted if slot_set has no kernel; null: no way out"),
    ]
    why: Why
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LastUpgradeReport(Report):
    """What the last upgrade came to."""

    outcome: Outcome
    version: str | None
    slot_set: SlotName | None
    when: Time | None
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalReport(Report):
    """A version that is not installed again until an admin allows it."""

    version: str
    reason: str
    at: Annotated[Time | None, Note("null where only the slot set's state says so")]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheckReport(Report):
    """How one health check went."""

    name: str
    required: Annotated[bool, Note("a required one decides, a wanted one only warns")]
    verdict: CheckVerdict
    text: str
    took: Annotated[float, Note("seconds", minimum=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialBootReport(Report):
    """One boot of a trial."""

    number: Annotated[int, Note("1 is the first", minimum=1, maximum=MAX_ATTEMPTS)]
    stage: Annotated[Stage, Note("how far it got; grub: it left no mark")]
    at: Annotated[Time | None, Note("when it was noted last; null where nothing of it had a clock")]
    sentence: str
    checks: tuple[HealthCheckReport, ...]
    tail: Annotated[tuple[str, ...], Note("the last lines of its log; status gives a few, evidence all")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStoryReport(Report):
    """What is kept of a trial: how far each of its boots got."""

    slot_set: SlotName
    version: str | None
    at: Annotated[Time | None, Note("when it was noted last")]
    sentence: Annotated[str, Note("what is known of its end, in one line")]
    boots: tuple[TrialBootReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BootEnvReport(Report):
    """How the boot environment was found on the grub partition."""

    origin: Annotated[Origin, Note("the copy in use: 1, 2, both, the older system's, or none")]
    generation: Annotated[int | None, Note("null where it is lost", minimum=0)]
    unsettled: Annotated[
        int | None,
        Note("boots since the primary last came up; null: not counted", minimum=0, maximum=2 * UNSETTLED_MAX),
    ]
    in_step: Annotated[bool, Note("true when all copies say the same")]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport(Report):
    """abctl status: how a host or disk stands, and what comes next."""

    disk: Disk
    layout: str
    verdict: Verdict
    headline: str
    booted: Annotated[SlotName | None, Note("null where nothing runs, or it is mixed")]
    booted_why: Annotated[Why | None, Note("why GRUB booted it")]
    mixed: Annotated[str | None, Note("how kernel, root and /boot disagree about what runs")]
    primary: SlotName
    trial: TrialReport | None
    slot_sets: Annotated[dict[SlotName, SlotSetReport], Note(required=("A", "B"))]
    next_boot: NextBootReport
    last_upgrade: LastUpgradeReport | None
    last_trial: Annotated[
        TrialStoryReport | None, Note("the boots of a trial that is on or was not kept; null: there is none")
    ]
    health: Annotated[
        tuple[HealthCheckReport, ...], Note("the checks of this boot that did not pass; of the running host")
    ]
    refused: tuple[RefusalReport, ...]
    boot_env: BootEnvReport
    damage: Annotated[tuple[str, ...], Note("a sentence for each damaged copy of the boot environment")]
    warnings: tuple[str, ...]
    advice: Annotated[tuple[Advice, ...], Note("the most important first")]


# --- history and rehearse ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryReport(Report):
    """One thing that happened."""

    at: Time
    what: Happened
    slot_set: SlotName | None
    version: str | None
    sha256: Digest | None
    text: str
    written: Annotated[int | None, Note("bytes", minimum=0)]
    took: Annotated[float | None, Note("seconds", minimum=0)]
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryReport(Report):
    """abctl history: the record on the config volume, oldest first."""

    disk: Disk
    entries: tuple[EntryReport, ...]
    refused: tuple[RefusalReport, ...]
    installs: Annotated[int, Note("installations that reached the disk whole", minimum=0)]
    written: Annotated[int, Note("bytes written by them", minimum=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class BootReport(Report):
    """One power-on of a rehearsal."""

    number: Annotated[int, Note(minimum=1)]
    chosen: Annotated[SlotName, Note("GRUB's first choice")]
    booted: Annotated[SlotName | None, Note("whose kernel it started; null where none could be")]
    second: SlotName | None
    why: Why
    attempts_left: Annotated[Attempts | None, Note("boots left to the trial after this one")]
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearseReport(Report):
    """abctl rehearse: what GRUB's own interpreter does with a copy of the boot environment."""

    disk: Disk
    boots: tuple[BootReport, ...]
    settles_on: Annotated[SlotName | None, Note("what every later boot starts; null: not known")]
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceReport(Report):
    """abctl evidence: what is kept of the last trials, oldest first."""

    disk: Disk
    trials: tuple[TrialStoryReport, ...]
