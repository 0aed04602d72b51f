"""The running host's files: its boot environment on the grub partition, its record on the config volume."""

import os
from pathlib import Path

import pytest

from abctl.core import record as records
from abctl.core.bootenv import BootEnv, Copy, EnvFiles, Origin, Trial, Why, encode, read_boot_env
from abctl.core.envblock import make_block, parse_block
from abctl.core.grub import next_boot
from abctl.core.machine import Confirm
from abctl.core.record import Entry, Happened, Record
from abctl.core.slot import SlotName
from abctl.core.units import Seconds
from abctl.errors import DiskUnusable, WriteFailed
from abctl.host.layouts import read_layout
from abctl.host.live import (
    LiveGrubPartition,
    LiveSlots,
    LiveSystem,
)
from abctl.update.operate import Ports, apply, observe, settle
from tests.fake_live import FakeHost, live_record

A, B = SlotName.A, SlotName.B
LAYOUTS = ("hostos", "guestos")


@pytest.fixture(params=LAYOUTS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path, read_layout(request.param))


def ports_of(host: FakeHost) -> Ports:
    system = LiveSystem(host.layout, host.paths)
    return Ports(
        grub=LiveGrubPartition(host.paths),
        slots=LiveSlots(host.layout, host.paths),
        records=live_record(host.paths),
        running=system.running(),
        now=system.now,
        version_in=lambda name: None,
    )


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
    store = live_record(host.paths)
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
    store = live_record(host.paths)
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
    store = live_record(host.paths)
    assert store.read() == Record()
    assert "not mounted on /boot/config" in caplog.text
    with pytest.raises(WriteFailed, match="mount it first"):
        store.write(Record(serial=1))
    assert not list((host.root / "boot/config").iterdir())
