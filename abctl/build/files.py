"""Files of a build: images that are read in pieces, and packed files that are written once."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from abctl.core.chunks import CHUNK_SIZE
from abctl.core.release import IMAGE_MAX, Content
from abctl.core.units import Bytes, Digest
from abctl.errors import BadArchive, SourceChanged, SourceNotFound, TransferCut, WriteFailed

_ZEROS = bytes(CHUNK_SIZE)


def zeros(length: int) -> bytes:
    """Return up to a chunk of zeros; for a whole chunk always the same object."""
    return _ZEROS if length == CHUNK_SIZE else _ZEROS[:length]


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A plain image that is open for reading; size in bytes."""

    path: Path
    size: Bytes
    fd: int
    changed_at: int  # nanoseconds; the file's own time

    def read(self, start: int, length: int) -> bytes:
        """Return exactly these bytes; raise TransferCut."""
        parts, done = [], 0
        while done < length:
            try:
                part = os.pread(self.fd, length - done, start + done)
            except OSError as error:
                raise TransferCut(
                    f"{self.path} cannot be read at byte {start + done}: {error.strerror}"
                ) from error
            if not part:
                raise TransferCut(f"{self.path} has fewer than its {self.size} bytes: it changes meanwhile")
            parts.append(part)
            done += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def check_unchanged(self) -> None:
        """Raise SourceChanged where somebody wrote to the file since it was opened."""
        now = os.fstat(self.fd)
        if (now.st_size, now.st_mtime_ns) != (self.size, self.changed_at):
            raise SourceChanged(f"{self.path} was changed while the release was built: build it again")

    def chunks(self) -> Iterator[bytes]:
        """Yield the image chunk by chunk; holes are not read."""
        data_at = 0
        for start in range(0, self.size, CHUNK_SIZE):
            length = min(CHUNK_SIZE, self.size - start)
            if data_at <= start:
                data_at = self._find_data(start)
            yield zeros(length) if data_at >= start + length else self.read(start, length)

    def _find_data(self, start: int) -> int:
        """Return where the next bytes are that are no hole; ``size`` where there are none."""
        try:
            return os.lseek(self.fd, start, os.SEEK_DATA)
        except OSError as error:
            # All the rest is a hole, or the file system knows no holes.
            return self.size if error.errno == errno.ENXIO else start


@contextmanager
def open_image(path: Path) -> Iterator[ImageFile]:
    """Open an image file; raise SourceNotFound, BadArchive."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SourceNotFound(f"{path} cannot be opened: {error.strerror}") from error
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise SourceNotFound(f"{path} is not a file")
        if not 0 < before.st_size <= IMAGE_MAX:
            raise BadArchive(f"{path} has {before.st_size} bytes: this is no image")
        yield ImageFile(path, Bytes(before.st_size), fd, before.st_mtime_ns)
    finally:
        os.close(fd)


class OutputFile:
    """A new file of the release; ``size`` in bytes and ``sha256`` are of what was written so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._hash = hashlib.sha256()
        self._file = path.open("xb", buffering=0)

    @property
    def sha256(self) -> Digest:
        return Digest(self._hash.hexdigest())

    @property
    def content(self) -> Content:
        return Content(size=self.size, sha256=self.sha256)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        self._hash.update(view)
        self.size += len(view)
        with saying_what_failed(self.path):
            while view:
                view = view[self._file.write(view) :]

    def flush(self) -> None:
        """Return when all is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


@contextmanager
def write_file(path: Path) -> Iterator[OutputFile]:
    """Make the file ``path``, which is on the disk afterwards; raise WriteFailed."""
    with saying_what_failed(path):
        file = OutputFile(path)
    try:
        yield file
        with saying_what_failed(path):
            file.flush()
    finally:
        file.close()


@contextmanager
def saying_what_failed(path: Path) -> Iterator[None]:
    """Turn an OSError into a WriteFailed that names ``path``."""
    try:
        yield
    except OSError as error:
        raise WriteFailed(f"{path} cannot be written: {error.strerror}") from error


def flush_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
