"""The running host: its mounted files, its volumes under /dev, and what GRUB told its kernel."""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from abctl.core.bootenv import OLDER_BLOCK_SIZE, Copy, EnvFiles
from abctl.core.command_line import GrubsWord, parse_command_line
from abctl.core.events import Running
from abctl.core.found import Extent
from abctl.core.halves import Content
from abctl.core.layout import Layout, LogicalVolume
from abctl.core.slot import ALL_SLOTS, Part, Slot, SlotName
from abctl.core.slots_cfg import mapped_name
from abctl.core.units import Seconds
from abctl.errors import DiskUnusable, InUse, NotAHost, WriteFailed
from abctl.host import clock
from abctl.host.block import ExtentVolume, overwrite_in_place, size_of
from abctl.host.in_use import check_unused
from abctl.host.kept import read_halves, say_why, tell
from abctl.host.mounts import Mount, MountTable
from abctl.host.run import run

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LivePaths:
    """Where things are on a running host; ``root`` is another folder than / in tests only."""

    root: Path = Path("/")
    grub: str = "/boot/grub"
    config: str = "/boot/config"
    boot: str = "/boot"

    def __truediv__(self, path: str) -> Path:
        return self.root / path.lstrip("/")


def check_started_by_grub(paths: LivePaths = LivePaths()) -> None:
    """Raise NotAHost where the kernel's command line names no slot set."""
    if read_command_line(paths).slot_set is None:
        raise NotAHost("this machine was not started by abctl's GRUB: name a disk with --disk")


def read_command_line(paths: LivePaths = LivePaths()) -> GrubsWord:
    """Return what GRUB told the kernel."""
    return parse_command_line(_read_text(paths / "proc/cmdline"))


def find_live_disk(paths: LivePaths = LivePaths()) -> Path:
    """Return the disk that this host runs from: the one with the mounted grub partition."""
    return paths / f"dev/{_find_disk(MountTable(paths.root), paths)}"


def _find_disk(table: MountTable, paths: LivePaths) -> str:
    disk = table.find_disk(_find_mount(table, paths.grub, "the grub partition"))
    if disk is None:
        raise DiskUnusable(f"{paths.grub} is not on a partition of a disk: name the disk with --disk")
    return disk


def _find_mount(table: MountTable, point: str, what: str) -> Mount:
    mount = table.find(point)
    if mount is None:
        # Without this a slot set's own folder of that name would be taken for it.
        raise DiskUnusable(f"{what} is not mounted on {point}: mount it first")
    return mount


class _MountedSlots:
    """Which slots are mounted where. Partitions count only on the disk that holds the grub partition."""

    def __init__(self, layout: Layout, paths: LivePaths) -> None:
        self.table = MountTable(paths.root)
        grub = self.table.find(paths.grub)
        self._disk = self.table.find_disk(grub) if grub else None
        self._slots = {_volume_name(layout, slot): slot for slot in ALL_SLOTS}

    def find(self, mount: Mount) -> Slot | None:
        """Return the slot whose volume is mounted, or None where that is no slot."""
        for layer in self.table.layers_of(mount):
            name = layer.mapped or (layer.partition if layer.disk == self._disk else None)
            if name in self._slots:
                return self._slots[name]
        return None


def _volume_name(layout: Layout, slot: Slot) -> str:
    volume = layout.find_slot(slot)
    return mapped_name(layout, volume) if isinstance(volume, LogicalVolume) else volume.name


class LiveSystem:
    """The running system; implements ports.System."""

    def __init__(self, layout: Layout, paths: LivePaths = LivePaths()) -> None:
        self._layout = layout
        self._paths = paths

    def running(self) -> Running:
        check_started_by_grub(self._paths)
        word = read_command_line(self._paths)
        mounted = _MountedSlots(self._layout, self._paths)
        return Running(
            kernel=word.slot_set,
            root=_find_slot_set(mounted, "/", Part.ROOT),
            boot=_find_slot_set(mounted, self._paths.boot, Part.BOOT),
            why=word.why,
            passed_over=word.passed_over,
            generation=word.generation,
            attempts=word.attempts,
        )

    def now(self) -> Seconds:
        return clock.now()

    def reboot(self) -> None:
        run("systemctl", "reboot")


def _find_slot_set(mounted: _MountedSlots, point: str, part: Part) -> SlotName | None:
    mount = mounted.table.find(point)
    slot = mounted.find(mount) if mount else None
    return slot.slot_set if slot and slot.part is part else None


class LiveSlots:
    """The slots of the running host; implements ports.Slots."""

    def __init__(self, layout: Layout, paths: LivePaths = LivePaths()) -> None:
        self._layout = layout
        self._paths = paths

    def path_of(self, slot: Slot) -> Path:
        """Return the block device of ``slot``; raise DiskUnusable where there is none."""
        volume = self._layout.find_slot(slot)
        if isinstance(volume, LogicalVolume):
            path = self._paths / f"dev/mapper/{mapped_name(self._layout, volume)}"
            if not path.exists():
                group = self._layout.volume_group
                remedy = f"activate it with 'vgchange -ay {group.name if group else ''}'"
                raise DiskUnusable(f"slot {slot} is not there: {path} does not exist; {remedy}")
            return path
        table = MountTable(self._paths.root)
        disk = _find_disk(table, self._paths)
        partition = table.find_partition(disk, volume.name)
        if partition is None:
            raise DiskUnusable(f"slot {slot} is not there: /dev/{disk} has no partition {volume.name}")
        return self._paths / f"dev/{partition}"

    def size_of(self, slot: Slot) -> int:
        return size_of(self.path_of(slot))

    def check_unused(self, slot: Slot) -> None:
        mounted = _MountedSlots(self._layout, self._paths)
        for mount in mounted.table.mounts:
            if mounted.find(mount) == slot:
                raise InUse(f"slot {slot} is mounted on {mount.point}: unmount it first")
        path = self.path_of(slot)
        if path.is_block_device():
            check_unused(path, (Extent(0, self.size_of(slot)),), f"slot {slot}")

    @contextmanager
    def open_for_writing(self, slot: Slot) -> Iterator[ExtentVolume]:
        size = self.size_of(slot)
        self.check_unused(slot)
        with _claim(self.path_of(slot), slot), self._open(slot, size, writable=True) as volume:
            yield volume

    @contextmanager
    def open_for_reading(self, slot: Slot) -> Iterator[ExtentVolume]:
        with self._open(slot, self.size_of(slot), writable=False) as volume:
            yield volume

    def _open(self, slot: Slot, size: int, *, writable: bool) -> ExtentVolume:
        return ExtentVolume(self.path_of(slot), (Extent(0, size),), slot.name, writable=writable)


@contextmanager
def _claim(path: Path, slot: Slot) -> Iterator[None]:
    """Keep others from mounting the block device meanwhile."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise InUse(f"slot {slot} is in use ({path}): unmount it or stop what has it open") from error
        raise WriteFailed(f"slot {slot} cannot be opened ({path}): {error.strerror}") from error
    try:
        yield
    finally:
        os.close(fd)


class LiveGrubPartition:
    """The copies of the boot environment on the mounted grub partition; implements ports.GrubPartition."""

    def __init__(self, paths: LivePaths = LivePaths()) -> None:
        self._paths = paths
        _find_mount(MountTable(paths.root), paths.grub, "the grub partition")

    def read(self) -> EnvFiles:
        blocks = {copy: _read_bytes(self._path_of(copy), OLDER_BLOCK_SIZE) for copy in Copy}
        return EnvFiles(blocks[Copy.FIRST], blocks[Copy.SECOND], blocks[Copy.OLDER])

    def overwrite(self, copy: Copy, block: bytes) -> None:
        path = self._path_of(copy)
        size = _allocate(path, copy.block_size, b"#")
        # GRUB wants the fill to go to the end of the file, whatever its size.
        _overwrite(path, 0, block.ljust(size, b"#"), str(copy))

    def _path_of(self, copy: Copy) -> Path:
        return self._paths / f"{self._paths.grub}/{copy}"


class LiveConfigFile:
    """A file of fixed size on the mounted config volume; implements ports.ConfigFile."""

    def __init__(self, path: str, size: int, paths: LivePaths = LivePaths()) -> None:
        self._paths = paths
        self._name = path
        self._path = paths / f"{paths.config}/{path}"
        self._size = size
        self._told = ""

    def read(self) -> bytes:
        content = self.look()
        self._told = tell(content, self._name, self._told)
        return content.known

    def look(self) -> Content:
        """Return what is in it, and why not where it cannot be read."""
        if MountTable(self._paths.root).find(self._paths.config) is None:
            return Content(problem=f"the config volume is not mounted on {self._paths.config}")
        try:
            size = min(self._path.stat().st_size, self._size)
            with ExtentVolume(self._path, (Extent(0, size),), self._name) as file:
                return read_halves(file, self._size)
        except FileNotFoundError:
            return Content(is_there=False)
        except (OSError, DiskUnusable) as error:
            return Content(problem=say_why(error))

    def overwrite(self, offset: int, data: bytes) -> None:
        if MountTable(self._paths.root).find(self._paths.config) is None:
            raise WriteFailed(f"the config volume is not mounted on {self._paths.config}: mount it first")
        _allocate(self._path, self._size, b" ")
        _overwrite(self._path, offset, data, self._name)


# --- files that are overwritten in place ------------------------------------------------------------


def _allocate(path: Path, size: int, fill: bytes) -> int:
    """Make the file at least ``size`` bytes long, without a hole, on the medium; return its size."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            found = os.fstat(fd).st_size
            if found < size:
                os.pwrite(fd, fill * (size - found), found)
                os.fsync(fd)
                _flush_folders(path)
            return max(found, size)
        finally:
            os.close(fd)
    except OSError as error:
        raise WriteFailed(f"{path} cannot be made: {error.strerror}") from error


def _flush_folders(path: Path) -> None:
    """Return when the names of a new file and its folder are on the medium."""
    for folder in (path.parent, path.parent.parent):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _overwrite(path: Path, offset: int, data: bytes, name: str) -> None:
    extents = (Extent(0, offset + len(data)),)
    try:
        with ExtentVolume(path, extents, name, writable=True) as file:
            overwrite_in_place(file, offset, data)
    except DiskUnusable as error:
        raise WriteFailed(str(error)) from error


def _read_bytes(path: Path, limit: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        log.info("%s cannot be read: %s", path, error.strerror)
        return None


def _read_text(path: Path) -> str:
    return (_read_bytes(path, 64 * 1024) or b"").decode("utf-8", "replace")
