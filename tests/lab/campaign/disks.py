"""The disk that a cut leaves, and which of its slot sets are those of a release to the byte."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from abctl.core.found import Extent
from abctl.core.release import INSTALLED_PARTS
from abctl.core.slot import Slot, SlotName
from abctl.core.units import MIB
from abctl.host.disk import open_disk
from tests.lab.campaign.recording import Recording
from tests.lab.prepare import copy_sparse
from tests.lab.writelog import SECTOR, Cut, Piece, put_pieces, replay

Held = tuple[SlotName, str | None]  # a slot set, and the version that it may hold


class Matches:
    """Compares a disk with ``wanted`` disks, a MiB at a time, where it was touched since the last time."""

    def __init__(self, disk: Path, wanted: Mapping[Held, tuple[Path, tuple[Extent, ...]]]) -> None:
        self._disk = disk
        self._wanted = {name: path for name, (path, _) in wanted.items()}
        self._blocks = {
            name: {block for place in places for block in _blocks_of(place.offset, place.length)}
            for name, (_, places) in wanted.items()
        }
        self._differing: dict[Held, set[int]] = {name: set() for name in wanted}
        self._touched: set[int] = set().union(*self._blocks.values())

    def touch(self, start: int, length: int) -> None:
        """Say that something was written."""
        self._touched.update(_blocks_of(start, length))

    def is_whole(self, slot_set: SlotName, version: str | None) -> bool:
        """Whether Boot and Root are those of this release."""
        if self._touched:
            for name, path in self._wanted.items():
                blocks = self._touched & self._blocks[name]
                different = set(_find_different(self._disk, path, blocks))
                self._differing[name] = (self._differing[name] - blocks) | different
            self._touched.clear()
        held = (slot_set, version)
        return held in self._differing and not self._differing[held]


def _blocks_of(start: int, length: int) -> range:
    return range(start // MIB, -(-(start + length) // MIB))


def _find_different(disk: Path, other: Path, blocks: Iterable[int]) -> Iterator[int]:
    with disk.open("rb", buffering=0) as mine, other.open("rb", buffering=0) as theirs:
        for block in sorted(blocks):
            mine.seek(block * MIB)
            theirs.seek(block * MIB)
            if mine.read(MIB) != theirs.read(MIB):
                yield block


def match_with(recording: Recording, disk: Path) -> Matches:
    """Compare a disk with what the recording began with, and what it installed."""
    plan, found = recording.plan, open_disk(recording.base)

    def places(slot_set: SlotName) -> tuple[Extent, ...]:
        slots = [Slot(slot_set, part) for part in INSTALLED_PARTS]
        starts = [found.places_of(found.layout.find_slot(slot))[0].offset for slot in slots]
        return tuple(
            Extent(start, recording.facts.sizes[str(slot)]) for start, slot in zip(starts, slots, strict=True)
        )

    wanted: dict[Held, tuple[Path, tuple[Extent, ...]]] = {
        (plan.primary, plan.old): (recording.base, places(plan.primary)),
        (plan.target, plan.new): (recording.final, places(plan.target)),
    }
    if plan.replaced:
        wanted[plan.target, plan.replaced] = (recording.base, places(plan.target))
    return Matches(disk, wanted)


class RollingDisk:
    """A disk that goes through a recording, and shows on the way what cuts leave of it."""

    def __init__(self, recording: Recording, path: Path) -> None:
        self.path = path
        self.matches = match_with(recording, path)
        self._recording = recording
        self._at = 0
        copy_sparse(recording.base, path)

    def go_to(self, durable: int) -> None:
        """Do what the entries before ``durable`` did; never goes back."""
        assert durable >= self._at
        entries = self._recording.entries
        replay(entries, self._recording.log, self.path, self._at, durable)
        for write in entries[self._at : durable]:
            if write.length:
                self.matches.touch(write.start, write.length)
        self._at = durable

    @contextmanager
    def holding(self, pieces: Iterable[Piece]) -> Iterator[None]:
        """Put pieces on the disk, and take them away again."""
        pieces = tuple(pieces)
        with self.path.open("r+b", buffering=0) as disk:
            before = [os.pread(disk.fileno(), piece.length, piece.start) for piece in pieces]
            put_pieces(pieces, self._recording.log, self.path)
            self._touch(pieces)
            try:
                yield
            finally:
                for piece, data in zip(reversed(pieces), reversed(before), strict=True):
                    os.pwrite(disk.fileno(), data, piece.start)
                self._touch(pieces)

    def fingerprint(self, cut: Cut) -> str:
        """Return the same for two cuts that leave the same disk; it has to be at ``cut.durable``."""
        sectors: dict[int, bytes] = {}
        # How many writes are there, for a flush alone changes nothing.
        writes = sum(1 for write in self._recording.entries[: cut.durable] if write.length)
        digest = hashlib.sha256(f"{self._recording.plan.name} {writes}".encode())
        with self._recording.log.open("rb") as log, self.path.open("rb", buffering=0) as disk:
            for piece in cut.loose:
                at = piece.at
                data = bytes(piece.length) if at is None else os.pread(log.fileno(), piece.length, at)
                for offset in range(0, piece.length, SECTOR):
                    sectors[piece.start + offset] = data[offset : offset + SECTOR]
            for start, data in sorted(sectors.items()):
                if os.pread(disk.fileno(), SECTOR, start) != data:
                    digest.update(start.to_bytes(8, "little") + data)
        return digest.hexdigest()[:24]

    def _touch(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self.matches.touch(piece.start, piece.length)
