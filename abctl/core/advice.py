"""What an admin types: the exact command for the running host, or for a disk worked on from outside."""

import shlex
from dataclasses import dataclass

from abctl.core.slot import SlotName


@dataclass(frozen=True, slots=True)
class Prompt:
    """Where commands are meant for, as the user named it: ``disk`` is None for the running host."""

    disk: str | None = None
    booted: SlotName | None = None
    layout: str | None = None
    config: str | None = None

    def command(self, arguments: str) -> str:
        """Return the whole command line for ``arguments``, such as ``status --json``."""
        booted = self.booted if self.disk else None
        options = {"--disk": self.disk, "--booted": booted, "--layout": self.layout, "--config": self.config}
        words = [word for name, value in options.items() if value for word in (name, shlex.quote(value))]
        return " ".join(["abctl", *words, arguments])

    def on_host(self, command: str) -> str | None:
        """Return a command that is not abctl's, None for a disk that runs elsewhere or nowhere."""
        return None if self.disk else command
