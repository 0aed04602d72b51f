"""What is different between a disk and a layout: each difference alone, and how grave it is."""

from dataclasses import replace

import pytest

from abctl.core.compare import Difference, Severity, find_differences
from abctl.core.found import FoundVolume, Group, PartitionTable, Segment
from abctl.core.layout import Layout
from abctl.core.units import MIB, Bytes
from abctl.host.layouts import read_layout
from tests.test_draw import find_all

LAYOUT = read_layout("hostos")


def disk(layout: Layout = LAYOUT) -> tuple[PartitionTable, Group]:
    """Return a disk that is as its layout, with the reserve that the layout keeps."""
    table, group = find_all(layout.fit_to(layout.size))
    assert group is not None
    return table, group


def volumes_with(group: Group, **changes: object) -> tuple[FoundVolume, ...]:
    first, *others = group.volumes
    return (replace(first, **changes), *others)  # type: ignore[arg-type]


def differences(table: PartitionTable, group: Group | None) -> list[tuple[str, Severity, bool]]:
    return [(item.text, item.severity, item.grave) for item in find_differences(table, group, LAYOUT)]


def test_a_disk_that_is_as_its_layout_differs_in_nothing() -> None:
    assert find_differences(*disk(), LAYOUT) == ()


def test_what_was_remarked_of_the_partition_table_is_remarked_of_the_disk() -> None:
    table, group = disk()
    remarked = replace(table, remarks=("the backup GPT is damaged",))
    assert differences(remarked, group) == [("the backup GPT is damaged", Severity.REMARK, False)]


def test_a_partition_that_did_not_grow_with_its_disk_is_remarked() -> None:
    table, group = disk()
    last = table.partitions[-1]
    for lost, count in ((2048, 0), (2049, 1)):
        small = replace(last, sectors=last.sectors - lost)
        found = differences(replace(table, partitions=(*table.partitions[:-1], small)), group)
        assert len(found) == count
    assert found[0][0].startswith(f"{last.name} could grow from {last.sectors - 2049} to {last.sectors} ")
    assert found[0][1:] == (Severity.REMARK, False)


def test_a_partition_without_room_for_its_volumes_is_grave() -> None:
    table, group = disk()
    last, least = table.partitions[-1], LAYOUT.least_sectors(LAYOUT.partitions[-1])
    for sectors, is_grave in ((least, False), (least - 1, True)):
        small = replace(table, partitions=(*table.partitions[:-1], replace(last, sectors=sectors)))
        found = differences(small, group)
        assert [grave for _, _, grave in found] == [is_grave]
        assert (f"at least {least} are needed" in found[0][0]) is is_grave


def test_a_volume_that_cannot_be_reached_is_grave_wherever_it_lies() -> None:
    table, group = disk()
    volumes = volumes_with(group, problem="it is thin", segments=())
    name = group.volumes[0].name
    found = differences(table, replace(group, volumes=volumes))
    assert found == [(f"{name} cannot be used: it is thin", Severity.DIFFERENCE, True)]
    # One of which no place is known, and nothing else, is as it should be.
    assert differences(table, replace(group, volumes=volumes_with(group, segments=()))) == []


def test_a_volume_in_another_place_or_in_pieces_is_named() -> None:
    table, group = disk()
    first = group.volumes[0]
    (whole,) = first.segments
    moved = volumes_with(group, segments=(replace(whole, physical_start=whole.physical_start + 1),))
    (text, severity, grave) = differences(table, replace(group, volumes=moved))[0]
    assert text.startswith(f"the start of {first.name} is {whole.physical_start + 1} extents, not")
    assert (severity, grave) == (Severity.DIFFERENCE, False)
    pieces = (replace(whole, extents=1), Segment(1, whole.physical_start + 1, whole.extents - 1))
    found = differences(table, replace(group, volumes=volumes_with(group, segments=pieces)))
    assert found == [(f"{first.name} lies in 2 segments: it was extended or moved", Severity.REMARK, False)]


@pytest.mark.parametrize(("change", "is_grave"), [(-1, True), (1, False)], ids=["smaller", "larger"])
def test_what_is_too_small_is_grave_and_what_is_too_large_is_not(change: int, is_grave: bool) -> None:
    table, group = disk()
    size = Bytes(group.volumes[0].size + change * group.extent_size)
    found = find_differences(table, replace(group, volumes=volumes_with(group, size=size)), LAYOUT)
    assert [(item.grave, item.in_group, item.missing) for item in found] == [(is_grave, True, False)]
    assert "the size of" in found[0].text


def test_a_group_that_has_given_away_its_reserve_says_how_much_is_left() -> None:
    table, group = disk()
    for free, words in ((0, "has nothing free"), (1, f"has only {group.extent_size // MIB} MiB free")):
        (found,) = find_differences(table, replace(group, free_extents=free), LAYOUT)
        assert words in found.text
        assert found == Difference(group.name, found.text, in_group=True)


def test_volumes_that_are_missing_or_too_many_are_named() -> None:
    table, group = disk()
    first, *others = group.volumes
    (gone,) = find_differences(table, replace(group, volumes=tuple(others)), LAYOUT)
    assert (gone.text, gone.grave, gone.missing) == (f"there is no logical volume {first.name}", True, True)
    extra = (*group.volumes, replace(first, name="scratch", uuid="x"))
    (more,) = find_differences(table, replace(group, volumes=extra), LAYOUT)
    assert more.text == "there is a logical volume scratch, which the layout does not have"
    assert (more.severity, more.grave) == (Severity.DIFFERENCE, False)
