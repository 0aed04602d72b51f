"""Power on a copy of the boot environment: the shipped GRUB scripts in GRUB's own interpreter, grub-emu.

Nothing of the real disk is opened: the scripts and the bytes of the boot environment go into a small
FAT image in a temporary folder. grub-emu has no kernel loader, so two script functions stand in for
``linux`` and ``initrd``. What they are given comes out by a second image: a terminal would wrap it.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from abctl.core.bootenv import Copy, EnvFiles, Origin, Why
from abctl.core.command_line import parse_command_line
from abctl.core.envblock import make_block, parse_block
from abctl.core.slot import SlotName
from abctl.core.units import KIB
from abctl.errors import ToolFailed
from abctl.host.data import find_data
from abctl.host.run import run

_IMAGE_SIZE = 512 * KIB
_RESULT = "result"
_RESULT_SIZE = 4 * KIB
_TIME_LIMIT = 30  # seconds; a boot takes 0.04
_ROOTS = "set root_A=A_root\nset root_B=B_root\n"
_BOOTS = "set boot_A=(hd0)/A\nset boot_B=(hd0)/B\n"
_BOTH = {SlotName.A: True, SlotName.B: True}

# Runs before grub.cfg. What $slot is when the first kernel is asked for was the first choice.
_PREAMBLE = f"""\
set root=(hd0)
set prefix=(hd0)
set timeout=0
set pause=0
export timeout
export pause
function linux {{
    if [ "$1" = probe ]; then
        set stand_in=yes
        save_env -f (hd1)/{_RESULT} stand_in
    else
        if [ -z "$emu_chosen" ]; then
            set emu_chosen=$slot
            set emu_why=$why
            set emu_second=$second
            set emu_attempts=$attempts
            save_env -f (hd1)/{_RESULT} emu_chosen emu_why emu_second emu_attempts origin
        fi
        set line="$*"
        if [ ! -f "$1" ]; then false
        elif [ -f "$boot/initrd.img" ]; then true
        else initrd
        fi
    fi
}}
function initrd {{
    save_env -f (hd1)/{_RESULT} line
    reboot
}}
linux probe
configfile (hd0)/grub.cfg
"""


@dataclass(frozen=True, slots=True)
class PoweredOn:
    """What GRUB did at one power-on.

    ``chosen`` was its first choice and ``second`` the way out; ``booted`` is the one whose kernel it
    started, None where none could be loaded. ``why``, ``passed_over``, ``generation`` and ``attempts_left``
    are what the kernel was told; ``files`` is what stood on the grub partition afterwards.
    """

    booted: SlotName | None
    chosen: SlotName
    second: SlotName | None
    why: Why
    passed_over: SlotName | None
    origin: Origin
    attempts: str
    generation: int | None
    attempts_left: int | None
    command_line: str
    files: EnvFiles


@dataclass(frozen=True, slots=True)
class Disk:
    """A FAT image, and where each file is in it: the offset in bytes by the path."""

    image: Path
    offsets: Mapping[str, int]


class GrubEmu:
    """A machine that does nothing but start GRUB; a context manager, since it keeps files."""

    def __init__(
        self, slots_cfg: str = _ROOTS, scripts: Path | None = None, arguments: bytes | None = None
    ) -> None:
        """``slots_cfg`` is this disk's slots.cfg, for what it says to the kernel.

        ``scripts`` is the folder with the other scripts; those that ship with abctl if not given.
        ``arguments`` is the file of that name beside each kernel.
        """
        self._arguments = arguments
        self._slots_cfg = slots_cfg + _BOOTS
        self._scripts = scripts or find_data("grub")
        self._disks: dict[object, Disk] = {}

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="abctl-grub-"))
        (self._folder / "grub.cfg").write_text(_PREAMBLE)
        self._results = make_disk(self._folder / "results", {_RESULT: make_stand_in(_RESULT, _RESULT_SIZE)})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def power_on(self, files: EnvFiles, kernels: Mapping[SlotName, bool] = _BOTH) -> PoweredOn:
        """Start GRUB on ``files``; ``kernels`` says whose kernel can be loaded. Raise ToolFailed."""
        disk = self._disk_for(files, kernels)
        for path, offset in disk.offsets.items():
            write_at(disk.image, offset, files[Copy(path)] or b"")
        write_at(self._results.image, self._results.offsets[_RESULT], make_block({}, _RESULT_SIZE))
        (self._folder / "device.map").write_text(f"(hd0) {disk.image}\n(hd1) {self._results.image}\n")
        said = self._run(disk.image, "grub-emu", "-d", str(self._folder), "-m", f"{self._folder}/device.map")
        values = parse_block(read_at(self._results.image, self._results.offsets[_RESULT], _RESULT_SIZE)) or {}
        if not values.get("stand_in"):
            raise ToolFailed(
                "grub-emu has a 'linux' command of its own, so it cannot rehearse: use that of GRUB 2.06"
            )
        if not values.get("emu_chosen"):
            raise ToolFailed(f"the GRUB scripts came to no decision: {_readable(said)}")
        return _parse_result(values, read_back(disk, files))

    def _run(self, image: Path, *command: str) -> str:
        return run(*command, timeout=_TIME_LIMIT)

    def _disk_for(self, files: EnvFiles, kernels: Mapping[SlotName, bool]) -> Disk:
        """Return a disk with files of these sizes; each is made once."""
        bootable = tuple(name for name in SlotName if kernels[name])
        stand_ins = {
            copy.value: make_stand_in(copy.value, len(block))
            for copy in Copy
            if (block := files[copy]) is not None
        }
        shape = (bootable, *((path, len(content)) for path, content in stand_ins.items()))
        if shape not in self._disks:
            tree = {script.name: script.read_bytes() for script in self._scripts.glob("*.cfg")}
            tree |= {"slots.cfg": self._slots_cfg.encode()}
            tree |= {f"{name}/vmlinuz": b"a kernel" for name in bootable}
            if self._arguments is not None:
                tree |= {f"{name}/arguments": self._arguments for name in SlotName}
            self._disks[shape] = make_disk(self._folder / f"disk{len(self._disks)}", stand_ins, tree)
        return self._disks[shape]


def is_there() -> bool:
    """Whether this machine has grub-emu."""
    return shutil.which("grub-emu") is not None


def power_on(files: EnvFiles, kernels: Mapping[SlotName, bool] = _BOTH, slots_cfg: str = _ROOTS) -> PoweredOn:
    """Start GRUB once on ``files``; raise ToolFailed."""
    with GrubEmu(slots_cfg) as grub:
        return grub.power_on(files, kernels)


def _parse_result(values: Mapping[str, str], files: EnvFiles) -> PoweredOn:
    told = parse_command_line(values.get("line", ""))
    second = values.get("emu_second")
    return PoweredOn(
        booted=told.slot_set,
        chosen=SlotName(values["emu_chosen"]),
        second=SlotName(second) if second else None,
        why=told.why or Why(values["emu_why"]),
        passed_over=told.passed_over,
        origin=Origin(values["origin"]),
        attempts=values["emu_attempts"],
        generation=told.generation,
        attempts_left=told.attempts,
        command_line=values.get("line", ""),
        files=files,
    )


def make_disk(
    folder: Path,
    stand_ins: Mapping[str, bytes],
    tree: Mapping[str, bytes] | None = None,
    size: int = _IMAGE_SIZE,
) -> Disk:
    """Make a FAT image with these files, and find where those are that are overwritten later."""
    for path, content in {**stand_ins, **(tree or {})}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    image = folder.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(size)
    run("mkfs.fat", str(image))
    run("mcopy", "-s", "-i", str(image), *(str(path) for path in sorted(folder.iterdir())), "::/")
    shutil.rmtree(folder)
    content = image.read_bytes()
    return Disk(image, {path: content.index(stand_in) for path, stand_in in stand_ins.items() if stand_in})


def read_back(disk: Disk, files: EnvFiles) -> EnvFiles:
    for path, offset in disk.offsets.items():
        files = files.with_copy(Copy(path), read_at(disk.image, offset, len(files[Copy(path)] or b"")))
    return files


def make_stand_in(path: str, size: int) -> bytes:
    return (f"here comes {path}; ".encode() * (size // 8 + 1))[:size]


def write_at(image: Path, offset: int, data: bytes) -> None:
    with image.open("r+b") as file:
        os.pwrite(file.fileno(), data, offset)


def read_at(image: Path, offset: int, size: int) -> bytes:
    with image.open("rb") as file:
        return os.pread(file.fileno(), size, offset)


def _readable(said: str) -> str:
    """Return the end of what a terminal was sent, on one line and without its control sequences."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", " ", said)
    return " ".join("".join(char if char.isprintable() else " " for char in plain).split())[-300:]
