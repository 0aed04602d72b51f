"""The guest's memory, and the split virtqueues in it."""

import mmap
import os
import struct
from dataclasses import dataclass, field

_DESCRIPTOR = struct.Struct("<QIHH")  # address, length, flags, next
_NEXT = 1  # flag: the chain goes on


@dataclass(frozen=True, slots=True)
class Region:
    """A piece of the guest's memory; ``guest`` and ``user`` are its addresses for the guest and for QEMU."""

    guest: int
    size: int
    user: int
    offset: int
    memory: mmap.mmap

    @classmethod
    def map(cls, guest: int, size: int, user: int, offset: int, fd: int) -> "Region":
        try:
            return cls(guest, size, user, offset, mmap.mmap(fd, offset + size, mmap.MAP_SHARED))
        finally:
            os.close(fd)


class Memory:
    """All regions; a view is of the memory itself."""

    def __init__(self, regions: list[Region]) -> None:
        self._regions = regions

    def at_guest(self, address: int, length: int) -> memoryview:
        return self._find(address, length, "guest")

    def at_user(self, address: int, length: int) -> memoryview:
        return self._find(address, length, "user")

    def _find(self, address: int, length: int, kind: str) -> memoryview:
        for region in self._regions:
            start = getattr(region, kind)
            if start <= address and address + length <= start + region.size:
                place = region.offset + address - start
                return memoryview(region.memory)[place : place + length]
        raise LookupError(f"{length} bytes at {address:#x} are no memory of the guest")


@dataclass(slots=True)
class Chain:
    """Buffers that the guest has made available; ``head`` names them when they go back."""

    head: int
    buffers: list[memoryview]

    def read(self) -> bytes:
        return b"".join(self.buffers)

    def write(self, data: bytes) -> int:
        """Fill the buffers from their start, and return how many bytes there was room for."""
        place = 0
        for buffer in self.buffers:
            part = data[place : place + len(buffer)]
            buffer[: len(part)] = part
            place += len(part)
        return place


@dataclass(slots=True)
class Queue:
    """One ring, as QEMU describes it bit by bit; file descriptors are -1 until they are known."""

    size: int = 0
    next: int = 0
    is_enabled: bool = False
    kick: int = -1
    call: int = -1
    memory: Memory | None = None
    _descriptors: memoryview = field(default_factory=lambda: memoryview(b""))
    _available: memoryview = field(default_factory=lambda: memoryview(b""))
    _used: memoryview = field(default_factory=lambda: memoryview(b""))

    def place(self, memory: Memory, descriptors: int, used: int, available: int) -> None:
        """Say where the three parts of the ring are, in addresses of QEMU."""
        self.memory = memory
        self._descriptors = memory.at_user(descriptors, 16 * self.size)
        self._available = memory.at_user(available, 6 + 2 * self.size)
        self._used = memory.at_user(used, 6 + 8 * self.size)

    def take(self) -> Chain | None:
        """Return the next buffers that the guest has made available."""
        if self.memory is None or not self.is_enabled:
            return None
        (published,) = struct.unpack_from("<H", self._available, 2)
        if published == self.next:
            return None
        (head,) = struct.unpack_from("<H", self._available, 4 + 2 * (self.next % self.size))
        self.next = (self.next + 1) % 2**16
        return Chain(head, self._collect(self.memory, head))

    def _collect(self, memory: Memory, number: int) -> list[memoryview]:
        buffers: list[memoryview] = []
        while len(buffers) < self.size:
            address, length, flags, following = _DESCRIPTOR.unpack_from(self._descriptors, 16 * number)
            buffers.append(memory.at_guest(address, length))
            if not flags & _NEXT:
                break
            number = following
        return buffers

    def give_back(self, chain: Chain, written: int) -> None:
        """Return buffers to the guest, and interrupt it."""
        (place,) = struct.unpack_from("<H", self._used, 2)
        struct.pack_into("<II", self._used, 4 + 8 * (place % self.size), chain.head, written)
        struct.pack_into("<H", self._used, 2, (place + 1) % 2**16)
        if self.call >= 0:
            os.write(self.call, struct.pack("<Q", 1))
