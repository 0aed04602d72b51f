"""Slots that someone else uses are left alone."""

import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template

import pytest

from abctl.core.bootenv import Copy
from abctl.core.found import Extent, Group
from abctl.core.layout import Role
from abctl.core.record import Record
from abctl.core.slot import ALL_SLOTS, Slot
from abctl.errors import Busy, DiskUnusable, InUse
from abctl.host.create import create_disk
from abctl.host.disk import Disk, DiskGrubPartition, DiskSlots, open_disk
from abctl.host.in_use import check_unused
from abctl.host.layouts import read_layout
from abctl.host.lock import lock_disk
from abctl.host.scripts import DiskGrubFiles
from tests.disks import (
    A_BOOT,
    B_BOOT,
    B_ROOT,
    BLOCK,
    GUEST,
    HOST,
    KINDS,
    STATE,
    attached,
    copy_of,
    lvm,
    needs_loop,
    place_of,
    record_of,
    run,
)


@pytest.fixture(params=KINDS)
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A disk of each kind, of the test's own."""
    return copy_of(request.param, tmp_path)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return copy_of(HOST, tmp_path)


@contextmanager
def mounted(device: str, folder: Path) -> Iterator[None]:
    folder.mkdir()
    run("mount", "-o", "ro", device, folder)
    try:
        yield
    finally:
        run("umount", folder)


@contextmanager
def claimed(device: str) -> Iterator[None]:
    """Open a device for nobody else, as the kernel does for what is mounted."""
    claim = os.open(device, os.O_RDONLY | os.O_EXCL)
    try:
        yield
    finally:
        os.close(claim)


def make_system(image: Path, slot: Slot) -> Extent:
    """Put a small ext4 file system into a slot, and return where it is."""
    system = image.with_suffix(".system")
    run("mke2fs", "-q", "-t", "ext4", system, "8M")
    disk = open_disk(image)
    with DiskSlots(disk).open_for_writing(slot) as volume:
        volume.write(0, memoryview(system.read_bytes()))
        volume.flush()
        (place,) = volume.extents
    return place


@needs_loop
def test_a_slot_that_is_mounted_from_the_image_is_in_use(image: Path, tmp_path: Path) -> None:
    place = make_system(image, B_BOOT)
    slots = DiskSlots(open_disk(image))
    folder = tmp_path / "a folder"
    with attached(image, place) as device:
        slots.check_unused(B_BOOT)
        with mounted(device, folder):
            with pytest.raises(InUse, match=f"B_boot is mounted on {folder} .by {device}.: unmount it first"):
                slots.check_unused(B_BOOT)
            with pytest.raises(InUse), slots.open_for_writing(B_BOOT):
                pass
            for slot in ALL_SLOTS:
                if slot != B_BOOT:
                    slots.check_unused(slot)
        slots.check_unused(B_BOOT)


@needs_loop
def test_a_slot_that_is_mounted_from_the_device_is_in_use(image: Path, tmp_path: Path) -> None:
    place = make_system(image, B_BOOT)
    with attached(image) as whole:
        slots = DiskSlots(open_disk(Path(whole)))
        slots.check_unused(B_BOOT)
        with attached(Path(whole), place) as device, mounted(device, tmp_path / "folder"):
            with pytest.raises(InUse, match="B_boot is mounted"):
                slots.check_unused(B_BOOT)
            slots.check_unused(B_ROOT)


@needs_loop
def test_a_mounted_volume_is_not_written_behind_the_back_of_its_file_system(
    image: Path, tmp_path: Path
) -> None:
    disk = open_disk(image)
    with attached(image, place_of(image, Role.CONFIG)) as device, mounted(device, tmp_path / "folder"):
        DiskGrubPartition(disk).overwrite(Copy.SECOND, BLOCK)
        with pytest.raises(InUse, match="config is mounted"):
            record_of(disk).write(Record(serial=1))
    with attached(image, place_of(image, Role.GRUB)) as device, claimed(device):
        record_of(disk).write(Record(serial=1))
        with pytest.raises(InUse, match="grub is open in another program"):
            DiskGrubPartition(disk).overwrite(Copy.SECOND, BLOCK)
        assert DiskGrubPartition(disk).read() == STATE.env


@needs_loop
def test_a_device_that_another_program_has_claimed_is_in_use(image: Path) -> None:
    slots = DiskSlots(open_disk(image))
    place = open_disk(image).places_of(open_disk(image).layout.find_slot(B_BOOT))[0]
    with attached(image, place) as device, claimed(device):
        with pytest.raises(InUse, match=f"B_boot is open in another program .by {device}."):
            slots.check_unused(B_BOOT)
        slots.check_unused(B_ROOT)


@needs_loop
def test_an_image_that_is_claimed_as_a_whole_is_in_use(image: Path) -> None:
    slots = DiskSlots(open_disk(image))
    with attached(image) as device, claimed(device):
        for slot in ALL_SLOTS:
            with pytest.raises(InUse, match="is open in another program"):
                slots.check_unused(slot)


def test_an_image_that_a_virtual_machine_has_open_is_in_use(image: Path) -> None:
    slots = DiskSlots(open_disk(image))
    program = (
        "import fcntl, os, struct, time\n"
        f"fd = os.open({str(image)!r}, os.O_RDWR)\n"
        # As QEMU does: shared locks on bytes from 100 on, of the open file.
        "fcntl.fcntl(fd, 37, struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, 100, 1, 0))\n"
        "print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(InUse, match="is open in another program, such as a virtual machine"):
            slots.check_unused(B_BOOT)
        other.send_signal(signal.SIGKILL)
    slots.check_unused(B_BOOT)


def test_another_abctl_that_only_looks_is_not_in_the_way(image: Path) -> None:
    slots = DiskSlots(open_disk(image))
    with image.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        slots.check_unused(B_BOOT)


def make_fake_sys(root: Path, name: str, disk: Disk, mounts: str) -> None:
    """Describe the device ``name`` to have partitions and active volumes, as on a host that runs LVM."""
    home = disk.table.find("hostlvm")
    assert home is not None
    facts = {
        f"{name}/dev": "7:99",
        f"{name}/size": f"{disk.table.disk_size // 512}",
        f"{name}/{name}p3/start": f"{home.start_sector}",
        f"{name}/{name}p3/size": f"{home.sectors}",
        f"{name}p3/dev": "259:3",
        "dm-0/dev": "253:0",
        "dm-0/dm/name": "hostlvm-A_boot",
        "dm-0/dm/uuid": "LVM-something",
        "dm-1/dev": "253:1",
        "dm-1/dm/name": "hostlvm-B_boot",
        "dm-1/dm/uuid": "LVM-something",
        "dm-2/dev": "253:2",
        "dm-2/dm/name": "secret",
        "dm-2/dm/uuid": "CRYPT-something",
    }
    for path, text in facts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text + "\n")
    (root / f"{name}p3/holders/dm-0").mkdir(parents=True)
    (root / f"{name}p3/holders/dm-1").mkdir()
    (root / "mountinfo").write_text(mounts)


@needs_loop
@pytest.mark.parametrize(
    ("number", "used"),
    [("253:0", A_BOOT), ("253:1", B_BOOT), ("253:9", None)],
    ids=["A_boot", "B_boot", "none"],
)
def test_only_the_volume_of_an_active_group_that_is_mounted_is_in_use(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str, used: Slot | None
) -> None:
    """This machine has no device mapper, so the kernel's account of one is made up here."""
    mounts = f"36 35 {number} / /some\\040where rw,relatime - ext4 /dev/mapper/x rw\n"
    with attached(host) as device:
        disk = open_disk(Path(device))
        make_fake_sys(tmp_path / "sys", Path(device).name, disk, mounts)
        monkeypatch.setattr("abctl.host.in_use._SYS_BLOCK", tmp_path / "sys")
        monkeypatch.setattr("abctl.host.in_use._MOUNTS", tmp_path / "sys/mountinfo")
        for slot in ALL_SLOTS:
            if slot == used:
                with pytest.raises(InUse, match=f"{slot} is mounted on /some where .by /dev/dm-"):
                    DiskSlots(disk).check_unused(slot)
            else:
                DiskSlots(disk).check_unused(slot)


@needs_loop
def test_a_volume_below_another_mapping_is_in_use(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = "36 35 253:2 / /secret rw - ext4 /dev/mapper/secret rw\n"
    with attached(host) as device:
        disk = open_disk(Path(device))
        make_fake_sys(tmp_path / "sys", Path(device).name, disk, mounts)
        (tmp_path / "sys/dm-1/holders/dm-2").mkdir(parents=True)
        monkeypatch.setattr("abctl.host.in_use._SYS_BLOCK", tmp_path / "sys")
        monkeypatch.setattr("abctl.host.in_use._MOUNTS", tmp_path / "sys/mountinfo")
        with pytest.raises(InUse, match="B_boot is mounted on /secret"):
            DiskSlots(disk).check_unused(B_BOOT)
        DiskSlots(disk).check_unused(A_BOOT)


@needs_loop
def test_a_volume_with_a_snapshot_is_in_use_where_it_is_mounted(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device mapper puts the origin's bytes under a name of their own, below origin and snapshot."""
    mounts = "36 35 253:3 / /var rw - ext4 /dev/mapper/hostlvm-B_boot rw\n"
    with attached(host) as device:
        disk = open_disk(Path(device))
        make_fake_sys(tmp_path / "sys", Path(device).name, disk, mounts)
        (tmp_path / "sys/dm-1/dm/name").write_text("hostlvm-B_boot-real\n")
        for number, label in ((3, "hostlvm-B_boot"), (4, "hostlvm-snap")):
            (tmp_path / f"sys/dm-1/holders/dm-{number}").mkdir(parents=True)
            (tmp_path / f"sys/dm-{number}/dm").mkdir(parents=True)
            (tmp_path / f"sys/dm-{number}/dev").write_text(f"253:{number}\n")
            (tmp_path / f"sys/dm-{number}/dm/name").write_text(f"{label}\n")
            (tmp_path / f"sys/dm-{number}/dm/uuid").write_text("LVM-something\n")
        monkeypatch.setattr("abctl.host.in_use._SYS_BLOCK", tmp_path / "sys")
        monkeypatch.setattr("abctl.host.in_use._MOUNTS", tmp_path / "sys/mountinfo")
        with pytest.raises(InUse, match="B_boot is mounted on /var"):
            DiskSlots(disk).check_unused(B_BOOT)
        DiskSlots(disk).check_unused(A_BOOT)


@needs_loop
def test_a_volume_with_a_snapshot_is_not_written_by_its_place(host: Path, tmp_path: Path) -> None:
    """Nothing would copy out for the snapshot what is overwritten."""
    take_snapshot(host, "B_root", tmp_path / "group.txt")
    slots = DiskSlots(open_disk(host))
    with pytest.raises(InUse, match=r"B_root on .* has a snapshot or is one, .*: remove the snapshot"):
        slots.check_unused(B_ROOT)
    with pytest.raises(InUse), slots.open_for_writing(B_ROOT):
        pass
    slots.check_unused(B_BOOT)
    with slots.open_for_reading(B_ROOT) as volume:
        assert volume.read(0, 1)


SNAPSHOT = Template("""
snap {
    id = "aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa"
    status = ["READ", "WRITE", "VISIBLE"]
    flags = []
    segment_count = 1
    segment1 {
        start_extent = 0
        extent_count = 2
        type = "striped"
        stripe_count = 1
        stripes = [ "pv0", $free ]
    }
}
snapshot0 {
    id = "bbbbbb-bbbb-bbbb-bbbb-bbbb-bbbb-bbbbbb"
    status = ["READ", "WRITE"]
    flags = []
    segment_count = 1
    segment1 {
        start_extent = 0
        extent_count = $extents
        type = "snapshot"
        chunk_size = 8
        origin = "$name"
        cow_store = "snap"
    }
}
""")


def find_free(group: Group) -> int:
    """Return the first extent behind all volumes."""
    return max(
        segment.physical_start + segment.extents for volume in group.volumes for segment in volume.segments
    )


def take_snapshot(image: Path, name: str, text: Path) -> None:
    """Give a volume a snapshot, in LVM's metadata."""
    group = open_disk(image).group
    assert group is not None
    origin = group.find(name)
    assert origin is not None
    added = SNAPSHOT.substitute(name=name, extents=origin.segments[0].extents, free=find_free(group))
    with attached(image, place_of(image, Role.VOLUME_GROUP)) as device:
        lvm("vgcfgbackup", device, "-f", str(text), group.name)
        before = text.read_text()
        text.write_text(before.replace("logical_volumes {\n", "logical_volumes {\n" + added, 1))
        lvm("vgcfgrestore", device, "--force", "-f", str(text), group.name)


@needs_loop
def test_a_device_is_in_use_whatever_its_node_is_called(image: Path, tmp_path: Path) -> None:
    node = tmp_path / "node"
    with attached(image) as device:
        os.mknod(node, stat.S_IFBLK | 0o600, Path(device).stat().st_rdev)
        check_unused(node, (Extent(0, 1),), "it")
        with claimed(device), pytest.raises(InUse):
            check_unused(node, (Extent(0, 1),), "it")


def test_a_device_that_the_kernel_does_not_show_is_not_taken_for_unused(tmp_path: Path) -> None:
    node = tmp_path / "node"
    os.mknod(node, stat.S_IFBLK | 0o600, os.makedev(259, 1048575))
    with pytest.raises(DiskUnusable, match="/sys does not show it: mount /sys first"):
        check_unused(node, (Extent(0, 1),), "it")


@needs_loop
def test_scripts_are_not_put_on_a_grub_partition_that_is_mounted(host: Path) -> None:
    files = DiskGrubFiles(open_disk(host))
    before = files.read("grub.cfg")
    with (
        attached(host, place_of(host, Role.GRUB)) as device,
        claimed(device),
        pytest.raises(InUse, match="grub is open in another program"),
    ):
        files.put("grub.cfg", b"other")
    assert files.read("grub.cfg") == before
    files.put("grub.cfg", b"other")
    assert files.read("grub.cfg") == b"other"


@needs_loop
def test_a_disk_whose_volumes_are_mounted_is_not_overwritten_by_force(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = "36 35 253:0 / /srv rw - ext4 /dev/mapper/hostlvm-A_boot rw\n"
    with attached(host) as device:
        make_fake_sys(tmp_path / "sys", Path(device).name, open_disk(Path(device)), mounts)
        monkeypatch.setattr("abctl.host.in_use._SYS_BLOCK", tmp_path / "sys")
        monkeypatch.setattr("abctl.host.in_use._MOUNTS", tmp_path / "sys/mountinfo")
        with pytest.raises(InUse, match="is mounted on /srv"):
            create_disk(Path(device), read_layout(GUEST), STATE, force=True).__enter__()
    assert DiskGrubPartition(open_disk(host)).read() == STATE.env


@needs_loop
def test_a_device_on_which_another_abctl_works_is_not_overwritten(image: Path) -> None:
    with attached(image) as device, lock_disk(Path(device)), pytest.raises(Busy):
        create_disk(Path(device), read_layout(GUEST), STATE, force=True).__enter__()
    assert DiskGrubPartition(open_disk(image)).read() == STATE.env


@needs_loop
def test_nobody_mounts_a_device_while_it_is_overwritten(image: Path) -> None:
    with (
        attached(image) as device,
        create_disk(Path(device), read_layout(GUEST), STATE, force=True),
        pytest.raises(OSError, match="busy"),
        claimed(device),
    ):
        pass


@needs_loop
def test_a_used_device_is_not_overwritten_even_by_force(image: Path, tmp_path: Path) -> None:
    place = make_system(image, B_BOOT)
    with (
        attached(image) as whole,
        attached(Path(whole), place) as device,
        mounted(device, tmp_path / "folder"),
    ):
        creation = create_disk(Path(whole), read_layout(GUEST), STATE, force=True)
        with pytest.raises(InUse):
            creation.__enter__()
    assert DiskGrubPartition(open_disk(image)).read() == STATE.env
