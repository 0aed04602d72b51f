"""The guest's own slot sets on a disk image: what its GRUB boots, and what its host writes meanwhile."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from abctl.cli.guest_disk import GuestDisk
from abctl.cli.wiring import Target
from abctl.core.bootenv import BootEnv, Copy, Why, encode, encode_older, read_boot_env
from abctl.core.bootstate import SlotSet, SlotState, Trial
from abctl.core.envblock import make_block
from abctl.core.grub import next_boot
from abctl.core.layout import Role
from abctl.core.record import Happened
from abctl.core.slot import SlotName
from abctl.core.units import Version
from abctl.host import guest_file
from abctl.host.disk import DiskGrubPartition, open_disk
from abctl.vm.surroundings import Booting
from tests.disks import GUEST, copy_of, fingerprint, record_of
from tests.lab.fat import remove_from

pytestmark = pytest.mark.slow

A, B = SlotName.A, SlotName.B
ARMED = BootEnv(
    A,
    Trial(B, 3),
    {A: SlotSet(SlotState.GOOD, Version("1.0.0")), B: SlotSet(SlotState.UNTESTED, Version("2.0.0"))},
    generation=9,
)


@dataclass
class Guest:
    """A guest's disk, its GRUB, and its host."""

    image: Path
    root: Path

    @property
    def disk(self) -> GuestDisk:
        return GuestDisk(Target(self.image), self.root)

    @property
    def grub(self) -> DiskGrubPartition:
        return DiskGrubPartition(open_disk(self.image))

    @property
    def env(self) -> BootEnv:
        env = read_boot_env(self.grub.read()).env
        assert env is not None
        return env

    def write(self, env: BootEnv) -> None:
        for copy in Copy:
            self.grub.overwrite(copy, encode_older(env) if copy is Copy.OLDER else encode(env))

    def boot(self) -> Why:
        """Do what its GRUB does."""
        before = self.grub.read()
        found = next_boot(before)
        for copy in Copy:
            block = found.files[copy]
            if block is not None and block != before[copy]:
                self.grub.overwrite(copy, block)
        return found.why


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    guest = Guest(copy_of(GUEST, tmp_path), tmp_path / "root")
    guest.write(ARMED)
    return guest


def test_the_host_knows_what_the_guest_will_boot(guest: Guest) -> None:
    booting = guest.disk.look()
    assert booting == Booting(B, "2.0.0", on_trial=True, generation=9)


def test_a_trial_that_reported_healthy_is_confirmed_when_the_guest_is_off(guest: Guest) -> None:
    guest.disk.settle()
    booting = guest.disk.look()
    assert booting is not None
    assert guest.boot() is Why.TRIAL
    guest_file.note_healthy(booting.generation, guest.root)
    guest.disk.settle()
    assert (guest.env.primary, guest.env.trial, guest.env[B].state) == (B, None, SlotState.GOOD)
    assert guest.disk.look() == Booting(B, "2.0.0", on_trial=False, generation=guest.env.generation)
    assert record_of(open_disk(guest.image)).read().entries[-1].what is Happened.CONFIRMED
    # The word was for that trial, and for no other.
    guest.write(BootEnv(B, Trial(A, 0), ARMED.slot_sets, generation=guest.env.generation + 1))
    guest.disk.settle()
    assert guest.env[A].state is SlotState.BAD


def test_a_trial_that_never_reported_falls_back_and_is_recorded(guest: Guest) -> None:
    whys = []
    for _ in range(4):
        guest.disk.settle()
        whys.append(guest.boot())
    assert whys == [Why.TRIAL, Why.TRIAL, Why.TRIAL, Why.PRIMARY]
    assert (guest.env.primary, guest.env.trial, guest.env[B].state) == (A, None, SlotState.BAD)
    report = guest.disk.report()
    assert [item.version for item in report.refused] == ["2.0.0"]


def test_a_word_on_an_older_trial_does_not_confirm_a_newer_one(guest: Guest) -> None:
    guest_file.note_healthy(8, guest.root)
    guest.disk.settle()
    assert guest.env.trial == Trial(B, 3)


def older(alternative: str, cycle: str) -> bytes:
    return make_block({"boot_alternative": alternative, "boot_cycle": cycle}, 1024)


@pytest.mark.parametrize(
    ("block", "slot_set", "on_trial"),
    [
        (older("A", "stable"), A, False),
        (older("B", "install"), B, False),
        (older("B", "first_boot"), B, True),
        (older("B", "failsafe_check"), A, False),
    ],
)
def test_a_guest_of_the_older_system_is_understood_and_never_written(
    guest: Guest, block: bytes, slot_set: SlotName, on_trial: bool
) -> None:
    guest.grub.overwrite(Copy.OLDER, block)
    remove_from(guest.image, Role.GRUB, "env1/grubenv", "env2/grubenv", "grub.cfg")
    before = fingerprint(guest.image)
    booting = guest.disk.look()
    assert booting is not None
    assert (booting.slot_set, booting.on_trial) == (slot_set, on_trial)
    guest_file.note_healthy(booting.generation, guest.root)
    guest.disk.settle()
    assert guest.disk.is_adopted is False
    assert guest.disk.report().boot_env.origin == "older"
    assert fingerprint(guest.image) == before


def test_a_disk_that_abctl_does_not_know_is_left_to_the_guest(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(b"\xaa" * 4096)
    disk = GuestDisk(Target(image), tmp_path)
    disk.settle()
    assert disk.look() is None
    assert image.read_bytes() == b"\xaa" * 4096
    assert GuestDisk(Target(tmp_path / "missing"), tmp_path).look() is None
