"""The log of a disk's writes that QEMU's blklogwrites driver keeps, and what a power cut leaves of it.

The form is that of the kernel's dm-log-writes: a header, then one entry for each write or flush, each in
sectors of its own and followed by its data. QEMU logs a write when it is issued and a flush when it is done.
"""

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO

SECTOR = 512
_SUPER = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")
_MAGIC, _VERSION = 0x6A736677736872, 1
_FLUSH, _FUA, _DISCARD, _MARK = 1, 2, 4, 8


@dataclass(frozen=True, slots=True)
class Write:
    """One entry: ``start`` and ``length`` in bytes of the disk, ``at`` where its data is in the log.

    A flush alone has no length. ``lasts`` says that it is on the medium when it is done; a discard
    leaves zeros.
    """

    start: int
    length: int
    at: int
    is_flush: bool = False
    lasts: bool = False
    is_discard: bool = False


def read_log(path: Path) -> list[Write]:
    """Return all entries, oldest first; raise ValueError where the file is no such log."""
    with path.open("rb") as file:
        magic, version, count, sector = _SUPER.unpack(file.read(_SUPER.size))
        if magic != _MAGIC or version != _VERSION:
            raise ValueError(f"{path} is no log of writes")
        return list(_read_entries(file, count, sector))


def _read_entries(file: BinaryIO, count: int, sector: int) -> Iterator[Write]:
    at = sector
    for _ in range(count):
        file.seek(at)
        start, sectors, flags, marked = _ENTRY.unpack(file.read(_ENTRY.size))
        at += sector
        length = sectors * sector
        has_data = not flags & (_DISCARD | _MARK)
        yield Write(
            start * sector,
            length,
            at,
            is_flush=bool(flags & _FLUSH),
            lasts=bool(flags & _FUA),
            is_discard=bool(flags & _DISCARD),
        )
        if has_data:
            at += length
        elif flags & _MARK:
            at += -(-marked // sector) * sector


class Fate(Enum):
    """What becomes of a write that no flush had covered when the power went."""

    KEPT = "kept"
    LOST = "lost"
    TORN = "torn"  # some of its sectors are written, in no order


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the disk, and where they are in the log; ``at`` None for zeros."""

    start: int
    length: int
    at: int | None


@dataclass(frozen=True, slots=True)
class Cut:
    """What a disk holds after the power went behind entry ``position``.

    ``durable`` entries from the first on are there as a whole; ``loose`` are pieces of what was not flushed.
    """

    position: int
    durable: int
    loose: tuple[Piece, ...]
    fates: tuple[Fate, ...]


def cut_at(entries: list[Write], position: int, chance: random.Random) -> Cut:
    """Cut the power behind ``position`` entries: what no flush covered is kept, lost or torn at random."""
    durable = max((i + 1 for i in range(position) if entries[i].is_flush), default=0)
    loose: list[Piece] = []
    fates = []
    for write in entries[durable:position]:
        fate = Fate.KEPT if write.lasts else chance.choice(list(Fate))
        fates.append(fate)
        loose += _pieces_of(write, fate, chance)
    return Cut(position, durable, tuple(loose), tuple(fates))


def _pieces_of(write: Write, fate: Fate, chance: random.Random) -> Iterator[Piece]:
    whole = Piece(write.start, write.length, None if write.is_discard else write.at)
    if fate is Fate.KEPT and write.length:
        yield whole
    if fate is Fate.TORN:
        for offset in range(0, write.length, SECTOR):
            if chance.random() < 0.5:
                yield Piece(write.start + offset, SECTOR, None if whole.at is None else whole.at + offset)


def replay(entries: list[Write], log: Path, disk: Path, first: int, last: int) -> None:
    """Do to ``disk`` what entries ``first`` to ``last`` (not itself) say."""
    pieces = (
        Piece(write.start, write.length, None if write.is_discard else write.at)
        for write in entries[first:last]
        if write.length
    )
    put_pieces(pieces, log, disk)


def put_pieces(pieces: "Iterator[Piece] | tuple[Piece, ...]", log: Path, disk: Path) -> None:
    """Write pieces of the log to ``disk``."""
    with log.open("rb") as source, disk.open("r+b") as target:
        for piece in pieces:
            data = bytes(piece.length)
            if piece.at is not None:
                source.seek(piece.at)
                data = source.read(piece.length)
            target.seek(piece.start)
            target.write(data)
