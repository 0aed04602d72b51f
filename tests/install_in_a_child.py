"""Fill a slot set on real files and print the peak of memory in KiB; arguments: folder, source, SHA-256."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from abctl.core.found import Extent
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import MIB, parse_digest
from abctl.host.block import ExtentVolume
from abctl.host.source import locate_release
from abctl.update.install import fill_slot_set

SIZES = {Part.BOOT: 64 * MIB, Part.ROOT: 1024 * MIB, Part.VAR: 64 * MIB}


class FileSlots:
    """Slots that are plain files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        for part, size in SIZES.items():
            with (folder / f"A_{part}").open("wb") as file:
                file.truncate(size)

    @contextmanager
    def open_for_writing(self, slot: Slot) -> Iterator[ExtentVolume]:
        path = self._folder / slot.name
        with ExtentVolume(path, [Extent(0, self.size_of(slot))], slot.name, writable=True) as volume:
            yield volume

    @contextmanager
    def open_for_reading(self, slot: Slot) -> Iterator[ExtentVolume]:
        with ExtentVolume(self._folder / slot.name, [Extent(0, self.size_of(slot))], slot.name) as volume:
            yield volume

    def check_unused(self, slot: Slot) -> None:
        pass

    def size_of(self, slot: Slot) -> int:
        return SIZES[slot.part]


if __name__ == "__main__":
    offer = locate_release(sys.argv[2], parse_digest(sys.argv[3]))
    fill_slot_set(FileSlots(Path(sys.argv[1])), "hostos-small", SlotName.A, offer)
    # Not ru_maxrss: that has the peak of the parent in it.
    [peak] = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    print(peak)
