"""What GRUB and LVM read of a disk, byte for byte, and what is told of a layout that does not go together."""

from collections.abc import Callable
from typing import Any

import pytest

from abctl.core.esp_cfg import make_esp_cfg
from abctl.core.layout import Filesystem, Layout, LogicalVolume, Role, VolumeGroup, make_layout
from abctl.core.layout_csv import parse_csv_layout
from abctl.core.layout_file import parse_layout
from abctl.core.lvm_text import make_group_text
from abctl.core.slots_cfg import make_slots_cfg
from abctl.core.units import Bytes
from abctl.errors import BadLayout
from tests.told import told

LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
SECTOR = 512
# An ESP and a grub partition of 1 MiB, and a volume group of seven extents of 4 KiB each.
ESP, GRUB, HOME, END = 2_048, 4_096, 6_144, 6_144 + 2_048 + 7 * 8
SLOTS = ("A_boot", "A_root", "A_var", "B_boot", "B_root", "B_var")


def partition(name: str, start: int, sectors: int, **more: Any) -> dict[str, Any]:
    uuid = f"1a2b3c4d-0000-4000-8000-{start:012d}"
    return {"name": name, "start_sector": start, "sectors": sectors, "type": LINUX, "uuid": uuid, **more}


def volume(name: str, start: int, **more: Any) -> dict[str, Any]:
    uuid = f"{start:06d}-aaaa-bbbb-cccc-dddd-eeee-ffffff"
    slot = {"slot_set": name[0], "part": name[2:]} if name in SLOTS else {}
    return {"name": name, "start_extent": start, "extents": 1, "uuid": uuid, **slot, **more}


def host_values() -> dict[str, Any]:
    """Return a small layout with its slots in a volume group, on a disk that it just fits on."""
    names = ("config", *SLOTS)
    return {
        "name": "tiny",
        "size": (END + 34) * SECTOR,
        "partitions": [
            partition("esp", ESP, 2_048, role="esp"),
            partition("grub", GRUB, 2_048, role="grub"),
            partition("home", HOME, END - HOME, role="volume-group"),
        ],
        "volume_group": {
            "name": "tiny-lvm",
            "uuid": "abcdef-aaaa-bbbb-cccc-dddd-eeee-ffffff",
            "pv_uuid": "ghijkl-aaaa-bbbb-cccc-dddd-eeee-ffffff",
            "extent_sectors": 8,
            "volumes": [
                volume(name, start, **({"role": "config"} if name == "config" else {}))
                for start, name in enumerate(names)
            ],
        },
    }


def guest_values() -> dict[str, Any]:
    """Return a layout with its slots in partitions."""
    names = ("esp", "grub", "config", *SLOTS)
    return {
        "name": "guest",
        "size": "20 MiB",
        "partitions": [
            partition(name, 2_048 * at, 2_048)
            | ({"slot_set": name[0], "part": name[2:]} if name in SLOTS else {"role": name})
            for at, name in enumerate(names, 1)
        ],
    }


def group_of(layout: Layout) -> VolumeGroup:
    assert layout.volume_group is not None
    return layout.volume_group


# --- what GRUB reads --------------------------------------------------------------------------------


def test_the_script_on_the_esp_finds_the_grub_partition_by_its_number_and_its_serial() -> None:
    assert make_esp_cfg(make_layout(host_values())) == (
        "# Made from layout tiny. Finds the grub partition: on the disk that GRUB itself came from, else by "
        "its name.\n"
        "regexp --set=1:abctl_disk '^\\(([^,()]+)' \"$cmdpath\"\n"
        "set abctl_found=\n"
        'if [ -f "($abctl_disk,gpt2)/grub.cfg" -a -f "($abctl_disk,gpt2)/slots.cfg" ]; then\n'
        "    set abctl_found=$abctl_disk,gpt2\n"
        "else\n"
        "    search --no-floppy --fs-uuid --set=abctl_found 1a2b-3c4d\n"
        "fi\n"
        'if [ -n "$abctl_found" ]; then\n'
        "    set root=$abctl_found\n"
        "    set prefix=($abctl_found)\n"
        '    configfile "$prefix/grub.cfg"\n'
        "fi\n"
        'echo "abctl: no grub partition can be read; trying again in 60 seconds."\n'
        "sleep 60\n"
        "reboot\n"
    )


def test_slots_cfg_names_the_volumes_for_grub_and_for_linux() -> None:
    assert make_slots_cfg(make_layout(host_values())) == (
        "# The slots of this disk, made from layout tiny. Sourced by grub.cfg.\n"
        "set boot_A=(lvm/tiny--lvm-A_boot)\n"
        "set boot_B=(lvm/tiny--lvm-B_boot)\n"
        "set root_A=/dev/mapper/tiny--lvm-A_root\n"
        "set root_B=/dev/mapper/tiny--lvm-B_root\n"
    )


def test_slots_cfg_names_partitions_by_their_number_on_the_disk_that_it_was_read_from() -> None:
    assert make_slots_cfg(make_layout(guest_values())) == (
        "# The slots of this disk, made from layout guest. Sourced by grub.cfg.\n"
        "regexp --set=1:slots_disk '^\\(([^,()]+)' \"$prefix\"\n"
        'set boot_A="($slots_disk,gpt4)"\n'
        'set boot_B="($slots_disk,gpt7)"\n'
        "set root_A=PARTUUID=1a2b3c4d-0000-4000-8000-000000010240\n"
        "set root_B=PARTUUID=1a2b3c4d-0000-4000-8000-000000016384\n"
    )


def test_dashes_in_the_name_of_a_volume_are_doubled_too() -> None:
    values = host_values()
    values["volume_group"]["volumes"][5]["name"] = "B-root-1"
    assert "set root_B=/dev/mapper/tiny--lvm-B--root--1\n" in make_slots_cfg(make_layout(values))


# --- what LVM reads ---------------------------------------------------------------------------------


def test_the_metadata_of_a_group_are_these_bytes() -> None:
    volumes = (
        LogicalVolume(name="config", uuid="c-1", start_extent=0, extents=25),
        LogicalVolume(name="A_boot", uuid="b-2", start_extent=25, extents=256),
    )
    group = VolumeGroup(name="hostlvm", uuid="g-1", pv_uuid="p-1", volumes=volumes)
    # One extent of 4 MiB less a sector is no extent.
    text = make_group_text(group, Bytes((2_048 + 300 * 8_192 - 1) * SECTOR + 511))
    assert text == (
        'hostlvm {\nid = "g-1"\nseqno = 1\nformat = "lvm2"\n'
        'status = ["RESIZEABLE", "READ", "WRITE"]\nflags = []\n'
        "extent_size = 8192\nmax_lv = 0\nmax_pv = 0\nmetadata_copies = 0\n\n"
        'physical_volumes {\n\npv0 {\nid = "p-1"\ndevice = "/dev/disk"\n'
        'status = ["ALLOCATABLE"]\nflags = []\n'
        "dev_size = 2459647\npe_start = 2048\npe_count = 299\n}\n}\n\n"
        "logical_volumes {\n\n"
        'config {\nid = "c-1"\nstatus = ["READ", "WRITE", "VISIBLE"]\nflags = []\n'
        'creation_host = "abctl"\ncreation_time = 0\nsegment_count = 1\n\n'
        'segment1 {\nstart_extent = 0\nextent_count = 25\ntype = "striped"\nstripe_count = 1\n'
        'stripes = [\n"pv0", 0\n]\n}\n}\n\n'
        'A_boot {\nid = "b-2"\nstatus = ["READ", "WRITE", "VISIBLE"]\nflags = []\n'
        'creation_host = "abctl"\ncreation_time = 0\nsegment_count = 1\n\n'
        'segment1 {\nstart_extent = 0\nextent_count = 256\ntype = "striped"\nstripe_count = 1\n'
        'stripes = [\n"pv0", 25\n]\n}\n}\n'
        '}\n}\n\ncontents = "Text Format Volume Group"\nversion = 1\ndescription = ""\n'
        'creation_host = "abctl"\ncreation_time = 0\n'
    )


# --- a layout ---------------------------------------------------------------------------------------


def test_a_layout_may_fill_its_disk_and_its_partition() -> None:
    layout = make_layout(host_values())
    assert layout.home.end_sector == END == 8_248
    assert (layout.group_extents, layout.least_sectors(layout.home)) == (7, 2_104)
    assert [layout.number_of(item) for item in layout.partitions] == [1, 2, 3]
    assert layout.start_of(layout.home) == 3_145_728
    sizes = [layout.size_of(item) for item in layout.volumes]
    assert sizes == [1_048_576, 1_048_576, 1_077_248, *[4_096] * 7]
    assert group_of(layout).data_start == 1_048_576
    assert (group_of(layout).reserve, layout.made_later, layout.disk_uuid) == (0, (), None)


def partitions(values: dict[str, Any]) -> Any:
    return values["partitions"]


def volumes(values: dict[str, Any]) -> Any:
    return values["volume_group"]["volumes"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.update(size=v["size"] - 2 * SECTOR), "home ends after the disk of 4239360 bytes"),
        (lambda v: partitions(v)[0].update(sectors=2_049), "partitions esp and grub overlap"),
        (lambda v: partitions(v)[1].update(name="esp"), "esp stands twice"),
        (
            lambda v: partitions(v)[1].update(uuid=partitions(v)[0]["uuid"]),
            "UUID 1a2b3c4d-0000-4000-8000-000000002048 stands twice",
        ),
        (lambda v: partitions(v)[0].update(grow=True), "esp grows but is not the last partition"),
        (lambda v: partitions(v)[1].update(grow=True), "grub grows but is not the last partition"),
        (lambda v: partitions(v)[2].update(sectors=2_103), "volume B_var ends after partition home"),
        (lambda v: volumes(v)[6].update(extents=2), "volume B_var ends after partition home"),
        (lambda v: volumes(v)[5].update(extents=2), "volumes B_root and B_var overlap"),
        (lambda v: volumes(v)[5].update(grow=True), "B_root grows but is not the last volume"),
        (
            lambda v: partitions(v)[2].pop("role"),
            "volume group tiny-lvm needs one partition with role volume-group",
        ),
        (
            lambda v: partitions(v)[0].update(role="volume-group"),
            "volume group tiny-lvm needs one partition with role volume-group",
        ),
        (lambda v: volumes(v)[0].pop("role"), "needs one volume with role config"),
        (lambda v: partitions(v)[0].update(role="config"), "needs one volume with role config"),
        (
            lambda v: (partitions(v)[1].pop("role"), volumes(v)[6].update(role="grub")),
            "GRUB cannot write to a logical volume: role grub needs a partition",
        ),
        (
            lambda v: volumes(v)[4].update(slot_set="A"),
            "needs one volume for slot A_boot, not 2; needs one volume for slot B_boot, not 0",
        ),
        (
            lambda v: (partitions(v)[0].update(sectors=2_049), volumes(v)[0].update(name="esp", extents=2)),
            "esp stands twice; partitions esp and grub overlap; volumes esp and A_boot overlap",
        ),
    ],
)
def test_what_does_not_go_together_in_a_layout_is_told(change: Callable[[Any], Any], said: str) -> None:
    values = host_values()
    change(values)
    assert told(BadLayout, make_layout, values) == f"layout tiny: {said}"
    assert told(BadLayout, parse_layout, values, "my.toml") == f"my.toml: layout tiny: {said}"


def test_the_order_in_which_a_layout_is_written_does_not_count() -> None:
    values = host_values()
    values["partitions"].reverse()
    volumes(values).reverse()
    layout = make_layout(values)
    assert layout.number_of(layout.home) == 1
    assert layout.least_sectors(layout.home) == 2_104


def test_a_partition_may_be_larger_than_what_stands_in_it() -> None:
    values = host_values()
    values["partitions"][2].update(sectors=6_000)
    layout = make_layout(values | {"size": "16 MiB"})
    assert layout.least_sectors(layout.home) == 2_104
    assert layout.least_sectors(layout.partitions[0]) == 2_048
    guest = make_layout(guest_values())
    assert guest.least_sectors(guest.partitions[3]) == 2_048


# --- fitted to a disk -------------------------------------------------------------------------------


def growing(reserve: int = 0) -> Layout:
    """Return the layout with its last partition and volume growing, to which an extent more is kept free."""
    values = host_values()
    values["partitions"][2]["grow"] = volumes(values)[6]["grow"] = True
    return make_layout(values | {"volume_group": values["volume_group"] | {"reserve": reserve}})


@pytest.mark.parametrize(
    ("sectors", "reserve", "end", "extents"),
    [
        # The end is a multiple of 1 MiB before the last 34 sectors, and never before what stands in it.
        (END + 34, 0, END, 1),
        (10_240 + 33, 0, END, 1),
        (10_240 + 34, 0, 10_240, 250),
        (12_288 + 33, 0, 10_240, 250),
        (12_288 + 34, 0, 12_288, 506),
        # The reserve is in whole extents.
        (10_240 + 34, 4_096, 10_240, 249),
        (10_240 + 34, 4_097, 10_240, 248),
        # It gives way where both do not fit.
        (10_240 + 34, 249 * 4_096, 10_240, 1),
        (10_240 + 34, 900 * 4_096, 10_240, 1),
    ],
)
def test_what_grows_takes_what_the_disk_has_beyond_the_reserve(
    sectors: int, reserve: int, end: int, extents: int
) -> None:
    fitted = growing(reserve).fit_to(Bytes(sectors * SECTOR + 511))
    assert fitted.size == sectors * SECTOR
    assert fitted.home.end_sector == end
    assert [item.extents for item in group_of(fitted).volumes] == [1] * 6 + [extents]
    assert [item.sectors for item in fitted.partitions[:2]] == [2_048, 2_048]


def test_a_disk_that_is_too_small_is_told_with_what_is_needed() -> None:
    assert told(BadLayout, growing().fit_to, Bytes((END + 32) * SECTOR)) == (
        f"layout tiny needs a disk of {(8_248 + 33) * 512} bytes, this one has {(8_248 + 32) * 512}: "
        "partition home does not fit"
    )
    guest = make_layout(guest_values())
    assert guest.fit_to(Bytes((20_480 + 33) * SECTOR)).partitions == guest.partitions
    assert told(BadLayout, guest.fit_to, Bytes(20_480 * SECTOR)).endswith("partition B_var does not fit")


# --- the older system's files -----------------------------------------------------------------------

PARTITIONS = (
    "name,start,size,type,uuid,comment\n"
    "esp,2048,2048,U,1a2b3c4d-0000-4000-8000-000000000001,\n"
    "grub,4096,2048,L,1a2b3c4d-0000-4000-8000-000000000002,\n"
    "hostlvm,6144,67584,L,1a2b3c4d-0000-4000-8000-000000000003,\n"
)
VOLUMES = "name,start,size,uuid,comment\n" + "".join(
    f"{name},{start},1,{start:06d}-aaaa-bbbb-cccc-dddd-eeee-ffffff,words\n"
    for start, name in enumerate(("config", *SLOTS, "guestos"))
)


def test_csv_files_are_a_layout_that_fits_its_disk_and_grows_as_on_the_older_system() -> None:
    layout = parse_csv_layout(PARTITIONS, VOLUMES, "My host/1")
    assert (layout.name, layout.size) == ("My_host_1", 75_776 * 512)
    assert [item.grow for item in layout.partitions] == [False, False, True]
    assert [item.role for item in layout.partitions] == [Role.ESP, Role.GRUB, Role.VOLUME_GROUP]
    assert [item.filesystem for item in layout.partitions] == [Filesystem.VFAT, Filesystem.VFAT, None]
    assert [item.type for item in layout.partitions] == ["c12a7328-f81f-11d2-ba4b-00a0c93ec93b", LINUX, LINUX]
    group = group_of(layout)
    assert (group.name, group.uuid) == ("hostlvm", "4c7GVZ-Df82-QEcJ-xXtV-JgRL-IjLE-hK0FgA")
    assert (group.pv_uuid, group.extent_sectors) == ("eu0VQE-HlTi-EyRc-GceP-xZtn-3j6t-iqEwyv", 8_192)
    assert [item.grow for item in group.volumes] == [False] * 7 + [True]
    assert (group.volumes[0].role, group.volumes[0].filesystem) == (Role.CONFIG, Filesystem.EXT4)
    assert [str(item.slot) for item in group.volumes] == ["None", *SLOTS, "None"]


@pytest.mark.parametrize(
    ("partitions_csv", "volumes_csv", "said"),
    [
        ("# nothing\n\n ,, \n", VOLUMES, "partitions.csv: no partition stands in it"),
        (PARTITIONS, "name,start,size,uuid,comment\n", "volumes.csv: no volume stands in it"),
        (
            PARTITIONS + "more,1,2,L\n",
            VOLUMES,
            "partitions.csv, line 5: 4 fields, at least 5 are needed",
        ),
        (PARTITIONS, "config,0,1\n", "volumes.csv, line 1: 3 fields, at least 4 are needed"),
        (
            PARTITIONS.replace(",L,", ",Linux-partition-of-the-host,", 1),
            VOLUMES,
            "partitions.csv, line 3: the type of grub must be U or L, not 'Linux-partition-of-t'",
        ),
        (
            PARTITIONS.replace(",4096,", ",+4096,"),
            VOLUMES,
            "partitions.csv, line 3: the start must be a whole number, not '+4096'",
        ),
        (
            PARTITIONS.replace(",67584,", f",{'9' * 30},"),
            VOLUMES,
            "partitions.csv, line 4: the size must be a whole number, not '99999999999999999999'",
        ),
        (
            PARTITIONS,
            VOLUMES.replace(",0,", ",x,", 1),
            "volumes.csv, line 2: the start must be a whole number, not 'x'",
        ),
        (
            PARTITIONS,
            VOLUMES.replace(",1,00", ",,00", 1),
            "volumes.csv, line 2: the size must be a whole number, not ''",
        ),
        (PARTITIONS + '"x"y', VOLUMES, "partitions.csv, line 5: ',' expected after '\"'"),
        (
            PARTITIONS,
            VOLUMES.replace("A_var", "B_var"),
            "partitions.csv and volumes.csv: layout x: B_var stands twice; needs one volume for slot A_var, "
            "not 0; needs one volume for slot B_var, not 2",
        ),
    ],
)
def test_a_csv_file_that_is_wrong_is_told_with_its_line(
    partitions_csv: str, volumes_csv: str, said: str
) -> None:
    assert told(BadLayout, parse_csv_layout, partitions_csv, volumes_csv, "x") == said


def test_a_row_needs_no_comment_and_may_have_more_cells() -> None:
    bare = PARTITIONS.replace(",\n", "\n").replace("name,start,size,type,uuid,comment", "")
    wide = PARTITIONS.replace(",\n", ",one,two\n")
    found = parse_csv_layout(PARTITIONS, VOLUMES, "x")
    assert parse_csv_layout(bare, VOLUMES.replace(",words\n", "\n"), "x") == found
    assert parse_csv_layout(wide.replace(",", " , "), VOLUMES, "x") == found


def test_without_a_volume_group_nothing_grows_and_one_file_is_named() -> None:
    rows = "".join(
        f"{name},{2_048 * at},2048,L,1a2b3c4d-0000-4000-8000-{at:012d}\n"
        for at, name in enumerate(("esp", "grub", "config", *SLOTS), 1)
    )
    layout = parse_csv_layout(rows, None, "guest")
    assert [item.grow for item in layout.partitions] == [False] * 9
    assert layout.size == 22_528 * 512
    assert layout.volume_group is None
    assert told(BadLayout, parse_csv_layout, rows.replace("config", "conf"), None, "guest") == (
        "partitions.csv: layout guest: needs one volume with role config"
    )
    assert layout.volumes == layout.partitions
