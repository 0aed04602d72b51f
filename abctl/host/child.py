"""A process that gives up its rights, as the one that starts it sees it."""

import json
import logging
import os
import signal
import socket
import sys
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from abctl import errors
from abctl.core.units import KIB
from abctl.errors import AbctlError, ToolFailed
from abctl.host.confine import Confinement
from abctl.host.frames import Peer, clean, make_pair
from abctl.host.run import Program

MESSAGE_MAX = 64 * KIB
READY, FAILED = b"r", b"f"
_START_MAX = 60.0  # seconds
_END_MAX = 1.0  # seconds
_KEPT = ("ld_library_path", "localdomain", "res_options")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Role:
    """What ``abctl.host.worker`` is to do, its name for people, and the errors that are believed.

    ``died`` is what it means where the process ends by itself.
    """

    argument: str
    name: str
    errors: tuple[type[AbctlError], ...]
    died: type[AbctlError]


class Child:
    """A process that plays ``role``; it ends when this is closed or gone. ``peer`` is how it is read."""

    def __init__(self, role: Role, settings: Mapping[str, object]) -> None:
        """Start it, without waiting for it."""
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.peer = Peer(role.name, role.errors, self.explain_end)
        self._died = role.died
        self._lock = threading.Lock()
        self._started: Confinement | AbctlError | None = None
        with theirs:
            self._program = Program(
                *(sys.executable, "-I", "-m", "abctl.host.worker", role.argument, str(theirs.fileno())),
                keep=theirs.fileno(),
                environment=_choose_environment(),
            )
        self.close = weakref.finalize(self, _end, self.control, self._program)
        # The kernel would take the end of another thread for that of this program.
        is_main = threading.current_thread() is threading.main_thread()
        self.tell({"parent": os.getpid() if is_main else None, **settings})

    @property
    def pid(self) -> int:
        return self._program.pid

    def confinement(self) -> Confinement:
        """Wait until it has given up its rights, and return what took effect; raise why it could not."""
        with self._lock:
            if self._started is None:
                self._started = self._wait()
                _log.debug("%s %s", self.peer.name, self._started)
        if isinstance(self._started, AbctlError):
            raise self._started
        return self._started

    def _wait(self) -> Confinement | AbctlError:
        self.control.settimeout(_START_MAX)
        message = self.receive()
        self.control.settimeout(None)
        if message[:1] == READY:
            return Confinement.decode(message[1:])
        if message[:1] == FAILED:
            name, _, said = message[1:].partition(b"\0")
            kind = getattr(errors, name.decode("ascii", "replace"), ToolFailed)
            return kind(clean(said))
        return self.explain_end()

    def receive(self) -> bytes:
        """Return its next message, and nothing where it is gone."""
        for _ in range(2):
            try:
                return self.control.recv(MESSAGE_MAX)
            except ConnectionResetError:
                continue  # it left something unread; what it said before comes next
            except OSError:
                break
        return b""

    def tell(self, message: object) -> None:
        """Send a message that needs no answer."""
        with suppress(OSError):  # the next answer that is waited for tells why
            self.control.send(json.dumps(message).encode())

    def call(self, message: object) -> socket.socket:
        """Send a message, and return the stream on which the answer comes; raise why there is none."""
        self.confinement()
        ours, theirs = make_pair()
        with theirs:
            try:
                socket.send_fds(self.control, [json.dumps(message).encode()], [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise self.explain_end() from error
        return ours

    def explain_end(self) -> AbctlError:
        """Return what to raise where it is gone."""
        code = self._program.wait(_END_MAX)
        if code is None:
            how = "broke off"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        return self._died(f"{self.peer.name} {how}: run the command again")


def _choose_environment() -> dict[str, str]:
    """Return what of the environment says how to reach servers: the rest may hold secrets."""
    kept = {name: value for name, value in os.environ.items() if _is_wanted(name.lower())}
    # Each thread's own heap would take addresses that are bounded.
    return {**kept, "MALLOC_ARENA_MAX": "2"}


def _is_wanted(name: str) -> bool:
    return name.endswith("_proxy") or name in _KEPT


def _end(control: socket.socket, program: Program) -> None:
    control.close()
    program.end(_END_MAX)
