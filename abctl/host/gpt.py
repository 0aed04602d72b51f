"""Partition tables: written by sfdisk, read by pyparted (places and names) and sfdisk (GUIDs and UUIDs)."""

import fcntl
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import _ped

from abctl.core.found import SECTOR, Extent, FoundPartition, PartitionTable
from abctl.core.layout import Layout
from abctl.core.units import MIB, Bytes
from abctl.errors import DiskUnusable, ToolFailed
from abctl.host.block import ExtentVolume, size_of
from abctl.host.memory import memory_file
from abctl.host.run import run

# What libparted says of a table that is whole, but whose backup at the end of the disk is not in order.
_HARMLESS = {
    "the primary appears OK": "its backup at the end of the disk is damaged",
    "Not all of the space": "the disk is larger than the GPT says",
    "backup GPT table is not at the end": "its backup is not at the end of the disk",
}
_PRIMARY_LOST = ("primary GPT table is corrupt", "unrecognised disk label")
_ERRORS = (
    _ped.CreateException,
    _ped.DeviceException,
    _ped.DiskException,
    _ped.DiskLabelException,
    _ped.IOException,
)

_ENTRY_SIZE, _ENTRIES_MAX = 128, 1024  # bytes; the UEFI specification asks for at least 128 entries
_END = MIB  # of the disk, more than the table takes at either end
_GET_SECTOR_SIZE = 0x1268  # BLKSSZGET in linux/fs.h

# libparted has one list of devices and one exception handler for all threads, and locks neither.
_libparted = threading.Lock()

_Seen = dict[int, tuple[str, int, int]]  # name, start and size in sectors, by number

_SFDISK = ("sfdisk", "--no-reread", "--no-tell-kernel", "--wipe", "never", "--quiet")


def write_table(path: Path, layout: Layout) -> None:
    """Write the GPT of ``layout`` to an image or device, with its exact places, names, GUIDs and UUIDs."""
    run(*_SFDISK, str(path), stdin=make_sfdisk_script(layout))


def make_sfdisk_script(layout: Layout) -> str:
    lines = ["label: gpt"]
    if layout.disk_uuid:
        lines.append(f"label-id: {layout.disk_uuid}")
    lines += [
        f"{number}: start={partition.start_sector}, size={partition.sectors}, "
        f'type={partition.type}, uuid={partition.uuid}, name="{partition.name}"'
        for number, partition in enumerate(layout.partitions, 1)
    ]
    return "\n".join(lines) + "\n"


def read_table(path: Path) -> PartitionTable:
    """Return the GPT of an image or device.

    Raise DiskUnusable where there is none, where only its backup is whole, or where the two readers
    do not agree.
    """
    _check_sector_size(path)
    size = size_of(path)
    with _copy_of_table(path, size) as copy:
        table = _read_by_sfdisk(copy, path, size)
        _check_entries(copy, path)
        seen, remarks = _read_by_parted(copy, path)
    if len(seen) != len(table.partitions) or not all(_is_seen(part, seen) for part in table.partitions):
        raise DiskUnusable(
            f"{path}: sfdisk and libparted read different partitions from its GPT: "
            "look at it with 'sfdisk --verify'"
        )
    return replace(table, remarks=remarks)


@contextmanager
def _copy_of_table(path: Path, size: int) -> Iterator[Path]:
    """Yield a sparse file with both ends of the disk.

    So both readers see the same, and libparted, which opens a disk for writing even to read, does not
    open this one: on a running host each such open makes udev look at the whole disk again.
    """
    with memory_file(size) as copy:
        with ExtentVolume(path, [Extent(0, size)], str(path)) as disk:
            for end in (0, size, _find_backup(disk)):
                start = max(0, min(end, size) - _END)
                copy.write(start, disk.read(start, min(2 * _END, size - start)))
        yield copy.path


def _find_backup(disk: ExtentVolume) -> int:
    """Return where the table says its backup is; on a disk that has grown it is not at the end."""
    if disk.size < 2 * SECTOR or disk.read(SECTOR, 8) != b"EFI PART":
        return 0
    return int.from_bytes(disk.read(SECTOR + 32, 8), "little") * SECTOR


def _check_entries(copy: Path, path: Path) -> None:
    """Raise DiskUnusable for a header with an impossible number of entries: libparted aborts at these."""
    size = size_of(copy)
    with ExtentVolume(copy, [Extent(0, size)], str(path)) as disk:
        for place in (SECTOR, _find_backup(disk), size - SECTOR):
            header = disk.read(place, 88) if 0 < place <= size - SECTOR else b""
            count, length = (int.from_bytes(header[at : at + 4], "little") for at in (80, 84))
            if header.startswith(b"EFI PART") and not (
                0 < count <= _ENTRIES_MAX and _ENTRY_SIZE <= length <= SECTOR
            ):
                raise DiskUnusable(f"{path}: its GPT says that it has {count} entries of {length} bytes")


def _check_sector_size(path: Path) -> None:
    """Raise DiskUnusable for a device with other sectors than those the layouts count in."""
    if not path.is_block_device():
        return
    with path.open("rb", buffering=0) as device:
        answer = fcntl.ioctl(device, _GET_SECTOR_SIZE, bytes(4))
    size = int.from_bytes(answer, sys.byteorder)
    if size != SECTOR:
        raise DiskUnusable(f"{path} has sectors of {size} bytes: only {SECTOR} are supported")


def _is_seen(part: FoundPartition, seen: _Seen) -> bool:
    name, start, sectors = seen.get(part.number, ("", 0, 0))
    # libparted shows other letters than ASCII only where the locale has them.
    return (start, sectors) == (part.start_sector, part.sectors) and (
        name == part.name or not part.name.isascii()
    )


def _read_by_sfdisk(copy: Path, path: Path, size: int) -> PartitionTable:
    try:
        text = run("sfdisk", "--json", str(copy))
    except ToolFailed as error:
        if "not installed" in str(error):
            raise
        raise DiskUnusable(f"{path} has no partition table: make one with 'abctl disk create'") from error
    return parse_sfdisk(text, str(path), size)


def parse_sfdisk(text: str, where: str, size: int) -> PartitionTable:
    """Return the table in what ``sfdisk --json`` printed about the disk ``where`` of ``size`` bytes."""
    try:
        values = json.loads(text)["partitiontable"]
        if values["label"] != "gpt":
            raise DiskUnusable(_other_label(values, where))
        return PartitionTable(
            disk_uuid=values["id"].lower(),
            disk_size=Bytes(size),
            first_sector=values["firstlba"],
            last_sector=values["lastlba"],
            partitions=tuple(
                _parse_partition(item, values["device"]) for item in values.get("partitions", ())
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ToolFailed(f"sfdisk printed something that abctl does not understand: {error!r}") from error


def _other_label(values: dict[str, Any], where: str) -> str:
    if any(item["type"] == "ee" for item in values.get("partitions", ())):
        return (
            f"{where} had a GPT, and neither it nor its backup can be read: is the disk or image cut short?"
        )
    return f"{where} has a partition table of type {values['label']}, not a GPT"


def _parse_partition(values: dict[str, Any], device: str) -> FoundPartition:
    number = values["node"].removeprefix(device)
    return FoundPartition(
        # A device that ends with a digit puts a "p" before the number.
        number=int(number.removeprefix("p")),
        # Whoever formatted the disk chose it, and it is shown on terminals.
        name="".join(char if char.isprintable() else "\ufffd" for char in values.get("name", "")),
        start_sector=values["start"],
        sectors=values["size"],
        type=values["type"].lower(),
        uuid=values["uuid"].lower(),
    )


def _read_by_parted(copy: Path, path: Path) -> tuple[_Seen, tuple[str, ...]]:
    """Return what libparted sees, and remarks; raise DiskUnusable."""
    remarks: list[str] = []

    def answer(_kind: int, options: int, message: str) -> int:
        """Go on where the primary GPT is whole, and stop for all else."""
        found = [remark for words, remark in _HARMLESS.items() if words in message]
        remarks.extend(f"the GPT is whole, but {remark}" for remark in found)
        go_on = options & (_ped.EXCEPTION_RESOLVE_IGNORE | _ped.EXCEPTION_RESOLVE_OK)
        return int(go_on if found else _ped.EXCEPTION_RESOLVE_CANCEL)

    with _libparted:
        _ped.register_exn_handler(answer)
        try:
            return _read_partitions(copy), tuple(remarks)
        except (*_ERRORS, OSError) as error:
            raise DiskUnusable(f"{path}: {_explain(str(error))}") from error
        finally:
            _ped.clear_exn_handler()


def _explain(message: str) -> str:
    if any(words in message for words in _PRIMARY_LOST):
        return (
            "its primary GPT is damaged, the backup at the end of the disk is there: mend it with gdisk or "
            "sfdisk before anything is written"
        )
    return f"its GPT makes no sense ({' '.join(message.split())}): look at it with 'sfdisk --verify'"


def _read_partitions(path: Path) -> _Seen:
    """Return the partitions; nothing of libparted's is left when it ends.

    The classes of ``parted`` hold one another, so that they would go when Python next collects garbage, in
    any thread.
    """
    device = _ped.device_get(str(path))
    try:
        disk, seen = _ped.Disk(device), {}
        part = disk.next_partition()
        while part:
            if part.num > 0:  # else it is free space or the table itself
                seen[part.num] = (part.get_name(), part.geom.start, part.geom.length)
            part = disk.next_partition(part)
        return seen
    finally:
        # libparted would remember the size of what had this path.
        device.cache_remove()
