"""Files on the FAT partitions of a disk that is off, by mtools."""

import subprocess
from pathlib import Path

from abctl.core.layout import Role
from abctl.host.disk import open_disk

_FIRST_SCRIPT = "EFI/debian/grub.cfg"  # what GRUB reads first, on the ESP


def read_from(disk: Path, role: Role, name: str) -> bytes:
    return _mtools(disk, role, "mtype", f"::{name}")


def copy_to(disk: Path, role: Role, name: str, data: bytes) -> None:
    """Make or replace a file."""
    _mtools(disk, role, "mcopy", "-o", "-", f"::{name}", data=data)


def remove_from(disk: Path, role: Role, *names: str) -> None:
    for name in names:
        _mtools(disk, role, "mdel", f"::{name}")


def set_menu_time(disk: Path, seconds: int) -> None:
    """Have GRUB show its menu so long.

    GRUB measures the speed of its clock within a millisecond, so on a busy machine, where the emulator is not
    always running, its seconds can be minutes.
    """
    script = read_from(disk, Role.ESP, _FIRST_SCRIPT)
    lines = [line for line in script.split(b"\n") if b"timeout" not in line]
    copy_to(
        disk, Role.ESP, _FIRST_SCRIPT,
        b"\n".join([b"set timeout=%d" % seconds, b"export timeout", *lines]),
    )  # fmt: skip


def _mtools(disk: Path, role: Role, program: str, *arguments: str, data: bytes = b"") -> bytes:
    found = open_disk(disk)
    home = found.layout.find_role(role)
    assert home is not None
    image = f"{disk}@@{found.places_of(home)[0].offset}"
    command = [program, "-i", image, *arguments]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True, timeout=60).stdout
