"""The wire protocol, without a socket: bytes of one connection in, a request out.

Port 19090; a guest opens a connection for each request and sends one JSON object, without its length and
without a newline, in as many pieces as it likes. It is whole when its last bracket closes. Answers go back
the same way; neither has more than 4096 bytes.
"""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from abctl.agent.messages import OLDER_FORMS, OLDER_WORDS, OUR_FORMS, OUR_WORDS, OURS, Message
from abctl.core.problems import clean_text, describe_problems

PORT = 19090
MESSAGE_MAX = 4096  # bytes, each way
_DEPTH_MAX = 8  # a message has 4 levels
_DIGITS_MAX = 20  # of a number; 64 bits have as many
_SHOWN_MAX = 60  # characters of what is not understood
_QUOTE, _ESCAPE = ord('"'), ord("\\")
_OPENING, _CLOSING, _SPACE = frozenset(b"{["), frozenset(b"}]"), frozenset(b" \t\r\n")


@dataclass(frozen=True, slots=True)
class Request:
    """A message, and the CID that its sender says it has."""

    sender_cid: int
    message: Message


@dataclass(frozen=True, slots=True)
class NeedMore:
    """The request is not whole yet."""


@dataclass(frozen=True, slots=True)
class Bad:
    """What came is no request, and no more bytes make it one; ``why`` is the answer's text."""

    why: str


class Decoder:
    """Takes the bytes of one connection as they come, and looks at each once."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._depth = 0
        self._in_text = False
        self._escaped = False
        self._bad: Bad | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing came yet."""
        return not self._data

    def feed(self, data: bytes) -> Request | NeedMore | Bad:
        """Take what came; after a Request or Bad nothing else is to be given."""
        for place, byte in enumerate(data):
            if self._bad is None and self._take(byte):
                self._data += data[: place + 1]
                if not _SPACE.issuperset(data[place + 1 :]):
                    return _unparsable("something follows the request")
                return parse_request(bytes(self._data))
            if self._bad is not None:
                return self._bad
        self._data += data
        if len(self._data) >= MESSAGE_MAX:
            return Bad(f"unable to parse: the request has more than {MESSAGE_MAX} bytes")
        return NeedMore()

    def end(self) -> Bad:
        """Say that nothing else comes."""
        return _unparsable("the request ends in its middle")

    def _take(self, byte: int) -> bool:
        """Look at the next byte; return whether the request is whole with it."""
        if self._in_text:
            self._take_in_text(byte)
        elif self._depth == 0 and byte != ord("{"):
            if byte not in _SPACE:
                self._bad = _unparsable("the request is no JSON object")
        elif byte == _QUOTE:
            self._in_text = True
        elif byte in _OPENING:
            self._depth += 1
            if self._depth > _DEPTH_MAX:
                self._bad = _unparsable(f"the request is nested more than {_DEPTH_MAX} levels deep")
        elif byte in _CLOSING:
            self._depth -= 1
            return self._depth == 0
        return False

    def _take_in_text(self, byte: int) -> None:
        if self._escaped:
            self._escaped = False
        elif byte == _ESCAPE:
            self._escaped = True
        elif byte == _QUOTE:
            self._in_text = False


def parse_request(data: bytes) -> Request | Bad:
    """Return the request that these bytes are; it has to be one JSON object of a known form."""
    if len(data) > MESSAGE_MAX:
        return Bad(f"unable to parse: the request has more than {MESSAGE_MAX} bytes")
    try:
        values = json.loads(
            data.decode(), object_pairs_hook=_pair, parse_int=_parse_int, parse_constant=_refuse_constant
        )
        _refuse_half_characters(data, values)
        return _parse_body(values)
    except UnicodeDecodeError as error:
        return _unparsable(f"the request is not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        return _unparsable(f"the request is not JSON: {error.msg} at character {error.pos + 1}")
    except RecursionError:
        return _unparsable(f"the request is nested more than {_DEPTH_MAX} levels deep")
    except _NotUnderstood as error:
        return _unparsable(str(error))


class _NotUnderstood(ValueError):
    """Why a body is no request."""


def _unparsable(why: str) -> Bad:
    return Bad(f"unable to parse: {clean_text(why)}")


def _pair(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; two fields of one name are an attempt to say two things at once."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _NotUnderstood("a field is given twice")
    return values


def _parse_int(text: str) -> int:
    if len(text) > _DIGITS_MAX:
        raise _NotUnderstood(f"a number has more than {_DIGITS_MAX} digits")
    return int(text)


def _refuse_constant(text: str) -> None:
    raise _NotUnderstood(f"{text} is not JSON")


def _refuse_half_characters(data: bytes, values: Any) -> None:
    """Raise where a text holds one half of a surrogate pair, which no file and no answer can hold."""
    if b"\\ud" not in data.lower():
        return
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise _NotUnderstood("a text holds half a character") from error


def _parse_body(values: Any) -> Request:
    if not isinstance(values, dict) or values.keys() != {"sender_cid", "message"}:
        raise _NotUnderstood("a request has the fields sender_cid and message, and no others")
    cid, body = values["sender_cid"], values["message"]
    if type(cid) is not int or not 0 <= cid < 2**32:
        raise _NotUnderstood("sender_cid is not a CID")
    return Request(cid, _parse_message(body))


def _parse_message(body: Any) -> Message:
    if isinstance(body, dict) and body.keys() == {OURS}:
        return _parse_tagged(body[OURS], OUR_WORDS, OUR_FORMS)
    return _parse_tagged(body, OLDER_WORDS, OLDER_FORMS)


def _parse_tagged(body: Any, words: dict[str, type[Message]], forms: dict[str, type[Message]]) -> Message:
    """Return the message that is one word, or one tag with its fields."""
    if isinstance(body, str):
        kind = words.get(body)
        if kind is None:
            raise _NotUnderstood(_say_unknown(body, takes_fields=body in forms))
        return kind()
    if not isinstance(body, dict) or len(body) != 1:
        raise _NotUnderstood("a message is a word, or an object with one field that is its name")
    ((tag, fields),) = body.items()
    form = forms.get(tag)
    if form is None:
        raise _NotUnderstood(_say_unknown(tag, takes_fields=False))
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        raise _NotUnderstood(f"{tag}: {describe_problems(error)}") from error


def _say_unknown(tag: str, *, takes_fields: bool) -> str:
    if takes_fields:
        return f"the message {tag} has fields"
    return f"unknown message {tag[:_SHOWN_MAX]!r}"
