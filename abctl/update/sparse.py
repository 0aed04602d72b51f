"""Sparse files in a tar: maps of what is data, and a reader that puts the zeros back in the holes.

A map is pairs of offset and length; its formats are those of GNU tar's manual, "Storing Sparse Files".
"""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from abctl.core.units import MIB
from abctl.ports import Reader
from abctl.update.stream import fill

_BLOCK = 512
_ENTRY = 12  # bytes of one number in the old format
_ENTRIES_MAX = 2**19  # 8 MiB in memory; an image of 10 GiB with a hole every 20 KiB
_ZEROS = bytes(MIB)


@dataclass(frozen=True, slots=True)
class SparseMap:
    """``places`` is offset and length of each run of data by turns, ``size`` that of the whole in bytes."""

    places: "array[int]"
    size: int

    def check(self, stored: int) -> None:
        """Raise ValueError where the runs overlap, leave the file, or are not ``stored`` bytes together."""
        end = total = 0
        for offset, length in zip(self.places[::2], self.places[1::2], strict=True):
            if offset < end:
                raise ValueError("two runs of data overlap")
            end = offset + length
            total += length
        if end > self.size:
            raise ValueError("it goes on after the end of the file")
        if total != stored:
            raise ValueError(f"it says {total} bytes of data, and {stored} are there")


class SparseData:
    """The whole file of a map: its data, and zeros between."""

    def __init__(self, sparse: SparseMap, data: Reader) -> None:
        self._map = sparse
        self._data = data
        self._position = 0
        self._next = 0  # the run that is read, or comes next

    @property
    def length(self) -> int:
        return self._map.size

    def readinto(self, buffer: memoryview) -> int:
        places = self._map.places
        while self._next < len(places) and self._position >= places[self._next] + places[self._next + 1]:
            self._next += 2
        in_hole = self._next == len(places) or self._position < places[self._next]
        end = self._map.size if self._next == len(places) else places[self._next]
        if in_hole:
            count = min(len(buffer), end - self._position, len(_ZEROS))
            buffer[:count] = _ZEROS[:count]
        else:
            end += places[self._next + 1]
            count = self._data.readinto(buffer[: min(len(buffer), end - self._position)])
        self._position += count
        return count


def parse_number(field: bytes) -> int:
    """Return a header's number: octal digits, or a number of base 256 after a byte 0x80."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise ValueError("a number in it is none")
    return int(digits or b"0", 8)


def read_map_entries(field: bytes, places: "array[int]") -> bool:
    """Add the entries of an old header to ``places``; False where the last one was among them."""
    for start in range(0, len(field), 2 * _ENTRY):
        entry = field[start : start + 2 * _ENTRY]
        if not entry[_ENTRY]:
            return False
        _add(places, parse_number(entry[:_ENTRY]), parse_number(entry[_ENTRY:]))
    return True


class RecordMap:
    """The runs of pax format 0.0, which come as two records for each."""

    def __init__(self) -> None:
        self.places = array("Q")
        self._offset: int | None = None

    def take(self, key: bytes, value: bytes) -> bool:
        """Take a record; False where it is not one of these."""
        if key == b"GNU.sparse.offset":
            self._offset = _number(value)
        elif key == b"GNU.sparse.numbytes":
            if self._offset is None:
                raise ValueError("its records are out of order")
            _add(self.places, self._offset, _number(value))
            self._offset = None
        else:
            return False
        return True


def parse_map_01(value: bytes, size: int) -> SparseMap:
    """Return the map of pax format 0.1: numbers with commas between, in one record."""
    places = array("Q")
    numbers = _split(value, b",") if value else iter(())
    for offset in numbers:
        length = next(numbers, None)
        if length is None:
            raise ValueError("a length is missing")
        _add(places, offset, length)
    return SparseMap(places, size)


def read_map_1(data: Reader, size: int, spend: Callable[[int], None]) -> SparseMap:
    """Return the map of pax format 1.0: a line for each number before the data, padded to a block.

    The first number says how many runs follow.
    """
    places = array("Q")
    block = memoryview(bytearray(_BLOCK))
    count, pending, rest = -1, -1, b""
    while count < 0 or len(places) < 2 * count:
        spend(_BLOCK)
        if fill(data, block) < _BLOCK:
            raise ValueError("it ends too early")
        *lines, rest = (rest + bytes(block)).split(b"\n")
        for line in lines:
            if count < 0:
                count = _number(line)
            elif pending < 0:
                pending = _number(line)
            else:
                _add(places, pending, _number(line))
                pending = -1
            if len(places) == 2 * count:
                break
    return SparseMap(places, size)


def _split(value: bytes, separator: bytes) -> Iterator[int]:
    position = 0
    while position <= len(value):
        end = value.find(separator, position)
        end = len(value) if end < 0 else end
        yield _number(value[position:end])
        position = end + 1


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > len("18446744073709551615"):
        raise ValueError(f"not a number: {text[:40]!r}")
    return int(text)


def _add(places: "array[int]", offset: int, length: int) -> None:
    if len(places) >= 2 * _ENTRIES_MAX:
        raise ValueError(f"it has more than {_ENTRIES_MAX} runs of data")
    try:
        places.extend((offset, length))
    except OverflowError as error:
        raise ValueError("a number in it is too large") from error
