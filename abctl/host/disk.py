"""A disk that is worked on from outside: an image file or a block device, by the places of its volumes."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from abctl.core.bootenv import Copy, EnvFiles
from abctl.core.compare import Difference, find_differences
from abctl.core.found import Extent, Group, PartitionTable
from abctl.core.halves import Content
from abctl.core.layout import Layout, LogicalVolume, Partition, Role
from abctl.core.slot import Slot
from abctl.core.slots_cfg import mapped_name
from abctl.core.units import Bytes
from abctl.errors import AbctlError, DiskUnusable, InUse, WriteFailed
from abctl.host.block import ExtentVolume, overwrite_in_place
from abctl.host.files import find_file
from abctl.host.gpt import read_table
from abctl.host.in_use import check_unused
from abctl.host.kept import read_halves, say_why, tell
from abctl.host.layouts import list_layouts, read_layout
from abctl.host.lvm import read_group

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk with the partitions and volumes of ``layout``; their places may be others than the layout's."""

    path: Path
    layout: Layout
    table: PartitionTable
    group: Group | None

    def places_of(self, volume: Partition | LogicalVolume) -> tuple[Extent, ...]:
        """Return where the bytes of ``volume`` are on the disk; raise DiskUnusable."""
        if isinstance(volume, Partition):
            return (_place_of(self.path, self.table, volume),)
        assert self.group is not None
        found = self.group.find(volume.name)
        if found is None:
            raise DiskUnusable(f"{self.path} has no logical volume {volume.name}")
        if found.problem:
            raise DiskUnusable(f"{volume.name} on {self.path} cannot be used: {found.problem}")
        start = _place_of(self.path, self.table, self.layout.home).offset
        return tuple(Extent(start + place.offset, place.length) for place in self.group.places_of(found))

    def size_of(self, volume: Partition | LogicalVolume) -> Bytes:
        """Return the real size of ``volume``, which may be more than the layout's."""
        return Bytes(sum(place.length for place in self.places_of(volume)))

    def open_volume(self, volume: Partition | LogicalVolume, *, writable: bool = False) -> ExtentVolume:
        """Open ``volume``; the caller closes it."""
        return ExtentVolume(self.path, self.places_of(volume), volume.name, writable=writable)

    def check_unused(self, volume: Partition | LogicalVolume) -> None:
        """Raise InUse where ``volume`` is mounted or open, or a snapshot needs its bytes as they are."""
        found = self.group.find(volume.name) if self.group and isinstance(volume, LogicalVolume) else None
        if found and found.is_snapped:
            raise InUse(
                f"{volume.name} on {self.path} has a snapshot or is one, which writing to it by its place "
                "would spoil: remove the snapshot with lvremove first"
            )
        mapped = mapped_name(self.layout, volume) if isinstance(volume, LogicalVolume) else None
        check_unused(self.path, self.places_of(volume), volume.name, mapped)

    @contextmanager
    def open_file(self, role: Role, path: str, *, writable: bool = False) -> Iterator[ExtentVolume]:
        """Yield the bytes of the file ``path`` on the volume with this role, where they are on the disk.

        Raise DiskUnusable where it is missing, has holes, or its file system is damaged; InUse where it is
        to be written and its file system is mounted.
        """
        home = self.layout.find_role(role)
        if home is None:
            raise DiskUnusable(f"layout {self.layout.name} has no volume with role {role}")
        with self.open_volume(home) as volume:
            places = find_file(volume, home.filesystem, path)
            if places is None:
                raise DiskUnusable(f"{path} is missing on {home.name} of {self.path}")
            if writable:
                self.check_unused(home)
            with volume.part(places, f"{home.name}/{path}", writable=writable) as file:
                yield file


def open_disk(path: Path, layout: Layout | None = None, *, whole: bool = True) -> Disk:
    """Open an image or block device; without ``layout`` it is the shipped one that the disk has.

    Raise DiskUnusable, naming what the disk lacks. Unless it must be ``whole``, logical volumes may lack.
    """
    table = read_table(path)
    layout = layout or _choose_layout(path, table)
    group = None
    if layout.volume_group:
        group = read_group(path, _place_of(path, table, layout.home), layout.volume_group.name)
    lacking = _find_lacking(table, group if whole else None, layout)
    if lacking:
        raise DiskUnusable(f"{path} does not have the layout {layout.name}: it lacks {', '.join(lacking)}")
    return Disk(path, layout, table, group)


def check_disk(path: Path, layout: Layout | None = None) -> tuple[Layout, tuple[Difference, ...]]:
    """Return the layout, and what is different on the disk; raise DiskUnusable where there is no GPT."""
    table = read_table(path)
    layout = layout or _choose_layout(path, table)
    if layout.volume_group is None or table.find(layout.home.name) is None:
        return layout, find_differences(table, None, layout)
    name = layout.volume_group.name
    try:
        group = read_group(path, _place_of(path, table, layout.home), name)
    except DiskUnusable as error:
        return layout, (
            *find_differences(table, None, layout),
            Difference(name, str(error), grave=True, in_group=True),
        )
    return layout, find_differences(table, group, layout)


def choose_layout(path: Path) -> Layout:
    """Return the shipped layout that the partitions of this disk fit; raise DiskUnusable."""
    return _choose_layout(path, read_table(path))


def _choose_layout(path: Path, table: PartitionTable) -> Layout:
    """Return the shipped layout that the partitions fit best; raise DiskUnusable where they fit none."""
    layouts = [read_layout(name) for name in list_layouts()]
    fitting = [layout for layout in layouts if not _find_lacking(table, None, layout)]
    if fitting:
        return min(fitting, key=lambda layout: len(find_differences(table, None, layout)))
    nearest = min(layouts, key=lambda layout: len(_find_lacking(table, None, layout)))
    lacking = ", ".join(_find_lacking(table, None, nearest))
    raise DiskUnusable(f"{path} has no layout that abctl knows: it lacks {lacking} of layout {nearest.name}")


def _find_lacking(table: PartitionTable, group: Group | None, layout: Layout) -> list[str]:
    lacking = [f"partition {item.name}" for item in layout.partitions if table.find(item.name) is None]
    if group and layout.volume_group:
        lacking += [
            f"volume {item.name}" for item in layout.volume_group.volumes if group.find(item.name) is None
        ]
    return lacking


def _place_of(path: Path, table: PartitionTable, partition: Partition) -> Extent:
    found = table.find(partition.name)
    if found is None:
        raise DiskUnusable(f"{path} has no partition {partition.name}")
    return found.extent


class DiskGrubPartition:
    """The copies of the boot environment on a disk; implements ports.GrubPartition."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def read(self) -> EnvFiles:
        blocks = {copy: self._read(copy) for copy in Copy}
        return EnvFiles(blocks[Copy.FIRST], blocks[Copy.SECOND], blocks[Copy.OLDER])

    def _read(self, copy: Copy) -> bytes | None:
        try:
            with self._disk.open_file(Role.GRUB, copy.value) as file:
                return file.read(0, min(file.size, copy.block_size))
        except AbctlError as error:
            log.info("%s", error)
            return None

    def overwrite(self, copy: Copy, block: bytes) -> None:
        try:
            with self._disk.open_file(Role.GRUB, copy.value, writable=True) as file:
                if file.size != len(block):
                    raise WriteFailed(f"{copy} has {file.size} bytes instead of {len(block)}: make it anew")
                overwrite_in_place(file, 0, block)
        except DiskUnusable as error:
            raise WriteFailed(f"{copy} cannot be written: {error}") from error


class DiskConfigFile:
    """A file of fixed size on the config volume of a disk; implements ports.ConfigFile."""

    def __init__(self, disk: Disk, path: str, size: int) -> None:
        self._disk = disk
        self._path = path
        self._size = size
        self._told = ""

    def read(self) -> bytes:
        content = self.look()
        self._told = tell(content, self._path, self._told)
        return content.known

    def look(self) -> Content:
        """Return what is in it, and why not where it cannot be read."""
        home = self._disk.layout.find_role(Role.CONFIG)
        if home is None:
            return Content(is_there=False)
        try:
            with self._disk.open_volume(home) as volume:
                places = find_file(volume, home.filesystem, self._path)
                if places is None:
                    return Content(is_there=False)
                with volume.part(places, f"{home.name}/{self._path}") as file:
                    return read_halves(file, self._size)
        except AbctlError as error:
            return Content(problem=say_why(error))

    def overwrite(self, offset: int, data: bytes) -> None:
        try:
            with self._disk.open_file(Role.CONFIG, self._path, writable=True) as file:
                if file.size < self._size:
                    raise WriteFailed(f"{self._path} is shorter than {self._size} bytes: make it anew")
                overwrite_in_place(file, offset, data)
        except DiskUnusable as error:
            raise WriteFailed(f"{self._path} cannot be written: {error}") from error


class DiskSlots:
    """The slots of a disk; implements ports.Slots.

    ``is_shared`` where they are looked at only, and whoever uses them now is no matter.
    """

    def __init__(self, disk: Disk, *, is_shared: bool = False) -> None:
        self._disk = disk
        self._is_shared = is_shared

    def size_of(self, slot: Slot) -> int:
        return self._disk.size_of(self._disk.layout.find_slot(slot))

    def check_unused(self, slot: Slot) -> None:
        if not self._is_shared:
            self._disk.check_unused(self._disk.layout.find_slot(slot))

    @contextmanager
    def open_for_writing(self, slot: Slot) -> Iterator[ExtentVolume]:
        self._disk.check_unused(self._disk.layout.find_slot(slot))
        with self._disk.open_volume(self._disk.layout.find_slot(slot), writable=True) as volume:
            yield volume

    @contextmanager
    def open_for_reading(self, slot: Slot) -> Iterator[ExtentVolume]:
        with self._disk.open_volume(self._disk.layout.find_slot(slot)) as volume:
            yield volume
