"""Partition tables: written by sfdisk, read by pyparted (places and names) and sfdisk (GUIDs and UUIDs)."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import _ped
import parted

from abctl.core.found import SECTOR, FoundPartition, PartitionTable
from abctl.core.layout import Layout
from abctl.core.units import Bytes
from abctl.errors import DiskUnusable, ToolFailed
from abctl.host.block import size_of
from abctl.host.run import run

# What libparted says of a table that is whole, but whose backup at the end of the disk is not in order.
_HARMLESS = {
    "the primary appears OK": "its backup at the end of the disk is damaged",
    "Not all of the space": "the disk is larger than the GPT says",
    "backup GPT table is not at the end": "its backup is not at the end of the disk",
}
_ERRORS = (
    _ped.CreateException,
    _ped.DeviceException,
    _ped.DiskException,
    _ped.DiskLabelException,
    _ped.IOException,
)

_SFDISK = ("sfdisk", "--no-reread", "--no-tell-kernel", "--wipe", "never", "--quiet")


def write_table(path: Path, layout: Layout) -> None:
    """Write the GPT of ``layout`` to an image or device, with its exact places, names, GUIDs and UUIDs."""
    run(*_SFDISK, str(path), stdin=make_sfdisk_script(layout))


def make_sfdisk_script(layout: Layout) -> str:
    disk_uuid = layout.disk_uuid or uuid5(NAMESPACE_URL, f"abctl:{layout.name}")
    lines = ["label: gpt", f"label-id: {disk_uuid}"]
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
    size = size_of(path)
    table = _read_by_sfdisk(path, size)
    seen, remarks = _read_by_parted(path)
    if seen != {(part.number, part.name, part.start_sector, part.sectors) for part in table.partitions}:
        raise DiskUnusable(
            f"{path}: sfdisk and libparted read different partitions from its GPT: "
            "look at it with 'sfdisk --verify'"
        )
    return replace(table, remarks=remarks)


def _read_by_sfdisk(path: Path, size: int) -> PartitionTable:
    try:
        text = run("sfdisk", "--json", str(path))
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
        if values.get("sectorsize", SECTOR) != SECTOR:
            raise DiskUnusable(
                f"{where} has sectors of {values['sectorsize']} bytes: only {SECTOR} are supported"
            )
        return PartitionTable(
            disk_uuid=str(UUID(values["id"])),
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
        name=values.get("name", ""),
        start_sector=values["start"],
        sectors=values["size"],
        type=values["type"].lower(),
        uuid=values["uuid"].lower(),
    )


def _read_by_parted(path: Path) -> tuple[set[tuple[int, str, int, int]], tuple[str, ...]]:
    """Return number, name, start and size of each partition, and remarks; raise DiskUnusable."""
    remarks: list[str] = []

    def answer(_kind: int, options: int, message: str) -> int:
        """Go on where the primary GPT is whole, and stop for all else."""
        found = [remark for words, remark in _HARMLESS.items() if words in message]
        remarks.extend(f"the GPT is whole, but {remark}" for remark in found)
        go_on = options & (_ped.EXCEPTION_RESOLVE_IGNORE | _ped.EXCEPTION_RESOLVE_OK)
        return int(go_on if found else _ped.EXCEPTION_RESOLVE_CANCEL)

    parted.register_exn_handler(answer)
    try:
        return _read_partitions(path), tuple(remarks)
    except (*_ERRORS, OSError) as error:
        raise DiskUnusable(
            f"{path}: its primary GPT is damaged, the backup at the end of the disk is there: mend it with "
            f"gdisk or sfdisk before anything is written ({' '.join(str(error).split())})"
        ) from error
    finally:
        parted.clear_exn_handler()


def _read_partitions(path: Path) -> set[tuple[int, str, int, int]]:
    device = parted.getDevice(str(path))
    try:
        partitions = parted.newDisk(device).partitions
        return {(part.number, part.name, part.geometry.start, part.geometry.length) for part in partitions}
    finally:
        # libparted would remember the size of what had this path.
        device.removeFromCache()
