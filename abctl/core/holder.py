"""Who keeps every other abctl from changing a host or a disk."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds the lock. ``since`` is a time for people, ``age`` in seconds, where known.

    ``stopped`` says that it was stopped by a signal, and goes on only after another.
    """

    pid: int
    since: str = ""
    age: float | None = None
    stopped: bool = False

    @property
    def sentence(self) -> str:
        return f"another abctl (pid {self.pid}{f', since {self.since}' if self.since else ''})"
