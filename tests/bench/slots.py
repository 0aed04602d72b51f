"""Loop devices with direct I/O that stand for the slots, and the virtual disk that abctl works on."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from abctl.core.layout import LogicalVolume, Role
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import MIB
from abctl.host.disk import open_disk
from tests.bench.trees import run
from tests.bench.written import Written, watch_writes


@dataclass(frozen=True, slots=True)
class Target:
    """A disk as a loop device, and once more the volumes of its slot set B, ``boot`` and ``root``.

    ``written`` counts what is written to the disk, through whichever device.
    """

    disk: Path
    whole: str
    boot: str
    root: str
    written: Written


@contextmanager
def attach(disk: Path) -> Iterator[Target]:
    """Attach the disk, and the two volumes of slot set B once more for tools that know no LVM."""
    opened = open_disk(disk)
    places = []
    for part in (Part.BOOT, Part.ROOT):
        volume = opened.layout.find_slot(Slot(SlotName.B, part))
        assert isinstance(volume, LogicalVolume)
        (place,) = opened.places_of(volume)
        places.append(("--offset", str(place.offset), "--sizelimit", str(place.length)))
    devices: list[str] = []
    try:
        for options in ((), *places):
            devices.append(run("losetup", "--find", "--show", "--direct-io=on", *options, str(disk)).strip())
        numbers = {_number_of(device) for device in devices}
        with watch_writes(numbers) as written:
            whole, boot, root = devices
            yield Target(disk, whole, boot, root, written)
    finally:
        for device in devices:
            run("losetup", "--detach", device)


def _number_of(device: str) -> tuple[int, int]:
    number = Path(device).stat().st_rdev
    return os.major(number), os.minor(number)


class Restorer:
    """Brings a disk back to what it was: slot set B holds an older system, and nothing is on trial."""

    def __init__(self, target: Target, old: dict[Part, Path]) -> None:
        self._target = target
        self._old = old
        opened = open_disk(target.disk)
        small = [opened.layout.find_role(role) for role in (Role.GRUB, Role.CONFIG)]
        self._places = [place for volume in small if volume for place in opened.places_of(volume)]
        # What the last run left must not be taken for how the disk was made.
        kept = target.disk.with_suffix(".kept")
        with (kept if kept.exists() else target.disk).open("rb") as file:
            self._kept = [os.pread(file.fileno(), place.length, place.offset) for place in self._places]
        if not kept.exists():
            with kept.open("wb") as file:
                for place, data in zip(self._places, self._kept, strict=True):
                    os.pwrite(file.fileno(), data, place.offset)

    def have_there(self, images: dict[Part, Path]) -> None:
        """Have these images in slot set B from now on."""
        self._old = images

    def restore(self) -> None:
        with self._target.disk.open("r+b") as file:
            for place, data in zip(self._places, self._kept, strict=True):
                os.pwrite(file.fileno(), data, place.offset)
            os.fsync(file.fileno())
        for device, image in (
            (self._target.boot, self._old[Part.BOOT]),
            (self._target.root, self._old[Part.ROOT]),
        ):
            run("dd", f"if={image}", f"of={device}", "bs=4M", "oflag=direct", "status=none")
        os.sync()
        for path in (self._target.disk, self._target.boot, self._target.root, self._target.whole):
            fd = os.open(path, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def is_same(image: Path, device: str) -> bool:
    """Return whether ``device`` begins with the bytes of ``image``."""
    fd = os.open(device, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    with image.open("rb") as first, os.fdopen(fd, "rb") as second:
        while expected := first.read(4 * MIB):
            if second.read(len(expected)) != expected:
                return False
    return True


def make_disk(disk: Path, release: Path, sha256: str) -> None:
    """Make a hostos disk whose slot set A holds ``release``."""
    if disk.exists():
        return
    new = disk.with_suffix(".new")
    new.unlink(missing_ok=True)
    abctl = shutil.which("abctl") or ".venv/bin/abctl"
    run(
        abctl,
        "disk",
        "create",
        str(new),
        "--layout",
        "hostos",
        "--release",
        str(release),
        "--sha256",
        sha256,
        "--quiet",
    )
    new.rename(disk)
