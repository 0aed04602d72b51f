"""What a guest is answered: the older system's answers as that system writes them, and our own.

An answer is ``{"Ok": ...}`` or ``{"Err": "text"}``; one of ours is ``{"Ok": {"abctl-1": {"job": {...}}}}``.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from abctl.agent.jobs import Job, JobState
from abctl.agent.messages import JOB_ID_PATTERN, OURS
from abctl.agent.protocol import MESSAGE_MAX
from abctl.core.bootstate import SlotState, Why
from abctl.core.clock import format_time
from abctl.core.problems import clean_text
from abctl.core.record import Happened
from abctl.core.slot import SlotName

_ERROR_MAX = 1000  # characters

Time = Annotated[str, Field(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAnswer:
    """How a job stands."""

    id: Annotated[str, Field(pattern=JOB_ID_PATTERN)]
    cid: Annotated[int, Field(description="who asked for it; 2 is the host's admin")]
    state: JobState
    wanted: Annotated[str | None, Field(description="a version or a URL; null: the newest that fits")]
    reboot: bool
    version: Annotated[str | None, Field(description="what was installed")]
    sha256: Annotated[str | None, Field(description="of its manifest or archive")]
    asked: Time
    changed: Time
    text: Annotated[str, Field(description="why it ended as it did; empty where that goes without saying")]
    exit_code: Annotated[
        int | None, Field(description="of the upgrade, as in docs/errors.md; null: no failure")
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionAnswer:
    """Which versions things have."""

    hostos: Annotated[str, Field(description="the system that the host runs")]
    abctl: str
    protocol: Annotated[tuple[str, ...], Field(description="the tags of messages that are understood")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSetAnswer:
    """One slot set."""

    version: str | None
    state: SlotState


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialAnswer:
    """The slot set that is booted on approval."""

    slot_set: SlotName
    attempts_left: Annotated[int, Field(description="boots")]


@dataclass(frozen=True, slots=True, kw_only=True)
class NextBootAnswer:
    """What the next power-on boots."""

    slot_set: SlotName
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class BootStateAnswer:
    """What runs, what is on trial, and what comes next."""

    booted: Annotated[SlotName | None, Field(description="null where that is not clear")]
    primary: SlotName
    trial: TrialAnswer | None
    slot_sets: dict[SlotName, SlotSetAnswer]
    next_boot: NextBootAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryAnswer:
    """One thing that happened."""

    at: Time
    what: Happened
    slot_set: SlotName | None
    version: str | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryAnswer:
    """What happened, newest first, as much of it as an answer has room for."""

    entries: tuple[EntryAnswer, ...]
    more: Annotated[int, Field(description="older entries that are left out")]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsAnswer:
    """Jobs, newest first, as many as an answer has room for."""

    jobs: tuple[JobAnswer, ...]
    more: Annotated[int, Field(description="older jobs that are left out")]


OurAnswer = JobAnswer | JobsAnswer | VersionAnswer | BootStateAnswer | HistoryAnswer
ANSWER_TAGS: dict[type[Any], str] = {
    JobAnswer: "job",
    JobsAnswer: "jobs",
    VersionAnswer: "version",
    BootStateAnswer: "boot-state",
    HistoryAnswer: "history",
}


@dataclass(frozen=True, slots=True)
class NoPayload:
    """Done, as the older system says it."""


@dataclass(frozen=True, slots=True)
class HostOsVersion:
    """The answer to GetHostOSVersion."""

    version: str


@dataclass(frozen=True, slots=True)
class ProtocolVersion:
    """The answer to GetVsockProtocol: what the older system's last protocol was."""

    major: int = 1
    minor: int = 0
    patch: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why it was not done."""

    text: str


Answer = OurAnswer | NoPayload | HostOsVersion | ProtocolVersion | Refusal


def encode(answer: Answer) -> bytes:
    """Return an answer as it goes over the wire, of 4096 bytes at most."""
    data = _dump(_body(answer))
    while len(data) > MESSAGE_MAX:
        answer = _shorten(answer)
        data = _dump(_body(answer))
    return data


def _dump(values: Any) -> bytes:
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "replace")  # half a surrogate cannot be sent


def _body(answer: Answer) -> dict[str, Any]:
    match answer:
        case Refusal(text):
            return {"Err": clean_text(text)[:_ERROR_MAX]}
        case NoPayload():
            return {"Ok": "NoPayload"}
        case HostOsVersion(version):
            return {"Ok": {"HostOSVersion": version}}
        case ProtocolVersion():
            return {"Ok": {"HostOSVsockVersion": asdict(answer)}}
        case _:
            return {"Ok": {OURS: {ANSWER_TAGS[type(answer)]: asdict(answer)}}}


def _shorten(answer: Answer) -> Answer:
    """Return an answer that is too long without its oldest part."""
    match answer:
        case JobsAnswer(jobs=[*_, _] as jobs, more=more):
            return replace(answer, jobs=tuple(jobs[:-1]), more=more + 1)
        case HistoryAnswer(entries=[*_, _] as entries, more=more):
            return replace(answer, entries=tuple(entries[:-1]), more=more + 1)
        case JobAnswer(wanted=wanted) if wanted and len(wanted) > _ERROR_MAX // 4:
            return replace(answer, wanted=f"{wanted[: _ERROR_MAX // 5]}...")
    return Refusal("the answer is too long")


def describe_job(job: Job) -> JobAnswer:
    return JobAnswer(
        id=job.id,
        cid=job.cid,
        state=job.state,
        wanted=job.wanted.version or job.wanted.url or None,
        reboot=job.wanted.reboot,
        version=job.version,
        sha256=job.sha256,
        asked=format_time(job.asked),
        changed=format_time(job.changed),
        text=job.text,
        exit_code=job.exit_code,
    )
