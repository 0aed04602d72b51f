"""The forms of requests and answers, made from the tables of ``abctl.agent`` for schemas/ and for tests."""

import functools
import operator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model

from abctl.agent.answers import ANSWER_TAGS, ProtocolVersion
from abctl.agent.jobs import Job, JobState, Wanted
from abctl.agent.messages import OLDER_FORMS, OLDER_WORDS, OUR_FORMS, OUR_WORDS, OURS
from abctl.agent.protocol import MESSAGE_MAX
from abctl.cli.agent_jobs import JobsReport, describe_job
from abctl.core.units import Seconds, Version

_STRICT = ConfigDict(extra="forbid", strict=True)


def make_request_form() -> type[BaseModel]:
    """Return the form of a request."""
    ours = _tagged("OurMessage", OURS, _any_of(_word(OUR_WORDS), *_forms("Our", OUR_FORMS)))
    message = _any_of(_word(OLDER_WORDS), *_forms("Older", OLDER_FORMS), ours)
    return create_model(
        "AgentRequest",
        __config__=_STRICT,
        __doc__=f"What a guest sends on a connection of its own, in {MESSAGE_MAX} bytes at most.",
        sender_cid=(int, Field(ge=0, lt=2**32, description="the CID of the guest itself")),
        message=(message, ...),
    )


def make_answer_form() -> type[BaseModel]:
    """Return the form of an answer."""
    ours = [_tagged(f"{kind.__name__}Tagged", tag, kind) for kind, tag in ANSWER_TAGS.items()]
    done = _any_of(
        Literal["NoPayload"],
        _tagged("HostOsVersion", "HostOSVersion", str),
        _tagged("HostOsVsockVersion", "HostOSVsockVersion", ProtocolVersion),
        _tagged("OurAnswer", OURS, _any_of(*ours)),
    )
    either = _any_of(_tagged("Done", "Ok", done), _tagged("Refused", "Err", str))
    form: Any = RootModel.__class_getitem__(either)
    return create_model(
        "AgentAnswer",
        __base__=form,
        __doc__=(
            f"What the agent answers, in {MESSAGE_MAX} bytes at most: Ok, or Err with the reason. Of "
            "progress these are lines, with those of abctl upgrade --progress json between them."
        ),
    )


def _any_of(*kinds: Any) -> Any:
    return functools.reduce(operator.or_, kinds)


def _word(words: dict[str, Any]) -> Any:
    return Literal[tuple(words)]


def _forms(kind: str, forms: dict[str, Any]) -> list[Any]:
    return [_tagged(f"{kind}{form.__name__}", tag, form) for tag, form in forms.items()]


def _tagged(name: str, tag: str, kind: Any) -> Any:
    """Return the form of an object with one field, whose name says what it is."""
    fields: Any = {"value": (kind, Field(alias=tag))}
    return create_model(name, __config__=_STRICT, **fields)


REQUEST, ANSWER = make_request_form(), make_answer_form()
REQUEST.model_config["title"] = "abctl agent request"
ANSWER.model_config["title"] = "abctl agent answer"


def list_jobs_report() -> JobsReport:
    """Return a list of jobs with one of each state, as abctl agent jobs prints it."""
    first = Job("0" * 16, 3, Seconds(1_800_000_000), Seconds(1_800_000_060), Wanted(Version("2.0.0")))
    jobs = [first.become(state, first.changed, "why it is so", 23) for state in JobState]
    return JobsReport(disk=None, jobs=tuple(describe_job(job) for job in jobs))
