"""LVM: make a volume group on a range of a disk, and read one, by the ``lvm`` program.

The kernel is left out (``--driverloaded n``) where a disk image is worked on: volumes are reached by
their place, so nothing is activated and nothing of the machine's own LVM is looked at.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from abctl.core.found import Extent, FoundVolume, Group, Segment
from abctl.core.layout import LogicalVolume, VolumeGroup
from abctl.core.lvm_text import make_group_text
from abctl.core.units import Bytes
from abctl.errors import DiskUnusable, ToolFailed
from abctl.host.block import ExtentVolume, find_partition
from abctl.host.loop import attach_loop
from abctl.host.lvm_metadata import replace_text
from abctl.host.memory import memory_file
from abctl.host.run import run

# Nothing is written to /etc/lvm and no daemon is asked.
_CONFIG = "backup{backup=0 archive=0} activation{monitoring=0} global{use_lvmpolld=0}"
# The machine's own choice of devices is not meant for the disk that is worked on.
_OFFLINE_CONFIG = _CONFIG + ' devices{filter=["a|.*|"] global_filter=["a|.*|"] hints="none"}'
_FIELDS = {
    "vg": "vg_name,vg_uuid,vg_extent_size,vg_extent_count,vg_free_count,vg_missing_pv_count",
    "pv": "pv_name,pv_uuid,pe_start,pv_missing",
    "lv": "lv_name,lv_uuid,lv_size,lv_device_open,lv_role",
    "seg": "lv_uuid,segtype,seg_start_pe,seg_size_pe,seg_pe_ranges",
    "pvseg": "pvseg_start",
}


def create_group(path: Path, place: Extent, group: VolumeGroup) -> None:
    """Make the volume group in ``place`` of the image or device, with its exact UUIDs and extents."""
    text = make_group_text(group, Bytes(place.length))
    with attach_loop(path, place, writable=True) as device, memory_file(0) as metadata:
        metadata.write(0, text.encode())
        start = f"{group.data_start_sector}s"
        options = ("-q", "-y", "--norestorefile", "--uuid", group.pv_uuid, "--dataalignment", start)
        _lvm("pvcreate", device, *options, device)
        _lvm("vgcfgrestore", device, "-q", "-f", str(metadata.path), group.name)
    with ExtentVolume(path, [place], group.name, writable=True) as volume:
        replace_text(volume, text)
        volume.flush()


def create_volume(path: Path, place: Extent, group: str, volume: LogicalVolume) -> None:
    """Make a logical volume that is lost where the layout has it, and write nothing into it.

    ``place`` is the group's in the image or device. Only LVM's own metadata changes, so what the volume held
    is there again. Raise ToolFailed where its extents are taken.
    """
    with attach_loop(path, place, writable=True) as device:
        options = ("-y", "-an", "-Zn", "-Wn", "-n", volume.name, "-l", str(volume.extents))
        _lvm("lvcreate", device, *options, group, f"{device}:{volume.start_extent}-{volume.end_extent - 1}")


def read_group(path: Path, place: Extent, name: str) -> Group:
    """Return the volume group ``name`` in ``place`` of the image or device; raise DiskUnusable."""
    with _reach(path, place) as device:
        try:
            report = _lvm("fullreport", device, *_report_options())
        except ToolFailed as error:
            raise DiskUnusable(f"LVM cannot read the volume group {name} on {path}: {error}") from error
    return parse_fullreport(report, name, str(path))


@contextmanager
def _reach(path: Path, place: Extent) -> Iterator[str]:
    """Yield a device that shows ``place``: its partition, where the kernel knows it.

    To LVM on a running host, a loop device would be the same physical volume once more.
    """
    partition = find_partition(path, place) if path.is_block_device() else None
    if partition:
        yield str(partition)
    else:
        with attach_loop(path, place) as device:
            yield device


def _lvm(command: str, device: str, *arguments: str) -> str:
    return run(
        "lvm", command, "--devices", device, "--driverloaded", "n", "--config", _OFFLINE_CONFIG, *arguments
    )


def _report_options() -> list[str]:
    columns = [word for kind, fields in _FIELDS.items() for word in ("--configreport", kind, "-o", fields)]
    return ["--reportformat", "json", "--units", "b", "--nosuffix", *columns]


def parse_fullreport(text: str, name: str, where: str) -> Group:
    """Return the volume group ``name`` in what ``lvm fullreport`` printed about ``where``."""
    # LVM puts some of its messages between the lines of its JSON.
    lines = [line for line in text.splitlines() if line.lstrip().startswith(tuple('{}[],"'))]
    try:
        reports = json.loads("\n".join(lines))["report"]
        groups = [(vg["vg_name"], report) for report in reports for vg in report.get("vg", ())]
        found = [report for group, report in groups if group == name]
        if len(found) == 1:
            return _parse_group(found[0], where)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ToolFailed(
            f"lvm fullreport printed something that abctl does not understand: {error!r}"
        ) from error
    if found:
        raise DiskUnusable(f"{where} has {len(found)} volume groups named {name}: rename one with vgrename")
    others = ", ".join(sorted(group for group, _ in groups if group))
    raise DiskUnusable(
        f"LVM finds no volume group {name} on {where}, " + (f"only {others}" if others else "and no other")
    )


def _parse_group(report: dict[str, Any], where: str) -> Group:
    (values,) = report["vg"]
    name, missing = values["vg_name"], int(values["vg_missing_pv_count"])
    if missing:
        raise DiskUnusable(
            f"volume group {name} on {where} lacks {missing} of its {len(report['pv'])} physical volumes: "
            "attach the missing disk, or remove it with vgreduce --removemissing"
        )
    home = report["pv"][0]
    volumes = (_parse_volume(volume, report["seg"], home["pv_name"]) for volume in report["lv"])
    return Group(
        name=name,
        uuid=values["vg_uuid"],
        pv_uuid=home["pv_uuid"],
        extent_size=Bytes(int(values["vg_extent_size"])),
        data_start=Bytes(int(home["pe_start"])),
        extents=int(values["vg_extent_count"]),
        free_extents=int(values["vg_free_count"]),
        volumes=tuple(
            sorted(volumes, key=lambda volume: [segment.physical_start for segment in volume.segments])
        ),
    )


def _parse_volume(values: dict[str, str], segments: list[dict[str, str]], device: str) -> FoundVolume:
    mine = sorted(
        (item for item in segments if item["lv_uuid"] == values["lv_uuid"]),
        key=lambda item: int(item["seg_start_pe"]),
    )
    problem = next(filter(None, (_find_problem(item, device) for item in mine)), None)
    return FoundVolume(
        name=values["lv_name"].strip("[]"),
        uuid=values["lv_uuid"],
        size=Bytes(int(values["lv_size"])),
        segments=() if problem else tuple(_parse_segment(item) for item in mine),
        problem=problem,
        is_open={"open": True, "": False}.get(values["lv_device_open"]),
        is_snapped=not {"origin", "snapshot"}.isdisjoint(values["lv_role"].split(",")),
    )


def _find_problem(segment: dict[str, str], device: str) -> str | None:
    """Return why the bytes of ``segment`` are not simply a range of ``device``."""
    if segment["segtype"] != "linear":
        return f"it is of type {segment['segtype']}, and only linear volumes can be written by their place"
    home = segment["seg_pe_ranges"].rpartition(":")[0]
    return None if home == device else f"part of it is on another physical volume, {home}"


def _parse_segment(segment: dict[str, str]) -> Segment:
    first, _, last = segment["seg_pe_ranges"].rpartition(":")[2].partition("-")
    extents = int(segment["seg_size_pe"])
    if int(last) - int(first) + 1 != extents:
        raise ValueError(f"{segment['seg_pe_ranges']} are not {extents} extents")
    return Segment(int(segment["seg_start_pe"]), int(first), extents)
