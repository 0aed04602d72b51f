"""What decides which release a host believes and takes, and what confined processes say."""

import json
import socket
import struct
from typing import Any

from hypothesis import strategies as st

from abctl.core.config import parse_config
from abctl.core.terms import (
    FIELD,
    Policy,
    Recall,
    Rollout,
    Terms,
    Wave,
    parse_issued,
    parse_policy,
    parse_terms,
)
from abctl.core.trust_state import FORM, TrustState, decode, encode_half
from abctl.core.units import MIB, Seconds, Version
from abctl.errors import BadConfig, BadMetadata, SourceProblem
from abctl.host.frames import Gone, Incoming, Kind, Outgoing, Peer, make_pair
from tests.fuzz.disks import seal_half
from tests.fuzz.edits import changed_json
from tests.fuzz.target import Target

# --- configuration ----------------------------------------------------------------------------------

_CONFIG = b"""[repository]
mirrors = ["https://releases.example/hostos/", "https://mirror.example:8443/hostos/"]
root = "root.json"
ca_file = "ca.pem"
proxy = "http://proxy:3128"
[unsigned]
allow = "admin"
[rollout]
host_id = "rack7-host12"
place = 0.25
"""
# Each was let through once as something that is no sentence.
_NESTED = b"a = " + b"[" * 2000
_LONG_NAME = b"a" * 3000 + b" = 1\n"


def _check_config(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise BadConfig("not UTF-8") from error
    config = parse_config(text, "config.toml")
    assert all(mirror.isprintable() for mirror in config.repository.mirrors)


# --- what is signed ---------------------------------------------------------------------------------

_PATH = "2.0.0/manifest.json"


def _signed() -> bytes:
    waves = (Wave(after=0, share=0.01), Wave(after=86400, share=1.0))
    rollout = Rollout(start=Seconds(1_700_000_000), waves=waves)
    terms = Terms(
        version=Version("2.0.0"),
        layouts=("hostos",),
        published=Seconds(1_700_000_000),
        download=10,
        rollout=rollout,
    )
    recall = Recall(version=Version("1.5.0"), reason="loses packets", at=Seconds(1_700_000_000))
    policy = Policy(floor=Version("1.0.0"), recalled=(recall,))
    fields: dict[str, Any] = {FIELD: json.loads(policy.model_dump_json(exclude_none=True))}
    fields[FIELD]["issued"] = 1_700_000_000
    return json.dumps(
        {"custom": json.loads(terms.model_dump_json(exclude_none=True)), "fields": fields}
    ).encode()


def _check_signed(data: bytes) -> None:
    try:
        values = json.loads(data)
        custom, fields = values["custom"], values["fields"]
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise BadMetadata("not what the client of the repository hands on") from error
    if not isinstance(fields, dict):
        raise BadMetadata("not what the client of the repository hands on")
    assert parse_issued(fields) >= 0
    parse_policy(fields)
    terms = parse_terms(custom, _PATH)
    if terms.rollout:
        share = terms.rollout.share_at(1_700_050_000)
        assert 0 <= share <= 1
        when = terms.rollout.time_for(0.5)
        assert when is None or terms.rollout.share_at(when) >= 0


# --- what is remembered -----------------------------------------------------------------------------


def _states() -> list[bytes]:
    state = TrustState(
        host_id="0f" * 16,
        roots=('{"signed":{}}', '{"signed":{"version":2}}'),
        metadata={"timestamp": "{}", "snapshot": "{}", "targets": "{}"},
        checked_at=Seconds(1_700_000_000),
        recalled={Version("1.5.0"): "loses packets"},
        serial=4,
    )
    return [encode_half(state) + encode_half(TrustState(serial=3)), encode_half(state)]


def _seal_state(data: bytes) -> bytes:
    return seal_half(data, FORM.half_size)


@st.composite
def _made_state(draw: st.DrawFn) -> bytes:
    """A state of the right digest with values of other types."""
    head, _, body = _states()[0][: FORM.half_size].rstrip().partition(b"\n")
    return _seal_state(head + b"\n" + draw(changed_json(body)))


def _check_state(data: bytes) -> None:
    state = decode(data[: FORM.file_size])
    half = encode_half(state)
    assert len(half) == FORM.half_size
    assert decode(half).host_id == state.host_id


# --- frames of a process without rights -------------------------------------------------------------

_PEER = Peer("the fetching process", (SourceProblem,), lambda: SourceProblem("it ended"))


def _frames() -> list[bytes]:
    ours, theirs = make_pair()
    with ours, theirs:
        sender = Outgoing(ours)
        sender.length(10)
        sender.setback("the server asks to wait", 2.0)
        sender.no_ranges()
        sender.data(memoryview(b"0123456789"))
        sender.end()
        return [theirs.recv(MIB)]


def _made_errors() -> st.SearchStrategy[bytes]:
    """Error frames with any name and any words, none at all among them."""
    name = st.sampled_from([b"SourceProblem", b"AbctlError", b"SystemExit", b""]) | st.binary(max_size=20)
    said = st.tuples(name, st.sampled_from([b"\0", b""]), st.binary(max_size=40)).map(b"".join)
    return said.filter(len).map(lambda text: struct.pack("!BI", Kind.ERROR, len(text)) + text)


def _check_frames(data: bytes) -> None:
    ours, theirs = make_pair()
    with theirs, ours:
        ours.sendall(data[: MIB // 2])  # fits into the socket's buffer
        ours.shutdown(socket.SHUT_WR)
        incoming, buffer = Incoming(theirs, _PEER), memoryview(bytearray(MIB))
        try:
            while _read_frame(incoming, buffer):
                pass
        except Gone as error:
            raise SourceProblem("the frames break off") from error


def _read_frame(incoming: Incoming, buffer: memoryview) -> bool:
    """Return whether more may come."""
    kind, size = incoming.next()
    match kind:
        case Kind.LENGTH:
            length = incoming.length()
            assert length is None or length >= 0
        case Kind.SETBACK:
            said, seconds = incoming.setback(size)
            assert not said or said.isprintable()
            assert 0 <= seconds <= 3600
        case Kind.ERROR:
            raise incoming.error(size)
        case Kind.DATA:
            while size:
                size -= incoming.data(buffer[:size])
    return kind is not Kind.END


TARGETS = (
    Target("config", lambda: [_CONFIG], _check_config, st.sampled_from([_NESTED, _LONG_NAME]), cost=3),
    Target("signed-terms", lambda: [_signed()], _check_signed, changed_json(_signed()), cost=2),
    Target("trust-state", _states, _check_state, _made_state(), _seal_state, cost=10),
    Target("frames", _frames, _check_frames, _made_errors()),
)
