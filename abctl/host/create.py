"""Make a disk: partition table, volume group, file systems, GRUB's files, and room for the state."""

import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from abctl.core.bootenv import Copy, EnvFiles
from abctl.core.found import Extent
from abctl.core.layout import Layout, LogicalVolume, Partition, Role
from abctl.core.slots_cfg import make_slots_cfg
from abctl.core.units import MIB, Bytes
from abctl.errors import WouldOverwrite, WriteFailed
from abctl.host.block import ExtentVolume, size_of
from abctl.host.data import find_data
from abctl.host.disk import Disk, open_disk
from abctl.host.format import format_volume
from abctl.host.gpt import write_table
from abctl.host.in_use import check_unused, claimed
from abctl.host.lock import lock_disk
from abctl.host.lvm import create_group

_GRUB_FILES = ("grub.cfg", "state.cfg", "select.cfg")
_SIGNATURES = MIB  # at either end of a partition, what the kernel and LVM look at to tell what it holds
_READ_TABLE = 0x125F  # BLKRRPART in linux/fs.h
_SLOT_HEAD = 16 * MIB  # zeroed, so that a new slot holds no file system


@dataclass(frozen=True, slots=True)
class FirstState:
    """What a new disk holds: the boot environment, and the files of its config volume and its ESP by path."""

    env: EnvFiles
    config: Mapping[str, bytes]
    esp: Mapping[str, bytes] = field(default_factory=dict)


@contextmanager
def create_disk(
    path: Path, layout: Layout, state: FirstState, *, size: Bytes | None = None, force: bool = False
) -> Iterator[Disk]:
    """Make a disk image (sparse), or with ``force`` overwrite a block device; yield it to be filled.

    An image gets its name when the caller is done: where anything fails, nothing is left. Raise
    WouldOverwrite, BadLayout where the layout does not fit, InUse, Busy, or WriteFailed.
    """
    if _is_device(path):
        if not force:
            raise WouldOverwrite(f"{path} is a block device: all on it would be lost; say so with --force")
        with lock_disk(path):
            room = Bytes(size_of(path))
            check_unused(path, (Extent(0, room),), str(path))
            with claimed(path, str(path)):
                yield _write_disk(path, layout.fit_to(min(size or room, room)), state)
                _sync(path)
            _show_partitions(path)
        return
    check_free(path)
    fitted = layout.fit_to(size or layout.size)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        _make_sparse(partial, fitted.size)
        yield _write_disk(partial, fitted, state)
        _sync(partial)
        check_free(path)
        partial.rename(path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _show_partitions(path: Path) -> None:
    """Let the kernel look at the new table; it does so anyway at the next boot."""
    with path.open("rb", buffering=0) as device, suppress(OSError):
        fcntl.ioctl(device, _READ_TABLE)


def _is_device(path: Path) -> bool:
    return path.exists() and stat.S_ISBLK(path.stat().st_mode)


def check_free(path: Path) -> None:
    """Raise WouldOverwrite where an image of this name would take the place of something."""
    if path.exists() and (not path.is_file() or path.stat().st_size):
        raise WouldOverwrite(f"{path} exists: remove it first, or choose another name")


def _make_sparse(path: Path, size: Bytes) -> None:
    try:
        with path.open("xb") as file:
            file.truncate(size)
    except OSError as error:
        raise WriteFailed(
            f"an image of {size} bytes cannot be made in {path.parent}: {error.strerror}"
        ) from error


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        raise WriteFailed(f"{path} cannot be flushed: {error.strerror}") from error
    finally:
        os.close(fd)


def _write_disk(path: Path, layout: Layout, state: FirstState) -> Disk:
    if layout.disk_uuid is None:
        layout = replace(layout, disk_uuid=str(uuid5(NAMESPACE_URL, f"abctl:{layout.name}")))
    _clear_signatures(path, layout)
    write_table(path, layout)
    if layout.volume_group:
        home = layout.home
        place = Extent(layout.start_of(home), layout.size_of(home))
        create_group(path, place, layout.volume_group)
    disk = open_disk(path, layout)
    contents: dict[Role | None, Mapping[str, bytes]] = {
        Role.GRUB: make_grub_files(layout, state.env),
        Role.CONFIG: state.config,
        Role.ESP: state.esp,
    }
    for volume in layout.volumes:
        _fill(disk, volume, contents.get(volume.role, {}))
    return disk


def _clear_signatures(path: Path, layout: Layout) -> None:
    """Make a device that was used before look new."""
    with ExtentVolume(path, [Extent(0, layout.size)], str(path), writable=True) as whole:
        whole.write_zeros(0, _SIGNATURES)
        whole.write_zeros(layout.size - _SIGNATURES, _SIGNATURES)
        for partition in layout.partitions:
            start, size = layout.start_of(partition), layout.size_of(partition)
            whole.write_zeros(start, min(_SIGNATURES, size))
            whole.write_zeros(start + size - min(_SIGNATURES, size), min(_SIGNATURES, size))
        whole.flush()


def _fill(disk: Disk, volume: Partition | LogicalVolume, files: Mapping[str, bytes]) -> None:
    if volume.role is Role.VOLUME_GROUP:
        return
    with disk.open_volume(volume, writable=True) as target:
        if volume.filesystem:
            format_volume(target, volume.filesystem, volume.uuid, files)
        else:
            target.write_zeros(0, min(_SLOT_HEAD, target.size))
            target.flush()


def make_grub_files(layout: Layout, env: EnvFiles) -> dict[str, bytes]:
    """Return what stands on the grub partition, by path."""
    files = {name: find_data(f"grub/{name}").read_bytes() for name in _GRUB_FILES}
    files["slots.cfg"] = make_slots_cfg(layout).encode()
    return files | {copy.value: block for copy in Copy if (block := env[copy]) is not None}
