"""The file into which libvirt writes what a guest says: followed, and kept from growing without end.

Each start has a file of its own, the last few are kept. libvirt's log daemon turns its files over as well.
"""

import logging
import os
from pathlib import Path

from abctl.core.units import KIB, MIB
from abctl.errors import WriteFailed

log = logging.getLogger(__name__)

KEPT = 3  # files of earlier starts
_SIZE_MAX = 8 * MIB  # then its older half is left out
_PIECE = 64 * KIB
_PIECES_MAX = 64  # at one go: a guest that never stops talking must not keep its watcher from its work


class SerialLog:
    """The log of one guest; implements vm.keeper.Serial."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._offset = 0

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._offset = None, 0

    def begin(self) -> None:
        """Put the file of the last start aside, so that the next one begins a new file; raise WriteFailed."""
        self.close()
        try:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            for number in range(KEPT, 0, -1):
                source = self._path if number == 1 else self.earlier(number - 1)
                if source.exists():
                    source.replace(self.earlier(number))
        except OSError as error:
            raise WriteFailed(f"{self._path} cannot be put aside: {error.strerror}") from error

    def earlier(self, number: int) -> Path:
        """Return the file of an earlier start; 1 is the last one."""
        return self._path.with_name(f"{self._path.stem}-{number}{self._path.suffix}")

    def read(self) -> bytes:
        """Return what came since the last call, from the beginning of the file at the first."""
        data = b""
        for _ in range(_PIECES_MAX):
            piece = self._read_piece()
            data += piece
            if not piece and not self._reopen():
                break
        self._shorten()
        return data

    def tail(self, size: int) -> bytes:
        """Return the last bytes of the file; nothing where there is none."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - size))
                return file.read(size)
        except OSError:
            return b""

    def _read_piece(self) -> bytes:
        if self._fd is None:
            return b""
        try:
            if os.fstat(self._fd).st_size < self._offset:
                self._offset = 0  # cut short
            piece = os.pread(self._fd, _PIECE, self._offset)
        except OSError as error:
            log.warning("%s cannot be read: %s", self._path, error.strerror)
            return b""
        self._offset += len(piece)
        return piece

    def _reopen(self) -> bool:
        """Take the file that has this name now; False where it is the one that is read already."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        if self._fd is not None and os.path.sameopenfile(fd, self._fd):
            os.close(fd)
            return False
        self.close()
        self._fd = fd
        return True

    def _shorten(self) -> None:
        """Leave the older half out of a file that has grown too long; who writes appends."""
        try:
            if self._fd is None or os.fstat(self._fd).st_size <= _SIZE_MAX:
                return
            kept = self.tail(_SIZE_MAX // 2)
            with self._path.open("r+b") as file:
                file.truncate(0)
            with self._path.open("ab") as file:
                file.write(kept)
            self._offset = os.fstat(self._fd).st_size
        except OSError as error:
            log.warning("%s cannot be shortened: %s", self._path, error.strerror)
