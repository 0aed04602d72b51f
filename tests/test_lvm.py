"""Volume groups: real LVM on loop devices makes and changes them, and abctl reads what it finds."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from abctl.core.found import Extent, Group, Segment
from abctl.core.layout import Layout
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import MIB
from abctl.errors import DiskUnusable, ToolFailed
from abctl.host.block import ExtentVolume
from abctl.host.disk import DiskSlots, open_disk
from abctl.host.layouts import read_layout
from abctl.host.lvm import create_group, parse_fullreport, read_group
from tests.disks import attached, copy_image, lvm, make_image, needs_loop

A_ROOT = Slot(SlotName.A, Part.ROOT)
B_VAR = Slot(SlotName.B, Part.VAR)
# What lvm 2.03.16 printed about a group with a volume in two segments, shortened.
RECORDED = json.loads("""
{"report": [{
 "vg": [{"vg_name":"hostlvm", "vg_uuid":"CQ9DqS-6Ddj-Q1nL-33Q2-IFNr-GS7D-2DZzy6", "vg_extent_size":"4194304",
         "vg_extent_count":"49", "vg_free_count":"34", "vg_missing_pv_count":"0"}],
 "pv": [{"pv_name":"/dev/loop0", "pv_uuid":"jKFqnR-mU0Q-riKT-tdlJ-aVkX-w4j2-SYYRru", "pe_start":"1048576",
         "pv_missing":""}],
 "lv": [{"lv_name":"root_a", "lv_uuid":"iMC58f-yMmm-fahp-zmkS-1zdK-X0CW-9LBcCF", "lv_size":"41943040",
         "lv_device_open":"open", "lv_role":"public"},
        {"lv_name":"root_b", "lv_uuid":"qmZtdS-fr3v-nOLP-VlZu-egD8-06ea-es2ETv", "lv_size":"20971520",
         "lv_device_open":"", "lv_role":"public"}],
 "seg": [{"lv_uuid":"qmZtdS-fr3v-nOLP-VlZu-egD8-06ea-es2ETv", "segtype":"linear", "seg_start_pe":"0",
          "seg_size_pe":"5", "seg_pe_ranges":"/dev/loop0:5-9"},
         {"lv_uuid":"iMC58f-yMmm-fahp-zmkS-1zdK-X0CW-9LBcCF", "segtype":"linear", "seg_start_pe":"5",
          "seg_size_pe":"5", "seg_pe_ranges":"/dev/loop0:15-19"},
         {"lv_uuid":"iMC58f-yMmm-fahp-zmkS-1zdK-X0CW-9LBcCF", "segtype":"linear", "seg_start_pe":"0",
          "seg_size_pe":"5", "seg_pe_ranges":"/dev/loop0:0-4"}],
 "pvseg": [{"pvseg_start":"0"}]
}]}
""")


def parse(report: dict[str, Any], name: str = "hostlvm") -> Group:
    return parse_fullreport(json.dumps(report), name, "disk.img")


def changed(kind: str, index: int, **values: str) -> dict[str, Any]:
    report: dict[str, Any] = copy.deepcopy(RECORDED)
    report["report"][0][kind][index] |= values
    return report


def test_a_recorded_report_is_understood() -> None:
    group = parse(RECORDED)
    assert (group.extent_size, group.data_start, group.extents, group.free_extents) == (4 * MIB, MIB, 49, 34)
    root = group.find("root_a")
    assert root is not None
    assert root.segments == (Segment(0, 0, 5), Segment(5, 15, 5))
    assert group.places_of(root) == (Extent(MIB, 20 * MIB), Extent(61 * MIB, 20 * MIB))
    assert [volume.is_open for volume in group.volumes] == [True, False]


@pytest.mark.parametrize("kind", ["thin", "snapshot", "raid1", "mirror", "striped", "cache"])
def test_a_volume_that_is_not_linear_cannot_be_written_by_its_place(kind: str) -> None:
    group = parse(changed("seg", 1, segtype=kind, seg_pe_ranges=""))
    root, other = group.find("root_a"), group.find("root_b")
    assert root is not None
    assert other is not None
    assert root.problem is not None
    assert kind in root.problem
    assert root.segments == ()
    # The others can still be used.
    assert other.problem is None


def test_a_volume_with_a_part_on_another_disk_cannot_be_written_by_its_place() -> None:
    root = parse(changed("seg", 1, seg_pe_ranges="/dev/loop1:15-19")).find("root_a")
    assert root is not None
    assert root.problem == "part of it is on another physical volume, /dev/loop1"


def test_a_group_without_one_of_its_disks_is_refused() -> None:
    with pytest.raises(DiskUnusable, match="lacks 1 of its 1 physical volumes: attach the missing disk"):
        parse(changed("vg", 0, vg_missing_pv_count="1"))


def test_a_group_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(DiskUnusable, match=r"LVM finds no volume group other on disk\.img, only hostlvm"):
        parse(RECORDED, "other")
    with pytest.raises(DiskUnusable, match=r"no volume group hostlvm on .*, and no other"):
        parse({"report": [{"vg": [], "pv": [], "lv": [], "seg": []}]})


def test_two_groups_of_the_same_name_are_refused() -> None:
    with pytest.raises(DiskUnusable, match="2 volume groups named hostlvm: rename one"):
        parse({"report": RECORDED["report"] * 2})


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"report": 1}', '{"report": [{"vg": [{"vg_name": "hostlvm"}]}]}', '{"report": [1]}'],
)
def test_what_lvm_never_prints_is_refused(text: str) -> None:
    with pytest.raises(ToolFailed, match="lvm fullreport printed something"):
        parse_fullreport(text, "hostlvm", "disk.img")


def test_ranges_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ToolFailed):
        parse(changed("seg", 0, seg_size_pe="6"))


# --- real LVM ---------------------------------------------------------------------------------------


def make_group(path: Path, name: str) -> tuple[Layout, Extent]:
    """Make the volume group of a layout alone, in its place on a sparse image."""
    layout = read_layout(name)
    layout = layout.fit_to(layout.size)
    path.touch()
    os.truncate(path, layout.size)
    place = Extent(layout.start_of(layout.home), layout.size_of(layout.home))
    assert layout.volume_group is not None
    create_group(path, place, layout.volume_group)
    return layout, place


@needs_loop
@pytest.mark.parametrize("name", ["hostos", "hostos-small"])
def test_lvm_finds_the_group_as_the_layout_says(tmp_path: Path, name: str) -> None:
    path = tmp_path / "disk.img"
    layout, place = make_group(path, name)
    group = layout.volume_group
    assert group is not None
    fields = "lv_name,lv_uuid,seg_start_pe,seg_size_pe,seg_pe_ranges,vg_uuid,pv_uuid,pe_start,vg_extent_size"
    options = ("--noheadings", "--separator", ",", "--units", "b", "--nosuffix")
    with attached(path, place) as device:
        rows = lvm("pvs", device, *options, "-o", f"{fields}").split()
        checked = lvm("vgck", device, "-v", group.name)
    found = sorted(row for row in rows if not row.startswith(","))
    shared = f"{group.uuid},{group.pv_uuid},{group.data_start},{group.extent_size}"
    assert found == sorted(
        f"{v.name},{v.uuid},0,{v.extents},{device}:{v.start_extent}-{v.end_extent - 1},{shared}"
        for v in group.volumes
    )
    assert "rror" not in checked


@needs_loop
def test_abctl_finds_the_group_as_the_layout_says(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    layout, place = make_group(path, "hostos")
    group = layout.volume_group
    assert group is not None
    found = read_group(path, place, "hostlvm")
    assert (found.uuid, found.pv_uuid) == (group.uuid, group.pv_uuid)
    assert (found.extent_size, found.data_start) == (group.extent_size, group.data_start)
    assert found.extents == layout.group_extents
    assert found.free_extents == layout.group_extents - group.volumes[-1].end_extent
    assert [(v.name, v.uuid, v.segments) for v in found.volumes] == [
        (v.name, v.uuid, (Segment(0, v.start_extent, v.extents),)) for v in group.volumes
    ]


@needs_loop
def test_lvm_can_go_on_with_a_group_that_abctl_made(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    _, place = make_group(path, "hostos-small")
    with attached(path, place) as device:
        lvm("lvcreate", device, "-an", "-Zn", "-Wn", "-n", "new", "-l", "2", "hostlvm")
        lvm("lvrename", device, "hostlvm", "guestos", "guest")
        lvm("lvremove", device, "-y", "hostlvm/A_var")
    names = [volume.name for volume in read_group(path, place, "hostlvm").volumes]
    assert sorted(names) == sorted(
        ["config", "A_boot", "A_root", "B_boot", "B_root", "B_var", "guest", "new"]
    )


@needs_loop
def test_the_same_layout_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    _, place = make_group(one, "hostos-small")
    # Another device, and so another name for LVM to note down.
    with attached(one):
        make_group(two, "hostos-small")
    assert ExtentVolume(one, [place], "x").read(0, 4 * MIB) == ExtentVolume(two, [place], "x").read(
        0, 4 * MIB
    )


@pytest.fixture(scope="session")
def fragmented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk whose B_var was extended twice, so that it lies in three segments."""
    path = make_image(tmp_path_factory.mktemp("disks") / "disk.img", "hostos-small")
    layout = read_layout("hostos-small")
    with attached(path, Extent(layout.start_of(layout.home), path.stat().st_size - 64 * MIB)) as device:
        lvm("lvextend", device, "-l", "+2", "hostlvm/B_var")
        lvm("lvcreate", device, "-an", "-Zn", "-Wn", "-n", "gap", "-l", "1", "hostlvm")
        lvm("lvextend", device, "-l", "+2", "hostlvm/B_var")
    return path


@needs_loop
def test_a_volume_in_several_segments_is_written_where_lvm_has_it(fragmented: Path, tmp_path: Path) -> None:
    disk = open_disk(copy_image(fragmented, tmp_path / "disk.img"))
    slots = DiskSlots(disk)
    assert slots.size_of(B_VAR) == 10 * 4 * MIB
    with slots.open_for_writing(B_VAR) as volume:
        assert len(volume.extents) == 3
        for extent in range(10):
            volume.write(extent * 4 * MIB, memoryview(b"B_var extent %d" % extent))
        volume.flush()
    home = disk.table.find("hostlvm")
    assert home is not None
    with attached(disk.path, home.extent) as device:
        options = ("--noheadings", "--separator", ",", "--units", "b", "--nosuffix", "--segments")
        rows = lvm("lvs", device, *options, "-o", "seg_start,seg_pe_ranges", "hostlvm/B_var").split()
        assert len(rows) == 3
        for row in rows:
            start, _, places = row.partition(",")
            first, last = (int(word) for word in places.rpartition(":")[2].split("-"))
            for place in range(first, last + 1):
                with Path(device).open("rb") as file:
                    file.seek(MIB + place * 4 * MIB)
                    number = int(start) // (4 * MIB) + place - first
                    assert file.read(14).startswith(b"B_var extent %d" % number)


@needs_loop
def test_a_slot_of_another_type_is_refused_and_the_rest_goes_on(fragmented: Path, tmp_path: Path) -> None:
    path, text = copy_image(fragmented, tmp_path / "disk.img"), tmp_path / "metadata"
    home = open_disk(path).table.find("hostlvm")
    assert home is not None
    with attached(path, home.extent) as device:
        lvm("vgcfgbackup", device, "-f", str(text), "hostlvm")
        # As this LVM makes no thin volumes without the kernel: a segment that has no place on the disk.
        head, name, tail = text.read_text().partition("B_var {")
        text.write_text(head + name + tail.replace('type = "striped"', 'type = "zero"', 1))
        lvm("vgcfgrestore", device, "-f", str(text), "hostlvm")
    slots = DiskSlots(open_disk(path))
    assert slots.size_of(A_ROOT) == 128 * MIB
    with pytest.raises(DiskUnusable, match=r"B_var on .* cannot be used: it is of type zero"):
        slots.size_of(B_VAR)


@needs_loop
def test_a_group_over_two_disks_is_refused_when_one_is_missing(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        path.touch()
        os.truncate(path, 64 * MIB)
    with attached(one) as first, attached(two) as second:
        for device in (first, second):
            lvm("pvcreate", f"{first},{second}", "-q", device)
        lvm("vgcreate", f"{first},{second}", "-q", "hostlvm", first, second)
        lvm("lvcreate", f"{first},{second}", "-an", "-Zn", "-Wn", "-n", "A_root", "-l", "25", "hostlvm")
    with pytest.raises(DiskUnusable, match=r"hostlvm on .*one lacks 1 of its 2 physical volumes"):
        read_group(one, Extent(0, 64 * MIB), "hostlvm")


@needs_loop
def test_a_disk_without_lvm_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, 64 * MIB)
    with pytest.raises(DiskUnusable, match=r"no volume group hostlvm on .*, and no other"):
        read_group(path, Extent(0, 64 * MIB), "hostlvm")


@needs_loop
def test_damaged_lvm_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    _, place = make_group(path, "hostos-small")
    with ExtentVolume(path, [place], "x", writable=True) as volume:
        assert b"hostlvm" in volume.read(4096, 8192)
        volume.write(4096 + 512 + 100, memoryview(b"XXXX"))
    with pytest.raises(DiskUnusable, match="no volume group hostlvm"):
        read_group(path, place, "hostlvm")
