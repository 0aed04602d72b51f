"""What an admin reads where a disk is not as its layout: each sentence to the letter, in order."""

from dataclasses import replace

import pytest

from abctl.core.compare import Difference, Severity, find_differences
from abctl.core.found import Extent, FoundPartition, FoundVolume, Group, PartitionTable, Segment, join_extents
from abctl.core.units import GIB, MIB, Bytes
from abctl.host.layouts import read_layout
from tests.test_draw import find_all

HOSTOS, GUESTOS = read_layout("hostos"), read_layout("guestos")
REMARK = Severity.REMARK


def host_disk() -> tuple[PartitionTable, Group]:
    """Return a disk of a host that is as its layout."""
    table, group = find_all(HOSTOS.fit_to(HOSTOS.size))
    assert group is not None
    return table, group


def in_group(name: str, text: str, *, grave: bool = False, missing: bool = False) -> Difference:
    return Difference(name, text, grave=grave, missing=missing, in_group=True)


# --- the disk ---------------------------------------------------------------------------------------


def test_a_disk_that_is_too_small_is_told_first_and_grave_and_its_parts_as_the_layout_has_them() -> None:
    table, _ = find_all(GUESTOS)
    small = replace(table, disk_size=Bytes(40 * GIB), disk_uuid="another", remarks=("the GPT is bent",))
    assert find_differences(small, None, GUESTOS)[:3] == (
        Difference(
            "disk",
            "layout guestos needs a disk of 45412794880 bytes, this one has 42949672960: partition B_var "
            "does not fit",
            grave=True,
        ),
        Difference("disk", "the GPT is bent", REMARK),
        Difference("disk", "the disk has the UUID another, not d89d3549-3bce-4484-b0ae-69bb396a149c", REMARK),
    )


def test_a_layout_without_a_uuid_takes_any_disk() -> None:
    layout = replace(GUESTOS, disk_uuid=None)
    table, _ = find_all(layout)
    assert find_differences(replace(table, disk_uuid="another"), None, layout) == ()


# --- partitions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "text", "grave"),
    [
        ({"number": 9}, "the number of grub is 9, not 2", False),
        ({"start_sector": 2048}, "the start of grub is 2048 sectors, not 206848 sectors", False),
        ({"sectors": 204_799}, "the size of grub is 204799 sectors, not 204800 sectors", True),
        ({"sectors": 204_801}, "the size of grub is 204801 sectors, not 204800 sectors", False),
        ({"type": "swap"}, "the type of grub is swap, not 0fc63daf-8483-4772-8e79-3d69d8477de4", False),
        ({"uuid": "x"}, "the UUID of grub is x, not 1a7c28b7-efe0-4f17-9230-678cf2df8db2", False),
    ],
    ids=str,
)
def test_a_partition_that_is_otherwise_is_told_with_both_values(
    change: dict[str, int | str], text: str, grave: bool
) -> None:
    table, group = host_disk()
    esp, grub, home = table.partitions
    changed = replace(grub, **change)  # type: ignore[arg-type]
    found = find_differences(replace(table, partitions=(esp, changed, home)), group, HOSTOS)
    assert found == (Difference("grub", text, grave=grave),)


@pytest.mark.parametrize(
    ("sectors", "difference"),
    [
        (
            193_144_831,
            Difference(
                "hostlvm",
                "the size of hostlvm is 193144831 sectors, at least 193144832 are needed",
                grave=True,
            ),
        ),
        (
            193_144_832,
            Difference(
                "hostlvm", "hostlvm could grow from 193144832 to 230273024 sectors on this disk", REMARK
            ),
        ),
    ],
)
def test_a_partition_that_grows_is_told_with_what_it_needs_or_could_have(
    sectors: int, difference: Difference
) -> None:
    table, group = host_disk()
    *others, home = table.partitions
    partitions = (*others, replace(home, sectors=sectors))
    assert find_differences(replace(table, partitions=partitions), group, HOSTOS) == (difference,)


def test_partitions_that_are_gone_or_too_many_are_told_in_the_order_of_the_disk() -> None:
    table, _ = find_all(GUESTOS)
    esp, grub, *others = table.partitions
    extra = FoundPartition(20, "scratch", 9, 9, "swap", "x")
    unnamed, store = replace(extra, name=""), replace(extra, name="store")
    bent = replace(table, partitions=(extra, unnamed, store, replace(esp, uuid="x"), *others))
    assert find_differences(bent, None, GUESTOS) == (
        Difference("esp", f"the UUID of esp is x, not {esp.uuid}"),
        Difference(grub.name, "there is no partition grub", grave=True, missing=True),
        Difference("scratch", "there is a partition scratch, which the layout does not have"),
        Difference("", "there is a partition without a name, which the layout does not have"),
        Difference("store", "there is a partition store, which the system made at its first boot", REMARK),
    )


# --- the volume group -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"uuid": "x"}, "the UUID of hostlvm is x, not 4c7GVZ-Df82-QEcJ-xXtV-JgRL-IjLE-hK0FgA"),
        (
            {"pv_uuid": "x"},
            "the physical volume's UUID of hostlvm is x, not eu0VQE-HlTi-EyRc-GceP-xZtn-3j6t-iqEwyv",
        ),
        (
            {"extent_size": Bytes(8 * MIB)},
            "the extent size of hostlvm is 8388608 bytes, not 4194304 bytes",
        ),
        (
            {"data_start": Bytes(2 * MIB)},
            "the start of the data of hostlvm is 2097152 bytes, not 1048576 bytes",
        ),
        (
            {"free_extents": 4531},
            "volume group hostlvm has only 17.7 GiB free, and the layout keeps 17.7 GiB for snapshots of "
            "/var",
        ),
        (
            {"free_extents": 1},
            "volume group hostlvm has only 4 MiB free, and the layout keeps 17.7 GiB for snapshots of /var",
        ),
        (
            {"free_extents": 0},
            "volume group hostlvm has nothing free, and the layout keeps 17.7 GiB for snapshots of /var",
        ),
    ],
    ids=str,
)
def test_a_volume_group_that_is_otherwise_is_told_with_both_values(
    change: dict[str, int | str], text: str
) -> None:
    table, group = host_disk()
    changed = replace(group, **change)  # type: ignore[arg-type]
    assert find_differences(table, changed, HOSTOS) == (in_group("hostlvm", text),)


def test_a_large_disk_keeps_the_whole_reserve_and_no_more() -> None:
    size = Bytes(500 * GIB)
    table, group = find_all(HOSTOS.fit_to(size))
    assert group is not None
    for free, count in ((4769, 0), (4768, 1)):
        found = find_differences(table, replace(group, free_extents=free), HOSTOS)
        assert len(found) == count
    assert found == (
        in_group(
            "hostlvm",
            "volume group hostlvm has only 18.6 GiB free, and the layout keeps 18.6 GiB for snapshots of "
            "/var",
        ),
    )


@pytest.mark.parametrize(
    ("change", "text", "grave"),
    [
        (
            {"segments": (Segment(0, 26, 256),)},
            "the start of A_boot is 26 extents, not 25 extents",
            False,
        ),
        (
            {"size": Bytes(GIB - 1)},
            "the size of A_boot is 1073741823 bytes, not 1073741824 bytes",
            True,
        ),
        (
            {"size": Bytes(GIB + 1)},
            "the size of A_boot is 1073741825 bytes, not 1073741824 bytes",
            False,
        ),
        ({"uuid": "x"}, "the UUID of A_boot is x, not 0BQNUA-dzGu-wvW5-mMRh-Ptr6-J6DT-Ff2a9x", False),
        ({"problem": "it is thin"}, "A_boot cannot be used: it is thin", True),
    ],
    ids=str,
)
def test_a_volume_that_is_otherwise_is_told_with_both_values(
    change: dict[str, object], text: str, grave: bool
) -> None:
    table, group = host_disk()
    config, boot, *others = group.volumes
    changed = replace(boot, **change)  # type: ignore[arg-type]
    found = find_differences(table, replace(group, volumes=(config, changed, *others)), HOSTOS)
    assert found == (in_group("A_boot", text, grave=grave),)


def test_volumes_that_are_gone_or_too_many_are_told_after_what_else_is_different() -> None:
    table, group = host_disk()
    config, _, *others = group.volumes
    extra = FoundVolume("scratch", "x", Bytes(4 * MIB), ())
    bent = replace(group, volumes=(extra, *others, replace(config, uuid="x")), free_extents=0)
    assert find_differences(table, bent, HOSTOS) == (
        in_group("config", f"the UUID of config is x, not {config.uuid}"),
        in_group("A_boot", "there is no logical volume A_boot", grave=True, missing=True),
        in_group("scratch", "there is a logical volume scratch, which the layout does not have"),
        in_group(
            "hostlvm",
            "volume group hostlvm has nothing free, and the layout keeps 17.7 GiB for snapshots of /var",
        ),
    )


def test_a_volume_that_grows_may_have_any_size_and_lie_in_any_number_of_pieces() -> None:
    table, group = host_disk()
    *others, guest = group.volumes
    pieces = tuple(Segment(number, 10_777 + number, 1) for number in range(3))
    grown = replace(guest, size=Bytes(7), segments=pieces)
    assert find_differences(table, replace(group, volumes=(*others, grown)), HOSTOS) == (
        Difference("guestos", "guestos lies in 3 segments: it was extended or moved", REMARK, in_group=True),
    )


def test_a_disk_whose_volume_group_cannot_be_read_is_compared_without_it() -> None:
    table, _ = host_disk()
    assert find_differences(table, None, HOSTOS) == ()


# --- where things lie -------------------------------------------------------------------------------


def test_places_that_follow_each_other_are_one_place() -> None:
    pieces = [Extent(0, 4), Extent(4, 2), Extent(6, 1), Extent(8, 1), Extent(8, 3), Extent(11, 1)]
    assert join_extents(pieces) == (Extent(0, 7), Extent(8, 1), Extent(8, 4))
    assert join_extents([]) == ()


def test_the_places_of_a_volume_are_counted_from_the_start_of_the_physical_volume() -> None:
    _, group = host_disk()
    volume = replace(group.volumes[0], segments=(Segment(0, 3, 2), Segment(2, 9, 1)))
    assert group.places_of(volume) == (
        Extent(13_631_488, 8_388_608),
        Extent(38_797_312, 4_194_304),
    )


def test_what_is_not_there_is_not_found_by_its_name() -> None:
    table, group = host_disk()
    found, volume = table.find("grub"), group.find("A_root")
    assert found is not None
    assert (found.number, found.extent) == (2, Extent(105_906_176, 104_857_600))
    assert volume is not None
    assert volume.name == "A_root"
    assert (table.find("A_root"), group.find("grub")) == (None, None)
