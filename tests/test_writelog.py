"""A log of a disk's writes, and what a power cut leaves of it."""

import random
import struct
from pathlib import Path

import pytest

from tests.lab.writelog import SECTOR, Fate, cut_at, put_pieces, read_log, replay

_WRITE, _FLUSH, _FUA, _DISCARD = 0, 1, 2, 4


def _make_log(path: Path, entries: list[tuple[int, int, bytes]]) -> Path:
    """A log of (flags, first sector, data), in the form of the kernel's documentation."""
    parts = [struct.pack("<QQQI", 0x6A736677736872, 1, len(entries), SECTOR).ljust(SECTOR, b"\0")]
    for flags, sector, data in entries:
        head = struct.pack("<QQQQ", sector, len(data) // SECTOR, flags, 0)
        parts.append(head.ljust(SECTOR, b"\0"))
        if not flags & _DISCARD:
            parts.append(data)
    path.write_bytes(b"".join(parts))
    return path


def _sectors(letters: str) -> bytes:
    return b"".join(letter.encode() * SECTOR for letter in letters)


def _show(disk: Path) -> str:
    """The disk as one letter for each sector."""
    data = disk.read_bytes()
    sectors = [data[at : at + SECTOR] for at in range(0, len(data), SECTOR)]
    assert all(len(set(sector)) == 1 for sector in sectors), "half a sector is never written"
    return "".join(chr(sector[0]) for sector in sectors).replace("\0", ".")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    entries = [
        (_WRITE, 0, _sectors("ab")),
        (_WRITE, 4, _sectors("c")),
        (_FLUSH, 0, b""),
        (_DISCARD, 0, _sectors("..")[:SECTOR]),
        (_WRITE, 2, _sectors("defg")),
        (_FUA, 7, _sectors("h")),
    ]
    return _make_log(tmp_path / "log", entries)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(8 * SECTOR))
    return path


def test_a_log_that_is_replayed_whole_gives_the_disk(log: Path, disk: Path) -> None:
    replay(read_log(log), log, disk, 0, 6)
    assert _show(disk) == ".bdefg.h"


def test_what_a_flush_covered_is_never_lost(log: Path) -> None:
    entries = read_log(log)
    for position in range(3, 7):
        for seed in range(20):
            assert cut_at(entries, position, random.Random(seed)).durable == 3
    assert cut_at(entries, 2, random.Random(1)).durable == 0


def test_what_was_not_flushed_is_kept_lost_or_torn_by_sectors(log: Path, disk: Path) -> None:
    entries = read_log(log)
    seen: set[str] = set()
    fates: set[Fate] = set()
    replay(entries, log, disk, 0, 3)
    flushed = disk.read_bytes()
    for seed in range(300):
        cut = cut_at(entries, 6, random.Random(seed))
        disk.write_bytes(flushed)
        put_pieces(cut.loose, log, disk)
        seen.add(_show(disk))
        fates.update(cut.fates)
    assert fates == set(Fate)
    assert {".bdefg.h", "ab..c..h", ".b..c..h", "abdefg.h"} <= seen, "all kept, all lost, one of two"
    assert "ab.ec..h" in seen, "a torn write"
    assert all(word.endswith("h") for word in seen), "what was written through is never lost"


def test_the_same_seed_gives_the_same_cut(log: Path) -> None:
    entries = read_log(log)
    assert cut_at(entries, 6, random.Random(5)) == cut_at(entries, 6, random.Random(5))


def test_another_file_is_not_taken_for_a_log(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(bytes(4096))
    with pytest.raises(ValueError, match="is no log of writes"):
        read_log(other)
