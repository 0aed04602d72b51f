"""Disks made by abctl, and the boot environment, the record and the slots on them."""

import fcntl
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from abctl.core.bootenv import BootEnv, Copy, EnvFiles, encode
from abctl.core.compare import Severity
from abctl.core.found import Extent
from abctl.core.layout import Role
from abctl.core.record import Entry, Happened, Record
from abctl.core.slot import ALL_SLOTS, Part, Slot, SlotName
from abctl.core.units import GIB, MIB, Bytes, Seconds
from abctl.errors import AbctlError, BadLayout, DiskUnusable, InUse, WouldOverwrite, WriteFailed
from abctl.host.block import ExtentVolume
from abctl.host.create import create_disk
from abctl.host.disk import Disk, DiskGrubPartition, DiskRecord, DiskSlots, check_disk, open_disk
from abctl.host.layouts import read_layout
from tests.disks import (
    BLOCK,
    LOOP_PROBLEM,
    NEEDS_LOOP,
    STATE,
    attached,
    copy_image,
    lvm,
    make_image,
    needs_loop,
    run,
)

GUEST, HOST = "guestos-small", "hostos-small"
A_BOOT, B_BOOT, B_ROOT = (
    Slot(SlotName.A, Part.BOOT),
    Slot(SlotName.B, Part.BOOT),
    Slot(SlotName.B, Part.ROOT),
)
KINDS = [GUEST, pytest.param(HOST, marks=NEEDS_LOOP)]


@pytest.fixture(scope="session")
def disk_images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("disks")
    names = [GUEST] if LOOP_PROBLEM else [GUEST, HOST]
    return {name: make_image(folder / f"{name}.img", name) for name in names}


@pytest.fixture(params=KINDS)
def image(request: pytest.FixtureRequest, disk_images: dict[str, Path], tmp_path: Path) -> Path:
    """A disk of each kind, of the test's own."""
    return copy_image(disk_images[request.param], tmp_path / "disk.img")


@pytest.fixture
def guest(disk_images: dict[str, Path], tmp_path: Path) -> Path:
    return copy_image(disk_images[GUEST], tmp_path / "disk.img")


@pytest.fixture
def host(disk_images: dict[str, Path], tmp_path: Path) -> Path:
    return copy_image(disk_images[HOST], tmp_path / "disk.img")


def place_of(image: Path, role: Role) -> Extent:
    disk = open_disk(image)
    volume = disk.layout.find_role(role)
    assert volume is not None
    (place,) = disk.places_of(volume)
    return place


def cut_out(image: Path, role: Role) -> Path:
    """Copy one volume out of the disk, as a file for the file system's own tools."""
    place, path = place_of(image, role), image.with_suffix(f".{role}")
    with ExtentVolume(image, [place], role) as volume:
        path.write_bytes(volume.read(0, volume.size))
    return path


# --- making -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["guestos", pytest.param("hostos", marks=NEEDS_LOOP)])
def test_a_disk_of_full_size_takes_a_few_mib(tmp_path: Path, name: str) -> None:
    path = make_image(tmp_path / "disk.img", name)
    layout = read_layout(name)
    assert path.stat().st_size == layout.size
    assert path.stat().st_blocks * 512 < 4 * MIB
    found, differences = check_disk(path)
    assert (found.name, differences) == (name, ())


def test_a_new_disk_is_what_its_layout_says(image: Path) -> None:
    found, differences = check_disk(image)
    assert differences == ()
    disk = open_disk(image)
    assert disk.layout.name == found.name
    for slot in ALL_SLOTS:
        assert DiskSlots(disk).size_of(slot) == disk.layout.slot_size(slot)


@needs_loop
def test_a_larger_disk_gives_the_guest_what_the_reserve_leaves(tmp_path: Path) -> None:
    path = make_image(tmp_path / "disk.img", "hostos", size=Bytes(200 * GIB))
    disk = open_disk(path)
    assert disk.group is not None
    guest = disk.group.find("guestos")
    assert guest is not None
    assert guest.size > 130 * GIB
    assert 20e9 <= disk.group.free_extents * disk.group.extent_size < 20e9 + 4 * MIB
    assert check_disk(path)[1] == ()


def test_the_file_systems_are_whole_and_named_after_their_volumes(image: Path) -> None:
    disk = open_disk(image)
    for role in (Role.ESP, Role.GRUB):
        part = cut_out(image, role)
        run("fsck.vfat", "-n", part)
        uuid = disk.layout.find_role(role).uuid  # type: ignore[union-attr]
        label, serial = run("blkid", "-o", "value", "-s", "LABEL", "-s", "UUID", part).split()
        assert label == role.upper()
        assert serial.replace("-", "").lower() == uuid[:8]
    run("e2fsck", "-fn", cut_out(image, Role.CONFIG))


def test_the_grub_partition_holds_the_shipped_scripts_and_three_copies(image: Path) -> None:
    part = cut_out(image, Role.GRUB)
    names = {line.removeprefix("::/") for line in run("mdir", "-/", "-b", "-i", part, "::").split()}
    scripts = {"grub.cfg", "state.cfg", "select.cfg"}
    assert names == scripts | {"slots.cfg", "grubenv", "env1/", "env2/", "env1/grubenv", "env2/grubenv"}
    for script in scripts:
        run("mcopy", "-i", part, f"::{script}", image.parent / script)
        run("grub-script-check", image.parent / script)
    assert DiskGrubPartition(open_disk(image)).read() == STATE.env


def test_the_record_is_in_one_piece(image: Path) -> None:
    part = cut_out(image, Role.CONFIG)
    run("debugfs", "-R", f"dump abctl/record {image.parent / 'record'}", part)
    assert (image.parent / "record").read_bytes() == STATE.record
    with open_disk(image).open_file(Role.CONFIG, "abctl/record") as file:
        assert [extent.length for extent in file.extents] == [64 * 1024]


def test_slots_start_empty(image: Path) -> None:
    slots = DiskSlots(open_disk(image))
    for slot in ALL_SLOTS:
        with slots.open_for_reading(slot) as volume:
            assert volume.read(0, 16 * MIB) == bytes(16 * MIB)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_the_same_layout_gives_the_same_bytes(
    disk_images: dict[str, Path], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("HOME", str(tmp_path))
    again = make_image(tmp_path / "another name.img", name)
    run("cmp", disk_images[name], again)


def test_source_date_epoch_is_the_time_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    path = make_image(tmp_path / "disk.img", GUEST)
    assert "2023-11-14  22:13" in run("mdir", "-i", cut_out(path, Role.GRUB), "::")
    assert "Nov 14 22:13" in run(
        "env", "TZ=UTC", "debugfs", "-R", "stat abctl/record", cut_out(path, Role.CONFIG)
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt, WriteFailed])
def test_an_interrupted_creation_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), create_disk(tmp_path / "disk.img", read_layout(GUEST), STATE):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_the_disk_has_its_name_only_when_it_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with create_disk(path, read_layout(GUEST), STATE) as disk:
        assert not path.exists()
        with DiskSlots(disk).open_for_writing(A_BOOT) as volume:
            volume.write(0, memoryview(b"release"))
    assert [item.name for item in tmp_path.iterdir()] == ["disk.img"]
    with DiskSlots(open_disk(path)).open_for_reading(A_BOOT) as volume:
        assert volume.read(0, 7) == b"release"


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(b"precious")
    for force in (False, True):
        with pytest.raises(WouldOverwrite), create_disk(path, read_layout(GUEST), STATE, force=force):
            pass
    assert path.read_bytes() == b"precious"
    with pytest.raises(WouldOverwrite), create_disk(tmp_path, read_layout(GUEST), STATE):
        pass
    path.write_bytes(b"")
    make_image(path, GUEST)
    assert check_disk(path)[1] == ()


def test_what_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with pytest.raises(WouldOverwrite), create_disk(path, read_layout(GUEST), STATE):
        path.write_bytes(b"precious")
    assert path.read_bytes() == b"precious"
    assert [item.name for item in tmp_path.iterdir()] == ["disk.img"]


def test_a_size_that_is_too_small_is_refused(tmp_path: Path) -> None:
    layout = read_layout(GUEST)
    with (
        pytest.raises(BadLayout, match="layout guestos-small needs a disk of"),
        create_disk(tmp_path / "disk.img", layout, STATE, size=Bytes(400 * MIB)),
    ):
        pass
    with pytest.raises(WriteFailed, match="cannot be made"):
        make_image(tmp_path / "not there" / "disk.img", GUEST)
    assert list(tmp_path.iterdir()) == []


@needs_loop
def test_a_block_device_is_overwritten_only_by_force(host: Path) -> None:
    # It was used before: LVM of the same name, and slots that are not empty.
    for slot in ALL_SLOTS:
        with DiskSlots(open_disk(host)).open_for_writing(slot) as volume:
            volume.write(0, memoryview(b"\xff" * MIB))
    with attached(host) as name:
        device = Path(name)
        with pytest.raises(WouldOverwrite, match="all on it would be lost"):
            create_disk(device, read_layout(GUEST), STATE).__enter__()
        assert check_disk(device)[0].name == HOST
        with create_disk(device, read_layout(HOST), STATE, force=True) as disk:
            assert disk.path == device
        found, differences = check_disk(device)
        assert (found.name, differences) == (HOST, ())
        slots = DiskSlots(open_disk(device))
        for slot in ALL_SLOTS:
            with slots.open_for_writing(slot) as volume:
                assert volume.read(0, MIB) == bytes(MIB)


# --- GRUB -------------------------------------------------------------------------------------------

_ASK_GRUB = """
set root=(hd0,gpt2)
set prefix=(hd0,gpt2)
source $prefix/slots.cfg
if [ -f "$boot_A/vmlinuz" ]; then echo "@A=yes@"; else echo "@A=no@"; fi
if [ -f "$boot_B/vmlinuz" ]; then echo "@B=yes@"; else echo "@B=no@"; fi
echo "@root_B=$root_B@"
reboot
"""


@pytest.mark.parametrize("slot", [A_BOOT, B_BOOT], ids=str)
def test_grub_finds_a_kernel_in_the_slot_that_has_one(image: Path, tmp_path: Path, slot: Slot) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "vmlinuz").write_bytes(b"a kernel")
    system = tmp_path / "boot.img"
    run("mke2fs", "-q", "-t", "ext4", "-d", tree, system, "8M")
    disk = open_disk(image)
    with DiskSlots(disk).open_for_writing(slot) as volume:
        volume.write(0, memoryview(system.read_bytes()))
        volume.flush()
    (tmp_path / "grub.cfg").write_text(_ASK_GRUB)
    (tmp_path / "device.map").write_text(f"(hd0) {image}\n")
    command = ["grub-emu", "-d", str(tmp_path), "-m", str(tmp_path / "device.map")]
    environment = {**os.environ, "TERM": "dumb"}
    done = subprocess.run(
        command, stdin=-3, capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    said = re.findall(r"@(\w+)=([^@]*)@", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]", "", done.stdout))
    root = disk.layout.find_slot(B_ROOT)
    kernel = f"PARTUUID={root.uuid}" if disk.group is None else "/dev/mapper/hostlvm-B_root"
    assert dict(said) == {
        "A": "yes" if slot is A_BOOT else "no",
        "B": "yes" if slot is B_BOOT else "no",
        "root_B": kernel,
    }


# --- what is on it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("copy", list(Copy))
def test_a_copy_of_the_boot_environment_is_overwritten_in_place(image: Path, copy: Copy) -> None:
    grub = DiskGrubPartition(open_disk(image))
    before = cut_out(image, Role.GRUB).read_bytes()
    size = len(STATE.env[copy] or b"")
    block = encode(BootEnv(SlotName.B, generation=7)).ljust(size, b"#")
    grub.overwrite(copy, block)
    assert grub.read() == STATE.env.with_copy(copy, block)
    part = cut_out(image, Role.GRUB)
    run("mcopy", "-i", part, f"::{copy}", image.parent / "copy")
    assert (image.parent / "copy").read_bytes() == block
    after = part.read_bytes()
    changed = [
        offset
        for offset in range(0, len(before), 512)
        if before[offset : offset + 512] != after[offset : offset + 512]
    ]
    assert len(changed) == 1, "nothing else moved"


def test_a_block_of_another_size_is_refused(image: Path) -> None:
    grub = DiskGrubPartition(open_disk(image))
    with pytest.raises(WriteFailed, match="has 512 bytes instead of 1024"):
        grub.overwrite(Copy.FIRST, bytes(1024))
    assert grub.read() == STATE.env


def test_missing_copies_read_as_nothing_and_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    state = replace(STATE, env=EnvFiles(None, BLOCK, None))
    with create_disk(path, read_layout(GUEST), state):
        pass
    grub = DiskGrubPartition(open_disk(path))
    assert grub.read() == state.env
    with pytest.raises(WriteFailed, match="env1/grubenv is missing on grub"):
        grub.overwrite(Copy.FIRST, BLOCK)


def test_a_destroyed_grub_partition_stops_nothing_else(image: Path) -> None:
    place = place_of(image, Role.GRUB)
    with ExtentVolume(image, [place], "grub", writable=True) as volume:
        volume.write(0, memoryview(b"\xff" * MIB))
    disk = open_disk(image)
    assert DiskGrubPartition(disk).read() == EnvFiles(None, None, None)
    with pytest.raises(WriteFailed, match="grub is damaged"):
        DiskGrubPartition(disk).overwrite(Copy.FIRST, BLOCK)
    assert DiskRecord(disk).read() == Record()
    DiskSlots(disk).check_unused(B_ROOT)


def test_a_destroyed_config_volume_means_an_empty_record(image: Path) -> None:
    place = place_of(image, Role.CONFIG)
    with ExtentVolume(image, [place], "config", writable=True) as volume:
        volume.write(0, memoryview(b"\xff" * 4 * MIB))
    disk = open_disk(image)
    assert DiskRecord(disk).read() == Record()
    with pytest.raises(WriteFailed, match="the record cannot be written: the ext4 file system on config"):
        DiskRecord(disk).write(Record(serial=1))
    assert DiskGrubPartition(disk).read() == STATE.env


def test_the_record_survives_a_torn_write(image: Path) -> None:
    records = DiskRecord(open_disk(image))
    written = []
    for serial in (1, 2, 3):
        entry = Entry(Seconds(serial), Happened.INSTALLED, SlotName.B)
        written.append(Record(serial=serial).with_entry(entry))
        records.write(written[-1])
        assert records.read() == written[-1]
    # The third went where the first was; tear it.
    with open_disk(image).open_file(Role.CONFIG, "abctl/record", writable=True) as file:
        file.write(32 * 1024 + 100, memoryview(b"torn"))
    assert records.read() == written[1]
    run("e2fsck", "-fn", cut_out(image, Role.CONFIG))


def test_slots_do_not_touch_each_other(image: Path) -> None:
    slots = DiskSlots(open_disk(image))
    for number, slot in enumerate(ALL_SLOTS):
        with slots.open_for_writing(slot) as volume:
            volume.write(0, memoryview(bytes([number + 1]) * MIB))
            volume.write(volume.size - MIB, memoryview(bytes([number + 1]) * MIB))
    for number, slot in enumerate(ALL_SLOTS):
        with slots.open_for_reading(slot) as volume:
            for offset in (0, volume.size - MIB):
                assert volume.read(offset, MIB) == bytes([number + 1]) * MIB
    assert DiskGrubPartition(open_disk(image)).read() == STATE.env
    assert check_disk(image)[1] == ()


# --- what else a disk can be ------------------------------------------------------------------------


def test_a_disk_without_a_known_layout_is_refused_with_what_it_lacks(tmp_path: Path, guest: Path) -> None:
    run("sfdisk", "--no-reread", "--no-tell-kernel", "-q", "--part-label", guest, "4", "other")
    with pytest.raises(DiskUnusable, match=r"lacks partition A_boot of layout guestos"):
        open_disk(guest)
    with pytest.raises(
        DiskUnusable, match="does not have the layout guestos-small: it lacks partition A_boot"
    ):
        open_disk(guest, read_layout(GUEST))
    with pytest.raises(DiskUnusable, match="does not exist"):
        open_disk(tmp_path / "none.img")


@needs_loop
def test_a_group_without_a_slot_is_refused_with_what_it_lacks(host: Path) -> None:
    with attached(host, place_of_home(host)) as device:
        lvm("lvrename", device, "hostlvm", "B_root", "C_root")
    with pytest.raises(DiskUnusable, match="does not have the layout hostos-small: it lacks volume B_root"):
        open_disk(host)


def place_of_home(image: Path) -> Extent:
    home = open_disk(image).table.find("hostlvm")
    assert home is not None
    return home.extent


def differences_of(image: Path, name: str, severity: Severity = Severity.DIFFERENCE) -> list[str]:
    _, differences = check_disk(image, read_layout(name))
    return [difference.text for difference in differences if difference.severity is severity]


_EFI, _UUID = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "00000000-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("option", "value", "sentences"),
    [
        (
            "--part-label",
            "new",
            ["there is no partition B_var", "there is a partition new, which the layout"],
        ),
        ("--part-type", _EFI, [f"the type of B_var is {_EFI}, not 0fc63daf-8483-4772-8e79-3d69d8477de4"]),
        ("--part-uuid", _UUID, [f"the UUID of B_var is {_UUID}, not "]),
        ("--delete", None, ["there is no partition B_var"]),
    ],
)
def test_each_difference_of_a_partition_is_named(
    guest: Path, option: str, value: str | None, sentences: list[str]
) -> None:
    run("sfdisk", "--no-reread", "--no-tell-kernel", "-q", option, guest, "9", *([value] if value else []))
    found = differences_of(guest, GUEST)
    assert len(found) == len(sentences)
    for text, sentence in zip(found, sentences, strict=True):
        assert text.startswith(sentence)


def test_other_places_and_numbers_are_named(guest: Path) -> None:
    layout = read_layout(GUEST)
    b_var = layout.partitions[-1]
    script = run("sfdisk", "--dump", guest).splitlines()
    kept = [line for line in script if f"start= {b_var.start_sector:>11}" not in line]
    assert len(kept) == len(script) - 1
    place = f"start={b_var.start_sector + 2048}, size={b_var.sectors - 4096}"
    moved = f'11: {place}, type=L, uuid={b_var.uuid}, name="B_var"'
    run("sfdisk", "--no-reread", "--no-tell-kernel", "-q", guest, stdin="\n".join([*kept, moved]))
    assert differences_of(guest, GUEST) == [
        "the number of B_var is 11, not 9",
        f"the start of B_var is {b_var.start_sector + 2048} sectors, not {b_var.start_sector} sectors",
        f"the size of B_var is {b_var.sectors - 4096} sectors, not {b_var.sectors} sectors",
    ]


def test_what_the_guest_made_at_its_first_boot_is_only_remarked(guest: Path) -> None:
    os.truncate(guest, guest.stat().st_size + 64 * MIB)
    options = ("--no-reread", "--no-tell-kernel", "-q", "--append")
    run("sfdisk", *options, guest, stdin='name="store"\n')
    assert differences_of(guest, GUEST) == []
    assert differences_of(guest, GUEST, Severity.REMARK) == [
        "there is a partition store, which the system made at its first boot"
    ]


@needs_loop
def test_each_difference_of_the_volume_group_is_named(host: Path) -> None:
    with attached(host, place_of_home(host)) as device:
        lvm("vgchange", device, "--uuid", "hostlvm")
        lvm("lvreduce", device, "-f", "-l", "-1", "hostlvm/A_var")
        lvm("lvremove", device, "-y", "hostlvm/guestos")
        lvm("lvcreate", device, "-an", "-Zn", "-Wn", "-n", "snap", "-l", "8", "hostlvm")
        lvm("lvextend", device, "-l", "+2", "hostlvm/B_var")
    patterns = [
        "the UUID of hostlvm is .*, not FTFoOx-",
        "the size of A_var is 20971520 bytes, not 25165824 bytes",
        "the size of B_var is 33554432 bytes, not 25165824 bytes",
        "there is no logical volume guestos",
        "there is a logical volume snap, which the layout does not have",
        "volume group hostlvm has only 24 MiB free, and the layout keeps 40 MiB for snapshots of /var",
    ]
    found = differences_of(host, HOST)
    assert len(found) == len(patterns)
    for text, pattern in zip(found, patterns, strict=True):
        assert re.match(pattern, text)
    assert differences_of(host, HOST, Severity.REMARK) == [
        "B_var lies in 2 segments: it was extended or moved"
    ]


@needs_loop
def test_a_host_of_the_older_system_is_told_that_it_has_no_reserve(host: Path) -> None:
    with attached(host, place_of_home(host)) as device:
        lvm("lvextend", device, "-l", "+100%FREE", "hostlvm/guestos")
    assert differences_of(host, HOST) == [
        "volume group hostlvm has nothing free, and the layout keeps 40 MiB for snapshots of /var"
    ]
    assert open_disk(host).layout.name == HOST


@needs_loop
def test_a_lost_volume_group_is_a_difference_and_not_the_end(host: Path) -> None:
    with ExtentVolume(host, [place_of_home(host)], "hostlvm", writable=True) as volume:
        volume.write_zeros(0, MIB)
    assert [text for text in differences_of(host, HOST) if "no volume group hostlvm" in text]
    with pytest.raises(DiskUnusable, match="no volume group hostlvm"):
        open_disk(host)


def test_another_layout_is_different_in_every_place(guest: Path) -> None:
    found = differences_of(guest, "guestos")
    assert any("layout guestos needs a disk of" in text for text in found)
    assert "the start of B_var is 935936 sectors, not 67725312 sectors" in found


# --- who else uses it -------------------------------------------------------------------------------


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
            DiskRecord(disk).write(Record(serial=1))
    with attached(image, place_of(image, Role.GRUB)) as device, claimed(device):
        DiskRecord(disk).write(Record(serial=1))
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


def test_damage_anywhere_in_the_first_mib_is_an_error_of_abctl_or_nothing(guest: Path) -> None:
    """Whatever stands where the table was, no foreign error gets out."""
    for pattern in (bytes(MIB), b"\xff" * MIB, os.urandom(MIB)):
        with ExtentVolume(guest, [Extent(0, MIB)], "disk", writable=True) as volume:
            volume.write(0, memoryview(pattern))
        with pytest.raises(AbctlError):
            open_disk(guest)
