"""Defects of the older system that show on a disk, and hosts that come from it; with the real commands."""

from itertools import product
from pathlib import Path

import pytest

from abctl.cli.wiring import Target, open_machine
from abctl.core.bootenv import (
    OLDER_BLOCK_SIZE,
    BootEnv,
    Copy,
    EnvFiles,
    Origin,
    Trial,
    Why,
    encode,
    read_boot_env,
)
from abctl.core.envblock import make_block, parse_block
from abctl.core.grub import next_boot
from abctl.core.layout import Role
from abctl.core.slot import SlotName
from abctl.errors import Busy, NothingToConfirm, StateUnwritable
from abctl.host.disk import DiskGrubPartition, open_disk
from abctl.host.files import find_file
from abctl.host.lock import lock_disk
from tests.disks import copy_image, place_of
from tests.disks import run as run_tool
from tests.invariants import check
from tests.releases import Release, make_release
from tests.states import files_of
from tests.stories import ONE, TWO
from tests.test_cli import ABCTL, Machine, assert_fails, run
from tests.test_defects import start_real_grub
from tests.world import Content, State, World

pytestmark = pytest.mark.slow

A, B = SlotName.A, SlotName.B


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Release]:
    folder = tmp_path_factory.mktemp("releases")
    return {version: make_release(folder / version, version, layout="guestos-small") for version in "123"}


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory, releases: dict[str, Release]) -> Path:
    """1 is in slot set A and good, 2 in slot set B is the primary."""
    image = tmp_path_factory.mktemp("guest") / "host.img"
    one = releases["1"]
    arguments = ("--layout", "guestos-small", "--release", one.directory, "--sha256", one.manifest_sha256)
    assert run(ABCTL, "disk", "create", image, *arguments).code == 0
    machine = Machine(image)
    assert machine.upgrade(releases["2"]).code == 0
    machine.power_on()
    assert machine.abctl("confirm").code == 0
    return image


@pytest.fixture
def disk(upgraded: Path, tmp_path: Path) -> Machine:
    return Machine(copy_image(upgraded, tmp_path / "host.img"), B)


def files_on(image: Path) -> EnvFiles:
    return DiskGrubPartition(open_disk(image)).read()


def put_on_grub_partition(image: Path, files: dict[Copy, bytes | None]) -> None:
    """Make these files anew, or remove them, with the tools of the file system."""
    fat = f"{image}@@{place_of(image, Role.GRUB).offset}"
    for copy, content in files.items():
        if content is None:
            run_tool("mdel", "-i", fat, f"::{copy}")
            continue
        path = image.with_name("new-copy")
        path.write_bytes(content)
        run_tool("mcopy", "-o", "-i", fat, path, f"::{copy}")


def env_files(env: BootEnv) -> dict[Copy, bytes | None]:
    return {copy: files_of(env)[copy] for copy in Copy}


def grub_partition_without_env(image: Path) -> bytes:
    """Return all its bytes, with zeros where the copies of the boot environment are."""
    disk = open_disk(image)
    home = disk.layout.find_role(Role.GRUB)
    assert home
    with disk.open_volume(home) as volume:
        content = bytearray(volume.read(0, volume.size))
        for copy in Copy:
            for place in find_file(volume, home.filesystem, copy.value) or ():
                content[place.offset : place.end] = bytes(place.length)
    return bytes(content)


# --- defects ----------------------------------------------------------------------------------------


def test_d8_no_command_runs_what_stands_on_the_disk(disk: Machine, tmp_path: Path) -> None:
    script = f'$(touch {tmp_path}/pwned)"; touch {tmp_path}/pwned; `touch {tmp_path}/pwned` #'
    older = make_block({"boot_alternative": "A", "boot_cycle": "stable", "other": script}, OLDER_BLOCK_SIZE)
    put_on_grub_partition(disk.image, {Copy.FIRST: b"#" * 512, Copy.SECOND: b"#" * 512, Copy.OLDER: older})
    for command in ("status", "settle", "rehearse"):
        assert disk.abctl(command).code == 0
    assert not (tmp_path / "pwned").exists()
    assert (parse_block(files_on(disk.image).older) or {})["other"] == script


def test_d9_a_confirm_that_did_nothing_fails(disk: Machine) -> None:
    assert_fails(disk.abctl("confirm"), NothingToConfirm.exit_code, "nothing is on trial")


def test_d9_a_confirm_that_could_not_be_written_fails(disk: Machine) -> None:
    block = encode(BootEnv(A, Trial(B, 2), generation=9))
    # Files of this size are read, and never written.
    put_on_grub_partition(disk.image, dict.fromkeys(Copy, block.ljust(2048, b"#")))
    said = disk.abctl("confirm")
    assert_fails(said, StateUnwritable.exit_code, "the boot environment cannot be written")
    assert said.out == ""
    assert next_boot(files_on(disk.image)).why is Why.TRIAL


def test_d10_whoever_changes_a_disk_has_it_alone(disk: Machine, tmp_path: Path) -> None:
    target = Target(disk.image, booted=B)
    with open_machine(target, write=True):
        with pytest.raises(Busy, match="another abctl"), lock_disk(disk.image, tmp_path):
            pass
        for command in (("confirm",), ("rollback",), ("settle",), ("mark-bad", "A")):
            assert_fails(disk.abctl(*command), Busy.exit_code, "another abctl")
        assert disk.abctl("status").code == 0


@pytest.mark.slow
def test_d12_nothing_on_the_grub_partition_changes_but_the_boot_environment(
    disk: Machine, releases: dict[str, Release]
) -> None:
    """Not a script, not a directory, not a table of clusters: a life overwrites three files in place."""
    before = grub_partition_without_env(disk.image)
    assert disk.upgrade(releases["3"]).code == 0
    for booted in (A, A, A, B):
        disk.power_on()
        assert disk.booted is booted
    for command in ("settle", "rollback"):
        disk.abctl(command)
    assert disk.abctl("allow", "3").code == 0
    assert disk.upgrade(releases["3"]).code == 0
    disk.power_on()
    assert disk.abctl("confirm").code == 0
    assert grub_partition_without_env(disk.image) == before


@pytest.mark.parametrize(
    "fault",
    ["pwrite64:retval=512", "fsync:error=EIO", "pwrite64:error=EIO"],
    ids=["dropped", "fsync", "error"],
)
def test_a_confirm_is_on_the_medium_before_it_is_said(disk: Machine, fault: str) -> None:
    """The disk drops a write, or fails: the trial is not confirmed, and that is said."""
    put_on_grub_partition(disk.image, env_files(BootEnv(A, Trial(B, 2), generation=9)))
    before = files_on(disk.image)
    call = fault.partition(":")[0]
    tracer = (
        "strace",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-o",
        "/dev/null",
        "-P",
        disk.image,
        "-e",
        f"trace={call}",
    )
    said = run(*tracer, "-e", f"inject={fault}", *disk.command("confirm"))
    assert_fails(said, StateUnwritable.exit_code, "the boot environment cannot be written")
    assert "is confirmed" not in said.out
    if "fsync" not in fault:
        assert files_on(disk.image) == before


# --- a host of the older system ---------------------------------------------------------------------

CYCLES = (None, "install", "stable", "first_boot", "failsafe_check")


def older_block(named: SlotName, cycle: str | None) -> bytes:
    values = {"boot_alternative": named.value} | ({"boot_cycle": cycle} if cycle else {})
    return make_block(values, OLDER_BLOCK_SIZE)


def what_the_older_system_boots(named: SlotName, cycle: str | None) -> list[SlotName]:
    """Return what its own table says of three power-ons that nobody confirms."""
    if cycle == "first_boot":
        return [named, named.other, named.other]
    return [named.other if cycle == "failsafe_check" else named] * 3


def power_ons(world: World) -> list[SlotName | None]:
    return [world.power_on().booted for _ in range(3)]


def a_host_of_the_older_system(named: SlotName, cycle: str | None) -> World:
    files = EnvFiles(older=older_block(named, cycle))
    contents = {A: Content.of(ONE), B: Content.of(TWO)}
    return World(State(files, contents), start_real_grub)


@pytest.mark.parametrize(("named", "cycle"), list(product(SlotName, CYCLES)))
def test_grub_alone_boots_what_the_older_system_would_have(named: SlotName, cycle: str | None) -> None:
    """As long as no command of abctl changed anything, its grubenv alone counts."""
    world = a_host_of_the_older_system(named, cycle)
    assert [world.start_grub().booted for _ in range(3)] == what_the_older_system_boots(named, cycle)


@pytest.mark.parametrize(("named", "cycle"), list(product(SlotName, CYCLES)))
def test_the_first_boot_takes_a_host_over_without_losing_its_place(
    named: SlotName, cycle: str | None
) -> None:
    world = a_host_of_the_older_system(named, cycle)
    assert power_ons(world) == what_the_older_system_boots(named, cycle)
    reading = read_boot_env(world.state.files)
    assert (reading.origin, reading.in_step) == (Origin.BOTH, True)
    check(world.state)


@pytest.mark.parametrize("named", SlotName)
def test_a_first_boot_of_the_older_system_can_be_confirmed(named: SlotName) -> None:
    world = a_host_of_the_older_system(named, "first_boot")
    assert world.power_on().booted is named
    world.confirm()
    assert power_ons(world) == [named] * 3


@pytest.mark.slow
@pytest.mark.parametrize("is_adopted", [False, True])
@pytest.mark.parametrize(("named", "cycle"), list(product(SlotName, CYCLES)))
def test_a_disk_of_the_older_system_boots_as_it_did_before_and_after_it_is_adopted(
    disk: Machine, named: SlotName, cycle: str | None, is_adopted: bool
) -> None:
    put_on_grub_partition(
        disk.image, {Copy.FIRST: None, Copy.SECOND: None, Copy.OLDER: older_block(named, cycle)}
    )
    disk.booted = None
    if is_adopted:
        assert disk.abctl("adopt").code == 0
        assert read_boot_env(files_on(disk.image)).in_step
    booted: list[SlotName | None] = []
    for _ in range(3):
        disk.power_on()
        booted.append(disk.booted)
    assert booted == what_the_older_system_boots(named, cycle)


@pytest.mark.parametrize("cycle", ["stable", "failsafe_check"])
def test_offline_a_disk_without_copies_is_read_and_a_change_is_an_error_that_names_them(
    disk: Machine, cycle: str
) -> None:
    """Offline only ``adopt`` makes files; all else overwrites what is there since ``disk create``."""
    put_on_grub_partition(
        disk.image, {Copy.FIRST: None, Copy.SECOND: None, Copy.OLDER: older_block(A, cycle)}
    )
    primary = A if cycle == "stable" else B
    disk.booted = primary
    assert disk.abctl("status", "--json").json("status")["primary"] == primary
    before = files_on(disk.image)
    said = disk.abctl("settle")
    assert_fails(said, StateUnwritable.exit_code, "env1/grubenv is missing", "env2/grubenv is missing")
    assert files_on(disk.image) == before


def test_offline_a_disk_whose_copies_say_nothing_is_taken_over(disk: Machine) -> None:
    put_on_grub_partition(
        disk.image, {Copy.FIRST: b"#" * 512, Copy.SECOND: b"#" * 512, Copy.OLDER: older_block(A, "stable")}
    )
    disk.power_on()
    assert disk.booted is A
    assert disk.abctl("settle").code == 0
    assert read_boot_env(files_on(disk.image)).in_step
    disk.power_on()
    assert disk.booted is A
