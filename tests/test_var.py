"""Mounting /var: a new one is formatted, what may hold data never is, and the host comes up all the same."""

import os
import subprocess
from pathlib import Path

import pytest

from abctl.core.bootenv import BootEnv, SlotSet, SlotState, encode
from abctl.core.slot import SlotName
from abctl.core.units import MIB
from tests.host_files import SCRIPTS, Stage

pytestmark = pytest.mark.slow

A = SlotName.A
SIZE = 24 * MIB
TRIAL, PRIMARY, MENU = (f"dfinity.system=A abctl.why={why}" for why in ("trial", "primary", "menu"))
FORMATTING = b"abctl: this volume is being formatted"
MARK = slice(SIZE - 4096, SIZE)


class Host(Stage):
    """A host with one volume, a file; mounting only says what it would do."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.play("mount")
        self.play("umount")
        self.play("blockdev", 'exec stat -c %s "$2" 2>/dev/null')
        self.play("mountpoint", '[ -d "$2" ]')
        self.write("var/lib/dpkg/status", "of the release\n")
        self.set_state(SlotState.GOOD)
        (self.root / "boot/config").mkdir(parents=True)
        self.device.parent.mkdir(parents=True, exist_ok=True)
        with self.device.open("wb") as file:
            file.truncate(SIZE)

    @property
    def device(self) -> Path:
        return self.root / "dev/mapper/hostlvm-A_var"

    @property
    def note(self) -> Path:
        return self.root / "boot/config/abctl/var-A"

    def set_state(self, state: SlotState, *, copies: tuple[int, ...] = (1, 2)) -> None:
        env = BootEnv(A, slot_sets={name: SlotSet(state) for name in SlotName}, generation=3)
        for number in copies:
            self.write(f"boot/grub/env{number}/grubenv", encode(env).decode())

    def make_file_system(self) -> None:
        """Make one with blocks as the script makes them."""
        subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "4096", str(self.device)], check=True)

    def write_at(self, offset: int, data: bytes) -> None:
        with self.device.open("r+b") as file:
            os.pwrite(file.fileno(), data, offset)

    def mount_var(self, words: str) -> str:
        """Run the script, and return what is on /var: ``ext4`` or ``memory``."""
        self.tell_kernel(words)
        options = "rw,nodev,abctl-slot-set=A,nosuid,abctl-device=/dev/mapper/hostlvm-A_var"
        done = self.run(SCRIPTS / "abctl-var", "abctl-var", self.root / "var", "-o", options)
        assert done.returncode == 0, done.stderr
        mounts = [
            call for call in self.calls if call.startswith("mount -t") and call.endswith(f"{self.root}/var")
        ]
        kind = "memory" if mounts[-1].startswith("mount -t tmpfs ") else "ext4"
        assert (kind == "memory") == (self.root / "run/abctl/var-problem").exists()
        if kind == "ext4":
            assert mounts == [
                f"mount -t ext4 -o rw,nodev,nosuid,errors=remount-ro {self.device} {self.root}/var"
            ]
        return kind

    @property
    def problem(self) -> str:
        return (self.root / "run/abctl/var-problem").read_text()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def type_of(path: Path) -> str:
    command = ["blkid", "-p", "-o", "value", "-s", "TYPE", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


# --- new --------------------------------------------------------------------------------------------


def test_a_blank_var_of_a_trial_is_formatted_and_holds_what_the_release_has_there(host: Host) -> None:
    host.note.parent.mkdir()
    host.note.write_text("formatted by the release before\n")
    assert host.mount_var(TRIAL) == "ext4"
    assert type_of(host.device) == "ext4"
    assert (host.root / "run/abctl/var-new/lib/dpkg/status").read_text() == "of the release\n"
    assert host.device.read_bytes()[MARK] == bytes(4096)
    assert subprocess.run(["e2fsck", "-fn", host.device], capture_output=True, check=False).returncode == 0


def test_the_first_boot_of_a_new_disk_formats_its_var_and_notes_it(host: Host) -> None:
    assert host.mount_var(PRIMARY) == "ext4"
    assert host.note.read_text().startswith("formatted ")


def test_an_untested_slot_set_from_the_menu_is_formatted(host: Host) -> None:
    host.note.parent.mkdir()
    host.note.write_text("formatted by the release before\n")
    host.set_state(SlotState.UNTESTED)
    assert host.mount_var(MENU) == "ext4"


def test_a_full_config_volume_does_not_matter(host: Host) -> None:
    host.write("boot/config/abctl", "no folder, as if there were no room for one")
    assert host.mount_var(TRIAL) == "ext4"


@pytest.mark.parametrize("garbage_at", [8192, 5 * MIB])
def test_a_formatting_that_was_cut_off_is_done_again(host: Host, garbage_at: int) -> None:
    host.write_at(garbage_at, b"half of a file system")
    host.write_at(SIZE - 4096, FORMATTING)
    assert host.mount_var(PRIMARY) == "ext4"
    assert host.device.read_bytes()[MARK] == bytes(4096)


def test_a_file_system_that_was_not_filled_is_made_again(host: Host) -> None:
    subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "4096", host.device, str(SIZE // 4096 - 1)], check=True)
    host.write_at(SIZE - 4096, FORMATTING)
    before = host.device.read_bytes()
    assert host.mount_var(TRIAL) == "ext4"
    assert host.device.read_bytes() != before


def test_a_file_system_that_an_admin_made_after_a_failed_formatting_is_his(host: Host) -> None:
    host.make_file_system()
    host.write_at(SIZE - 4096, FORMATTING)
    before = host.device.read_bytes()
    assert host.mount_var(TRIAL) == "ext4"
    assert host.device.read_bytes()[2048:] == before[2048:]


# --- what may hold data -----------------------------------------------------------------------------


def test_a_sound_file_system_is_mounted_as_it_is(host: Host) -> None:
    host.make_file_system()
    before = host.device.read_bytes()
    assert host.mount_var(PRIMARY) == "ext4"
    assert host.device.read_bytes()[2048:] == before[2048:]  # a check leaves its time in the superblock


@pytest.mark.parametrize("words", [PRIMARY, TRIAL, MENU])
@pytest.mark.parametrize("offset", [0, 4096, 16 * MIB - 1])
def test_what_is_neither_blank_nor_ext4_is_never_formatted(host: Host, words: str, offset: int) -> None:
    host.set_state(SlotState.UNTESTED)
    host.write_at(offset, b"x")
    before = host.device.read_bytes()
    assert host.mount_var(words) == "memory"
    assert host.device.read_bytes() == before
    assert "not blank" in host.problem


def test_a_signature_lost_in_the_head_is_damage_not_newness(host: Host) -> None:
    """The older system formats it anew, and all is gone."""
    host.make_file_system()
    host.write_at(1024, bytes(1024))
    before = host.device.read_bytes()
    assert host.mount_var(PRIMARY) == "memory"
    assert host.device.read_bytes() == before


@pytest.mark.parametrize("state", [SlotState.GOOD, SlotState.BAD])
def test_zeros_where_there_was_a_file_system_are_damage(host: Host, state: SlotState) -> None:
    host.mount_var(PRIMARY)
    host.write_at(0, bytes(16 * MIB))
    host.write_at(17 * MIB, b"data that can still be saved")
    before = host.device.read_bytes()
    (host.root / "calls").unlink()
    host.set_state(state)
    assert host.mount_var(PRIMARY) == "memory"
    assert host.device.read_bytes() == before


def test_one_copy_that_says_good_is_enough(host: Host) -> None:
    host.note.parent.mkdir()
    host.note.write_text("formatted\n")
    host.set_state(SlotState.UNTESTED, copies=(2,))
    assert host.mount_var(PRIMARY) == "memory"


def test_without_the_config_volume_nobody_knows_whether_zeros_are_damage(host: Host) -> None:
    (host.root / "boot/config").rmdir()
    assert host.mount_var(PRIMARY) == "memory"


# --- what cannot be used ----------------------------------------------------------------------------


def test_a_damaged_file_system_is_not_mounted(host: Host) -> None:
    host.make_file_system()
    superblock = bytearray(host.device.read_bytes()[1024:2048])
    superblock[0x00:0x04] = b"\xff\xff\xff\x00"  # more inodes than there is room for
    host.write_at(1024, bytes(superblock))
    assert host.mount_var(PRIMARY) == "memory"
    assert "e2fsck" in host.problem


@pytest.mark.parametrize("probe", [None, "exit 2"], ids=["blkid knows it", "blkid knows it no more"])
@pytest.mark.parametrize("lost", [1024, 1536], ids=["first sector", "second sector"])
def test_a_superblock_that_a_power_cut_tore_is_written_anew_from_its_copy(
    host: Host, lost: int, probe: str | None
) -> None:
    """It has two sectors, and the journal does not protect it."""
    with host.device.open("r+b") as file:
        file.truncate(160 * MIB)
    host.make_file_system()
    older = host.device.read_bytes()[1024:2048]
    subprocess.run(["tune2fs", "-L", "new", "-e", "remount-ro", "-C", "7", host.device], check=True)
    host.write_at(lost, older[lost - 1024 :][:512])
    assert subprocess.run(["e2fsck", "-p", host.device], capture_output=True, check=False).returncode == 8
    if probe:
        host.play("blkid", probe)
    assert host.mount_var(PRIMARY) == "ext4"
    assert subprocess.run(["e2fsck", "-fn", host.device], capture_output=True, check=False).returncode == 0


def test_a_missing_volume_or_one_that_cannot_be_mounted_leaves_memory(host: Host) -> None:
    host.make_file_system()
    host.play("mount", '[ "$2" = tmpfs ] || [ "$1" = --bind ] || exit 32')
    assert host.mount_var(PRIMARY) == "memory"
    assert "cannot be mounted" in host.problem
    host.device.unlink()
    assert host.mount_var(TRIAL) == "memory"
    assert "is not there" in host.problem


def test_a_problem_of_an_earlier_boot_is_forgotten(host: Host) -> None:
    host.write("run/abctl/var-problem", "it was away\n")
    host.make_file_system()
    assert host.mount_var(PRIMARY) == "ext4"


# --- as mount(8) and systemd start it -------------------------------------------------------------------


@pytest.mark.loop
def test_memory_stays_where_mounts_are_shared_as_systemd_makes_them(tmp_path: Path) -> None:
    """The copy of the release's /var must not take the memory away again when it is unmounted."""
    var = tmp_path / "var"
    (var / "lib").mkdir(parents=True)
    (var / "lib/status").write_text("of the release\n")
    options = "abctl-slot-set=A,abctl-device=/dev/missing"
    script = (
        f'"{SCRIPTS}/abctl-var" abctl-var "{var}" -o {options} && '
        f'mountpoint "{var}" && cat "{var}/lib/status" && touch "{var}/new"'
    )
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "shared", "sh", "-c", f"mount --make-rshared /; {script}"],
        capture_output=True, text=True, check=False, env={**os.environ, "ABCTL_ROOT": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "of the release" in done.stdout
    assert not (var / "new").exists(), "it was on memory"
