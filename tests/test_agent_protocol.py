"""The wire protocol: what the older system's client sends, what ours sends, and what nobody should."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from abctl.agent import answers
from abctl.agent.answers import HistoryAnswer, JobsAnswer, NoPayload, ProtocolVersion, Refusal, encode
from abctl.agent.desk import describe_history
from abctl.agent.jobs import Job, Wanted
from abctl.agent.messages import (
    AskBootState,
    AskHistory,
    AskProgress,
    AttachHsm,
    DetachHsm,
    GetHostOsVersion,
    GetVsockProtocol,
    Message,
    Notify,
    SetNodeId,
    StartUpgrade,
    UpgradeFromUrl,
)
from abctl.agent.protocol import MESSAGE_MAX, Bad, Decoder, NeedMore, Request, parse_request
from abctl.core.record import Entry, Happened, Record
from abctl.core.slot import SlotName
from abctl.core.units import Seconds, Version
from tests.agent_forms import REQUEST

SHA256 = "4f" * 32
# As the older system's client writes them.
RECORDED: list[tuple[bytes, Message]] = [
    (b'{"sender_cid":3,"message":"attach-hsm"}', AttachHsm()),
    (b'{"sender_cid":3,"message":"detach-hsm"}', DetachHsm()),
    (
        b'{"sender_cid":3,"message":{"upgrade":{"url":"https://dl.example/update-img.tar.zst",'
        b'"target-hash":"' + SHA256.encode() + b'"}}}',
        UpgradeFromUrl.model_validate(
            {"url": "https://dl.example/update-img.tar.zst", "target-hash": SHA256}
        ),
    ),
    (
        b'{"sender_cid":3,"message":{"notify":{"count":1,"message":"hello \\"host\\""}}}',
        Notify(count=1, message='hello "host"'),
    ),
    (b'{"sender_cid":3,"message":"GetVsockProtocol"}', GetVsockProtocol()),
    (b'{"sender_cid":3,"message":"GetHostOSVersion"}', GetHostOsVersion()),
    (
        b'{"sender_cid":3,"message":{"set-node-id":{"node-id":"4wd4u-xnkrd"}}}',
        SetNodeId.model_validate({"node-id": "4wd4u-xnkrd"}),
    ),
]
OURS: list[tuple[bytes, Message]] = [
    (
        b'{"sender_cid":3,"message":{"abctl-1":{"upgrade":{"version":"2.0.0","reboot":false,"key":"k-1"}}}}',
        StartUpgrade(version="2.0.0", reboot=False, key="k-1"),
    ),
    (b'{"sender_cid":3,"message":{"abctl-1":{"upgrade":{}}}}', StartUpgrade()),
    (b'{"sender_cid":3,"message":{"abctl-1":"boot-state"}}', AskBootState()),
    (b'{"sender_cid":3,"message":{"abctl-1":{"history":{"last":5}}}}', AskHistory(last=5)),
    (
        b'{"sender_cid":3,"message":{"abctl-1":{"progress":{"job":"0123456789abcdef"}}}}',
        AskProgress(job="0123456789abcdef"),
    ),
]
ALL = RECORDED + OURS


def decode(*pieces: bytes) -> Request | NeedMore | Bad:
    """Return what comes of the pieces; none after the one that decides is looked at."""
    decoder = Decoder()
    found: Request | NeedMore | Bad = NeedMore()
    for piece in pieces:
        found = decoder.feed(piece)
        if not isinstance(found, NeedMore):
            break
    return found


def request(message: Any, cid: Any = 3) -> bytes:
    return json.dumps({"sender_cid": cid, "message": message}).encode()


# --- what is understood -----------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "message"), ALL)
def test_what_a_client_sends_is_understood(data: bytes, message: Message) -> None:
    assert decode(data) == Request(3, message)


@pytest.mark.parametrize(("data", "message"), ALL)
def test_a_request_may_come_byte_by_byte(data: bytes, message: Message) -> None:
    assert decode(*(bytes([byte]) for byte in data)) == Request(3, message)


@given(st.sampled_from(ALL), st.lists(st.integers(0, 300)))
def test_a_request_may_come_in_any_pieces(case: tuple[bytes, Message], cuts: list[int]) -> None:
    data, message = case
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    assert decode(*pieces) == Request(3, message)


def test_it_is_whole_before_the_connection_ends_and_may_have_a_newline() -> None:
    data = RECORDED[0][0]
    assert isinstance(decode(data[:-1]), NeedMore)
    assert isinstance(decode(data), Request)
    assert isinstance(decode(b" \r\n" + data + b"\n"), Request)


@pytest.mark.parametrize("text", ['"', "}", "{[", '"}', "\\", '\\"}', "\\\\}", '{"a":"'])
def test_brackets_and_quotes_in_a_text_are_text(text: str) -> None:
    data = request({"notify": {"count": 1, "message": text}})
    assert decode(*(bytes([byte]) for byte in data)) == Request(3, Notify(count=1, message=text))


def test_as_much_as_the_protocol_allows_is_taken_and_one_byte_more_is_not() -> None:
    empty = len(request({"notify": {"count": 1, "message": ""}}))
    full = request({"notify": {"count": 1, "message": "x" * (MESSAGE_MAX - empty)}})
    assert len(full) == MESSAGE_MAX
    assert isinstance(decode(full), Request)
    assert decode(full.replace(b"x", b"xx", 1)) == Bad(
        "unable to parse: the request has more than 4096 bytes"
    )


# --- what is not ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "no JSON object"),
        (b'"attach-hsm"', "no JSON object"),
        (b"\xef\xbb\xbf{}", "no JSON object"),
        (b"{}", "the fields sender_cid and message"),
        (request("attach-hsm")[:-1] + b',"more":1}', "and no others"),
        (b'{"sender_cid":3,"sender_cid":4,"message":"attach-hsm"}', "given twice"),
        (b'{"sender_cid":3,"message":{"notify":{"count":1,"count":2,"message":""}}}', "given twice"),
        (request("attach-hsm") + request("detach-hsm"), "something follows the request"),
        (request("attach-hsm", cid="3"), "sender_cid is not a CID"),
        (request("attach-hsm", cid=True), "sender_cid is not a CID"),
        (request("attach-hsm", cid=3.0), "sender_cid is not a CID"),
        (request("attach-hsm", cid=-1), "sender_cid is not a CID"),
        (request("attach-hsm", cid=2**32), "sender_cid is not a CID"),
        (b'{"sender_cid":' + b"9" * 1000 + b',"message":"attach-hsm"}', "more than 20 digits"),
        (b'{"sender_cid":NaN,"message":"attach-hsm"}', "NaN is not JSON"),
        (b'{"sender_cid":3,"message":"attach\xffhsm"}', "not UTF-8 at byte 33"),
        (b'{"sender_cid":3,"message":"a]"]', "not JSON"),
        (b'{"sender_cid":3,"message":' + b"[" * 2000, "nested more than 8"),
        (request("reboot"), "unknown message 'reboot'"),
        (request("upgrade"), "the message upgrade has fields"),
        (request("notify\x1b[2J\u202e"), r"unknown message 'notify\x1b[2J\u202e'"),
        (request({"attach-hsm": None}), "unknown message 'attach-hsm'"),
        (request({"notify": {}, "upgrade": {}}), "one field that is its name"),
        (request(["attach-hsm"]), "one field that is its name"),
        (request({"notify": {"count": "1", "message": "x"}}), "count"),
        (request({"notify": {"count": 1}}), "message"),
        (request({"notify": {"count": 1, "message": "\ud800"}}), "half a character"),
        (request({"notify": {"count": -1, "message": "x"}}), "count"),
        (request({"notify": {"count": 1, "message": "x", "loud": 1}}), "loud"),
        (request({"upgrade": {"url": "file:///etc/shadow", "target-hash": SHA256}}), "http"),
        (request({"upgrade": {"url": "https://", "target-hash": SHA256}}), "http"),
        (request({"upgrade": {"url": "https://x/ --evil", "target-hash": SHA256}}), "http"),
        (request({"upgrade": {"url": "https://x/", "target-hash": "4f"}}), "target-hash"),
        (request({"set-node-id": {"node-id": "x" * 200}}), "node-id"),
        (request({"abctl-1": "attach-hsm"}), "unknown message"),
        (request({"abctl-2": "version"}), "unknown message 'abctl-2'"),
        (request({"abctl-1": {"status": {"job": "../../etc"}}}), "job"),
        (request({"abctl-1": {"upgrade": {"version": "../2.0.0"}}}), "version"),
        (request({"abctl-1": {"upgrade": {"version": "2.0.0\n"}}}), "version"),
        (request({"abctl-1": {"history": {"last": 10**6}}}), "last"),
    ],
)
def test_what_is_no_request_is_refused_with_the_reason(data: bytes, why: str) -> None:
    slowly = [bytes([byte]) for byte in data]
    # What comes after a whole request is seen only where it comes with it.
    for pieces in [[data]] if "follows" in why else [[data], slowly]:
        found = decode(*pieces)
        assert isinstance(found, Bad)
        assert found.why.startswith("unable to parse: ")
        assert found.why.isprintable()
        assert why in found.why


def test_a_request_that_ends_in_its_middle_is_refused() -> None:
    decoder = Decoder()
    decoder.feed(b'{"sender_cid":3')
    assert decoder.end().why == "unable to parse: the request ends in its middle"


@given(st.binary(max_size=300))
def test_whatever_comes_is_a_request_or_a_reason(data: bytes) -> None:
    found = decode(data, b"")
    if isinstance(found, Bad):
        assert found.why.isprintable()
        assert len(encode(Refusal(found.why))) <= MESSAGE_MAX


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.text(max_size=12) | st.just("4f" * 32),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=4,
)
_FORM = TypeAdapter(REQUEST)


@given(st.sampled_from(ALL), st.data())
def test_the_schema_and_the_decoder_agree(case: tuple[bytes, Message], data: st.DataObject) -> None:
    values = json.loads(case[0])
    place = values
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(_json)
    text = json.dumps(values).encode()
    try:
        _FORM.validate_python(json.loads(text))
        is_allowed = True
    except ValueError:
        is_allowed = False
    assert isinstance(parse_request(text), Request) == is_allowed


# --- answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "data"),
    [
        (NoPayload(), b'{"Ok":"NoPayload"}'),
        (answers.HostOsVersion("2.0.0"), b'{"Ok":{"HostOSVersion":"2.0.0"}}'),
        (ProtocolVersion(), b'{"Ok":{"HostOSVsockVersion":{"major":1,"minor":0,"patch":0}}}'),
        (Refusal("Could not read hostOS version"), b'{"Err":"Could not read hostOS version"}'),
        (Refusal("a\x1b[2Jb\n\u202e\ud800"), b'{"Err":"a?[2Jb???"}'),
    ],
)
def test_an_answer_is_as_the_older_system_writes_it(answer: answers.Answer, data: bytes) -> None:
    assert encode(answer) == data


def test_an_answer_that_is_too_long_leaves_out_what_is_oldest() -> None:
    entries = tuple(
        Entry(Seconds(number), Happened.FELL_BACK, SlotName.B, Version("2.0.0"), text="why " * 50)
        for number in range(100)
    )
    data = encode(describe_history(Record(entries=entries), 50))
    assert len(data) <= MESSAGE_MAX
    said = json.loads(data)["Ok"]["abctl-1"]["history"]
    assert said["entries"][0]["at"] == "1970-01-01T00:01:39Z"
    assert len(said["entries"]) + said["more"] == 100


def test_a_list_of_jobs_is_cut_too_and_one_job_always_fits() -> None:
    wanted = Wanted(url="https://x.example/" + "y" * 2000)
    job = answers.describe_job(Job("0" * 16, 3, Seconds(1), Seconds(1), wanted, text="\u20ac" * 400))
    said = json.loads(encode(JobsAnswer(jobs=(job,) * 32, more=0)))["Ok"]["abctl-1"]["jobs"]
    assert len(said["jobs"]) + said["more"] == 32
    assert json.loads(encode(job))["Ok"]["abctl-1"]["job"]["id"] == "0" * 16


def test_a_history_of_nothing_is_an_answer() -> None:
    assert describe_history(Record(), 10) == HistoryAnswer(entries=(), more=0)
