"""An image: an ext4 file system with a tree in it, made without mounting anything.

It depends on the tree alone, not on this machine's settings: features, identifiers and times are all given.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from abctl.core.units import MIB, Bytes, format_size
from abctl.errors import DoesNotFit, ToolFailed, WriteFailed
from abctl.host.format import run_at_fixed_time

# What GRUB 2.06 reads, and no journal: nobody writes to a slot.
_FEATURES = (
    "none,extent,filetype,sparse_super,large_file,huge_file,dir_nlink,extra_isize,ext_attr,flex_bg,64bit,"
    "metadata_csum"
)
_TIME_LIMIT = 1800  # seconds; a tree of 1 GiB takes some 20
_SMALLEST = 8 * MIB
_COMPLAINTS = 3  # are shown


@dataclass(frozen=True, slots=True)
class Filling:
    """Commands for debugfs, and what they need: bytes of file system, and inodes."""

    commands: bytes
    size: Bytes
    inodes: int


def make_ext4_image(path: Path, name: str, uuid: str, filling: Filling, size: Bytes | None) -> Bytes:
    """Make the image, check it with e2fsck, and return its size; ``size`` is what is wanted, if anything.

    Raise DoesNotFit where that is too small, WriteFailed, ToolFailed.
    """
    made = size or Bytes(max(filling.size, _SMALLEST))
    try:
        with path.open("xb") as file:
            file.truncate(made)
    except OSError as error:
        raise WriteFailed(f"{path} cannot be made: {error.strerror}") from error
    run_at_fixed_time(
        *("mke2fs", "-q", "-F", "-b", "4096", "-I", "256", "-N", str(filling.inodes), "-m", "0"),
        *("-O", _FEATURES, "-e", "remount-ro", "-U", uuid, "-L", name),
        *(
            "-E",
            f"hash_seed={uuid},root_owner=0:0,lazy_itable_init=0,nodiscard",
            str(path),
            f"{made // 1024}k",
        ),
        MKE2FS_CONFIG=os.devnull,
    )
    commands = path.with_name(f".{path.name}.commands")
    try:
        commands.write_bytes(filling.commands)
        said = run_at_fixed_time("debugfs", "-w", "-f", str(commands), str(path), timeout=_TIME_LIMIT)
    finally:
        commands.unlink(missing_ok=True)
    _check_complaints(path, _find_complaints(said.splitlines()), made, filling.size)
    run_at_fixed_time("e2fsck", "-fn", str(path), timeout=_TIME_LIMIT)
    return made


def _find_complaints(lines: Iterable[str]) -> list[str]:
    """Return what debugfs says of commands that failed: it ends with 0 all the same."""
    return [line.strip() for line in lines if line.strip() and not line.startswith("debugfs 1.")]


def _check_complaints(path: Path, complaints: list[str], size: Bytes, wanted: Bytes) -> None:
    if any("Could not allocate" in line or "No free space" in line for line in complaints):
        raise DoesNotFit(
            f"{path.name} of {format_size(size)} is too small for what goes into it: make it "
            f"{format_size(wanted)}, or put less into it"
        )
    if complaints:
        raise ToolFailed(f"debugfs could not fill {path.name}: {'; '.join(complaints[:_COMPLAINTS])[:500]}")
