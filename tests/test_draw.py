"""The picture of a disk: to scale, everything visible, and no two things in one place."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from abctl.cli.bar import Span, apportion, draw_bar, place_labels
from abctl.cli.describe_disk import describe_disk
from abctl.cli.draw import draw_disk
from abctl.cli.report_disk import DiskReport
from abctl.cli.style import Style
from abctl.core.bootenv import BootEnv, SlotSet, SlotState
from abctl.core.found import FoundPartition, FoundVolume, Group, PartitionTable, Segment
from abctl.core.layout import Layout
from abctl.core.slot import SlotName
from abctl.core.units import GIB, MIB, Bytes, Version
from abctl.host.disk import open_disk
from abctl.host.layouts import list_layouts, read_layout
from tests.disks import make_image

A, B = SlotName.A, SlotName.B
ENV = BootEnv(
    A,
    slot_sets={A: SlotSet(SlotState.GOOD, Version("2.0.0")), B: SlotSet(SlotState.BAD, Version("3.0.0"))},
)
COLOUR_CODE = re.compile(r"\x1b\[[0-9;]*m")
WIDTHS = (60, 80, 140)


def find_all(layout: Layout) -> tuple[PartitionTable, Group | None]:
    """Return what is found on a disk that is exactly as its layout."""
    partitions = tuple(
        FoundPartition(number, item.name, item.start_sector, item.sectors, item.type, item.uuid)
        for number, item in enumerate(layout.partitions, 1)
    )
    table = PartitionTable(layout.disk_uuid or "", layout.size, 34, layout.size // 512 - 34, partitions)
    group = layout.volume_group
    if group is None:
        return table, None
    volumes = tuple(
        FoundVolume(
            item.name,
            item.uuid,
            Bytes(item.extents * group.extent_size),
            (Segment(0, item.start_extent, item.extents),),
        )
        for item in group.volumes
    )
    used = sum(item.extents for item in group.volumes)
    return table, Group(
        name=group.name,
        uuid=group.uuid,
        pv_uuid=group.pv_uuid,
        extent_size=group.extent_size,
        data_start=group.data_start,
        extents=layout.group_extents,
        free_extents=layout.group_extents - used,
        volumes=volumes,
    )


def describe(name: str, *, size: Bytes | None = None, booted: SlotName | None = A) -> DiskReport:
    layout = read_layout(name)
    layout = layout.fit_to(size or layout.size)
    return describe_disk(f"{name}.img", layout, *find_all(layout), ENV, booted=booted)


# --- whole pictures ---------------------------------------------------------------------------------


def test_a_host_s_disk_at_eighty_columns() -> None:
    report = replace(describe("hostos-small"), disk="host.img", remarks=())
    assert draw_disk(report, Style()).splitlines() == [
        "host.img: 544 MiB, layout hostos-small",
        "",
        " ┌──┬──┬───────────────────────────────────────────────────────────────────────┐",
        " │▒▒│▒▒│                                hostlvm                                │",
        " │▒▒│▒▒│                                510 MiB                                │",
        " └──┴──┴───────────────────────────────────────────────────────────────────────┘",
        "  │  └ grub 16 MiB",
        "  └ esp 16 MiB",
        "",
        "   partition      size  starts at  holds",
        "    1 esp       16 MiB      1 MiB  esp",
        "    2 grub      16 MiB     17 MiB  grub",
        "    3 hostlvm  510 MiB     33 MiB  volume group",
        "",
        "hostlvm: volume group in partition hostlvm, 508 MiB, 40 MiB free",
        "",
        "    ╭────── A 2.0.0 good runs ──────┬───────── B 3.0.0 bad ─────────╮",
        " ┌──┬─────────┬─────────────────┬───┬─────────┬─────────────────┬───┬───┬──────┐",
        " │▒▒│  A_boot │      A_root     │var│  B_boot │      B_root     │var│▒▒▒│ free │",
        " │▒▒│  64 MiB │     128 MiB     │   │  64 MiB │     128 MiB     │   │▒▒▒│40 MiB│",
        " └──┴─────────┴─────────────────┴───┴─────────┴─────────────────┴───┴───┴──────┘",
        "  └ config 16 MiB                                     guestos 20 MiB ┘",
        "",
        "   volume      size  starts at  state  holds",
        "   config    16 MiB     34 MiB         config",
        ">  A_boot    64 MiB     50 MiB  good   2.0.0",
        ">  A_root   128 MiB    114 MiB  good   2.0.0",
        ">  A_var     24 MiB    242 MiB  good",
        "   B_boot    64 MiB    266 MiB  bad    3.0.0",
        "   B_root   128 MiB    330 MiB  bad    3.0.0",
        "   B_var     24 MiB    458 MiB  bad",
        "   guestos   20 MiB    482 MiB",
        "",
        "Slot set A is the primary; A runs (>).",
    ]


def test_a_guest_s_disk_is_one_bar() -> None:
    report = replace(describe("guestos", booted=None), disk="guest.img")
    assert draw_disk(report, Style(unicode=False, width=60)).splitlines()[2:12] == [
        "       .---- A 2.0.0 good ---+---- B 3.0.0 bad ----.",
        " +-+-+-+-+---------+---------+-+---------+---------+-------+",
        " |#|#|#|#|  A_root |  A_var  |#|  B_root |  B_var  |  free |",
        " |#|#|#|#|  10 GiB |  10 GiB |#|  10 GiB |  10 GiB |7.7 GiB|",
        " +-+-+-+-+---------+---------+-+---------+---------+-------+",
        "  | | | ` A_boot 1 GiB        ` B_boot 1 GiB",
        "  | | ` config 100 MiB",
        "  | ` grub 100 MiB",
        "  ` esp 100 MiB",
        "",
    ]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", list_layouts())
def test_every_layout_fits_every_terminal(name: str, width: int) -> None:
    for size in (None, Bytes(2048 * GIB)):
        report = describe(name, size=size)
        text = draw_disk(report, Style(width=width))
        assert max(map(len, text.splitlines())) <= width
        coloured = draw_disk(report, Style(width=width, colour=True))
        assert coloured != COLOUR_CODE.sub("", coloured) == text
        ascii_only = draw_disk(report, Style(width=width, unicode=False))
        assert ascii_only.isascii()
        assert len(ascii_only.splitlines()) == len(text.splitlines())


@pytest.mark.parametrize("name", list_layouts())
def test_every_partition_volume_and_slot_is_named_with_its_size(name: str) -> None:
    report = describe(name)
    text = draw_disk(report, Style())
    volumes = report.volume_group.volumes if report.volume_group else ()
    for drawn in (*(item.name for item in report.partitions), *(item.name for item in volumes)):
        assert re.search(rf"{drawn} +\d+(\.\d)? [MG]iB", text)


def test_a_volume_in_two_pieces_is_drawn_twice_and_said_to_be() -> None:
    layout = read_layout("hostos-small")
    table, group = find_all(layout)
    assert group
    *others, guestos = group.volumes
    last = guestos.segments[0]
    pieces = (Segment(0, last.physical_start, 2), Segment(2, last.physical_start + 4, last.extents - 2))
    split = replace(group, volumes=(*others, replace(guestos, segments=pieces)))
    report = describe_disk("host.img", layout, table, split, ENV)
    assert report.volume_group
    assert [place.size for place in report.volume_group.volumes[-1].places] == [8 * MIB, 8 * MIB]
    text = draw_disk(report, Style(width=140))
    assert len(re.findall(r"guestos 8 MiB", text)) == 2
    assert "in 2 pieces" in text


def test_a_slot_that_is_missing_is_said_to_be() -> None:
    layout = read_layout("hostos-small")
    table, group = find_all(layout)
    assert group
    lacking = replace(group, volumes=tuple(item for item in group.volumes if item.name != "B_root"))
    report = describe_disk("host.img", layout, table, lacking, ENV)
    assert re.search(r"B_root +missing", draw_disk(report, Style()))


def test_a_group_without_its_reserve_gets_a_remark() -> None:
    layout = read_layout("hostos-small")
    table, group = find_all(layout)
    assert group
    report = describe_disk("host.img", layout, table, replace(group, free_extents=1), ENV)
    assert report.remarks[0].startswith(
        "volume group hostlvm has 4 MiB free, and layout hostos-small keeps 40 MiB"
    )


def test_a_disk_without_a_boot_environment_is_drawn_all_the_same() -> None:
    layout = read_layout("guestos-small")
    report = describe_disk("guest.img", layout, *find_all(layout), None)
    assert draw_disk(report, Style()).endswith("No copy of the boot environment can be read.")


def test_a_real_disk_is_drawn_where_its_partitions_really_are(tmp_path: Path) -> None:
    disk = open_disk(make_image(tmp_path / "guest.img", "guestos-small"))
    report = describe_disk(str(disk.path), disk.layout, disk.table, disk.group, ENV)
    b_root = next(slot for slot in report.slots if slot.name == "B_root")
    assert [(place.offset, place.size) for place in b_root.places] == [(329 * MIB, 128 * MIB)]
    assert b_root.on == "partition 8"
    assert re.search(r"8 B_root +128 MiB +329 MiB", draw_disk(report, Style()))


# --- geometry ---------------------------------------------------------------------------------------

sizes = st.lists(st.integers(1, 2**42), min_size=1, max_size=20)


@given(sizes, st.integers(0, 200))
@example([1, 2**42], 2)
def test_every_size_gets_a_cell_and_all_cells_are_used(sizes: list[int], spare: int) -> None:
    shares = apportion(sizes, len(sizes) + spare)
    assert sum(shares) == len(sizes) + spare
    assert min(shares) >= 1


@given(sizes, st.integers(0, 200))
def test_a_larger_size_never_gets_fewer_cells(sizes: list[int], spare: int) -> None:
    shares = apportion(sizes, len(sizes) + spare)
    for size, share in zip(sizes, shares, strict=True):
        assert all(share <= more for larger, more in zip(sizes, shares, strict=True) if larger > size)


@given(st.lists(st.integers(20, 100), min_size=1, max_size=8))
def test_sizes_that_need_no_help_are_drawn_to_scale(sizes: list[int]) -> None:
    cells = 400
    for size, share in zip(sizes, apportion(sizes, cells), strict=True):
        assert abs(share - size * cells / sum(sizes)) <= 1


names = st.text("abcdefgh_", min_size=1, max_size=12)
spans = st.lists(st.builds(Span, names, st.integers(1, 2**42)), min_size=1, max_size=12)


@given(spans, st.integers(60, 140))
def test_labels_never_touch_and_never_leave_the_screen(spans: list[Span], width: int) -> None:
    places = [(1 + 4 * index, f"{span.name} label") for index, span in enumerate(spans)]
    labels = place_labels(places, width)
    if labels is None:
        # Then the bar is drawn narrower: see the next test.
        assert any(column + len(text) + 1 >= width for column, text in places)
        return
    cells: set[tuple[int, int]] = set()
    for label in labels:
        assert label.start >= 0
        assert label.end < width
        text = {(label.row, column) for column in range(label.start, label.end + 1)}
        line = {(row, label.column) for row in range(label.row)}
        assert not cells & (text | line)
        cells |= text | line


@given(spans, st.integers(60, 140))
def test_a_bar_says_each_name_and_keeps_to_its_width(spans: list[Span], width: int) -> None:
    lines = draw_bar(spans, {}, Style(width=width))
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert all(span.name in text for span in spans)
    edges = {len(line) for line in lines if line.strip()[0] in "┌│└" and line.rstrip()[-1] in "┐│┘"}
    assert max(edges) == len(lines[0])


def test_a_label_stands_where_its_box_is() -> None:
    lines = draw_bar([Span("tiny", 1), Span("large", 1000), Span("last", 1)], {}, Style(width=60))
    assert lines[-1].index("└") == 2
    assert lines[-1].rstrip().endswith("last 1 B ┘")
    assert lines[-1].rindex("┘") == lines[0].rindex("─")
