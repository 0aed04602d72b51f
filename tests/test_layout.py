"""Layouts: what ships, what users bring, and how a layout is fitted to a disk."""

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abctl.core.layout import Filesystem, Layout, Role, make_layout
from abctl.core.layout_csv import parse_csv_layout
from abctl.core.layout_file import parse_layout
from abctl.core.slot import ALL_SLOTS, Part, Slot, SlotName
from abctl.core.slots_cfg import make_slots_cfg
from abctl.core.units import GIB, MIB, Bytes
from abctl.errors import BadLayout
from abctl.host.data import find_data
from abctl.host.layouts import list_layouts, read_layout

EFI, LINUX = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0fc63daf-8483-4772-8e79-3d69d8477de4"
HOST_PARTITIONS = [
    ("esp", 2048, 204800, EFI, "f46600e3-d0e6-4258-9607-e64b13cf7595"),
    ("grub", 206848, 204800, LINUX, "1a7c28b7-efe0-4f17-9230-678cf2df8db2"),
    ("hostlvm", 411648, 209715200, LINUX, "735a766a-2047-45c2-ab48-d5ec948de550"),
]
HOST_VOLUMES = [
    ("config", 0, 25, "SIs20R-l6gh-2Rli-KAP0-ZO88-3Y4q-G9JPAm"),
    ("A_boot", 25, 256, "0BQNUA-dzGu-wvW5-mMRh-Ptr6-J6DT-Ff2a9x"),
    ("A_root", 281, 2560, "RM99J5-B2t1-JU3l-HNco-J2f2-1808-eJGo3s"),
    ("A_var", 2841, 2560, "AkcyNt-TkgJ-JL7M-UNoP-jWWC-Fhvh-86QyHG"),
    ("B_boot", 5401, 256, "6gl2Fd-qm1V-9E3W-Arjv-J5mW-RqFO-EgYiNC"),
    ("B_root", 5657, 2560, "UVBREu-GuBh-VHHb-RUAp-jjhQ-blIy-ez3Tjr"),
    ("B_var", 8217, 2560, "VNZoZ9-013f-hbEJ-Xd9C-AH6E-vAhI-KkzZ4p"),
    ("guestos", 10777, 12800, "woW7RT-t6jS-cRo2-uENw-iQXu-ni2u-AZdHpq"),
]
GUEST_PARTITIONS = [
    ("esp", 2048, 204800),
    ("grub", 206848, 204800),
    ("config", 411648, 204800),
    ("A_boot", 616448, 2097152),
    ("A_root", 2713600, 20971520),
    ("A_var", 23685120, 20971520),
    ("B_boot", 44656640, 2097152),
    ("B_root", 46753792, 20971520),
    ("B_var", 67725312, 20971520),
]
PARTITIONS_CSV = "name,start,size,type,uuid,comment\n" + "".join(
    f"{name},{start},{size},{'U' if kind == EFI else 'L'},{uuid},\n"
    for name, start, size, kind, uuid in HOST_PARTITIONS
)
VOLUMES_CSV = "name,start,size,uuid,comment\n" + "".join(
    f"{name},{start},{size},{uuid},some words\n" for name, start, size, uuid in HOST_VOLUMES
)


def values_of(name: str) -> dict[str, Any]:
    return tomllib.loads((find_data("layout") / f"{name}.toml").read_text())


def test_the_host_layout_has_the_older_systems_places_and_identifiers() -> None:
    layout = read_layout("hostos")
    found = [(p.name, p.start_sector, p.sectors, p.type, p.uuid) for p in layout.partitions]
    assert found == HOST_PARTITIONS
    group = layout.volume_group
    assert group is not None
    assert group.name == "hostlvm"
    assert group.uuid == "4c7GVZ-Df82-QEcJ-xXtV-JgRL-IjLE-hK0FgA"
    assert group.pv_uuid == "eu0VQE-HlTi-EyRc-GceP-xZtn-3j6t-iqEwyv"
    assert (group.extent_size, group.data_start, group.reserve) == (4 * MIB, MIB, 20_000_000_000)
    assert [(v.name, v.start_extent, v.extents, v.uuid) for v in group.volumes] == HOST_VOLUMES
    assert [v.name for v in layout.volumes if v.grow] == ["hostlvm", "guestos"]


def test_the_guest_layout_has_the_older_systems_places() -> None:
    layout = read_layout("guestos")
    assert [(p.name, p.start_sector, p.sectors) for p in layout.partitions] == GUEST_PARTITIONS
    assert [p.type for p in layout.partitions] == [EFI] + [LINUX] * 8
    assert layout.volume_group is None


@pytest.mark.parametrize("name", list_layouts())
def test_each_shipped_layout_passes_the_check_that_users_layouts_get(name: str) -> None:
    values = values_of(name)
    assert read_layout(name) == parse_layout(values, name) == make_layout(values)


@pytest.mark.parametrize("name", list_layouts())
def test_each_shipped_layout_says_what_is_where(name: str) -> None:
    layout = read_layout(name)
    systems = {role: volume.filesystem for role in Role if (volume := layout.find_role(role))}
    systems.pop(Role.VOLUME_GROUP, None)
    assert systems == {
        Role.ESP: Filesystem.VFAT,
        Role.GRUB: Filesystem.VFAT,
        Role.CONFIG: Filesystem.EXT4,
    }
    assert [layout.find_slot(slot).name for slot in ALL_SLOTS] == [slot.name for slot in ALL_SLOTS]
    for slot in ALL_SLOTS:
        assert layout.slot_size(slot) == layout.size_of(layout.find_slot(slot)) > 0


@pytest.mark.parametrize(("name", "small"), [("hostos", "hostos-small"), ("guestos", "guestos-small")])
def test_the_small_layouts_have_the_names_and_none_of_the_uuids_of_the_large(name: str, small: str) -> None:
    large, little = read_layout(name), read_layout(small)
    assert [v.name for v in little.volumes] == [v.name for v in large.volumes]
    assert not {v.uuid for v in little.volumes} & {v.uuid for v in large.volumes}
    assert little.size <= 700 * MIB


def test_a_disk_of_110_gib_keeps_the_guest_at_the_size_it_has_in_the_older_image() -> None:
    group = read_layout("hostos").fit_to(Bytes(110 * GIB)).volume_group
    assert group is not None
    assert group.volumes[-1].extents == 12800


def test_csv_files_of_the_older_system_give_the_host_layout(tmp_path: Path) -> None:
    (tmp_path / "partitions.csv").write_text(PARTITIONS_CSV)
    (tmp_path / "volumes.csv").write_text(VOLUMES_CSV)
    layout, shipped = read_layout(tmp_path), read_layout("hostos")
    assert layout.partitions == shipped.partitions
    assert layout.volume_group is not None
    assert shipped.volume_group is not None
    assert layout.volume_group.volumes == shipped.volume_group.volumes
    assert layout.volume_group.uuid == shipped.volume_group.uuid
    assert layout.volume_group.reserve == 0


def test_a_csv_file_without_volumes_is_a_disk_with_slots_in_partitions() -> None:
    text = "".join(
        f"{name}, {start}, {size}, L, 00000000-0000-4000-8000-{start:012d}, # words\n"
        for name, start, size in GUEST_PARTITIONS
    )
    layout = parse_csv_layout("# a comment\n\n" + text, None, "my guest")
    assert layout.name == "my_guest"
    assert layout.find_slot(Slot(SlotName.B, Part.VAR)).name == "B_var"


@pytest.mark.parametrize(
    ("partitions", "volumes", "words"),
    [
        (PARTITIONS_CSV.replace("206848", "20x"), VOLUMES_CSV, "partitions.csv, line 3: the start must be"),
        (
            PARTITIONS_CSV.replace(",L,", ",Z,", 1),
            VOLUMES_CSV,
            "line 3: the type of grub must be U or L, not 'Z'",
        ),
        (PARTITIONS_CSV + "more,1\n", VOLUMES_CSV, "partitions.csv, line 5: 2 fields, at least 5"),
        (PARTITIONS_CSV + '"open', VOLUMES_CSV, "partitions.csv, line 5: unexpected end of data"),
        (PARTITIONS_CSV, VOLUMES_CSV.replace(",256,", ",-1,", 1), "volumes.csv, line 3: the size must be"),
        (PARTITIONS_CSV, VOLUMES_CSV.replace("SIs20R", "SIs20!"), "volume_group.volumes.0.uuid"),
        (
            PARTITIONS_CSV,
            VOLUMES_CSV.replace("A_root,281", "A_root,280"),
            "volumes A_boot and A_root overlap",
        ),
        (PARTITIONS_CSV, VOLUMES_CSV.replace("B_var", "C_var"), "needs one volume for slot B_var, not 0"),
        ("", VOLUMES_CSV, "no partition stands in it"),
        (PARTITIONS_CSV, "name,start,size,uuid,comment\n", "no volume stands in it"),
        (PARTITIONS_CSV, None, "needs one volume with role config"),
    ],
)
def test_a_wrong_csv_file_is_refused_with_the_place(partitions: str, volumes: str | None, words: str) -> None:
    with pytest.raises(BadLayout) as caught:
        parse_csv_layout(partitions, volumes, "x")
    assert words in str(caught.value)


def change(values: dict[str, Any], where: str, value: Any) -> dict[str, Any]:
    """Return a copy with the field at ``where`` (``partitions.0.name``) set, or taken out for None."""
    changed = copy.deepcopy(values)
    *path, last = [int(word) if word.isdigit() else word for word in where.split(".")]
    place: Any = changed
    for word in path:
        place = place[word]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return changed


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        ("partitions.1.start_sector", 206847, "partitions esp and grub overlap"),
        ("partitions.1.name", "esp", "esp stands twice"),
        ("partitions.1.uuid", HOST_PARTITIONS[0][4].upper(), "stands twice"),
        ("partitions.1.grow", True, "grub grows but is not the last partition"),
        ("partitions.1.role", None, "needs one volume with role grub"),
        ("partitions.2.role", None, "needs one partition with role volume-group"),
        ("partitions.0.start_sector", 33, "partitions.0.start_sector"),
        ("partitions.0.sectors", 0, "partitions.0.sectors"),
        ("partitions.0.sectors", "2048", "partitions.0.sectors"),
        ("partitions.0.type", "ESP", "partitions.0.type"),
        ("partitions.0.name", "x" * 37, "partitions.0.name"),
        ("partitions.0.name", 'a"b', "partitions.0.name"),
        ("partitions.0.flavour", "salt", "partitions.0.flavour: Extra inputs"),
        ("partitions.2.sectors", 2**51, "partitions.2.sectors"),
        ("size", "110 apples", "size: not a size"),
        ("size", "90 GiB", "hostlvm ends after the disk"),
        ("volume_group.volumes.2.start_extent", 280, "volumes A_boot and A_root overlap"),
        ("volume_group.volumes.2.part", None, "slot_set and part go together"),
        ("volume_group.volumes.2.part", "boot", "needs one volume for slot A_boot, not 2"),
        ("volume_group.volumes.2.role", "grub", "needs one volume with role grub"),
        ("volume_group.volumes.0.role", "king", "volume_group.volumes.0.role"),
        ("volume_group.extent_sectors", 8191, "volume_group.extent_sectors"),
        ("volume_group.uuid", "short", "volume_group.uuid"),
        ("volume_group", None, "needs one volume with role config"),
    ],
)
def test_a_wrong_layout_is_refused_and_the_field_named(where: str, value: Any, words: str) -> None:
    with pytest.raises(BadLayout) as caught:
        parse_layout(change(values_of("hostos"), where, value), "my.toml")
    assert str(caught.value).startswith("my.toml: ")
    assert words in str(caught.value)


def test_a_volume_group_holds_its_volumes_on_the_disk_that_it_was_written_for() -> None:
    fixed = change(values_of("hostos"), "partitions.2.grow", False)
    with pytest.raises(BadLayout, match="volume guestos ends after partition hostlvm"):
        parse_layout(change(fixed, "partitions.2.sectors", 2048), "my.toml")


def test_a_partition_that_grows_is_never_smaller_than_the_volumes_in_it() -> None:
    small = parse_layout(change(values_of("hostos"), "partitions.2.sectors", 2048 * 1024), "my.toml")
    with pytest.raises(BadLayout, match="partition hostlvm does not fit"):
        small.fit_to(Bytes(2 * GIB))
    group = small.fit_to(Bytes(100 * GIB)).volume_group
    assert group is not None
    assert group.volumes[-1].end_extent <= small.fit_to(Bytes(100 * GIB)).group_extents


def test_all_wrong_fields_are_named_at_once() -> None:
    values = change(change(values_of("hostos"), "size", 0), "partitions.0.uuid", "x")
    with pytest.raises(BadLayout, match=r"size: .*; partitions\.0\.uuid: "):
        parse_layout(values, "my.toml")


def test_grub_on_a_logical_volume_is_refused_because_grub_cannot_write_there() -> None:
    values = change(values_of("hostos"), "partitions.1.role", None)
    with pytest.raises(BadLayout, match="GRUB cannot write to a logical volume"):
        parse_layout(change(values, "volume_group.volumes.7.role", "grub"), "my.toml")


def test_logical_volumes_of_other_systems_may_have_long_names() -> None:
    values = change(values_of("hostos"), "volume_group.volumes.7.name", "vm-" + "x" * 124)
    assert parse_layout(values, "my.toml").volumes[-1].name.startswith("vm-")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("size = = 1", "line 1, column 8"),
        ("\n\nname = 'a'\nname = 'b'\n", "line 4"),
        ("name = '\x00'", "not TOML"),
    ],
)
def test_a_syntax_error_is_told_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "my.toml"
    file.write_text(text)
    with pytest.raises(BadLayout) as caught:
        read_layout(file)
    assert str(file) in str(caught.value)
    assert words in str(caught.value)


def test_a_layout_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(BadLayout, match="hostos-small"):
        read_layout("hostsos")
    with pytest.raises(BadLayout, match=r"partitions\.csv cannot be read"):
        read_layout(tmp_path)
    (tmp_path / "my.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(BadLayout, match="not text in UTF-8"):
        read_layout(tmp_path / "my.toml")


@given(st.sampled_from(list_layouts()), st.integers(0, 400 * GIB))
def test_a_layout_fits_any_disk_that_is_large_enough_and_no_other(name: str, size: int) -> None:
    layout = read_layout(name)
    least = (
        max(partition.start_sector + layout.least_sectors(partition) for partition in layout.partitions) + 33
    )
    if size // 512 < least:
        with pytest.raises(BadLayout):
            layout.fit_to(Bytes(size))
        return
    fitted = layout.fit_to(Bytes(size))
    assert fitted.size <= size
    last = fitted.partitions[-1]
    assert last.end_sector <= fitted.size // 512 - 33
    if last.grow:
        # All but what aligning to 1 MiB costs, or what it needs at the least.
        assert last.end_sector == least - 33 or fitted.size // 512 - last.end_sector < 2048 + 34
    if fitted.volume_group and layout.volume_group:
        check_group(layout, fitted)


def check_group(layout: Layout, fitted: Layout) -> None:
    assert layout.volume_group is not None
    assert fitted.volume_group is not None
    old, new = layout.volume_group.volumes[-1], fitted.volume_group.volumes[-1]
    free = (fitted.group_extents - new.end_extent) * fitted.volume_group.extent_size
    assert new.extents >= old.extents
    assert free >= 0
    # The guest grows only with what is left beyond the reserve.
    assert free >= layout.volume_group.reserve or new.extents == old.extents


def test_grub_and_linux_find_logical_volumes_with_dashes_in_their_names() -> None:
    values = change(values_of("hostos"), "volume_group.name", "host-lvm")
    text = make_slots_cfg(parse_layout(values, "x"))
    assert "set boot_B=(lvm/host--lvm-B_boot)\n" in text
    assert "set root_A=/dev/mapper/host--lvm-A_root\n" in text


def test_slots_in_partitions_are_named_by_number_and_uuid() -> None:
    layout = read_layout("guestos")
    text = make_slots_cfg(layout)
    assert 'set boot_B="($slots_disk,gpt7)"\n' in text
    assert f"set root_B=PARTUUID={layout.find_slot(Slot(SlotName.B, Part.ROOT)).uuid}\n" in text
