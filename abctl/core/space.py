"""How full the config volume is. What abctl keeps there has its room already, but others write there too."""

from dataclasses import dataclass
from typing import Protocol

from abctl.core.units import format_size

_LEAST_FREE = 0.05  # of the whole


class Space(Protocol):
    """What statvfs(3) says of a file system."""

    @property
    def f_frsize(self) -> int: ...

    @property
    def f_blocks(self) -> int: ...

    @property
    def f_bavail(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Foreign:
    """What takes most room there of all that is not abctl's; ``command`` removes it, or shows more."""

    path: str
    size: int
    command: str | None = None


def is_short(space: Space) -> bool:
    """Whether the config volume is as good as full."""
    return space.f_bavail < space.f_blocks * _LEAST_FREE


def say_shortage(space: Space, foreign: Foreign | None = None) -> str:
    """Return a sentence for a config volume that is; ``foreign`` takes most of it, where somebody looked."""
    total, free = space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize
    most = f"; {foreign.path} takes {format_size(foreign.size)} of it" if foreign else ""
    return (
        f"the config volume is full: {format_size(free)} of {format_size(total)} are free; remove what is "
        f"not abctl's from it{most}"
    )
