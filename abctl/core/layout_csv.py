"""The older system's ``partitions.csv`` and ``volumes.csv`` as a layout.

name,start,size,type,uuid,comment      512-byte sectors, type U (EFI system) or L (Linux)
name,start,size,uuid,comment           4 MiB extents of the volume group on partition hostlvm
"""

import csv
import re
from collections.abc import Iterator
from typing import Any

from abctl.core.found import SECTOR
from abctl.core.layout import ALIGNMENT_SECTORS, EXTENT_SECTORS, GPT_SECTORS, Layout
from abctl.core.layout_file import parse_layout
from abctl.core.slot import ALL_SLOTS
from abctl.errors import BadLayout

GROUP = "hostlvm"
GROUP_UUID = "4c7GVZ-Df82-QEcJ-xXtV-JgRL-IjLE-hK0FgA"
PV_UUID = "eu0VQE-HlTi-EyRc-GceP-xZtn-3j6t-iqEwyv"

_TYPES = {"U": "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "L": "0fc63daf-8483-4772-8e79-3d69d8477de4"}
_ROLES = {"esp": "esp", "grub": "grub", "config": "config", GROUP: "volume-group"}
_FILESYSTEMS = {"esp": "vfat", "grub": "vfat", "config": "ext4"}
_SLOTS = {slot.name: {"slot_set": slot.slot_set.value, "part": slot.part.value} for slot in ALL_SLOTS}


def parse_csv_layout(partitions_csv: str, volumes_csv: str | None, name: str) -> Layout:
    """Return the layout; raise BadLayout with the file and line of what is wrong.

    As on that system, the volume group takes what the disk has, and its last volume what the group has.
    """
    partitions = [_parse_partition(row, where) for row, where in _rows(partitions_csv, "partitions.csv", 5)]
    values: dict[str, Any] = {"name": re.sub(r"[^A-Za-z0-9_.+-]", "_", name), "partitions": partitions}
    if not partitions:
        raise BadLayout("partitions.csv: no partition stands in it")
    if volumes_csv is not None:
        volumes = [_parse_volume(row, where) for row, where in _rows(volumes_csv, "volumes.csv", 4)]
        if not volumes:
            raise BadLayout("volumes.csv: no volume stands in it")
        partitions[-1]["grow"] = partitions[-1]["name"] == GROUP
        volumes[-1]["grow"] = True
        values["volume_group"] = {
            "name": GROUP,
            "uuid": GROUP_UUID,
            "pv_uuid": PV_UUID,
            "extent_sectors": EXTENT_SECTORS,
            "volumes": volumes,
        }
    end = max(partition["start_sector"] + partition["sectors"] for partition in partitions) + GPT_SECTORS
    values["size"] = -(-end // ALIGNMENT_SECTORS) * ALIGNMENT_SECTORS * SECTOR
    return parse_layout(values, "partitions.csv" if volumes_csv is None else "partitions.csv and volumes.csv")


def _rows(text: str, file: str, fields: int) -> Iterator[tuple[list[str], str]]:
    """Yield the rows with at least so many fields, each with its place; the last field is a comment."""
    reader = csv.reader(text.splitlines(), strict=True)
    try:
        for row in reader:
            where = f"{file}, line {reader.line_num}"
            cells = [cell.strip() for cell in row]
            if not any(cells) or cells[0].startswith("#") or (cells[0], cells[-1]) == ("name", "comment"):
                continue
            if len(cells) < fields:
                raise BadLayout(f"{where}: {len(cells)} fields, at least {fields} are needed")
            yield cells, where
    except csv.Error as error:
        raise BadLayout(f"{file}, line {reader.line_num}: {error}") from error


def _parse_partition(row: list[str], where: str) -> dict[str, Any]:
    name, start, size, kind, uuid = row[:5]
    if kind not in _TYPES:
        raise BadLayout(f"{where}: the type of {name} must be U or L, not {kind[:20]!r}")
    return _volume(name) | {
        "start_sector": _number(start, "start", where),
        "sectors": _number(size, "size", where),
        "type": _TYPES[kind],
        "uuid": uuid,
    }


def _parse_volume(row: list[str], where: str) -> dict[str, Any]:
    name, start, size, uuid = row[:4]
    extents = {"start_extent": _number(start, "start", where), "extents": _number(size, "size", where)}
    return _volume(name) | extents | {"uuid": uuid}


def _volume(name: str) -> dict[str, Any]:
    values: dict[str, Any] = {"name": name, **_SLOTS.get(name, {})}
    if name in _ROLES:
        values["role"] = _ROLES[name]
    if name in _FILESYSTEMS:
        values["filesystem"] = _FILESYSTEMS[name]
    return values


def _number(text: str, what: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise BadLayout(f"{where}: the {what} must be a whole number, not {text[:20]!r}")
    return int(text)
