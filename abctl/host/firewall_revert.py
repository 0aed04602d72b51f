"""Who puts a firewall's old rules back when nobody confirms new ones: systemd, or a process of its own."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from abctl.errors import ToolFailed
from abctl.host.run import run, start_detached

UNIT = "abctl-firewall-revert"
_TIMEOUT = 15.0  # seconds
_SYSTEMD = "run/systemd/system"  # is there where systemd is PID 1, see sd_booted(3)
_COMMAND = (sys.executable, "-I", "-m", "abctl", "firewall", "revert", "--when-due")


def make_reverter(root: Path = Path("/")) -> "SystemdReverter | DetachedReverter":
    """Return what this host has for it."""
    return SystemdReverter() if (root / _SYSTEMD).is_dir() else DetachedReverter()


class SystemdReverter:
    """A timer of systemd's, which outlives the session and the terminal of whoever asked for it."""

    def __init__(self, run: Callable[..., str] = run) -> None:
        self._run = run

    def arm(self, seconds: float) -> None:
        """Start one more timer, so that there is always one; an older one finds that it is not due yet.

        Raise ToolFailed.
        """
        self._run(
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit={UNIT}-{time.monotonic_ns()}",
            "--description=Put back the firewall's rules that nobody confirmed",
            f"--on-active={seconds:.0f}s",
            "--timer-property=AccuracySec=100ms",
            "--property=Restart=on-failure",
            "--property=RestartSec=2s",
            *_COMMAND,
            timeout=_TIMEOUT,
        )

    def disarm(self) -> None:
        """Stop all timers; a service that one of them started may be the one that asks, and stays."""
        with suppress(ToolFailed):
            self._run("systemctl", "stop", f"{UNIT}-*.timer", timeout=_TIMEOUT)


class DetachedReverter:
    """A process in a session of its own, for hosts without systemd; it finds the deadline itself."""

    def arm(self, seconds: float) -> None:
        """Start it; raise ToolFailed."""
        start_detached(*_COMMAND)

    def disarm(self) -> None:
        """It sees when it wakes up that there is nothing to do."""
