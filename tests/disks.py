"""Disks for the tests, and whether this machine has the loop devices that LVM needs."""

import atexit
import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from abctl.core import record
from abctl.core.bootenv import BootEnv, EnvFiles, encode, encode_older
from abctl.core.found import Extent
from abctl.core.layout import Role
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import Bytes
from abctl.errors import DiskUnusable
from abctl.host.block import ExtentVolume
from abctl.host.create import FirstState, create_disk
from abctl.host.disk import Disk, DiskConfigFile, open_disk
from abctl.host.layouts import read_layout
from abctl.host.loop import attach_loop
from abctl.update.first import blank_config_files
from abctl.update.memory import ConfigRecord

BLOCK = encode(BootEnv(SlotName.A))
STATE = FirstState(EnvFiles(BLOCK, BLOCK, encode_older(BootEnv(SlotName.A))), blank_config_files())

_LVM_CONFIG = (
    'backup{backup=0 archive=0} activation{monitoring=0} devices{global_filter=["a|.*|"] hints="none"}'
)


def _find_loop_problem() -> str | None:
    try:
        with attach_loop(Path(__file__), Extent(0, 512)):
            return None
    except DiskUnusable as error:
        return str(error)


LOOP_PROBLEM = _find_loop_problem()


GUEST, HOST = "guestos-small", "hostos-small"
A_BOOT, B_BOOT, B_ROOT = (
    Slot(SlotName.A, Part.BOOT),
    Slot(SlotName.B, Part.BOOT),
    Slot(SlotName.B, Part.ROOT),
)

# Marks for what works with loop devices; where there are none it is skipped, and says so.
NEEDS_LOOP = (
    pytest.mark.loop,
    pytest.mark.skipif(LOOP_PROBLEM is not None, reason=f"NOT TESTED HERE, real LVM: {LOOP_PROBLEM}"),
)


# A disk of each kind: slots in partitions, and in logical volumes.
KINDS = (GUEST, pytest.param(HOST, marks=NEEDS_LOOP))


def needs_loop(test: Callable[..., Any]) -> Any:
    """Mark a test with NEEDS_LOOP."""
    for mark in NEEDS_LOOP:
        test = mark(test)
    return test


def make_image(path: Path, layout: str, *, size: Bytes | None = None) -> Path:
    """Make a disk image as ``abctl disk create`` does."""
    with create_disk(path, read_layout(layout), STATE, size=size):
        pass
    return path


@cache
def _base_image(name: str) -> Path:
    folder = tempfile.mkdtemp(prefix="abctl-tests-")
    atexit.register(shutil.rmtree, folder)
    return make_image(Path(folder) / f"{name}.img", name)


def copy_of(name: str, folder: Path) -> Path:
    """Return a new disk of this layout in ``folder``; it is made once and then copied."""
    return copy_image(_base_image(name), folder / "disk.img")


def place_of(image: Path, role: Role) -> Extent:
    """Return where the one volume with this role is."""
    disk = open_disk(image)
    volume = disk.layout.find_role(role)
    assert volume is not None
    (place,) = disk.places_of(volume)
    return place


def cut_out(image: Path, role: Role) -> Path:
    """Copy one volume out of the disk, as a file for the file system's own tools."""
    place, path = place_of(image, role), image.with_suffix(f".{role}")
    with ExtentVolume(image, [place], role) as volume:
        path.write_bytes(volume.read(0, volume.size))
    return path


def copy_image(source: Path, target: Path) -> Path:
    subprocess.run(["cp", "--sparse=always", source, target], check=True)
    return target


@contextmanager
def attached(path: Path, extent: Extent | None = None) -> Iterator[str]:
    """Attach a loop device by losetup, that is without the code under test."""
    where = ["-o", str(extent.offset), "--sizelimit", str(extent.length)] if extent else []
    device = run("losetup", "-f", "--show", *where, str(path)).strip()
    try:
        yield device
    finally:
        run("losetup", "-d", device)


def lvm(command: str, device: str, *arguments: str) -> str:
    """Run an LVM command on this device alone."""
    return run(
        "lvm", command, "--devices", device, "--driverloaded", "n", "--config", _LVM_CONFIG, *arguments
    )


def run(*command: str | Path, stdin: str = "") -> str:
    assert shutil.which(str(command[0])), f"{command[0]} is missing: run 'make setup'"
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def fingerprint(path: Path) -> str:
    """Return a digest of a sparse image, the same however its zeros are stored."""
    digest, size = hashlib.sha256(), 64 * 1024
    with path.open("rb") as file:
        position = 0
        with contextlib.suppress(OSError):
            while True:
                position = os.lseek(file.fileno(), position, os.SEEK_DATA) // size * size
                block = os.pread(file.fileno(), size, position)
                if block.strip(b"\0"):
                    digest.update(position.to_bytes(8, "big") + block)
                position += size
    return digest.hexdigest()


def flip(path: Path, offset: int, value: int = 0xFF) -> None:
    """Change one byte of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        found = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([found ^ value]))


def record_of(disk: Disk) -> ConfigRecord:
    return ConfigRecord(DiskConfigFile(disk, record.PATH, record.FILE_SIZE))
