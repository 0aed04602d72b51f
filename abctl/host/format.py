"""File systems with their first files, made in a scratch file and then put where the volume is.

The same input gives the same bytes: identifiers come from the volume's UUID, times from SOURCE_DATE_EPOCH.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from uuid import NAMESPACE_URL, UUID, uuid5

from abctl.core.layout import Filesystem
from abctl.core.units import KIB
from abctl.host.block import ExtentVolume
from abctl.host.run import run_for_complaints

_FIRST_TIME = 315532800  # 1980-01-01, before which FAT has no dates
_PIECE = 64 * KIB  # looked at for being zero
_FAT_LABEL_MAX, _EXT4_LABEL_MAX = 11, 16


def format_volume(
    volume: ExtentVolume, filesystem: Filesystem, uuid: str, files: Mapping[str, bytes]
) -> None:
    """Make a file system that holds ``files`` (by path), in one piece each, and flush it."""
    with tempfile.TemporaryDirectory(prefix="abctl-") as folder:
        image = Path(folder) / "image"
        image.touch()
        os.truncate(image, volume.size)
        match filesystem:
            case Filesystem.VFAT:
                _make_vfat(image, volume.name, uuid, files)
            case Filesystem.EXT4:
                _make_ext4(image, volume.name, uuid, files)
        volume.write_zeros(0, volume.size)
        _copy(image, volume)
    volume.flush()


def _copy(image: Path, volume: ExtentVolume) -> None:
    """Copy what is not zero."""
    zeros = bytes(_PIECE)
    with image.open("rb") as file:
        for offset in _data_blocks(file.fileno(), volume.size):
            block = os.pread(file.fileno(), min(_PIECE, volume.size - offset), offset)
            if block != zeros[: len(block)]:
                volume.write(offset, memoryview(block))


def _data_blocks(fd: int, size: int) -> list[int]:
    offsets, position = [], 0
    while position < size:
        try:
            position = os.lseek(fd, position, os.SEEK_DATA) // _PIECE * _PIECE
        except OSError:
            break
        offsets.append(position)
        position += _PIECE
    return offsets


def _make_vfat(image: Path, name: str, uuid: str, files: Mapping[str, bytes]) -> None:
    number, label = uuid.replace("-", "")[:8], name.upper()[:_FAT_LABEL_MAX]
    run_at_fixed_time("mkfs.vfat", "--invariant", "-i", number, "-n", label, str(image))
    for folder in _folders_of(files):
        run_at_fixed_time("mmd", "-i", str(image), f"::{folder}")
    for path, source in _scratch_files(image.parent, files):
        run_at_fixed_time("mcopy", "-i", str(image), str(source), f"::{path}")


def _make_ext4(image: Path, name: str, uuid: str, files: Mapping[str, bytes]) -> None:
    own = str(_parse_uuid(uuid))
    run_at_fixed_time(
        *("mke2fs", "-q", "-F", "-t", "ext4", "-U", own, "-L", name[:_EXT4_LABEL_MAX]),
        *("-E", f"hash_seed={own},root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1", str(image)),
    )
    # mke2fs -d would take over when the scratch files were changed, which cannot be chosen.
    script = [f"mkdir {folder}" for folder in _folders_of(files)]
    script += [f"write {source} {path}" for path, source in _scratch_files(image.parent, files)]
    commands = image.parent / "commands"
    commands.write_text("\n".join(script) + "\n")
    run_at_fixed_time("debugfs", "-w", "-f", str(commands), str(image))


def _parse_uuid(text: str) -> UUID:
    """Return the UUID itself, or one made from LVM's, which has another alphabet."""
    try:
        return UUID(text)
    except ValueError:
        return uuid5(NAMESPACE_URL, f"abctl:{text}")


def _folders_of(files: Mapping[str, bytes]) -> list[str]:
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    return sorted(folders - {"."})


def _scratch_files(folder: Path, files: Mapping[str, bytes]) -> list[tuple[str, Path]]:
    sources = []
    for number, (path, data) in enumerate(files.items()):
        source = folder / f"file{number}"
        source.write_bytes(data)
        sources.append((path, source))
    return sources


def run_at_fixed_time(*command: str, timeout: float = 120, **environment: str) -> str:
    """Run a program that writes times: all become SOURCE_DATE_EPOCH. Return what it complains of."""
    now = str(fixed_time())
    values = {"TZ": "UTC", "MTOOLS_SKIP_CHECK": "1", "SOURCE_DATE_EPOCH": now, "E2FSPROGS_FAKE_TIME": now}
    return run_for_complaints(*command, timeout=timeout, environment={**values, **environment})


def fixed_time() -> int:
    """Return the time that all that is made bears, in seconds since 1970."""
    return max(int(os.environ.get("SOURCE_DATE_EPOCH") or 0), _FIRST_TIME)
