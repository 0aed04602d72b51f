"""How two processes talk of which one may have been taken over: frames on a stream socket.

A frame is one byte that says what it is, four with its length, and that many bytes. Whoever reads believes
nothing: lengths are bounded, an error is one of those that may come, and text is made fit for a terminal.
"""

import math
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

from abctl import errors
from abctl.core.problems import clean_text
from abctl.core.units import KIB, MIB
from abctl.errors import AbctlError, SourceProblem, TransferStalled

DATA_MAX = MIB
SILENCE_MAX = 900  # seconds; far above the longest wait for a server that asks for one
_TEXT_MAX = 4 * KIB
_SHOWN_MAX = 2000  # characters
_PAUSE_MAX = 3600.0  # seconds
_HEAD = struct.Struct("!BI")
_LENGTH = struct.Struct("!q")
_PAUSE = struct.Struct("!d")
_BUFFER_SIZE = 2 * MIB
_TIMEOUT = struct.Struct("ll")


class Gone(Exception):
    """The stream has ended where a frame should have gone on."""


class Kind(IntEnum):
    """What a frame is."""

    LENGTH = 1  # of all data that will come, -1 where it is not known
    DATA = 2
    SETBACK = 3  # seconds until it goes on, and a sentence
    NO_RANGES = 4
    ERROR = 5  # the name of its class, a zero byte, and a sentence
    END = 6


_SIZES = {
    Kind.LENGTH: (_LENGTH.size, _LENGTH.size),
    Kind.DATA: (1, DATA_MAX),
    Kind.SETBACK: (_PAUSE.size, _TEXT_MAX),
    Kind.NO_RANGES: (0, 0),
    Kind.ERROR: (1, _TEXT_MAX),
    Kind.END: (0, 0),
}


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that frames come from: its name for people, and which errors it may send.

    ``explain_end`` returns what to raise where it is gone.
    """

    name: str
    errors: tuple[type[AbctlError], ...]
    explain_end: Callable[[], AbctlError]

    def misbehaved(self, how: str) -> SourceProblem:
        return SourceProblem(
            f"{self.name} misbehaved: it sent {how}; what it fetches or reads may have taken it over, and "
            "nothing of it is used"
        )


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a stream, on which nobody waits for ever."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in ends:
        with suppress(OSError):  # it only costs speed
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_SIZE)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            end.setsockopt(socket.SOL_SOCKET, option, _TIMEOUT.pack(SILENCE_MAX, 0))
    return ends


class Outgoing:
    """Sends frames; raise OSError where nobody takes them."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def length(self, length: int | None) -> None:
        self._send(Kind.LENGTH, _LENGTH.pack(-1 if length is None else length))

    def data(self, data: memoryview) -> None:
        """Send up to ``DATA_MAX`` bytes, which are not copied."""
        self._send(Kind.DATA, data)

    def setback(self, said: str, seconds: float) -> None:
        self._send(Kind.SETBACK, (_PAUSE.pack(seconds) + said.encode("utf-8", "replace"))[:_TEXT_MAX])

    def no_ranges(self) -> None:
        self._send(Kind.NO_RANGES, b"")

    def error(self, error: AbctlError) -> None:
        said = f"{type(error).__name__}\0{error}".encode("utf-8", "replace")
        self._send(Kind.ERROR, said[:_TEXT_MAX])

    def end(self) -> None:
        self._send(Kind.END, b"")

    def _send(self, kind: Kind, payload: memoryview | bytes) -> None:
        head = _HEAD.pack(kind, len(payload))
        sent = self._channel.sendmsg([head, payload])
        if sent < len(head):
            self._channel.sendall(head[sent:])
            sent = len(head)
        if sent < len(head) + len(payload):
            self._channel.sendall(memoryview(payload)[sent - len(head) :])


class Incoming:
    """Reads frames of ``peer``; raise Gone where they break off, and SourceProblem where they are none."""

    def __init__(self, channel: socket.socket, peer: Peer) -> None:
        self._channel = channel
        self._peer = peer
        self._head = memoryview(bytearray(_HEAD.size))

    def next(self) -> tuple[Kind, int]:
        """Return what the next frame is, and how many bytes it has, which are yet to be read."""
        self._read(self._head)
        number, size = _HEAD.unpack(self._head)
        try:
            kind = Kind(number)
        except ValueError as error:
            raise self._peer.misbehaved("a message of an unknown kind") from error
        least, most = _SIZES[kind]
        if not least <= size <= most:
            raise self._peer.misbehaved(f"{size} bytes where {least} to {most} may come")
        return kind, size

    def data(self, buffer: memoryview) -> int:
        """Fill the start of ``buffer`` with what has come of the data, and return how much; never 0."""
        try:
            count = self._channel.recv_into(buffer)
        except BlockingIOError as error:
            said = f"{self._peer.name} was silent for {SILENCE_MAX} s: run the command again"
            raise TransferStalled(said) from error
        except OSError:
            count = 0
        if not count:
            raise Gone
        return count

    def length(self) -> int | None:
        (length,) = _LENGTH.unpack(self._payload(_LENGTH.size))
        if length < -1:
            raise self._peer.misbehaved("a length below zero")
        return None if length == -1 else int(length)

    def setback(self, size: int) -> tuple[str, float]:
        payload = self._payload(size)
        (seconds,) = _PAUSE.unpack_from(payload)
        if not math.isfinite(seconds) or not 0 <= seconds <= _PAUSE_MAX:
            raise self._peer.misbehaved("a wait that is none")
        return clean(payload[_PAUSE.size :]), seconds

    def error(self, size: int) -> AbctlError:
        """Return the error that the peer met, or that its name for it is none."""
        name, _, said = self._payload(size).partition(b"\0")
        kind = getattr(errors, clean(name), None)
        if not (isinstance(kind, type) and issubclass(kind, self._peer.errors)):
            return self._peer.misbehaved("an error of an unknown kind")
        return kind(clean(said) or f"{self._peer.name} failed and did not say why: run the command again")

    def _payload(self, size: int) -> bytes:
        buffer = bytearray(size)
        self._read(memoryview(buffer))
        return bytes(buffer)

    def _read(self, buffer: memoryview) -> None:
        while buffer:
            buffer = buffer[self.data(buffer) :]


def clean(text: bytes) -> str:
    """Return text of an untrusted process for people: of bounded length, and nothing that moves a cursor."""
    return clean_text(text.decode("utf-8", "replace")[:_SHOWN_MAX])
