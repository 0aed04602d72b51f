"""The running host: what runs, its boot environment, its record and its slots, as the kernel shows them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abctl.core import record as records
from abctl.core.bootenv import BootEnv, Copy, EnvFiles, Origin, Trial, Why, encode, next_boot, read_boot_env
from abctl.core.envblock import make_block, parse_block
from abctl.core.machine import Confirm, Running
from abctl.core.record import Entry, Happened, Record
from abctl.core.slot import ALL_SLOTS, Part, Slot, SlotName
from abctl.core.units import MIB, Seconds
from abctl.errors import DiskUnusable, InUse, NotAHost, RunningMismatch, WriteFailed
from abctl.host.layouts import read_layout
from abctl.host.live import (
    LiveGrubPartition,
    LiveRecordStore,
    LiveSlots,
    LiveSystem,
    check_started_by_grub,
    find_live_disk,
)
from abctl.host.mounts import parse_mountinfo
from abctl.update.operate import Ports, apply, observe, settle
from tests.disks import attached, needs_loop
from tests.fake_live import B_BOOT, B_ROOT, SLOT_SIZE, FakeHost

A, B = SlotName.A, SlotName.B
LAYOUTS = ("hostos", "guestos")


@pytest.fixture(params=LAYOUTS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path, read_layout(request.param))


def running(host: FakeHost) -> Running:
    return LiveSystem(host.layout, host.paths).running()


def ports_of(host: FakeHost) -> Ports:
    system = LiveSystem(host.layout, host.paths)
    return Ports(
        grub=LiveGrubPartition(host.paths),
        slots=LiveSlots(host.layout, host.paths),
        records=LiveRecordStore(host.paths),
        running=system.running(),
        now=system.now,
        version_in=lambda name: None,
    )


# --- what runs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("booted", SlotName)
def test_kernel_root_and_boot_say_which_slot_set_runs(tmp_path: Path, layout: str, booted: SlotName) -> None:
    found = running(FakeHost(tmp_path, read_layout(layout), booted))
    assert (found.kernel, found.root, found.boot, found.booted) == (booted, booted, booted, booted)


@pytest.mark.parametrize("point", ["/", "/boot"])
def test_the_right_boot_with_the_wrong_root_is_a_mixed_system(host: FakeHost, point: str) -> None:
    host.mount(point, host.devices["B_root" if point == "/" else "B_boot"])
    assert running(host).disagreement
    with pytest.raises(RunningMismatch):
        _ = running(host).booted


def test_a_kernel_of_the_other_slot_set_is_a_mixed_system(host: FakeHost) -> None:
    host.tell_kernel("ro dfinity.system=B")
    assert running(host) == Running(kernel=B, root=A, boot=A)


def test_a_root_on_the_other_set_s_boot_slot_is_no_root_of_that_set(host: FakeHost) -> None:
    host.mount("/", host.devices["A_boot"])
    assert running(host).root is None


def test_a_boot_that_is_not_mounted_is_a_mixed_system(host: FakeHost) -> None:
    host.unmount("/boot")
    assert (running(host).boot, bool(running(host).disagreement)) == (None, True)


def test_a_root_that_is_no_slot_is_nobody_s(host: FakeHost) -> None:
    host.mount("/", "0:45", "overlay")
    assert running(host).root is None


def test_what_is_mounted_last_counts(host: FakeHost) -> None:
    host.mount("/boot", "0:45", "tmpfs")
    host.mount("/boot", host.devices["A_boot"])
    assert running(host).booted is A


def test_a_root_under_dm_verity_is_the_slot_that_it_maps(host: FakeHost) -> None:
    host.add_mapped("vroot", 30, on=host.devices["A_root"])
    host.mount("/", host.devices["vroot"])
    assert running(host).booted is A


def test_a_partition_of_that_name_on_another_disk_is_no_slot(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, read_layout("guestos"))
    host.add_disk("sdb", 16, [partition.name for partition in host.layout.partitions])
    host.mount("/", host.devices["sdb5"])
    assert running(host).root is None
    assert LiveSlots(host.layout, host.paths).path_of(B_ROOT) == tmp_path / "dev/sda8"


def test_a_volume_group_with_a_dash_is_found(tmp_path: Path) -> None:
    layout = read_layout("hostos")
    assert layout.volume_group
    layout = replace(layout, volume_group=replace(layout.volume_group, name="my-vg"))
    host = FakeHost(tmp_path, layout)
    assert host.devices["my--vg-A_root"] == host.devices["A_root"]
    assert running(host).booted is A


@pytest.mark.parametrize(
    "source", ["/dev/mapper/hostlvm-{}", "/dev/hostlvm/{}"], ids=["mapped name", "group and volume"]
)
def test_without_sys_the_mount_s_own_word_counts(tmp_path: Path, source: str) -> None:
    host = FakeHost(tmp_path, read_layout("hostos"))
    host.mount("/", "253:99", source.format("B_root"))
    assert running(host).root is B


def test_what_grub_said_is_kept(host: FakeHost) -> None:
    host.tell_kernel("ro dfinity.system=A abctl.why=no_kernel abctl.passed_over=B abctl.generation=7")
    found = running(host)
    assert (found.why, found.passed_over, found.generation) == (Why.NO_KERNEL, B, 7)
    host.tell_kernel("ro dfinity.system=A")
    assert (running(host).why, running(host).passed_over, running(host).generation) == (None, None, None)


@pytest.mark.parametrize("command_line", ["", "root=/dev/sda1 ro", "dfinity.system=C", "x.dfinity.system=A"])
def test_a_machine_that_another_boot_loader_started_is_no_host(host: FakeHost, command_line: str) -> None:
    host.tell_kernel(command_line)
    with pytest.raises(NotAHost, match="name a disk with --disk"):
        check_started_by_grub(host.paths)
    with pytest.raises(NotAHost):
        running(host)


def test_this_machine_is_no_host() -> None:
    with pytest.raises(NotAHost):
        check_started_by_grub()


def test_the_disk_of_the_host_is_the_one_with_its_grub_partition(host: FakeHost) -> None:
    assert find_live_disk(host.paths) == host.root / "dev/sda"
    host.unmount("/boot/grub")
    with pytest.raises(DiskUnusable, match="the grub partition is not mounted on /boot/grub"):
        find_live_disk(host.paths)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_every_mount_point_is_read_as_it_is(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    escaped = name.translate({ord(char): f"\\{ord(char):03o}" for char in " \t\n\\"})
    line = f"36 35 98:0 / /mnt/{escaped} rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
    found = parse_mountinfo("".join((line, "\n", "half a line\n")))
    if len(line.splitlines()) == 1:
        assert [(mount.point, mount.device, mount.source) for mount in found] == [
            (f"/mnt/{name}", "98:0", "/dev/root")
        ]


def test_reboot_asks_systemd(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = host.root / "asked"
    program = host.root / "bin/systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {asked}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    LiveSystem(host.layout, host.paths).reboot()
    assert asked.read_text() == "reboot\n"


# --- the boot environment ---------------------------------------------------------------------------


def test_a_host_of_the_older_system_is_taken_over_in_its_place(host: FakeHost) -> None:
    older = host.root / "boot/grub/grubenv"
    older.write_bytes(make_block({"boot_alternative": "A", "boot_cycle": "install", "other": "kept"}, 1024))
    before = next_boot(LiveGrubPartition(host.paths).read())
    settle(ports_of(host))
    files = LiveGrubPartition(host.paths).read()
    assert read_boot_env(files).in_step
    after = next_boot(files)
    assert (after.slot_set, after.why, after.origin) == (before.slot_set, before.why, Origin.BOTH)
    assert (parse_block(files.older) or {})["other"] == "kept"


def test_copies_are_made_whole_and_without_holes(host: FakeHost) -> None:
    grub = LiveGrubPartition(host.paths)
    for copy in Copy:
        grub.overwrite(copy, encode(BootEnv(A)))
        path = host.root / "boot/grub" / copy
        size = path.stat().st_size
        assert size == (1024 if copy is Copy.OLDER else 512)
        with path.open("rb") as file:
            assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == size


def test_a_copy_is_overwritten_in_place(host: FakeHost) -> None:
    grub = LiveGrubPartition(host.paths)
    grub.overwrite(Copy.FIRST, encode(BootEnv(A)))
    path = host.root / "boot/grub/env1/grubenv"
    with path.open("rb") as held:
        inode = path.stat().st_ino
        grub.overwrite(Copy.FIRST, encode(BootEnv(B, generation=2)))
        assert path.stat().st_ino == inode
        assert held.read() == encode(BootEnv(B, generation=2))
    assert sorted(item.name for item in path.parent.iterdir()) == ["grubenv"]


@pytest.mark.parametrize("size", [0, 100, 512, 1024, 2048])
def test_a_copy_of_any_length_is_made_one_that_grub_takes_and_can_write(host: FakeHost, size: int) -> None:
    path = host.root / "boot/grub/env1/grubenv"
    path.parent.mkdir()
    path.write_bytes(b"x" * size)
    grub = LiveGrubPartition(host.paths)
    env = BootEnv(A, Trial(B, 3))
    grub.overwrite(Copy.FIRST, encode(env))
    assert path.stat().st_size == max(size, 512)
    written = path.read_bytes()
    assert written.rstrip(b"#") == encode(env).rstrip(b"#")
    boot = next_boot(EnvFiles(first=written))
    assert (boot.slot_set, boot.why) == (B, Why.TRIAL)


def test_a_copy_that_is_missing_or_cannot_be_read_is_none(host: FakeHost) -> None:
    (host.root / "boot/grub/env2/grubenv").mkdir(parents=True)
    assert LiveGrubPartition(host.paths).read() == EnvFiles()


def test_a_copy_that_cannot_be_written_says_so(host: FakeHost) -> None:
    (host.root / "boot/grub/env1").write_text("in the way")
    with pytest.raises(WriteFailed, match="env1"):
        LiveGrubPartition(host.paths).overwrite(Copy.FIRST, encode(BootEnv(A)))


def test_a_link_in_the_place_of_a_copy_is_not_followed(host: FakeHost) -> None:
    target = host.root / "precious"
    target.write_bytes(b"p" * 512)
    (host.root / "boot/grub/env1").mkdir()
    (host.root / "boot/grub/env1/grubenv").symlink_to(target)
    with pytest.raises(WriteFailed):
        LiveGrubPartition(host.paths).overwrite(Copy.FIRST, encode(BootEnv(A)))
    assert target.read_bytes() == b"p" * 512


def test_without_the_grub_partition_nothing_is_written_to_the_slot_below(host: FakeHost) -> None:
    host.unmount("/boot/grub")
    with pytest.raises(DiskUnusable, match="not mounted on /boot/grub"):
        LiveGrubPartition(host.paths)
    assert not list((host.root / "boot/grub").iterdir())


def test_a_running_trial_is_confirmed_on_the_live_host(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, read_layout("hostos"), booted=B)
    grub = LiveGrubPartition(host.paths)
    for copy in (Copy.FIRST, Copy.SECOND):
        grub.overwrite(copy, encode(BootEnv(A, Trial(B, 2), generation=9)))
    apply(ports_of(host), Confirm(Seconds(5)))
    observed = observe(ports_of(host))
    assert (observed.host.env.primary, observed.host.env.trial) == (B, None)
    assert observed.host.record.entries[-1].what is Happened.CONFIRMED
    assert observed.reading.in_step


# --- the record -------------------------------------------------------------------------------------


def entry(number: int) -> Entry:
    return Entry(Seconds(number), Happened.ALLOWED, text=f"number {number}")


def test_the_record_is_kept_in_place_half_by_half(host: FakeHost) -> None:
    store = LiveRecordStore(host.paths)
    assert store.read() == Record()
    path = host.root / "boot/config" / records.PATH
    for serial in range(1, 6):
        record = Record(entries=(entry(serial),), serial=serial)
        store.write(record)
        assert store.read() == record
        assert path.stat().st_size == records.FILE_SIZE
    with path.open("rb") as file:
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == records.FILE_SIZE


def test_a_torn_record_costs_the_last_entry_and_no_more(host: FakeHost) -> None:
    store = LiveRecordStore(host.paths)
    for serial in (1, 2):
        store.write(Record(entries=(entry(serial),), serial=serial))
    with (host.root / "boot/config" / records.PATH).open("r+b") as file:
        file.seek(records.place_for(Record(serial=2)) + 40)
        file.write(b"\0" * 512)
    assert store.read() == Record(entries=(entry(1),), serial=1)


def test_without_the_config_volume_there_is_no_record_and_nothing_is_written_below(
    host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    host.unmount("/boot/config")
    store = LiveRecordStore(host.paths)
    assert store.read() == Record()
    assert "not mounted on /boot/config" in caplog.text
    with pytest.raises(WriteFailed, match="mount it first"):
        store.write(Record(serial=1))
    assert not list((host.root / "boot/config").iterdir())


# --- the slots --------------------------------------------------------------------------------------


def test_a_slot_is_written_and_read_back(host: FakeHost) -> None:
    slots = LiveSlots(host.layout, host.paths)
    assert slots.size_of(B_ROOT) == SLOT_SIZE
    with slots.open_for_writing(B_ROOT) as volume:
        assert (volume.name, volume.size) == ("B_root", SLOT_SIZE)
        volume.write(MIB, memoryview(b"data"))
        volume.flush()
        found = bytearray(4)
        volume.read_back(MIB, memoryview(found))
    assert found == b"data"
    assert host.node_of(B_ROOT).read_bytes()[MIB : MIB + 4] == b"data"
    with slots.open_for_reading(B_ROOT) as volume:
        assert volume.read(MIB, 4) == b"data"


def test_only_the_slot_that_was_opened_changes(host: FakeHost) -> None:
    with LiveSlots(host.layout, host.paths).open_for_writing(B_BOOT) as volume:
        volume.write_zeros(0, SLOT_SIZE)
    changed = [slot for slot in ALL_SLOTS if host.node_of(slot).read_bytes() != b"\xaa" * SLOT_SIZE]
    assert changed == [B_BOOT]


def test_a_mounted_slot_is_in_use_wherever_it_is_mounted(host: FakeHost) -> None:
    slots = LiveSlots(host.layout, host.paths)
    for part in (Part.ROOT, Part.BOOT):
        with pytest.raises(InUse, match=r"slot A_.* is mounted on /"), slots.open_for_writing(Slot(A, part)):
            pass
    host.mount("/mnt/other system", host.devices["B_root"])
    with pytest.raises(InUse, match="slot B_root is mounted on /mnt/other system: unmount it first"):
        slots.check_unused(B_ROOT)
    slots.check_unused(B_BOOT)


def test_a_slot_mounted_under_dm_verity_is_in_use(host: FakeHost) -> None:
    host.add_mapped("vroot", 30, on=host.devices["B_root"])
    host.mount("/mnt", host.devices["vroot"])
    with pytest.raises(InUse):
        LiveSlots(host.layout, host.paths).check_unused(B_ROOT)


def test_a_slot_that_is_not_there_says_what_to_do(host: FakeHost) -> None:
    host.node_of(B_ROOT).unlink()
    slots = LiveSlots(host.layout, host.paths)
    with pytest.raises(DiskUnusable, match=r"B_root|sda8"):
        slots.size_of(B_ROOT)
    with pytest.raises(DiskUnusable), slots.open_for_writing(B_ROOT):
        pass


@contextmanager
def on_real_device(host: FakeHost, folder: Path) -> Iterator[str]:
    """Let slot B_root of the fake host be a real block device."""
    image = folder / "b_root.img"
    image.write_bytes(bytes(8 * MIB))
    with attached(image) as device:
        host.node_of(B_ROOT).unlink()
        host.node_of(B_ROOT).symlink_to(device)
        yield device


@pytest.fixture
def lvm_host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path / "host", read_layout("hostos"))


@needs_loop
def test_a_real_device_that_is_mounted_is_in_use(lvm_host: FakeHost, tmp_path: Path) -> None:
    point = tmp_path / "mnt"
    point.mkdir()
    slots = LiveSlots(lvm_host.layout, lvm_host.paths)
    with on_real_device(lvm_host, tmp_path) as device:
        subprocess.run(["mkfs.ext4", "-q", device], check=True)
        subprocess.run(["mount", device, point], check=True)
        try:
            with pytest.raises(InUse, match="B_root"), slots.open_for_writing(B_ROOT):
                pass
        finally:
            subprocess.run(["umount", point], check=True)
        with slots.open_for_writing(B_ROOT) as volume:
            assert volume.size == 8 * MIB


@needs_loop
def test_nobody_can_mount_a_slot_while_it_is_written(lvm_host: FakeHost, tmp_path: Path) -> None:
    slots = LiveSlots(lvm_host.layout, lvm_host.paths)
    with on_real_device(lvm_host, tmp_path) as device:
        subprocess.run(["mkfs.ext4", "-q", device], check=True)
        mount = ["mount", device, str(tmp_path)]
        with slots.open_for_writing(B_ROOT) as volume:
            assert subprocess.run(mount, capture_output=True, check=False).returncode
            with pytest.raises(InUse), slots.open_for_writing(B_ROOT):
                pass
            volume.write(0, memoryview(b"x"))
