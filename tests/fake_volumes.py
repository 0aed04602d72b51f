"""A disk in memory, with real bytes in its slots, whose faults can be chosen; and releases that fit it."""

import random
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from abctl.core.bootenv import (
    BootEnv,
    Copy,
    EnvFiles,
    SlotSet,
    SlotState,
    Why,
    encode,
    encode_older,
    read_boot_env,
)
from abctl.core.grub import next_boot
from abctl.core.machine import Running
from abctl.core.record import Happened, Record
from abctl.core.slot import ALL_SLOTS, Part, Slot, SlotName
from abctl.core.units import KIB, MIB, Seconds, Version
from abctl.errors import InUse, WriteFailed
from abctl.ports import ReadableVolume, Slots, Volume
from abctl.update.operate import Ports

SLOT_SIZES = {Part.BOOT: 3 * MIB, Part.ROOT: 4 * MIB, Part.VAR: 1 * MIB}
BOOT_IMAGE_SIZE = 2 * MIB + 36 * KIB
ROOT_IMAGE_SIZE = 3 * MIB + 4 * KIB
LAYOUT = "hostos-small"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All bytes of a disk at one moment."""

    slots: Mapping[Slot, bytes]
    files: EnvFiles
    record: Record


class MemoryDisk:
    """Slot set A runs and is the primary; B holds an older release. Implements the ports of a whole disk."""

    def __init__(
        self, var_size: int = SLOT_SIZES[Part.VAR], *, root_size: int = SLOT_SIZES[Part.ROOT]
    ) -> None:
        sizes = {**SLOT_SIZES, Part.VAR: var_size, Part.ROOT: root_size}
        self.slots = {slot: bytearray(_old_content(slot, sizes[slot.part])) for slot in ALL_SLOTS}
        env = BootEnv(
            primary=SlotName.A,
            slot_sets={
                SlotName.A: SlotSet(SlotState.GOOD, Version("1.0.0")),
                SlotName.B: SlotSet(SlotState.GOOD, Version("0.9.0")),
            },
            generation=4,
        )
        self.files = EnvFiles(encode(env), encode(env), encode_older(env))
        self.record = Record()
        self.running = SlotName.A
        self.in_use: frozenset[Slot] = frozenset()
        self.unwritable: frozenset[Copy] = frozenset()
        self.space: int | None = None  # bytes that can be written before the disk is full
        self.flipped: tuple[Slot, int] | None = None  # a byte that is not kept as written
        self.unreadable: tuple[Slot, int] | None = None  # a byte that cannot be read until it is written
        self.written = 0
        self.interrupt_in: int | None = None  # accesses to the disk until somebody presses Ctrl-C

    # --- ports ---

    @property
    def ports(self) -> Ports:
        return Ports(
            grub=_Grub(self),
            slots=_Slots(self),
            records=_Records(self),
            running=Running.all_of(self.running),
            now=lambda: Seconds(1_700_000_000),
            version_in=lambda _: None,
        )

    def access(self) -> None:
        """Count an access; somebody may press Ctrl-C at this moment."""
        if self.interrupt_in is not None:
            self.interrupt_in -= 1
            if self.interrupt_in == 0:
                raise KeyboardInterrupt

    # --- what tests ask ---

    @property
    def env(self) -> BootEnv:
        env = read_boot_env(self.files).env
        assert env is not None
        return env

    def take_snapshot(self) -> Snapshot:
        return Snapshot({slot: bytes(data) for slot, data in self.slots.items()}, self.files, self.record)

    def set_env(self, env: BootEnv) -> None:
        self.files = EnvFiles(encode(env), encode(env), encode_older(env))

    def assert_untouched(self, before: Snapshot) -> None:
        """No byte of the disk has changed."""
        assert self.take_snapshot() == before

    def assert_still_safe(self, before: Snapshot) -> None:
        """What runs is as it was and boots again, and nothing is on trial."""
        for part in Part:
            slot = Slot(SlotName.A, part)
            assert self.slots[slot] == before.slots[slot], f"{slot} was changed"
        then = next_boot(self.files)
        assert (then.slot_set, then.why) == (SlotName.A, Why.PRIMARY)
        assert self.env.trial is None
        if self.slots[Slot(SlotName.B, Part.BOOT)] != before.slots[Slot(SlotName.B, Part.BOOT)]:
            assert then.second is None, "a slot set that was being written is taken for a way out"

    def assert_given_up(self, before: Snapshot) -> None:
        """The other slot set was being written: it is empty, cannot be booted, and the record says why."""
        self.assert_still_safe(before)
        assert self.env[SlotName.B].state is SlotState.EMPTY
        assert not any(self.slots[Slot(SlotName.B, Part.BOOT)][:MIB]), "there is a head in B_boot"
        assert self.record.entries[-1].what is Happened.INSTALL_FAILED


@cache
def _old_content(slot: Slot, size: int) -> bytes:
    """What an older release left in a slot: noise everywhere."""
    return random.Random(slot.name).randbytes(MIB) * (size // MIB)


class _Grub:
    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk

    def read(self) -> EnvFiles:
        return self._disk.files

    def overwrite(self, copy: Copy, block: bytes) -> None:
        self._disk.access()
        if copy in self._disk.unwritable:
            raise WriteFailed(f"{copy} is on a read-only file system")
        self._disk.files = self._disk.files.with_copy(copy, block)


class _Records:
    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk

    def read(self) -> Record:
        return self._disk.record

    def write(self, record: Record) -> None:
        self._disk.access()
        self._disk.record = record


class _Slots:
    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk

    @contextmanager
    def open_for_writing(self, slot: Slot) -> Iterator["_Volume"]:
        self.check_unused(slot)
        yield _Volume(self._disk, slot)

    @contextmanager
    def open_for_reading(self, slot: Slot) -> Iterator["_Volume"]:
        yield _Volume(self._disk, slot)

    def check_unused(self, slot: Slot) -> None:
        if slot in self._disk.in_use:
            raise InUse(f"{slot} is mounted on /mnt: unmount it")

    def size_of(self, slot: Slot) -> int:
        return len(self._disk.slots[slot])


class _Volume:
    def __init__(self, disk: MemoryDisk, slot: Slot) -> None:
        self._disk = disk
        self._slot = slot
        self._bytes = disk.slots[slot]
        self.name = slot.name
        self.size = len(self._bytes)

    def write(self, offset: int, data: memoryview) -> None:
        self._disk.written += len(data)
        if self._disk.space is not None and self._disk.written > self._disk.space:
            raise WriteFailed(f"{self.name} cannot be written: no space is left")
        self._store(offset, bytes(data))

    def write_zeros(self, offset: int, length: int) -> None:
        self._store(offset, bytes(length))

    def _store(self, offset: int, data: bytes) -> None:
        assert 0 <= offset <= offset + len(data) <= self.size
        self._disk.access()
        self._bytes[offset : offset + len(data)] = data
        if self._is_unreadable(offset, len(data)):
            self._disk.unreadable = None
        if self._disk.flipped and self._disk.flipped[0] == self._slot:
            place = self._disk.flipped[1]
            if offset <= place < offset + len(data):
                self._bytes[place] ^= 0x10

    def flush(self) -> None:
        self._disk.access()

    def read_back(self, offset: int, buffer: memoryview) -> None:
        assert 0 <= offset <= offset + len(buffer) <= self.size
        self._disk.access()
        if self._is_unreadable(offset, len(buffer)):
            raise WriteFailed(f"{self.name} cannot be read: the disk reports an I/O error")
        buffer[:] = self._bytes[offset : offset + len(buffer)]

    def _is_unreadable(self, offset: int, length: int) -> bool:
        bad = self._disk.unreadable
        return bad is not None and bad[0] == self._slot and offset <= bad[1] < offset + length


@dataclass
class LazyVolume:
    """A volume behind a cache: what was not flushed is not on the medium, and goes with the power."""

    medium: Volume
    cached: list[tuple[int, bytes | int]]

    @property
    def name(self) -> str:
        return self.medium.name

    @property
    def size(self) -> int:
        return self.medium.size

    def write(self, offset: int, data: memoryview) -> None:
        self.cached.append((offset, bytes(data)))

    def write_zeros(self, offset: int, length: int) -> None:
        self.cached.append((offset, length))

    def flush(self) -> None:
        for offset, data in self.cached:
            if isinstance(data, int):
                self.medium.write_zeros(offset, data)
            else:
                self.medium.write(offset, memoryview(data))
        self.cached.clear()
        self.medium.flush()

    def read_back(self, offset: int, buffer: memoryview) -> None:
        self.medium.read_back(offset, buffer)


@dataclass
class LazySlots:
    slots: Slots

    def size_of(self, slot: Slot) -> int:
        return self.slots.size_of(slot)

    def check_unused(self, slot: Slot) -> None:
        self.slots.check_unused(slot)

    @contextmanager
    def open_for_writing(self, slot: Slot) -> Iterator[LazyVolume]:
        with self.slots.open_for_writing(slot) as medium:
            yield LazyVolume(medium, [])

    def open_for_reading(self, slot: Slot) -> AbstractContextManager[ReadableVolume]:
        return self.slots.open_for_reading(slot)


def make_image(path: Path, size: int, seed: int) -> Path:
    """Make noise with ranges of zeros in it, some of them odd, the last one at the end."""
    noise = random.Random(seed)
    data = bytearray(noise.randbytes(size))
    for _ in range(6):
        start = noise.randrange(1024, size)
        length = noise.choice((700, 4096, 70_000, 300_000))
        data[start : start + length] = bytes(len(data[start : start + length]))
    data[-100_000:] = bytes(100_000)
    path.write_bytes(data)
    return path


def make_images(
    folder: Path, seed: int = 2, *, boot_size: int = BOOT_IMAGE_SIZE, root_size: int = ROOT_IMAGE_SIZE
) -> dict[Part, Path]:
    """Make images that fit into a MemoryDisk."""
    folder.mkdir(parents=True, exist_ok=True)
    return {
        Part.BOOT: make_image(folder / "boot.img", boot_size, seed),
        Part.ROOT: make_image(folder / "root.img", root_size, seed + 1),
    }
