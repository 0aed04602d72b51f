"""From the ESP to a kernel: the signed GRUB's first script, in the real GRUB, on whole disks."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from abctl.core.layout import Role
from abctl.host.esp import make_esp_files
from abctl.host.layouts import read_layout
from tests.disks import GUEST, HOST, copy_image, needs_loop, place_of, run
from tests.trees import make_tree

pytestmark = pytest.mark.slow

# What firmware leaves to GRUB; two functions stand in for what grub-emu does not have.
_PREAMBLE = """\
set root=({started},gpt1)
set prefix=({started},gpt1)/EFI/debian
set cmdpath=({started},gpt1)/EFI/BOOT
set timeout=0
export timeout
function linux {{
    if [ -f "$1" ]; then set said="$*"
    else false
    fi
}}
function initrd {{
    echo "@@$said@@"
    reboot
}}
"""


def make_disk(folder: Path, layout: str) -> Path:
    tree = make_tree(folder / f"tree-{layout}")
    disk = folder / f"{layout}.img"
    command = (sys.executable, "-m", "abctl", "build", "image", "--tree", tree, "--no-install-abctl")
    where = ("--layout", layout, "--output", folder / f"made-{layout}", "--disk", disk)
    run(*command, "--version", "1.0.0", *where, "--quiet")
    return disk


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_disk(tmp_path_factory.mktemp("esp"), GUEST)


def start(folder: Path, started: int, *disks: Path) -> str:
    """Let GRUB start from the ESP of one of the disks; return what the kernel is told, or what GRUB said."""
    with_script = copy_from_esp(disks[started], "EFI/debian/grub.cfg")
    # The pause before GRUB starts over would only be waited for.
    script = with_script.decode().replace("sleep 60", "true")
    (folder / "grub.cfg").write_text(_PREAMBLE.format(started=f"hd{started}") + script)
    device_map = "".join(f"(hd{number}) {disk}\n" for number, disk in enumerate(disks))
    (folder / "device.map").write_text(device_map)
    done = subprocess.run(
        ["grub-emu", "-d", str(folder), "-m", f"{folder}/device.map"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        env={**os.environ, "TERM": "dumb"},
        check=False,
    )
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stdout.decode("utf-8", "replace"))
    found = re.search(r"@@(.*?)@@", said, re.DOTALL)
    return " ".join((found[1] if found else said).split())


def copy_from_esp(disk: Path, path: str) -> bytes:
    place = place_of(disk, Role.ESP)
    return subprocess.run(
        ["mtype", "-i", f"{disk}@@{place.offset}", f"::{path}"], capture_output=True, check=True
    ).stdout


def remove_grub_files(disk: Path, *names: str) -> None:
    place = place_of(disk, Role.GRUB)
    for name in names:
        subprocess.run(["mdel", "-i", f"{disk}@@{place.offset}", f"::{name}"], check=True)


def test_the_esp_has_what_debian_signed(guest: Path) -> None:
    for path, content in make_esp_files(read_layout(GUEST)).items():
        assert copy_from_esp(guest, path) == content, path
    assert copy_from_esp(guest, "EFI/BOOT/BOOTX64.EFI")[:2] == b"MZ"


@pytest.mark.parametrize("efi", [(), ("--efi",)])
def test_a_disk_made_from_a_release_starts_only_where_that_is_asked_for(
    guest: Path, tmp_path: Path, efi: tuple[str, ...]
) -> None:
    release, disk = guest.with_name(f"made-{GUEST}") / "release", tmp_path / "disk.img"
    digest = hashlib.sha256((release / "manifest.json").read_bytes()).hexdigest()
    command = (sys.executable, "-m", "abctl", "disk", "create", disk, "--layout", GUEST, "--quiet")
    run(*command, "--release", release, "--sha256", digest, *efi)
    place = place_of(disk, Role.ESP)
    found = subprocess.run(
        ["mdir", "-i", f"{disk}@@{place.offset}", "::EFI/BOOT"], check=False, capture_output=True
    )
    assert (found.returncode == 0) is bool(efi)
    if efi:
        assert start(tmp_path, 0, disk).startswith("(hd0,gpt4)/vmlinuz")


def test_a_disk_starts_slot_set_a(guest: Path, tmp_path: Path) -> None:
    line = start(tmp_path, 0, guest)
    assert line.startswith("(hd0,gpt4)/vmlinuz root=PARTUUID=")
    assert "dfinity.system=A abctl.why=primary" in line


@needs_loop
def test_a_disk_with_a_volume_group_starts_too(tmp_path: Path) -> None:
    line = start(tmp_path, 0, make_disk(tmp_path, HOST))
    assert line.startswith("(lvm/hostlvm-A_boot)/vmlinuz root=/dev/mapper/hostlvm-A_root")


@pytest.mark.parametrize("started", [0, 1])
def test_of_two_like_disks_the_one_that_was_started_counts(guest: Path, tmp_path: Path, started: int) -> None:
    """A search by name alone would always take the first."""
    other = copy_image(guest, tmp_path / "other.img")
    assert start(tmp_path, started, guest, other).startswith(f"(hd{started},gpt4)/vmlinuz")


@pytest.mark.parametrize("lacking", ["grub.cfg", "slots.cfg"])
def test_a_disk_without_a_grub_partition_of_ours_gives_way_to_one_that_has_it(
    guest: Path, tmp_path: Path, lacking: str
) -> None:
    """The ESP may be on another disk than the rest, or its partitions in another order."""
    other = copy_image(guest, tmp_path / "other.img")
    remove_grub_files(other, lacking)
    place = place_of(other, Role.GRUB)
    with other.open("r+b") as file:
        file.seek(place.offset + 39)  # the serial number of a FAT16
        file.write(b"none")
    assert start(tmp_path, 0, other, guest).startswith("(hd1,gpt4)/vmlinuz")


def test_without_any_grub_partition_grub_says_so_and_starts_over(guest: Path, tmp_path: Path) -> None:
    other = copy_image(guest, tmp_path / "other.img")
    place = place_of(other, Role.GRUB)
    with other.open("r+b") as file:
        file.seek(place.offset)
        file.write(bytes(4096))
    assert "abctl: no grub partition can be read" in start(tmp_path, 0, other)


def test_the_serial_number_is_that_of_the_file_system(guest: Path) -> None:
    script = copy_from_esp(guest, "EFI/debian/grub.cfg").decode()
    place = place_of(guest, Role.GRUB)
    said = run("blkid", "-p", "-O", str(place.offset), "-s", "UUID", "-o", "value", str(guest))
    assert f"--set=abctl_found {said.strip().lower()}" in script
