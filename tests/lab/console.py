"""One serial line of a machine: what comes, with the time of each line, and what is typed."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_ESCAPES = re.compile(rb"\x1b(\[[0-9;?=]*[A-Za-z]|[()][A-Z0-9]|[c78=>])|[\x00\r\x07]")
_PIECE = 64 * 1024
_LINE_MAX = 4 * 1024 * 1024  # bytes; what is longer is cut, so that nothing can fill the memory


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its escape sequences; ``at`` is in seconds since the machine's power-on."""

    at: float
    text: str


class NotSeen(AssertionError):
    """What was awaited did not come in time."""


class ConsoleEnded(AssertionError):
    """The machine went off for good while something was awaited of it."""


class Console:
    """Reads a serial line in a thread of its own; the machine may go off and come back with a new channel."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        log: Path | None = None,
        on_line: Callable[[Line], None] | None = None,
    ) -> None:
        self.lines: list[Line] = []
        self._clock = clock
        self._log = log.open("a", encoding="utf-8") if log else None
        self._on_line = on_line
        self._rest = b""
        self._channel: socket.socket | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_over = False

    def attach(self, channel: socket.socket) -> None:
        """Go on with the line of a machine that was switched on."""
        assert self._channel is None
        self._channel = channel
        self._thread = threading.Thread(target=self._read, args=(channel,), daemon=True)
        self._thread.start()

    def detach(self) -> None:
        """Return when all that the machine said before it went off has been read."""
        if self._thread and self._channel:
            self._thread.join(10)
            self._channel.close()
        self._channel = self._thread = None

    def begin(self) -> None:
        """Expect a machine that is being switched on."""
        self._is_over = False

    def end(self) -> None:
        """Let nobody wait any longer: the machine is off and stays so."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def type(self, data: bytes) -> None:
        """Send bytes as if they were typed; they are lost where the machine is off."""
        channel = self._channel
        if channel:
            with contextlib.suppress(OSError):
                channel.sendall(data)

    @property
    def count(self) -> int:
        """How many lines there are: a place to go on from."""
        return len(self.lines)

    def wait(self, pattern: str, limit: float, *, start: int = 0) -> re.Match[str]:
        """Return the first match in the lines from ``start`` on, the unfinished last one included.

        Raise NotSeen after ``limit`` seconds, ConsoleEnded where the machine goes off before.
        """
        wanted = re.compile(pattern)
        end = time.monotonic() + limit
        with self._changed:
            while True:
                for line in self.lines[start:]:
                    if found := wanted.search(line.text):
                        return found
                start = max(start, len(self.lines))
                if found := wanted.search(_clean(self._rest)):
                    return found
                if self._is_over:
                    raise ConsoleEnded(f"the machine went off before {pattern!r} came:\n{self.tail()}")
                left = end - time.monotonic()
                if left <= 0:
                    raise NotSeen(f"{pattern!r} did not come within {limit:g} s:\n{self.tail()}")
                self._changed.wait(left)

    def tail(self, count: int = 25) -> str:
        return "\n".join(line.text[:160] for line in self.lines[-count:])

    def close(self) -> None:
        """End with all that has come."""
        self.detach()
        if self._log:
            self._log.close()

    def _read(self, channel: socket.socket) -> None:
        try:
            while data := channel.recv(_PIECE):
                self._take(data)
        except OSError:
            pass
        with self._changed:
            if self._rest:
                self._add(self._rest)
            self._rest = b""
            self._changed.notify_all()

    def _take(self, data: bytes) -> None:
        with self._changed:
            *whole, self._rest = (self._rest + data).split(b"\n")
            for line in whole:
                self._add(line)
            self._rest = self._rest[-_LINE_MAX:]
            self._changed.notify_all()

    def _add(self, raw: bytes) -> None:
        line = Line(self._clock(), _clean(raw))
        self.lines.append(line)
        if self._log and not self._log.closed:
            self._log.write(f"{line.at:9.3f} {line.text}\n")
            self._log.flush()
        if self._on_line:
            self._on_line(line)


def _clean(raw: bytes) -> str:
    return _ESCAPES.sub(b"", raw).decode("utf-8", "replace")
