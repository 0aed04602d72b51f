"""A disk that fails: sectors that cannot be read, until they are written and get another place."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from abctl.core.found import Extent


class FailingDisk:
    """Ranges of an image, or of a file, that reads by this process end with EIO for."""

    def __init__(self, patch: pytest.MonkeyPatch, path: Path) -> None:
        self.bad: list[Extent] = []
        self._inode = path.stat().st_ino
        self._preadv, self._pwrite = os.preadv, os.pwrite
        patch.setattr(os, "preadv", self._read)
        patch.setattr(os, "pwrite", self._write)

    def spoil(self, extents: Iterable[Extent]) -> None:
        self.bad += extents

    def _meets(self, fd: int, bad: Extent, position: int, length: int) -> bool:
        is_this = os.fstat(fd).st_ino == self._inode
        return is_this and position < bad.end and bad.offset < position + length

    def _read(self, fd: int, buffers: list[memoryview], position: int) -> int:
        length = sum(len(buffer) for buffer in buffers)
        if any(self._meets(fd, bad, position, length) for bad in self.bad):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._preadv(fd, buffers, position)

    def _write(self, fd: int, data: memoryview, position: int) -> int:
        self.bad = [bad for bad in self.bad if not self._meets(fd, bad, position, len(data))]
        return self._pwrite(fd, data, position)
