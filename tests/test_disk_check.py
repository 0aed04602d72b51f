"""What is different between a disk and a layout, and disks that cannot be used."""

import os
import re
from pathlib import Path

import pytest

from abctl.core.compare import Severity
from abctl.core.found import Extent
from abctl.core.units import MIB
from abctl.errors import AbctlError, DiskUnusable
from abctl.host.block import ExtentVolume
from abctl.host.disk import check_disk, open_disk
from abctl.host.layouts import read_layout
from tests.disks import (
    GUEST,
    HOST,
    attached,
    copy_of,
    lvm,
    needs_loop,
    run,
)


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    return copy_of(GUEST, tmp_path)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return copy_of(HOST, tmp_path)


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


def test_damage_anywhere_in_the_first_mib_is_an_error_of_abctl_or_nothing(guest: Path) -> None:
    """Whatever stands where the table was, no foreign error gets out."""
    for pattern in (bytes(MIB), b"\xff" * MIB, os.urandom(MIB)):
        with ExtentVolume(guest, [Extent(0, MIB)], "disk", writable=True) as volume:
            volume.write(0, memoryview(pattern))
        with pytest.raises(AbctlError):
            open_disk(guest)
