"""Making disks: what the layout says, the same bytes each time, and nothing where it fails."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from abctl.core.layout import Role
from abctl.core.slot import ALL_SLOTS, Slot
from abctl.core.units import GIB, MIB, Bytes
from abctl.errors import BadLayout, WouldOverwrite, WriteFailed
from abctl.host.create import create_disk
from abctl.host.disk import DiskGrubPartition, DiskSlots, check_disk, open_disk
from abctl.host.layouts import read_layout
from tests.disks import (
    A_BOOT,
    B_BOOT,
    B_ROOT,
    GUEST,
    HOST,
    KINDS,
    NEEDS_LOOP,
    STATE,
    attached,
    copy_of,
    cut_out,
    make_image,
    needs_loop,
    run,
)

pytestmark = pytest.mark.slow


@pytest.fixture(params=KINDS)
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A disk of each kind, of the test's own."""
    return copy_of(request.param, tmp_path)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return copy_of(HOST, tmp_path)


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
    assert (image.parent / "record").read_bytes() == STATE.config["abctl/record"]
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
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_image(tmp_path / "disk.img", name)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("HOME", str(tmp_path))
    again = make_image(tmp_path / "another name.img", name)
    run("cmp", first, again)


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


def test_the_size_that_is_said_to_be_needed_is_enough(tmp_path: Path) -> None:
    layout = read_layout(GUEST)
    with pytest.raises(BadLayout) as caught:
        layout.fit_to(Bytes(400 * MIB))
    needed = int(re.findall(r"needs a disk of (\d+) bytes", str(caught.value))[0])
    with create_disk(tmp_path / "disk.img", layout, STATE, size=Bytes(needed)) as disk:
        assert disk.table.disk_size == needed
    assert check_disk(tmp_path / "disk.img")[1] == ()


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
