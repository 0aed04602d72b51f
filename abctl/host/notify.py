"""Telling systemd how a service does: sd_notify(3) over a datagram socket."""

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


class Notifier:
    """Talks to systemd where it started this process so, and to nobody elsewhere. Never fails."""

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._clock = clock
        self._every = _watchdog_interval(environment)
        self._next = 0.0
        self._status = ""

    def ready(self) -> None:
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Show ``text`` in ``systemctl status``."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + " ".join(text.split()))

    def ping(self) -> None:
        """Say that this process is alive, where it is time for it; to be called often."""
        now = self._clock()
        if self._every is not None and now >= self._next:
            self._next = now + self._every
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    @property
    def pause(self) -> float:
        """The longest time in seconds between two calls of ``ping``."""
        return 1.0 if self._every is None else min(1.0, self._every)

    def _send(self, message: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        # The first byte of an abstract address is zero; the environment cannot hold that.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.sendto(message.encode(), address)
        except (OSError, ValueError) as error:
            log.info("systemd was not told %s: %s", message.partition("=")[0], error)


def _watchdog_interval(environment: Mapping[str, str]) -> float | None:
    """Return how often to ping in seconds, half of what systemd waits; None where it does not."""
    text = environment.get("WATCHDOG_USEC", "")
    meant_for = environment.get("WATCHDOG_PID", str(os.getpid()))
    if not text.isdecimal() or int(text) == 0 or meant_for != str(os.getpid()):
        return None
    return int(text) / 2_000_000
