"""What a release gives to the writer: one image after the other, each as a stream."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

from abctl.core.slot import Part
from abctl.core.units import Bytes, Version
from abctl.update.stream import Hashed

OnVersion = Callable[[Version], None]


@dataclass(frozen=True, slots=True)
class Payload:
    """One image. ``reader`` gives its ``size`` bytes, holes as zeros, and their digest at the end."""

    part: Part
    file: str
    size: Bytes
    reader: Hashed

    def check_read(self) -> None:
        """Raise ValueError where the image was not read to its end."""
        if self.reader.count != self.size:
            raise ValueError(f"{self.file} was read to byte {self.reader.count} of {self.size}")


Payloads = Generator[Payload, None, None]


class Release(Protocol):
    """A release that is read from a source, as often as it is asked for."""

    @property
    def fetched(self) -> int:
        """Bytes read from the source so far."""
        ...

    def payloads(self, on_version: OnVersion) -> Payloads:
        """Yield each image; it must be read to its end before the next is asked for.

        ``on_version`` is called as soon as the version is known. When the last one was asked for, all that
        the release promises was compared; raise SourceProblem, BadRelease.
        """
        ...
