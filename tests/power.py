"""A disk in memory with a cache that goes with the power, and a moment at which everything ends."""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum

from abctl.core.bootenv import Copy, EnvFiles
from abctl.core.record import Record
from abctl.core.slot import Part, Slot, SlotName
from abctl.update.operate import Ports
from abctl.update.perform import HEAD_SIZE
from tests.chunk_releases import B_BOOT
from tests.fake_volumes import MemoryDisk

_SECTOR = 512


class PowerCut(BaseException):
    """Nothing is written, read or fetched after it; ``is_first`` is the access that it fell into."""

    def __init__(self, *, is_first: bool = False) -> None:
        super().__init__()
        self.is_first = is_first


class Moment(StrEnum):
    """Where in an installation something happens."""

    SURVEY = "survey"
    BEGIN = "begin"  # the boot environment says that the slot set is gone
    FETCH = "fetch"
    WRITE = "write"
    READ_BACK = "read back"
    SEAL = "seal"  # from the head of Boot on
    ARM = "arm"  # the boot environment says that it is on trial


class CachedDisk:
    """``disk`` behind a cache: its slots are what is read; ``medium`` is what a power cut cannot take.

    After ``cut_in`` more events of the kind ``cut_at`` every access raises PowerCut, until ``start``.
    """

    def __init__(self, disk: MemoryDisk, numbers: random.Random) -> None:
        self.disk = disk
        self.medium = {slot: bytearray(data) for slot, data in disk.slots.items()}
        self.events: Counter[Moment] = Counter()
        self.proven: set[tuple[Slot, int, int]] = set()  # read back after it was written: slot, offset, bytes
        self._numbers = numbers
        self._cached: list[tuple[Slot, int, bytes]] = []
        self._lock = threading.Lock()
        self._cut_at: Moment | None = None
        self._cut_in = 0
        self._is_off = False
        self._has_begun = self._is_sealed = False

    @property
    def ports(self) -> Ports:
        return replace(self.disk.ports, grub=_Grub(self), slots=_Slots(self), records=_Records(self))

    def start(self, cut_at: Moment | None = None, cut_in: int = 0) -> None:
        """Begin another process, which ends at the given moment, if it comes so far."""
        self.events.clear()
        self._cut_at, self._cut_in = cut_at, cut_in
        self._is_off = self._has_begun = self._is_sealed = False

    def lose_power(self, *, with_all: bool = False) -> None:
        """Have each write that no flush has covered get lost, torn or through; ``with_all``, lost."""
        for slot, offset, data in () if with_all else self._cached:
            kept = self._numbers.choice((0, len(data), self._numbers.randrange(len(data) + 1)))
            self._put_on_medium(slot, offset, data[: kept - kept % _SECTOR])
        self._cached.clear()
        for slot, kept_data in self.medium.items():
            self.disk.slots[slot][:] = kept_data

    # --- what happens ---

    def happen(self, moment: Moment) -> None:
        """Count an event; raise PowerCut from the chosen one on."""
        with self._lock:
            if self._is_off:
                raise PowerCut
            self.events[moment] += 1
            if moment is self._cut_at and self.events[moment] == self._cut_in:
                self._is_off = True
                raise PowerCut(is_first=True)

    def check_power(self) -> None:
        if self._is_off:
            raise PowerCut

    def read(self, slot: Slot, offset: int, buffer: memoryview) -> None:
        is_target = slot.slot_set is SlotName.B
        if is_target:
            self.happen(self._later(Moment.READ_BACK if self._has_begun else Moment.SURVEY))
        self.check_power()
        buffer[:] = self.disk.slots[slot][offset : offset + len(buffer)]
        if is_target and self._has_begun:
            self.proven.add((slot, offset, len(buffer)))

    def write(self, slot: Slot, offset: int, data: bytes) -> None:
        assert slot.slot_set is SlotName.B
        self.check_power()
        self._is_sealed |= slot == B_BOOT and offset == 0 and any(data)
        with self._lock:
            self.disk.slots[slot][offset : offset + len(data)] = data
            self._cached.append((slot, offset, data))
            self.proven = {place for place in self.proven if not _overlap(place, slot, offset, len(data))}
        # It is under way when the cut comes.
        is_head_going = slot.part is not Part.VAR and offset < HEAD_SIZE and not any(data)
        self.happen(self._later(Moment.BEGIN if is_head_going else Moment.WRITE))

    def flush(self, slot: Slot) -> None:
        with self._lock:
            # What is written meanwhile is not covered.
            covered = [item for item in self._cached if item[0] == slot]
        self.happen(self._later(Moment.WRITE))
        with self._lock:
            numbers = {id(item) for item in covered}
            for item in self._cached:
                if id(item) in numbers:
                    self._put_on_medium(*item)
            self._cached = [item for item in self._cached if id(item) not in numbers]

    def overwrite(self, copy: Copy, block: bytes) -> None:
        """Overwrite a copy of the boot environment; a cut may tear it."""
        self._has_begun = True
        try:
            self.happen(Moment.ARM if self._is_sealed else Moment.BEGIN)
        except PowerCut as cut:
            if cut.is_first:
                at = self._numbers.choice((0, len(block), self._numbers.randrange(len(block))))
                old = self.disk.files[copy] or b""
                self.disk.files = self.disk.files.with_copy(copy, block[:at] + old[at:])
            raise
        self.disk.files = self.disk.files.with_copy(copy, block)

    def _put_on_medium(self, slot: Slot, offset: int, data: bytes) -> None:
        self.medium[slot][offset : offset + len(data)] = data

    def _later(self, moment: Moment) -> Moment:
        return Moment.SEAL if self._is_sealed else moment


def _overlap(place: tuple[Slot, int, int], slot: Slot, offset: int, length: int) -> bool:
    return place[0] == slot and place[1] < offset + length and offset < place[1] + place[2]


class _Grub:
    def __init__(self, cached: CachedDisk) -> None:
        self._cached = cached

    def read(self) -> EnvFiles:
        self._cached.check_power()
        return self._cached.disk.files

    def overwrite(self, copy: Copy, block: bytes) -> None:
        self._cached.overwrite(copy, block)


class _Records:
    def __init__(self, cached: CachedDisk) -> None:
        self._cached = cached

    def read(self) -> Record:
        self._cached.check_power()
        return self._cached.disk.record

    def write(self, record: Record) -> None:
        self._cached.check_power()
        self._cached.disk.record = record


class _Slots:
    def __init__(self, cached: CachedDisk) -> None:
        self._cached = cached

    @contextmanager
    def open_for_writing(self, slot: Slot) -> Iterator["_Volume"]:
        self._cached.check_power()
        yield _Volume(self._cached, slot)

    @contextmanager
    def open_for_reading(self, slot: Slot) -> Iterator["_Volume"]:
        self._cached.check_power()
        yield _Volume(self._cached, slot)

    def check_unused(self, slot: Slot) -> None:
        pass

    def size_of(self, slot: Slot) -> int:
        return len(self._cached.disk.slots[slot])


class _Volume:
    def __init__(self, cached: CachedDisk, slot: Slot) -> None:
        self._cached = cached
        self._slot = slot
        self.name = slot.name
        self.size = len(cached.disk.slots[slot])

    def write(self, offset: int, data: memoryview) -> None:
        self._cached.write(self._slot, offset, bytes(data))

    def write_zeros(self, offset: int, length: int) -> None:
        self._cached.write(self._slot, offset, bytes(length))

    def flush(self) -> None:
        self._cached.flush(self._slot)

    def read_back(self, offset: int, buffer: memoryview) -> None:
        self._cached.read(self._slot, offset, buffer)
