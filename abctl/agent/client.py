"""The other end: one request over a connected socket. Needs nothing of a host, so that a guest can use it."""

import json
import socket
from collections.abc import Iterator
from typing import Any

from abctl.errors import ServerFailed, TransferStalled, TransferTooLong

_CHUNK = 4096
_ANSWER_MAX = 64 * 1024  # bytes of one line; the server sends 4096 at most, of progress some more


def make_request(sender_cid: int, message: Any) -> bytes:
    """Return a request as it goes over the wire."""
    return json.dumps({"sender_cid": sender_cid, "message": message}, separators=(",", ":")).encode()


def ask(connection: socket.socket, request: bytes) -> Iterator[dict[str, Any]]:
    """Send ``request`` and yield each answer: one, or of progress as many as come until the end.

    Raise SourceProblem where the answer does not come, or is none.
    """
    try:
        connection.sendall(request)
        rest, count = b"", 0
        while data := connection.recv(_CHUNK):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                count += 1
                yield _parse(line)
            if len(rest) > _ANSWER_MAX:
                raise TransferTooLong(f"the agent sent more than {_ANSWER_MAX} bytes in one answer")
    except TimeoutError as error:
        raise TransferStalled("the agent does not answer any more: is the host busy or down?") from error
    except OSError as error:
        raise ServerFailed(f"the agent cannot be asked: {error.strerror}") from error
    if rest or not count:
        yield _parse(rest)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        what = "nothing" if not line else "what is no JSON"
        raise ServerFailed(f"the agent answered {what}: is it an agent that listens there?") from error
    if not isinstance(values, dict):
        raise ServerFailed("the agent answered what is no JSON object: is it an agent that listens there?")
    return values
