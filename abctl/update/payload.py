"""What a release gives to the writer: one image after the other, each as a stream or in chunks."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

from abctl.core.slot import Part, SlotName
from abctl.core.units import Bytes, Version
from abctl.update.chunked import ChunkedImage
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


@dataclass(frozen=True, slots=True)
class ChunkedPayload:
    """One image whose chunks can be fetched singly; ``seed`` is the slot set it may be made from."""

    image: ChunkedImage
    seed: SlotName

    @property
    def part(self) -> Part:
        return self.image.slot.part

    @property
    def file(self) -> str:
        return self.image.image.file

    @property
    def size(self) -> Bytes:
        return self.image.index.image_size


Streams = Generator[Payload, None, None]
Payloads = Generator[Payload | ChunkedPayload, None, None]


class Release(Protocol):
    """A release that is read from a source, as often as it is asked for."""

    @property
    def fetched(self) -> int:
        """Bytes read from the source so far."""
        ...

    def payloads(self, on_version: OnVersion) -> Payloads:
        """Yield each image; a stream must be read to its end before the next is asked for.

        ``on_version`` is called as soon as the version is known. When the last one was asked for, all that
        the release promises was compared; raise SourceProblem, BadRelease.
        """
        ...
