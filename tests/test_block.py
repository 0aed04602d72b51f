"""Volumes in ranges of a file or device: every byte goes where it belongs, and failures are sentences."""

import mmap
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abctl.core.found import Extent, join_extents
from abctl.core.layout import Filesystem
from abctl.core.units import KIB, MIB
from abctl.errors import DiskUnusable, WriteFailed
from abctl.host.block import ExtentVolume, find_partition, size_of
from abctl.host.format import format_volume
from abctl.host.loop import attach_loop
from tests.cover import unmeasured
from tests.disks import attached, needs_loop, run

SIZE = 256 * KIB
PAGE = 4096


@contextmanager
def volume_on(path: Path, *extents: tuple[int, int]) -> Iterator[ExtentVolume]:
    places = [Extent(*extent) for extent in extents]
    with ExtentVolume(path, places, "A_root", writable=True) as volume:
        yield volume


@st.composite
def extent_lists(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Ranges of a file that do not overlap, in any order."""
    count = draw(st.integers(1, 5))
    cuts = sorted(draw(st.lists(st.integers(0, SIZE), min_size=2 * count, max_size=2 * count, unique=True)))
    extents = [(start, end - start) for start, end in zip(cuts[::2], cuts[1::2], strict=True)]
    return draw(st.permutations(extents))


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["write", "zero"]), st.floats(0, 1), st.floats(0, 1), st.integers(1, 255)),
    max_size=8,
)


@settings(max_examples=60)
@given(extent_lists(), OPERATIONS)
def test_a_volume_in_ranges_behaves_like_one_run_of_bytes(
    extents: list[tuple[int, int]], operations: list[tuple[str, float, float, int]]
) -> None:
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
        file.write(b"\xaa" * SIZE)
        file.flush()
        with volume_on(Path(file.name), *extents) as volume:
            model = bytearray(b"\xaa" * volume.size)
            for kind, first, second, value in operations:
                start, end = sorted((int(first * volume.size), int(second * volume.size)))
                data = bytes([value]) * (end - start) if kind == "write" else bytes(end - start)
                if kind == "write":
                    volume.write(start, memoryview(data))
                else:
                    volume.write_zeros(start, end - start)
                model[start:end] = data
            volume.flush()
            check_contents(volume, bytes(model), operations)
        # Opened for reading it does without direct I/O, as on a file system that has none.
        with ExtentVolume(Path(file.name), volume.extents, "A_root") as reader:
            check_contents(reader, bytes(model), operations)
        check_surroundings(Path(file.name), extents)


def check_contents(
    volume: ExtentVolume, model: bytes, operations: list[tuple[str, float, float, int]]
) -> None:
    assert volume.read(0, volume.size) == model
    found = bytearray(volume.size)
    volume.read_back(0, memoryview(found))
    assert found == model
    for _, first, second, _ in operations:
        start, end = sorted((int(first * volume.size), int(second * volume.size)))
        part = bytearray(end - start)
        volume.read_back(start, memoryview(part))
        assert part == model[start:end]
        assert volume.read(start, end - start) == model[start:end]


def check_surroundings(path: Path, extents: list[tuple[int, int]]) -> None:
    data = path.read_bytes()
    assert len(data) == SIZE
    position = 0
    for start, length in sorted(extents):
        assert set(data[position:start]) <= {0xAA}
        position = start + length
    assert set(data[position:]) <= {0xAA}


@given(extent_lists())
def test_joining_ranges_changes_no_byte(extents: list[tuple[int, int]]) -> None:
    places = [Extent(*extent) for extent in extents]
    split = [Extent(place.offset + half, 1) for place in places[:2] for half in range(min(place.length, 50))]
    for some in (places, split):
        joined = join_extents(some)
        assert [b for e in joined for b in range(e.offset, e.end)] == [
            b for e in some for b in range(e.offset, e.end)
        ]


def test_a_part_of_a_volume_is_a_volume(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(range(100)))
    with (
        volume_on(path, (50, 20), (10, 20)) as volume,
        volume.part([Extent(15, 10)], "file", writable=True) as part,
    ):
        assert part.read(0, 10) == bytes([65, 66, 67, 68, 69, 10, 11, 12, 13, 14])
        part.write(4, memoryview(b"\xff\xff"))
    assert path.read_bytes()[69] == path.read_bytes()[10] == 255


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, 21), (20, 1), (5, -1), (2**63, 1)])
def test_a_range_outside_the_volume_is_the_callers_mistake(tmp_path: Path, offset: int, length: int) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(100))
    with volume_on(path, (50, 20)) as volume:
        with pytest.raises(ValueError, match="outside A_root"):
            volume.write_zeros(offset, length)
        if length > 0:
            with pytest.raises(ValueError, match="outside A_root"):
                volume.write(offset, memoryview(bytes(length)))
            with pytest.raises(ValueError, match="outside A_root"):
                volume.read_back(offset, memoryview(bytearray(length)))
        assert path.read_bytes() == bytes(100)


def test_zeros_free_the_space_of_an_image(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"\xff" * 4 * MIB)
    with volume_on(path, (1000, 3 * MIB)) as volume:
        volume.write_zeros(0, volume.size)
        volume.flush()
    assert path.stat().st_blocks * 512 < 1.2 * MIB
    data = path.read_bytes()
    assert data == b"\xff" * 1000 + bytes(3 * MIB) + b"\xff" * (MIB - 1000)


def test_a_full_disk_is_told_as_such() -> None:
    with (
        volume_on(Path("/dev/full"), (0, 100)) as volume,
        pytest.raises(WriteFailed, match="no space is left"),
    ):
        volume.write(0, memoryview(b"x"))


def test_a_disk_that_cannot_be_read_is_told_as_such() -> None:
    with (
        ExtentVolume(Path("/proc/self/mem"), [Extent(0, 512)], "A_root") as volume,
        pytest.raises(
            WriteFailed, match="A_root on /proc/self/mem cannot be read: the disk reports an I/O error"
        ),
    ):
        volume.read(0, 512)


def test_writing_what_was_opened_for_reading_fails(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(8192))
    with ExtentVolume(path, [Extent(0, 8192)], "A_root") as volume:
        with pytest.raises(WriteFailed, match="opened for reading only"):
            volume.write(0, memoryview(b"x"))
        with pytest.raises(WriteFailed, match="opened for reading only"):
            volume.write_zeros(0, 8192)


def test_an_image_cut_short_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(5000))
    with volume_on(path, (0, 8192)) as volume:
        with pytest.raises(WriteFailed, match="ends at byte 5000"):
            volume.read(0, 8192)
        for size in (8192, 5001):
            with pytest.raises(WriteFailed, match="ends at byte 5000"):
                volume.read_back(0, memoryview(bytearray(size)))
        with mmap.mmap(-1, 8192) as buffer, pytest.raises(WriteFailed, match="ends at byte 5000"):
            volume.read_back(0, memoryview(buffer))


def test_a_disk_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(DiskUnusable, match="does not exist"):
        size_of(tmp_path / "none")
    with pytest.raises(DiskUnusable, match="neither a disk image nor a block device"):
        size_of(tmp_path)
    with pytest.raises(WriteFailed, match="cannot be opened for writing"):
        ExtentVolume(tmp_path, [], "A_root", writable=True)


def test_descriptors_are_not_given_to_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(PAGE))
    with volume_on(path, (0, PAGE)):
        listing = subprocess.run(
            ["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, check=True, close_fds=False
        )
    assert str(path) not in listing.stdout


@pytest.mark.parametrize("size", [8 * MIB, 40 * MIB])
def test_a_file_system_made_in_scattered_ranges_is_whole(tmp_path: Path, size: int) -> None:
    path, whole = tmp_path / "image", tmp_path / "whole"
    path.touch()
    os.truncate(path, 64 * MIB)
    extents = [(50 * MIB, 3 * MIB), (MIB + 512, 2 * MIB), (10 * MIB, size - 5 * MIB)]
    content = os.urandom(MIB)
    with volume_on(path, *extents) as volume:
        uuid = "0BQNUA-dzGu-wvW5-mMRh-Ptr6-J6DT-Ff2a9x"
        format_volume(volume, Filesystem.EXT4, uuid, {"a/deep/file": content, "b": b"x"})
        whole.write_bytes(volume.read(0, volume.size))
    run("e2fsck", "-fn", whole)
    run("debugfs", "-R", f"dump a/deep/file {tmp_path / 'out'}", whole)
    assert (tmp_path / "out").read_bytes() == content


@needs_loop
def test_reading_back_sees_the_medium_and_not_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"old!" * MIB)
    with attached(path) as device, volume_on(Path(device), (MIB, MIB)) as volume:
        assert volume.read(0, 4) == b"old!"
        # Behind the back of the device's page cache.
        with path.open("r+b") as file:
            file.seek(MIB)
            file.write(b"new!")
        assert volume.read(0, 4) == b"old!"
        found = bytearray(4)
        volume.read_back(0, memoryview(found))
        assert found == b"new!"


@needs_loop
def test_zeros_reach_a_block_device(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"\xff" * 2 * MIB)
    with attached(path) as device, volume_on(Path(device), (512, MIB)) as volume:
        volume.write_zeros(100, 300000)
        volume.flush()
    data = path.read_bytes()
    assert data == b"\xff" * 612 + bytes(300000) + b"\xff" * (2 * MIB - 300612)


@needs_loop
def test_a_read_only_device_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(MIB))
    with attach_loop(path, Extent(0, MIB)) as device, volume_on(Path(device), (0, MIB)) as volume:
        with pytest.raises(WriteFailed, match="it is read-only"):
            volume.write(0, memoryview(b"x"))
        with pytest.raises(WriteFailed, match="it is read-only"):
            volume.write_zeros(0, MIB)


@needs_loop
def test_a_loop_device_shows_just_the_range_it_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"a" * MIB + b"b" * MIB + b"c" * MIB)
    with attach_loop(path, Extent(MIB, MIB), writable=True) as device:
        assert size_of(Path(device)) == MIB
        assert Path(device).read_bytes() == b"b" * MIB
        with attach_loop(Path(device), Extent(4096, 8192)) as inner:
            assert size_of(Path(inner)) == 8192
    assert str(path) not in run("losetup", "-a")


@needs_loop
def test_a_killed_program_leaves_no_loop_device(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(MIB))
    program = (
        "import time; from pathlib import Path; from abctl.core.found import Extent\n"
        "from abctl.host.loop import attach_loop\n"
        f"with attach_loop(Path({str(path)!r}), Extent(0, 4096)) as device:\n"
        "    print(device, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        device = child.stdout.readline().strip()
        assert str(path) in run("losetup", device)
        child.send_signal(signal.SIGKILL)
    for _ in range(100):
        if str(path) not in run("losetup", "-a"):
            break
        time.sleep(0.05)
    assert str(path) not in run("losetup", "-a")


def test_without_root_the_missing_loop_device_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(MIB))
    with (
        pytest.raises(DiskUnusable, match="cannot be opened"),
        attach_loop(tmp_path / "none", Extent(0, 512)),
    ):
        pass
    program = (
        "import os; from pathlib import Path; from abctl.core.found import Extent\n"
        "from abctl.host.loop import attach_loop\n"
        f"path = os.open({str(path)!r}, os.O_RDONLY)\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "with attach_loop(Path(f'/proc/self/fd/{path}'), Extent(0, 4096)): pass"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=unmeasured()
    )
    assert done.returncode == 1
    assert "DiskUnusable" in done.stderr.splitlines()[-1]


@needs_loop
def test_a_partition_is_found_by_where_it_lies(tmp_path: Path) -> None:
    """Whatever the node is called: without udev, LVM makes nodes of its own."""
    for name, start, size in (("vda1", 2048, 32768), ("vda2", 34816, 1044480)):
        folder = tmp_path / "class/block/vda" / name
        folder.mkdir(parents=True)
        (folder / "start").write_text(f"{start}\n")
        (folder / "size").write_text(f"{size}\n")
    disk, other = tmp_path / "a node", tmp_path / "another"
    os.mknod(disk, stat.S_IFBLK | 0o600, os.makedev(259, 1000))
    os.mknod(other, stat.S_IFBLK | 0o600, os.makedev(259, 1001))
    (tmp_path / "dev/block").mkdir(parents=True)
    (tmp_path / "dev/block/259:1000").symlink_to(tmp_path / "class/block/vda")
    assert find_partition(disk, Extent(34816 * 512, 1044480 * 512), tmp_path) == Path("/dev/vda2")
    assert find_partition(disk, Extent(34816 * 512, 1044479 * 512), tmp_path) is None
    assert find_partition(other, Extent(2048 * 512, 32768 * 512), tmp_path) is None
