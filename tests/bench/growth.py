"""How the cost of a full installation grows with the image: a child for each size, on sparse files."""

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from abctl.core.found import Extent
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import MIB
from abctl.host.block import ExtentVolume
from abctl.host.source import locate_release
from abctl.update.install import fill_slot_set
from tests.bench.packing import ABCTL, FILES
from tests.bench.server import Server
from tests.bench.trees import CACHE, run

SIZES = (256, 1024, 4096, 16384)  # MiB
_LAYOUT = "growth"  # no shipped one has slots that large
_SHARE = 0.36  # of the image that is not zeros, as in the trees


def make_release(size: int) -> Path:
    """Make a release whose Root has ``size`` MiB, of which a share is packed to a third."""
    release = FILES / f"growth-{size}"
    if not release.exists():
        folder = CACHE / "growth"
        folder.mkdir(exist_ok=True)
        for name, mib in (("boot", 8), ("root", size)):
            _write_image(folder / f"{name}.img", mib)
        images = ("--boot", str(folder / "boot.img"), "--root", str(folder / "root.img"))
        options = ("--version", "1.0.0", "--layout", _LAYOUT, "--level", "3", "--progress", "none")
        run(ABCTL, "release", "build", str(release), *options, *images)
        for name in ("boot", "root"):
            (folder / f"{name}.img").unlink()
    return release


def _write_image(path: Path, mib: int) -> None:
    noise = random.Random(mib)
    with path.open("wb") as file:
        file.truncate(mib * MIB)
        for _ in range(max(1, int(mib * _SHARE))):
            words = [noise.randbytes(8) for _ in range(1 << 14)]
            file.write(b"".join(noise.choices(words, k=MIB // 8)))


def measure_growth(server: Server) -> list[dict[str, float]]:
    """Return wall and CPU seconds and the peak RSS in bytes for each size in MiB."""
    return [_measure(server, size) for size in SIZES]


def _measure(server: Server, size: int) -> dict[str, float]:
    release = make_release(size)
    sha256 = run("sha256sum", str(release / "manifest.json")).split()[0]
    folder = CACHE / "growth"
    command = [
        sys.executable,
        "-m",
        "tests.bench.growth",
        str(folder),
        f"{server.http}/{release.name}/",
        sha256,
        str(size),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return {"size": size, **found}


class _Slots:
    """Slots that are plain files."""

    def __init__(self, folder: Path, root_mib: int) -> None:
        self._folder = folder
        self._sizes = {Part.BOOT: 64 * MIB, Part.ROOT: root_mib * MIB, Part.VAR: 64 * MIB}
        for slot_part, size in self._sizes.items():
            path = folder / f"A_{slot_part}"
            path.unlink(missing_ok=True)
            with path.open("wb") as file:
                file.truncate(size)

    @contextmanager
    def open_for_writing(self, slot: Slot) -> Iterator[ExtentVolume]:
        with ExtentVolume(
            self._folder / slot.name, [Extent(0, self.size_of(slot))], slot.name, writable=True
        ) as volume:
            yield volume

    open_for_reading = open_for_writing

    def check_unused(self, slot: Slot) -> None:
        pass

    def size_of(self, slot: Slot) -> int:
        return self._sizes[slot.part]


def _install(folder: Path, url: str, sha256: str, mib: int) -> None:
    from abctl.core.units import parse_digest  # noqa: PLC0415

    slots = _Slots(folder, mib)
    began, before = time.monotonic(), os.times()
    fill_slot_set(slots, _LAYOUT, SlotName.A, locate_release(url, parse_digest(sha256)))
    wall, after = time.monotonic() - began, os.times()
    # Not ru_maxrss: that has the peak of the parent in it.
    [peak] = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    cpu = after.user + after.system - before.user - before.system
    print(json.dumps({"wall": wall, "cpu": cpu, "rss": int(peak) * 1024}))
    for path in folder.glob("A_*"):
        path.unlink()


if __name__ == "__main__":
    _install(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
