"""Partition tables: sfdisk and libparted are each other's oracle, and damage is never read as a table."""

import json
import os
import shutil
import struct
import sys
import tempfile
import zlib
from pathlib import Path

import parted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abctl.core.found import Extent
from abctl.core.layout import Layout
from abctl.core.units import MIB
from abctl.errors import DiskUnusable, ToolFailed
from abctl.host.gpt import parse_sfdisk, read_table, write_table
from abctl.host.layouts import list_layouts, read_layout
from abctl.host.loop import attach_loop
from tests.disks import flip, needs_loop, run

GUEST = "guestos-small"


def make_table(path: Path, layout: Layout) -> Path:
    path.touch()
    os.truncate(path, layout.size)
    write_table(path, layout)
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return make_table(tmp_path / "disk.img", read_layout(GUEST))


@pytest.mark.parametrize("name", list_layouts())
def test_a_written_table_is_the_layouts_to_every_reader(tmp_path: Path, name: str) -> None:
    layout = read_layout(name)
    layout = layout.fit_to(layout.size)
    path = make_table(tmp_path / "disk.img", layout)
    wanted = [(p.name, p.start_sector, p.sectors) for p in layout.partitions]
    by_parted = parted.newDisk(parted.getDevice(str(path))).partitions
    assert [(p.name, p.geometry.start, p.geometry.length) for p in by_parted] == wanted
    by_sfdisk = json.loads(run("sfdisk", "--json", path))["partitiontable"]
    assert [(p["type"].lower(), p["uuid"].lower()) for p in by_sfdisk["partitions"]] == [
        (p.type, p.uuid) for p in layout.partitions
    ]
    assert by_sfdisk["id"].lower() == layout.disk_uuid
    run("sfdisk", "--verify", path)
    table = read_table(path)
    assert [(p.name, p.start_sector, p.sectors) for p in table.partitions] == wanted
    assert [p.number for p in table.partitions] == list(range(1, len(wanted) + 1))
    assert (table.disk_uuid, table.disk_size, table.remarks) == (layout.disk_uuid, layout.size, ())


def test_nothing_is_printed(disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    read_table(disk)
    flip(disk, 1100)
    with pytest.raises(DiskUnusable):
        read_table(disk)
    assert capfd.readouterr() == ("", "")


def test_a_disk_whose_name_ends_with_a_digit_has_the_same_partitions(disk: Path) -> None:
    renamed = disk.rename(disk.with_name("disk0"))
    assert [p.number for p in read_table(renamed).partitions] == list(range(1, 10))


@pytest.mark.parametrize("offset", [512, 600, 1024, 1100])
def test_a_damaged_primary_table_is_refused_although_the_backup_is_there(disk: Path, offset: int) -> None:
    flip(disk, offset)
    with pytest.raises(DiskUnusable, match=r"primary GPT is damaged, the backup .* is there"):
        read_table(disk)


def change_entry(path: Path, number: int, offset: int, data: bytes) -> None:
    """Change the entry of a partition in the table and in its backup, and make the checksums right again."""
    raw = bytearray(path.read_bytes())
    for header in (512, len(raw) - 512):
        (length,) = struct.unpack_from("<I", raw, header + 12)
        entries, count, size = struct.unpack_from("<QII", raw, header + 72)
        start = entries * 512 + (number - 1) * size + offset
        raw[start : start + len(data)] = data
        table = raw[entries * 512 : entries * 512 + count * size]
        struct.pack_into("<I", raw, header + 88, zlib.crc32(table))
        struct.pack_into("<I", raw, header + 16, 0)
        struct.pack_into("<I", raw, header + 16, zlib.crc32(raw[header : header + length]))
    path.write_bytes(raw)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(8 * MIB))
    lines = "label: gpt\nstart=2048, size=2048, name=esp\nstart=4096, size=2048, name=grub\n"
    run("sfdisk", "--no-reread", "--no-tell-kernel", "-q", path, stdin=lines)
    return path


@pytest.mark.parametrize(
    ("offset", "data", "words"),
    [
        (32, struct.pack("<Q", 3000), "Can't have overlapping partitions"),
        (40, struct.pack("<Q", 2048), "end before the start"),
        (40, struct.pack("<Q", 10**9), "outside the disk"),
        (0, bytes(16), "sfdisk and libparted read different partitions"),
    ],
)
def test_a_table_with_right_checksums_that_makes_no_sense_is_refused(
    small: Path, offset: int, data: bytes, words: str
) -> None:
    change_entry(small, 2, offset, data)
    with pytest.raises(DiskUnusable, match=words):
        read_table(small)


def test_a_name_cannot_play_with_the_terminal(small: Path) -> None:
    change_entry(small, 2, 56, "\x1b[2Jé".encode("utf-16-le"))
    assert [p.name for p in read_table(small).partitions] == ["esp", "\ufffd[2Jé"]


def test_a_name_with_other_letters_is_read_in_any_locale(small: Path) -> None:
    change_entry(small, 2, 56, "größe\0".encode("utf-16-le"))
    program = "import sys; from pathlib import Path; from abctl.host.gpt import read_table\n"
    program += "print(ascii([p.name for p in read_table(Path(sys.argv[1])).partitions]))"
    assert run("env", "LC_ALL=C", sys.executable, "-c", program, small) == ascii(["esp", "größe"]) + "\n"


_IN_THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from abctl.host.gpt import read_table
sys.setswitchinterval(1e-6)
with ThreadPoolExecutor(4) as pool:
    print(len(set(pool.map(lambda _: read_table(Path(sys.argv[1])).disk_uuid, range(80)))))
"""


def test_threads_can_read_tables_at_the_same_time(disk: Path) -> None:
    # In a process of its own, which the kernel ends where libparted is entered twice.
    assert run(sys.executable, "-c", _IN_THREADS, disk) == "1\n"


def test_a_damaged_backup_table_is_only_remarked(disk: Path) -> None:
    whole = read_table(disk)
    flip(disk, disk.stat().st_size - 500)
    found = read_table(disk)
    assert found.partitions == whole.partitions
    assert found.remarks == ("the GPT is whole, but its backup at the end of the disk is damaged",)


def test_a_table_on_a_disk_that_has_grown_is_only_remarked(disk: Path) -> None:
    whole = read_table(disk)
    os.truncate(disk, disk.stat().st_size + 64 * MIB)
    found = read_table(disk)
    assert found.partitions == whole.partitions
    assert len(found.remarks) == 1


def test_a_disk_cut_short_is_refused(disk: Path) -> None:
    os.truncate(disk, disk.stat().st_size - 64 * MIB)
    with pytest.raises(DiskUnusable, match="cut short"):
        read_table(disk)


def test_a_disk_without_a_table_is_refused(tmp_path: Path) -> None:
    for name, size in (("empty", 0), ("blank", MIB), ("tiny", 100)):
        path = tmp_path / name
        path.write_bytes(bytes(size))
        with pytest.raises(DiskUnusable, match="has no partition table"):
            read_table(path)
    with pytest.raises(DiskUnusable, match="does not exist"):
        read_table(tmp_path / "none")


def test_a_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(8 * MIB))
    run("sfdisk", "-q", path, stdin="label: dos\nstart=2048, type=83\n")
    with pytest.raises(DiskUnusable, match="of type dos, not a GPT"):
        read_table(path)


@needs_loop
def test_sectors_of_another_size_are_refused(disk: Path) -> None:
    device = run("losetup", "-f", "--show", "-b", "4096", disk).strip()
    try:
        with pytest.raises(DiskUnusable, match="sectors of 4096 bytes"):
            read_table(Path(device))
    finally:
        run("losetup", "-d", device)


@needs_loop
def test_a_disk_that_cannot_be_written_can_be_read(disk: Path) -> None:
    with attach_loop(disk, Extent(0, disk.stat().st_size)) as device:
        assert read_table(Path(device)) == read_table(disk)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"partitiontable": {"label": "gpt"}}', "[]", '{"partitiontable": 1}']
)
def test_what_sfdisk_never_prints_is_refused(text: str) -> None:
    with pytest.raises(ToolFailed, match="sfdisk printed something"):
        parse_sfdisk(text, "disk", 0)


@pytest.mark.slow
@settings(max_examples=60)
@given(st.integers(0, 34 * 512 - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed_or_means_nothing(offset: int, value: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        layout = read_layout(GUEST)
        path = make_table(Path(folder) / "disk.img", layout)
        whole = read_table(path)
        flip(path, offset, value)
        try:
            found = read_table(path)
        except DiskUnusable:
            return
        assert found.partitions == whole.partitions


@settings(max_examples=30)
@given(st.data())
def test_any_sound_table_is_read_as_it_was_written(data: st.DataObject) -> None:
    """Random places, names with spaces and letters of other alphabets, and gaps between the numbers."""
    cuts = sorted(data.draw(st.lists(st.integers(1, 60), min_size=2, max_size=10, unique=True)))
    names = st.text(
        st.characters(codec="ascii", categories=["L", "N"]) | st.sampled_from(" éß漢-_."), max_size=36
    )
    numbers = data.draw(st.permutations(range(1, 20)))
    lines, wanted = ["label: gpt"], set()
    for number, (start, end) in zip(numbers, zip(cuts[::2], cuts[1::2], strict=False), strict=False):
        name = data.draw(names).strip()
        lines.append(f'{number}: start={start * 2048}, size={(end - start) * 2048}, name="{name}"')
        wanted.add((number, name, start * 2048, (end - start) * 2048))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "disk.img"
        path.touch()
        os.truncate(path, 64 * MIB)
        run("sfdisk", "--no-reread", "--no-tell-kernel", "-q", path, stdin="\n".join(lines))
        found = read_table(path).partitions
    assert {(p.number, p.name, p.start_sector, p.sectors) for p in found} == wanted


def test_without_sfdisk_its_name_is_told(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shutil.which("sfdisk")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ToolFailed, match="sfdisk is not installed"):
        read_table(disk)
