"""Walk a tar from its first byte to its last, in bounded memory, as tar(5) and GNU tar's manual describe it.

Own code and not ``tarfile``, since that reads headers of any size into memory. Known: ustar, GNU long
names, pax, and sparse files in the old GNU format and in pax formats 0.0, 0.1 and 1.0. All else is
named by its kind, and the caller decides. Every damage is a BadArchive.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from abctl.core.release import IMAGE_MAX
from abctl.core.units import KIB, MIB
from abctl.errors import BadArchive
from abctl.ports import Reader
from abctl.update.sparse import (
    RecordMap,
    SparseData,
    SparseMap,
    parse_map_01,
    parse_number,
    read_map_1,
    read_map_entries,
)
from abctl.update.stream import fill

BLOCK = 512
HEADERS_MAX = (
    8 * MIB
)  # names, pax records and sparse maps in one archive; a fragmented image has 1 MiB of them
PADDING_MAX = MIB  # zeros after the end; tar pads to 10 KiB, a tape to more
_ZERO_BLOCK = bytes(BLOCK)


class Kind(StrEnum):
    """What a member is, in the words of an error message."""

    FILE = "a file"
    FOLDER = "a folder"
    HARD_LINK = "a hard link"
    SYMBOLIC_LINK = "a symbolic link"
    DEVICE = "a device"
    FIFO = "a named pipe"
    UNKNOWN = "of an unknown kind"


_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"S": Kind.FILE,
    b"1": Kind.HARD_LINK,
    b"2": Kind.SYMBOLIC_LINK,
    b"3": Kind.DEVICE,
    b"4": Kind.DEVICE,
    b"5": Kind.FOLDER,
    b"6": Kind.FIFO,
}


@dataclass(frozen=True, slots=True)
class Member:
    """One member; ``size`` in bytes with the holes, which ``data`` gives as zeros."""

    name: str
    kind: Kind
    size: int
    data: Reader


class _Bounded:
    """The data of one member as it stands in the archive."""

    def __init__(self, tar: "TarReader", size: int) -> None:
        self._tar = tar
        self.length = size
        self.left = size

    def readinto(self, buffer: memoryview) -> int:
        count = self._tar.read_some(buffer[: min(len(buffer), self.left)]) if self.left else 0
        self.left -= count
        return count


class TarReader:
    """The members of the archive ``name``, in order; each must be read before the next is asked for."""

    def __init__(self, reader: Reader, name: str) -> None:
        self._reader = reader
        self._name = name
        self._budget = HEADERS_MAX
        self._now = "its start"

    def __iter__(self) -> Iterator[Member]:
        while (header := self._read_header()) is not None:
            records = _Records()
            while header.type in (b"x", b"L", b"K"):
                self._read_extension(header, records)
                header = self._read_header()
                if header is None:
                    raise self._damaged("it ends after an extended header")
            yield from self._one_member(header, records)
        self._read_padding()

    def _one_member(self, header: "_Header", records: "_Records") -> Iterator[Member]:
        name = _text(records.get(b"GNU.sparse.name", b"path") or header.name)
        self._now = repr(name[:100])
        kind = _KINDS.get(header.type, Kind.UNKNOWN)
        size = records.get(b"size")
        stored = header.size if size is None else self._number(size)
        data = _Bounded(self, stored)
        if kind is not Kind.FILE:
            yield Member(name, kind, stored, data)
            if stored:
                raise self._damaged(f"it is {kind} and has data")
            return
        sparse = self._sparse_map(header, records, data)
        if sparse is None:
            yield Member(name, kind, stored, data)
        else:
            self._check_map(sparse, data.left)
            yield Member(name, kind, sparse.size, SparseData(sparse, data))
        if data.left:
            raise ValueError(f"{name} was not read to its end")
        self._skip_to_block(stored)

    def _sparse_map(self, header: "_Header", records: "_Records", data: _Bounded) -> SparseMap | None:
        try:
            if header.type == b"S":
                return self._read_old_map(header)
            size = records.get(b"GNU.sparse.realsize", b"GNU.sparse.size")
            if size is None:
                return None
            version = records.get(b"GNU.sparse.major"), records.get(b"GNU.sparse.minor")
            if version == (b"1", b"0"):
                return read_map_1(data, self._number(size), self._spend)
            if version != (None, None):
                raise ValueError("its format is not known")
            entries = records.get(b"GNU.sparse.map")
            if entries is not None:
                return parse_map_01(entries, self._number(size))
            return SparseMap(records.runs.places, self._number(size))
        except ValueError as error:
            raise self._damaged(f"the map of its holes is wrong: {error}") from error

    def _read_old_map(self, header: "_Header") -> SparseMap:
        places = array("Q")
        more = read_map_entries(header.block[386:482], places) and header.block[482] != 0
        size = parse_number(header.block[483:495])
        while more:
            self._spend(BLOCK)
            block = self._read_exactly(BLOCK)
            more = read_map_entries(block[:504], places) and block[504] != 0
        return SparseMap(places, size)

    def _check_map(self, sparse: SparseMap, stored: int) -> None:
        if sparse.size > IMAGE_MAX:
            raise self._damaged(f"it claims {sparse.size} bytes")
        try:
            sparse.check(stored)
        except ValueError as error:
            raise self._damaged(f"the map of its holes is wrong: {error}") from error

    def _read_extension(self, header: "_Header", records: "_Records") -> None:
        self._spend(header.size)
        data = self._read_exactly(header.size)
        self._skip_to_block(header.size)
        try:
            if header.type == b"L":
                records.add(b"path", data.rstrip(b"\0"))
            elif header.type == b"x":
                records.parse(data)
        except ValueError as error:
            raise self._damaged(f"an extended header is wrong: {error}") from error

    def _read_header(self) -> "_Header | None":
        block = memoryview(bytearray(BLOCK))
        count = fill(self._reader, block)
        if count < BLOCK:
            raise self._damaged("it ends without the mark of its end: it was cut short")
        if block == _ZERO_BLOCK:
            return None
        try:
            return _Header(bytes(block))
        except ValueError as error:
            raise self._damaged(f"the next header is wrong: {error}") from error

    def _read_padding(self) -> None:
        buffer = memoryview(bytearray(64 * KIB))
        padding = 0
        while count := fill(self._reader, buffer):
            padding += count
            if padding > PADDING_MAX or bytes(buffer[:count]).strip(b"\0"):
                raise BadArchive(f"{self._name} goes on after its end: it was put together wrongly")

    def _spend(self, count: int) -> None:
        """Take ``count`` bytes of headers from what an archive may have."""
        self._budget -= count
        if self._budget < 0:
            raise BadArchive(
                f"{self._name} has more than {HEADERS_MAX // MIB} MiB of headers, at {self._now}: "
                "pack the images without --sparse"
            )

    def read_some(self, buffer: memoryview) -> int:
        count = self._reader.readinto(buffer)
        if not count:
            raise self._damaged("it ends in the middle of it")
        return count

    def _read_exactly(self, count: int) -> bytes:
        buffer = memoryview(bytearray(count))
        if fill(self._reader, buffer) < count:
            raise self._damaged("it ends in the middle of a header")
        return bytes(buffer)

    def _skip_to_block(self, size: int) -> None:
        if size % BLOCK:
            self._read_exactly(BLOCK - size % BLOCK)

    def _number(self, text: bytes) -> int:
        if not text.isdigit() or int(text[:20]) > IMAGE_MAX:
            raise self._damaged("it has a size that is not a number or too large")
        return int(text)

    def _damaged(self, problem: str) -> BadArchive:
        return BadArchive(f"{self._name} is damaged at {self._now}: {problem}")


class _Records:
    """What extended headers say of the member that follows them; what is not needed is dropped at once."""

    _WANTED = frozenset(
        {
            b"path",
            b"size",
            b"GNU.sparse.major",
            b"GNU.sparse.map",
            b"GNU.sparse.minor",
            b"GNU.sparse.name",
            b"GNU.sparse.realsize",
            b"GNU.sparse.size",
        }
    )

    def __init__(self) -> None:
        self.runs = RecordMap()
        self._values: dict[bytes, bytes] = {}

    def get(self, *keys: bytes) -> bytes | None:
        """Return the value of the first key that is there."""
        return next((self._values[key] for key in keys if key in self._values), None)

    def add(self, key: bytes, value: bytes) -> None:
        if not self.runs.take(key, value) and key in self._WANTED:
            self._values[key] = value

    def parse(self, data: bytes) -> None:
        """Add the pax records in ``data``; raise ValueError where it is not made of them."""
        position = 0
        while position < len(data) and data[position]:
            space = data.find(b" ", position, position + len("12345678 "))
            length = data[position:space] if space > 0 else b""
            end = position + int(length) if length.isdigit() else 0
            equals = data.find(b"=", space, end)
            if not position < end <= len(data) or equals < 0 or data[end - 1 : end] != b"\n":
                raise ValueError("it is not made of pax records")
            self.add(data[space + 1 : equals], data[equals + 1 : end - 1])
            position = end


class _Header:
    """One header block; raise ValueError where it is none."""

    def __init__(self, block: bytes) -> None:
        if parse_number(block[148:156]) != sum(block[:148]) + sum(block[156:]) + 8 * ord(" "):
            raise ValueError("its checksum does not match")
        self.block = block
        self.type = block[156:157]
        self.size = parse_number(block[124:136])
        self.name = block[:100].split(b"\0")[0]
        if not 0 <= self.size <= IMAGE_MAX:
            raise ValueError(f"it claims {self.size} bytes")
        if block[257:263] == b"ustar\0" and block[345]:
            self.name = block[345:500].split(b"\0")[0] + b"/" + self.name


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
