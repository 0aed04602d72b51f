"""The boot environment, the record and the slots of a disk, read and written in place."""

from dataclasses import replace
from pathlib import Path

import pytest

from abctl.core.bootenv import BootEnv, Copy, EnvFiles, encode
from abctl.core.layout import Role
from abctl.core.record import Entry, Happened, Record
from abctl.core.slot import ALL_SLOTS, SlotName
from abctl.core.units import MIB, Seconds
from abctl.errors import WriteFailed
from abctl.host.block import ExtentVolume
from abctl.host.create import create_disk
from abctl.host.disk import DiskGrubPartition, DiskSlots, check_disk, open_disk
from abctl.host.layouts import read_layout
from tests.disks import (
    B_ROOT,
    BLOCK,
    GUEST,
    KINDS,
    STATE,
    copy_of,
    cut_out,
    place_of,
    record_of,
    run,
)


@pytest.fixture(params=KINDS)
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A disk of each kind, of the test's own."""
    return copy_of(request.param, tmp_path)


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    return copy_of(GUEST, tmp_path)


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
    assert record_of(disk).read() == Record()
    DiskSlots(disk).check_unused(B_ROOT)


def test_a_destroyed_config_volume_means_an_empty_record(image: Path) -> None:
    place = place_of(image, Role.CONFIG)
    with ExtentVolume(image, [place], "config", writable=True) as volume:
        volume.write(0, memoryview(b"\xff" * 4 * MIB))
    disk = open_disk(image)
    assert record_of(disk).read() == Record()
    with pytest.raises(WriteFailed, match="abctl/record cannot be written: the ext4 file system on config"):
        record_of(disk).write(Record(serial=1))
    assert DiskGrubPartition(disk).read() == STATE.env


def test_the_record_survives_a_torn_write(image: Path) -> None:
    records = record_of(open_disk(image))
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
