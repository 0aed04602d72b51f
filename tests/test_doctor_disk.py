"""Damaged disks under the real commands and the real GRUB: the cause is named, and the advice mends it."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from abctl.cli.wiring import Target, open_machine
from abctl.core import record, settings_place
from abctl.core.bootenv import Copy, EnvFiles, read_boot_env
from abctl.core.events import InstallStarted
from abctl.core.layout import Role
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import MIB, Digest, Version
from abctl.host.disk import DiskGrubPartition, DiskSlots, open_disk
from abctl.update.operate import apply
from tests.disks import attached, lvm, needs_loop, place_of
from tests.disks import run as run_tool
from tests.hostile_repository import Host, make_host
from tests.releases import Release, make_release
from tests.repositories import DAY, Clock, Publisher, make_repository
from tests.test_cli import ABCTL, Said, run
from tests.virtual_host import VirtualHost

pytestmark = pytest.mark.slow

A, B = SlotName.A, SlotName.B
GUEST, LVM = "guestos-small", "hostos-small"


@dataclass
class Stage:
    """What all tests share: a repository that offers 3, and a disk with 1 in A and 2 in B, the primary."""

    repo: Publisher
    image: Path


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Release]:
    folder = tmp_path_factory.mktemp("releases")
    return {
        (layout, version): make_release(folder / layout / version, version, layout=layout)
        for layout, versions in ((GUEST, "123"), (LVM, "1"))
        for version in versions
    }


def make_disk(image: Path, layout: str, release: Release) -> Path:
    arguments = ("--layout", layout, "--release", release.directory, "--sha256", release.manifest_sha256)
    said = run(ABCTL, "disk", "create", image, *arguments)
    assert said.code == 0, said.err
    return image


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, releases: dict[tuple[str, str], Release]) -> Stage:
    folder = tmp_path_factory.mktemp("stage")
    clock = Clock()
    repo = make_repository(folder / "repo", clock=clock)
    repo.publish("2", release=releases[GUEST, "2"].directory, layouts=(GUEST,))
    image = make_disk(folder / "host.img", GUEST, releases[GUEST, "1"])
    host = make_host(folder / "host", repo.root, [f"file://{repo.folder}/"], clock, image=image)
    succeed(host, "upgrade")
    power_on(host)
    succeed(host, "confirm")
    repo.publish("3", release=releases[GUEST, "3"].directory, layouts=(GUEST,))
    return Stage(repo, host.image)


@pytest.fixture
def host(stage: Stage, tmp_path: Path) -> Host:
    """A host that runs 2 in B; 3 is on offer."""
    clock = Clock(stage.repo.clock.now)
    made = make_host(
        tmp_path / "host", stage.repo.root, [f"file://{stage.repo.folder}/"], clock, image=stage.image
    )
    made.booted = B
    return made


# --- what the tests do ------------------------------------------------------------------------------


def succeed(host: Host, *arguments: str) -> Said:
    said = host.abctl(*arguments)
    assert said.code == 0, said.err
    return said


def power_on(host: Host) -> SlotName:
    """Let the real GRUB boot the disk."""
    machine = VirtualHost(host.image)
    host.booted = machine.power_on().slot_set
    return host.booted


def report(host: Host, command: str) -> Any:
    said = host.abctl(command, "--json")
    assert said.code in (0, 3), said.err
    return said.json(command)


def finding(host: Host, name: str) -> Any:
    (found,) = [item for item in report(host, "doctor")["findings"] if item["name"] == name]
    return found


def follow(host: Host, command: str | None) -> Said:
    """Type an advised command as it stands; it has to name the disk as the user did."""
    assert command is not None
    words = shlex.split(command)
    start = ["abctl", *host.command()]
    assert words[: len(start)] == start, command
    return succeed(host, *words[len(start) :])


def assert_named(host: Host, check: str, verdict: str, *words: str) -> Any:
    """status, explain and doctor name the cause; return what the doctor found."""
    for command in ("status", "explain"):
        text = " ".join(host.abctl(command).out.split()).lower()
        for word in words:
            assert word.lower() in text, text
    found = finding(host, check)
    assert found["verdict"] == verdict
    for word in words:
        assert word in found["sentence"]
    assert host.abctl("doctor").code == (3 if verdict == "fault" else 0)
    return found


def assert_sound(host: Host) -> None:
    """Nothing is left: the doctor is content, and GRUB boots what it should."""
    findings = report(host, "doctor")["findings"]
    assert [item for item in findings if item["verdict"] not in ("ok",)] == []
    env = read_boot_env(files_on(host)).env
    assert env is not None
    expected = env.trial.slot_set if env.trial else env.primary
    assert power_on(host) is expected


def files_on(host: Host) -> EnvFiles:
    return DiskGrubPartition(open_disk(host.image)).read()


def spoil(host: Host, *copies: Copy) -> None:
    """Overwrite copies of the boot environment in place, as a failing disk would."""
    disk = open_disk(host.image)
    for copy in copies:
        with disk.open_file(Role.GRUB, copy.value, writable=True) as file:
            file.write(0, memoryview(os.urandom(file.size)))


def fat_of(host: Host) -> str:
    return f"{host.image}@@{place_of(host.image, Role.GRUB).offset}"


@contextmanager
def device_of(image: Path, name: str) -> Iterator[str]:
    disk = open_disk(image)
    (place,) = disk.places_of(next(item for item in disk.layout.volumes if item.name == name))
    with attached(image, place) as device:
        yield device


def debugfs(host: Host, volume: str, *commands: str) -> None:
    with device_of(host.image, volume) as device:
        run_tool("debugfs", "-w", "-f", "-", device, stdin="\n".join(commands) + "\n")


def contents_of(image: Path, name: SlotName) -> list[bytes]:
    slots, found = DiskSlots(open_disk(image)), []
    for part in Part:
        with slots.open_for_reading(Slot(name, part)) as volume:
            found.append(volume.read(0, volume.size))
    return found


# --- a whole host -----------------------------------------------------------------------------------


def test_a_whole_host_is_well_and_neither_looking_nor_repairing_changes_a_byte(host: Host) -> None:
    succeed(host, "check")
    before = host.fingerprint()
    assert finding(host, "room")["sentence"] == "3, the newest that was on offer, fits into the slots"
    assert_sound(host)
    host.booted = B
    for command in (("explain",), ("doctor",), ("doctor", "--repair")):
        succeed(host, *command)
    assert host.fingerprint() == before
    assert "All " in host.abctl("doctor").out


# --- the boot environment ---------------------------------------------------------------------------


def test_one_copy_that_is_destroyed_is_written_anew(host: Host) -> None:
    spoil(host, Copy.FIRST)
    assert_named(host, "boot-env", "fault", "env1/grubenv is damaged")
    follow(host, report(host, "status")["advice"][0]["command"])
    assert_sound(host)


@pytest.mark.parametrize("copies", [(Copy.FIRST, Copy.SECOND), tuple(Copy)], ids=["both", "all"])
def test_a_boot_environment_that_is_destroyed_is_built_from_what_is_left(
    host: Host, copies: tuple[Copy, ...]
) -> None:
    spoil(host, *copies)
    words = ("boot environment is lost",) if len(copies) == 3 else ("env1/grubenv is damaged",)
    assert_named(host, "boot-env", "fault", *words)
    follow(host, report(host, "explain")["advice"][0]["command"])
    assert report(host, "status")["primary"] == "B"
    assert_sound(host)


def test_a_boot_environment_of_another_size_is_made_anew_as_status_advises(host: Host) -> None:
    """From outside, settle could not write it."""
    garbage = host.image.with_name("garbage")
    garbage.write_bytes(os.urandom(1024))
    for copy in Copy:
        run_tool("mcopy", "-o", "-i", fat_of(host), garbage, f"::{copy.value}")
    assert_named(host, "boot-env", "fault", "boot environment is lost")
    said = follow(host, report(host, "status")["advice"][0]["command"])
    assert "Repaired: Made env1/grubenv" in said.out
    assert report(host, "status")["primary"] == "B"
    assert_sound(host)


def test_copies_that_are_gone_are_made_anew_by_the_doctor(host: Host) -> None:
    run_tool("mdel", "-i", fat_of(host), "::env1/grubenv", "::env2/grubenv")
    assert_named(host, "boot-env", "fault", "env1/grubenv is missing")
    said = follow(host, finding(host, "boot-env")["command"])
    assert "Repaired: Made env" in said.out
    assert_sound(host)


def test_a_copy_that_abctl_could_not_overwrite_whole_is_made_anew(host: Host) -> None:
    """GRUB reads it, but no write of a sector can replace it."""
    larger = host.image.with_name("larger")
    larger.write_bytes((files_on(host).second or b"").ljust(2048, b"#"))
    run_tool("mcopy", "-o", "-i", fat_of(host), larger, "::env2/grubenv")
    found = finding(host, "grub-partition")
    assert (found["verdict"], "2048 bytes instead of 512" in found["sentence"]) == ("fault", True)
    follow(host, found["command"])
    assert_sound(host)


# --- the grub partition -----------------------------------------------------------------------------


def test_a_wrong_grub_cfg_is_put_back(host: Host) -> None:
    wrong = host.image.with_name("grub.cfg")
    wrong.write_text("set timeout=1\n")
    run_tool("mcopy", "-o", "-i", fat_of(host), wrong, "::grub.cfg")
    assert_named(host, "grub-scripts", "fault", "on the grub partition, grub.cfg is")
    explained = report(host, "explain")
    for said in (explained["next_boot"]["sentence"], explained["later"]):
        assert said == "what the next power-on boots is not known, for GRUB does not run abctl's scripts"
    follow(host, report(host, "explain")["advice"][0]["command"])
    assert_sound(host)


def test_kernels_that_grub_cannot_look_for_are_unknown_and_not_missing(host: Host) -> None:
    """A host of the older system has no slots.cfg, and its kernels are all right."""
    run_tool("mdel", "-i", fat_of(host), "::slots.cfg")
    found = finding(host, "kernels")
    assert found["verdict"] == "unknown"
    assert "abctl adopt" in found["sentence"]


def test_a_script_of_another_version_is_told_from_one_that_decides_wrongly(host: Host) -> None:
    select = (Path(__file__).parents[1] / "grub/select.cfg").read_text()
    script = host.image.with_name("select.cfg")
    for text, verdict in ((select + "# of another version\n", "warning"), ("set slot=A\n", "fault")):
        script.write_text(text)
        run_tool("mcopy", "-o", "-i", fat_of(host), script, "::select.cfg")
        assert finding(host, "grub-scripts")["verdict"] == verdict
    said = succeed(host, "doctor", "--repair")
    assert "Repaired: Put the scripts there" in said.out
    assert_sound(host)


# --- slot sets --------------------------------------------------------------------------------------


def test_a_primary_without_a_kernel_gives_way_and_gets_a_release_again(host: Host) -> None:
    debugfs(host, "B_boot", "rm /vmlinuz")
    assert_named(host, "kernels", "fault", "kernel")
    explained = report(host, "explain")
    assert "the primary B (2) holds no kernel" in explained["headline"]
    assert explained["next_boot"]["sentence"].endswith("so it is A (1) that starts")
    follow(host, finding(host, "kernels")["command"])
    assert power_on(host) is A
    status = report(host, "status")
    assert (status["primary"], status["verdict"]) == ("A", "attention")
    for item in status["advice"]:
        follow(host, item["command"])
    assert power_on(host) is B
    succeed(host, "confirm")
    assert host.version() == "3"
    assert_sound(host)


def test_where_both_slot_sets_lost_their_kernels_the_newest_release_is_installed_once_more(
    host: Host,
) -> None:
    succeed(host, "upgrade")
    assert power_on(host) is A
    succeed(host, "confirm")
    for volume in ("A_boot", "B_boot"):
        debugfs(host, volume, "rm /vmlinuz")
    status = report(host, "status")
    assert "nothing boots" in status["headline"]
    (advised,) = [item["command"] for item in status["advice"] if "upgrade" in item["command"]]
    follow(host, advised)
    assert power_on(host) is B
    succeed(host, "confirm")
    assert host.version() == "3"
    assert report(host, "status")["verdict"] == "attention"  # A has no kernel still


def test_what_mends_kernels_does_not_hang_on_what_else_is_wrong(host: Host) -> None:
    """A plain upgrade would be refused for want of a newer release."""
    succeed(host, "upgrade")
    assert power_on(host) is A
    succeed(host, "confirm")
    for volume in ("A_boot", "B_boot"):
        debugfs(host, volume, "rm /vmlinuz")
    spoil(host, *Copy)
    assert "kernel" not in report(host, "status")["headline"]
    command = finding(host, "kernels")["command"]
    assert "--override same" in command
    assert host.abctl("doctor", "--repair").code == 3, "the kernels are still away"
    follow(host, command)
    assert power_on(host) is B


def test_a_kernel_whose_end_cannot_be_read_is_none_to_grub(host: Host) -> None:
    """The name and the first bytes are there; abctl's own look sees nothing of it."""
    with device_of(host.image, "A_boot") as device:
        said = run_tool("debugfs", "-R", "blocks /vmlinuz", device)
        last = said.split()[-1]
    debugfs(host, "A_boot", f"sif /vmlinuz block[1] {1 << 30}", "sif /vmlinuz flags 0")
    assert last
    assert finding(host, "kernels")["verdict"] == "fault"


@needs_loop
@pytest.mark.parametrize("upgraded", [False, True], ids=["empty", "good"])
def test_a_volume_that_was_removed_comes_back_with_every_byte(
    tmp_path: Path, releases: dict[tuple[str, str], Release], upgraded: bool
) -> None:
    """Also where it is of a slot set that is empty: the next upgrade would fail."""
    image = make_disk(tmp_path / "host.img", LVM, releases[LVM, "1"])
    host = Host(image, tmp_path, Clock(int(time.time())))
    (tmp_path / "config.toml").write_text("")
    if upgraded:
        one = releases[LVM, "1"]
        (tmp_path / "config.toml").write_text('[unsigned]\nallow = "admin"\n')
        succeed(host, "upgrade", str(one.directory), "--sha256", one.manifest_sha256)
        power_on(host)
        succeed(host, "confirm")
    before = contents_of(image, B)
    home = open_disk(image).table.find("hostlvm")
    assert home
    with attached(image, home.extent) as device:
        lvm("lvremove", device, "-y", "hostlvm/B_root")
    found = assert_named(host, "volumes", "fault", "no logical volume B_root")
    said = follow(host, found["command"])
    assert "Made B_root anew" in " ".join(said.out.split())
    assert contents_of(image, B) == before
    assert finding(host, "volumes")["verdict"] == "warning"  # LVM gave it another UUID
    assert report(host, "status")["verdict"] == "ok"
    assert power_on(host) is (B if upgraded else A)


# --- time and trust ---------------------------------------------------------------------------------


def test_expired_metadata_is_named_until_newer_was_fetched(host: Host, stage: Stage, tmp_path: Path) -> None:
    repo = Publisher(tmp_path / "repo", host.clock, stage.repo.keys)
    shutil.copytree(stage.repo.folder, repo.folder)
    host.configure(f'[repository]\nmirrors = ["file://{repo.folder}/"]\n')
    succeed(host, "check")
    repo.expire("timestamp")
    found = assert_named(host, "repository", "warning", "timestamp metadata expired")
    repo.renew(targets=True)
    follow(host, found["command"])
    assert_sound(host)


def test_a_clock_that_is_behind_is_named_until_it_is_set(host: Host) -> None:
    succeed(host, "check")
    host.clock.now -= 40 * DAY
    found = assert_named(host, "clock", "fault", "the clock is behind")
    assert found["command"] == "timedatectl set-ntp true"
    host.clock.now += 40 * DAY
    assert_sound(host)


# --- the config volume ------------------------------------------------------------------------------


def test_a_full_config_volume_is_named_and_keeps_no_upgrade_from_its_end(host: Host) -> None:
    filler = host.image.with_name("filler")
    filler.write_bytes(b"x" * 64 * MIB)
    with device_of(host.image, "config") as device:
        subprocess.run(
            ["debugfs", "-w", "-R", f"write {filler} filler", device], capture_output=True, check=False
        )
    found = assert_named(host, "config-space", "warning", "the config volume is full", "/filler takes")
    succeed(host, "upgrade")
    assert power_on(host) is A
    succeed(host, "confirm")
    assert host.version() == "3"
    assert report(host, "status")["advice"][-1]["command"] == found["command"]
    run_tool(*shlex.split(found["command"]))
    assert_sound(host)


def test_damaged_settings_are_named_and_taken_from_their_good_copy(host: Host) -> None:
    for path, text in ((settings_place.PATH, '{"version": 1'), (settings_place.GOOD_PATH, '{"version": 1}')):
        source = host.image.with_name("settings")
        source.write_text(text)
        debugfs(host, "config", f"write {source} {path}")
    found = assert_named(host, "settings", "warning", "it is not JSON", "the last good copy counts")
    follow(host, report(host, "status")["advice"][0]["command"])
    said = follow(host, found["command"])
    assert "Repaired: Wrote the settings anew" in said.out
    assert_sound(host)


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_a_record_that_is_lost_is_begun_anew(host: Host, how: str) -> None:
    if how == "damaged":
        with open_disk(host.image).open_file(Role.CONFIG, record.PATH, writable=True) as file:
            file.write(0, memoryview(b"?" * file.size))
    else:
        debugfs(host, "config", f"rm {record.PATH}")
    found = finding(host, "config-volume")
    assert (found["verdict"], how in found["sentence"]) == ("fault" if how == "damaged" else "warning", True)
    follow(host, found["command"])
    assert_sound(host)
    host.booted = B
    succeed(host, "mark-bad", "A", "--reason", "to see that it is kept")
    assert "to see that it is kept" in host.abctl("history").out
    with device_of(host.image, "config") as device:
        run_tool("e2fsck", "-fn", device)


# --- what was left in the middle --------------------------------------------------------------------


def test_an_upgrade_that_did_not_end_is_started_again(host: Host) -> None:
    with open_machine(Target(host.image, booted=B), write=True) as machine:
        apply(machine.ports, InstallStarted(machine.ports.now(), Version("3"), Digest("0" * 64)))
    found = assert_named(host, "state", "warning", "was started and has not come to its end")
    follow(host, found["command"])
    assert power_on(host) is A
    succeed(host, "confirm")
    assert_sound(host)


HOLD = """
import sys
from pathlib import Path
from abctl.host.lock import lock_disk
with lock_disk(Path(sys.argv[1])):
    print("locked", flush=True)
    input()
"""


@contextmanager
def killed_at_the_end(process: subprocess.Popen[str]) -> Iterator[None]:
    """A stopped process would be waited for in vain."""
    try:
        yield
    finally:
        process.kill()


def test_an_abctl_that_was_stopped_is_named_and_let_go_on(host: Host) -> None:
    with (
        subprocess.Popen(
            [sys.executable, "-c", HOLD, host.image], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
        killed_at_the_end(process),
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        assert f"pid {process.pid}" in " ".join(host.abctl("status").out.split())
        process.send_signal(19)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        found = assert_named(host, "lock", "fault", f"pid {process.pid}", "was stopped in the middle")
        busy = host.abctl("settle")
        assert busy.code == 15
        assert f"was stopped in the middle of its work on {host.image}: let it go on" in busy.err
        assert f"'{report(host, 'status')['advice'][0]['command']}'" in busy.err
        assert shlex.split(found["command"]) == ["kill", "-CONT", str(process.pid)]
        run_tool(*shlex.split(found["command"]))
        process.communicate("\n")
    assert_sound(host)


# --- disks that are no host -------------------------------------------------------------------------


@needs_loop
def test_a_disk_without_its_volume_group_is_looked_at_as_far_as_that_goes(
    tmp_path: Path, releases: dict[tuple[str, str], Release]
) -> None:
    image = make_disk(tmp_path / "host.img", LVM, releases[LVM, "1"])
    home = open_disk(image).table.find("hostlvm")
    assert home
    with image.open("r+b") as file:
        file.seek(home.extent.offset)
        file.write(bytes(MIB))
    said = run(ABCTL, "--disk", image, "doctor", "--json")
    findings = {item["name"]: item for item in said.json("doctor")["findings"]}
    assert said.code == 3
    assert list(findings) == ["state", "lock", "partitions", "volumes"]
    assert "no volume group hostlvm" in findings["volumes"]["sentence"]


def test_a_machine_that_is_no_host_is_told_so() -> None:
    said = run(ABCTL, "doctor")
    assert said.code == 10
    assert run(ABCTL, "explain").code == 10
