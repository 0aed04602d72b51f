"""Files in memory that other programs can open by name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class MemoryFile:
    """A sparse file without a place on any disk, so that a read-only or full one is no obstacle."""

    fd: int

    @property
    def path(self) -> Path:
        """The name under which this program and those it starts can open it."""
        return Path(f"/proc/{os.getpid()}/fd/{self.fd}")

    def write(self, offset: int, data: bytes) -> None:
        while data:
            count = os.pwrite(self.fd, data, offset)
            data, offset = data[count:], offset + count


@contextmanager
def memory_file(size: int) -> Iterator[MemoryFile]:
    """Yield a file of ``size`` bytes, all zero; it is gone afterwards."""
    fd = os.memfd_create("abctl")
    try:
        os.ftruncate(fd, size)
        yield MemoryFile(fd)
    finally:
        os.close(fd)
