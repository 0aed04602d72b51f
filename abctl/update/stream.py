"""Small readers that are put one on the other; each checks one thing about the bytes that pass through it."""

import hashlib
import mmap
from collections.abc import Callable

from abctl.core.units import KIB, MIB, Bytes, Digest
from abctl.errors import AbctlError, DigestMismatch, TransferCut, TransferTooLong
from abctl.ports import Reader, Source

# A bytearray compares itself with any buffer without a copy.
_ZEROS = {size: bytearray(size) for size in (64 * KIB, MIB)}
INPUT_SIZE = 64 * KIB  # a source is asked for this much at once: progress shows, and little is lost


def fill(reader: Reader, buffer: memoryview) -> int:
    """Fill ``buffer`` as far as there are bytes; less than its length means the end."""
    done = 0
    while done < len(buffer):
        count = reader.readinto(buffer[done:])
        if not count:
            break
        done += count
    return done


def make_buffer(size: int) -> memoryview:
    """Return a zeroed buffer that begins on a page, as direct I/O wants it."""
    return memoryview(mmap.mmap(-1, size))


def is_zero(data: memoryview) -> bool:
    """Return whether all bytes are zeros."""
    # What is not mostly shows it at once.
    return not any(data[:64]) and (_ZEROS.get(len(data)) or bytearray(len(data))) == data


class Promised:
    """Passes exactly ``size`` bytes on: raises ``too_many`` or ``too_few`` with the count that came."""

    def __init__(
        self,
        reader: Reader,
        size: int,
        *,
        too_many: Callable[[], AbctlError],
        too_few: Callable[[int], AbctlError],
    ) -> None:
        self._reader = reader
        self._size = size
        self._done = 0
        self._too_many = too_many
        self._too_few = too_few
        if reader.length is not None and reader.length > size:
            raise too_many()
        if reader.length is not None and reader.length < size:
            raise too_few(reader.length)

    @property
    def length(self) -> int:
        return self._size

    def readinto(self, buffer: memoryview) -> int:
        count = self._reader.readinto(buffer)
        self._done += count
        if self._done > self._size:
            raise self._too_many()
        if not count and len(buffer) and self._done < self._size:
            raise self._too_few(self._done)
        return count


class AtMost:
    """Passes up to ``size`` bytes on, and raises TransferTooLong after them."""

    def __init__(self, reader: Reader, size: int, name: str) -> None:
        self._reader = reader
        self._left = size
        self._error = (
            f"{name} has more than the {size} bytes that are allowed: this is not what it is said to be"
        )
        if reader.length is not None and reader.length > size:
            raise TransferTooLong(self._error)

    @property
    def length(self) -> int | None:
        return self._reader.length

    def readinto(self, buffer: memoryview) -> int:
        count = self._reader.readinto(buffer)
        self._left -= count
        if self._left < 0:
            raise TransferTooLong(self._error)
        return count


class Hashed:
    """Counts and hashes the bytes that pass; ``count`` in bytes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._hash = hashlib.sha256()
        self.count = 0

    @property
    def length(self) -> int | None:
        return self._reader.length

    @property
    def digest(self) -> Digest:
        """The SHA-256 of what has passed so far."""
        return Digest(self._hash.hexdigest())

    def readinto(self, buffer: memoryview) -> int:
        count = self._reader.readinto(buffer)
        self._hash.update(buffer[:count])
        self.count += count
        return count

    def drain(self) -> None:
        """Read what is left, so that the digest is that of the whole."""
        buffer = memoryview(bytearray(INPUT_SIZE))
        while self.readinto(buffer):
            pass


class Peeked:
    """Shows the first bytes of a reader, and then gives all of them."""

    def __init__(self, reader: Reader, size: int) -> None:
        buffer = memoryview(bytearray(size))
        self._reader = reader
        self.head = bytes(buffer[: fill(reader, buffer)])
        self._given = 0

    @property
    def length(self) -> int | None:
        return self._reader.length

    def readinto(self, buffer: memoryview) -> int:
        if self._given == len(self.head):
            return self._reader.readinto(buffer)
        part = self.head[self._given : self._given + len(buffer)]
        buffer[: len(part)] = part
        self._given += len(part)
        return len(part)


def promised_download(reader: Reader, name: str, size: Bytes, place: str) -> Promised:
    """Return a reader for a file whose size the manifest says; raise TransferCut, TransferTooLong."""
    return Promised(
        reader,
        size,
        too_many=lambda: TransferTooLong(
            f"{place} has more of {name} than the {size} bytes that the manifest says: it is another one"
        ),
        too_few=lambda count: TransferCut(
            f"{place} has {count} of the {size} bytes of {name} that the manifest says: it is cut short"
        ),
    )


def fetch_small(source: Source, name: str, limit: Bytes) -> bytes:
    """Return the whole file ``name``; raise TransferTooLong where it has more than ``limit`` bytes."""
    buffer = memoryview(bytearray(limit + 1))
    with source.open(name) as reader:
        return bytes(buffer[: fill(AtMost(reader, limit, name), buffer)])


def fetch_verified(source: Source, name: str, size: int, sha256: Digest) -> bytes:
    """Return the first ``size`` bytes of the file ``name``; raise SourceProblem or DigestMismatch."""
    with source.open(name, 0, size) as reader:
        buffer = memoryview(bytearray(size))
        count = fill(reader, buffer)
    if count < size:
        raise TransferCut(f"{source.place} has {count} of the first {size} bytes of {name}: it is cut short")
    digest = Digest(hashlib.sha256(buffer).hexdigest())
    if digest != sha256:
        raise DigestMismatch(
            f"{name} from {source.place} has SHA-256 {digest}, not {sha256} as the manifest says: it is "
            "damaged"
        )
    return bytes(buffer)
