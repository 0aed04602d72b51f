"""What guests send to the agent, and the list of jobs on the config volume."""

import json

from hypothesis import strategies as st

from abctl.agent import jobs
from abctl.agent.answers import Refusal, describe_job, encode
from abctl.agent.jobs import Job, Jobs, JobState, Wanted
from abctl.agent.messages import Notify
from abctl.agent.notices import plan_notice
from abctl.agent.policy import Gate
from abctl.agent.protocol import MESSAGE_MAX, Bad, Decoder, NeedMore, Request, parse_request
from abctl.core.agent_rules import AgentRules
from abctl.core.jobs_file import FORM
from abctl.core.units import Digest, Seconds, Version
from abctl.errors import AgentRefused
from tests.fuzz.disks import seal_half
from tests.fuzz.edits import changed_json
from tests.fuzz.target import Target

_SHA256 = "4f" * 32
_MESSAGES: list[object] = [
    "attach-hsm",
    "GetHostOSVersion",
    {"upgrade": {"url": "https://x.example/update-img.tar.zst", "target-hash": _SHA256}},
    {"notify": {"count": 2, "message": "hello \u20ac"}},
    {"set-node-id": {"node-id": "4wd4u"}},
    {"abctl-1": "boot-state"},
    {"abctl-1": {"upgrade": {"version": "2.0.0", "reboot": False, "key": "k"}}},
    {"abctl-1": {"status": {"job": "0123456789abcdef"}}},
    {"abctl-1": {"history": {"last": 3}}},
]
_GATE = Gate(AgentRules())


def _requests() -> list[bytes]:
    return [json.dumps({"sender_cid": 3, "message": message}).encode() for message in _MESSAGES]


@st.composite
def _made(draw: st.DrawFn) -> bytes:
    return draw(changed_json(draw(st.sampled_from(_requests()))))


def _check_request(data: bytes) -> None:
    """In pieces it is the same as at once; what it is or says can be judged, shown and answered."""
    decoder, found = Decoder(), None
    for place in range(0, len(data), 7):
        step = decoder.feed(data[place : place + 7])
        if not isinstance(step, NeedMore):
            found = step
            break
    at_once = Decoder().feed(data)
    if isinstance(at_once, Request):
        assert found == at_once
        assert len(data.strip()) <= MESSAGE_MAX
        said = _GATE.judge(3, at_once.sender_cid, at_once.message) or "let in"
        assert said.isprintable()
        if isinstance(at_once.message, Notify):
            lines = plan_notice(3, at_once.message.count, at_once.message.message)
            assert len(lines) <= 10
            assert all(line.isprintable() for line in lines[:1])
    elif isinstance(at_once, Bad):
        assert at_once.why.isprintable()
        assert len(encode(Refusal(at_once.why))) <= MESSAGE_MAX
    assert isinstance(parse_request(data), Request | Bad)
    if isinstance(at_once, Bad):
        raise AgentRefused(at_once.why)


def _lists() -> list[bytes]:
    wanted = Wanted(Version("2.0.0"), url="https://x.example/i", sha256=Digest(_SHA256))
    job = Job("0123456789abcdef", 3, Seconds(1), Seconds(2), wanted, "key", version=Version("2.0.0"))
    older = Jobs((job,), 3)
    newer = Jobs((job, job.become(JobState.FAILED, Seconds(3), "no room", 23)), 4)
    return [jobs.encode_half(newer) + jobs.encode_half(older), jobs.encode_half(newer)]


def _seal(data: bytes) -> bytes:
    return seal_half(data, FORM.half_size)


@st.composite
def _made_list(draw: st.DrawFn) -> bytes:
    """A list of the right digest with values of other types."""
    head, _, body = _lists()[0][: FORM.half_size].rstrip().partition(b"\n")
    return _seal(head + b"\n" + draw(changed_json(body)))


def _check_list(data: bytes) -> None:
    known = jobs.decode(data[: FORM.file_size])
    half = jobs.encode_half(known)
    assert len(half) == FORM.half_size
    assert jobs.decode(half) == known
    for job in known.jobs:
        assert len(encode(describe_job(job))) <= MESSAGE_MAX


TARGETS = (
    Target("agent-request", _requests, _check_request, _made()),
    Target("agent-jobs", _lists, _check_list, _made_list(), _seal, cost=2),
)
