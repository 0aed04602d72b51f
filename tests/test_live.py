"""The running host: what runs, and its slots, as the kernel shows them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abctl.core.bootenv import Why
from abctl.core.machine import Running
from abctl.core.slot import ALL_SLOTS, Part, Slot, SlotName
from abctl.core.units import MIB
from abctl.errors import DiskUnusable, InUse, NotAHost, RunningMismatch
from abctl.host.layouts import read_layout
from abctl.host.live import (
    LiveSlots,
    LiveSystem,
    check_started_by_grub,
    find_live_disk,
)
from abctl.host.mounts import MountTable
from tests.disks import attached, needs_loop
from tests.fake_live import B_BOOT, B_ROOT, SLOT_SIZE, FakeHost

A, B = SlotName.A, SlotName.B
LAYOUTS = ("hostos", "guestos")


@pytest.fixture(params=LAYOUTS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path, read_layout(request.param))


def running(host: FakeHost) -> Running:
    return LiveSystem(host.layout, host.paths).running()


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
    host.tell_kernel("ro dfinity.system=B abctl.why=trial abctl.generation=7 abctl.attempts=0")
    assert running(host).attempts == 0
    for nothing in ("", "3", "-1", "x", "²"):
        host.tell_kernel(f"ro dfinity.system=B abctl.why=trial abctl.attempts={nothing}")
        assert running(host).attempts is None
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
    root = tmp_path_factory.mktemp("root")
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_bytes(f"{line}\nhalf a line\n".encode())
    [mount] = MountTable(root).mounts
    assert (mount.point, mount.device, mount.source) == (f"/mnt/{name}", "98:0", "/dev/root")


def test_reboot_asks_systemd(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = host.root / "asked"
    program = host.root / "bin/systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {asked}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    LiveSystem(host.layout, host.paths).reboot()
    assert asked.read_text() == "reboot\n"


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
            refused = subprocess.run(mount, capture_output=True, check=False).returncode
            if not refused:
                subprocess.run(["umount", str(tmp_path)], check=True)
            assert refused
            with pytest.raises(InUse), slots.open_for_writing(B_ROOT):
                pass
            volume.write(0, memoryview(b"x"))
