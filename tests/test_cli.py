"""The commands as a user meets them: real processes, real disk images, and what is on the disk afterwards."""

import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from abctl.core.bootenv import read_boot_env
from abctl.core.layout import Role
from abctl.core.slot import Part, Slot, SlotName
from abctl.host.disk import DiskGrubPartition, DiskSlots, open_disk
from tests.disks import NEEDS_LOOP, attached, copy_image, fingerprint
from tests.hostile_server import Behaviour, HostileServer
from tests.releases import Archive, Release, make_archive, make_release
from tests.virtual_host import VirtualHost

ABCTL = Path(sys.executable).with_name("abctl")
SCHEMAS = Path(__file__).resolve().parents[1] / "schemas"
LAYOUTS = (pytest.param("hostos-small", marks=NEEDS_LOOP), "guestos-small")
ZEROS = "0" * 64


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    def json(self, schema: str) -> Any:
        """Return the report, after comparing it with its schema."""
        report = json.loads(self.out)
        jsonschema.validate(report, json.loads((SCHEMAS / f"{schema}.schema.json").read_text()))
        return report


@dataclass
class Machine:
    """A disk image under the real command; ``booted`` is what runs from it."""

    image: Path
    booted: SlotName | None = SlotName.A

    def command(self, *arguments: str | Path) -> list[str]:
        booted = ["--booted", self.booted] if self.booted else []
        return [str(ABCTL), "--disk", str(self.image), *booted, *map(str, arguments)]

    def abctl(self, *arguments: str | Path) -> Said:
        return run(*self.command(*arguments))

    def upgrade(self, release: Release, *options: str) -> Said:
        return self.abctl("upgrade", release.directory, "--sha256", release.manifest_sha256, *options)

    def power_on(self) -> None:
        host = VirtualHost(self.image)
        host.power_on()
        self.booted = host.booted

    def fingerprint(self) -> str:
        return fingerprint(self.image)

    def slot(self, name: SlotName, part: Part) -> bytes:
        with DiskSlots(open_disk(self.image)).open_for_reading(Slot(name, part)) as volume:
            return volume.read(0, volume.size)


def run(*command: str | Path) -> Said:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return Said(done.returncode, done.stdout, done.stderr)


def assert_fails(said: Said, code: int, *words: str) -> None:
    """The error is one line that has these words, and its own exit code."""
    lines = [line for line in said.err.splitlines() if line.startswith("abctl: error: ")]
    assert len(lines) == 1, said.err
    assert said.code == code, said.err
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Release]:
    folder = tmp_path_factory.mktemp("releases")
    kernel = folder / "kernel"
    kernel.write_bytes(b"kernel" * 1000)
    return {
        (version, layout): make_release(folder / layout / version, version, kernel=kernel, layout=layout)
        for version in ("1", "2", "3")
        for layout in ("hostos-small", "guestos-small")
    }


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return make_archive(tmp_path_factory.mktemp("archive") / "update-img.tar.zst", "2")


@pytest.fixture(scope="module")
def fresh(
    tmp_path_factory: pytest.TempPathFactory, releases: dict[tuple[str, str], Release]
) -> Callable[[str], Path]:
    """Return the image of a new disk with this layout, and release 1 in slot set A."""
    made: dict[str, Path] = {}

    def make(layout: str) -> Path:
        if layout not in made:
            image = tmp_path_factory.mktemp(layout) / "host.img"
            first = releases["1", layout]
            arguments = ("--layout", layout, "--release", first.directory, "--sha256", first.manifest_sha256)
            said = run(ABCTL, "disk", "create", image, *arguments)
            assert said.code == 0, said.err
            made[layout] = image
        return made[layout]

    return make


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def machine(fresh: Callable[[str], Path], layout: str, tmp_path: Path) -> Machine:
    return Machine(copy_image(fresh(layout), tmp_path / "host.img"))


@pytest.fixture
def two(releases: dict[tuple[str, str], Release], layout: str) -> Release:
    return releases["2", layout]


@pytest.fixture
def guest(fresh: Callable[[str], Path], tmp_path: Path) -> Machine:
    """A disk that needs no loop device."""
    return Machine(copy_image(fresh("guestos-small"), tmp_path / "guest.img"))


# --- a life -----------------------------------------------------------------------------------------


def test_a_good_release_is_tried_confirmed_and_can_be_rolled_back(machine: Machine, two: Release) -> None:
    installed = machine.upgrade(two, "--json").json("install")
    assert (installed["version"], installed["slot_set"]) == ("2", "B")
    machine.power_on()
    assert machine.booted == SlotName.B
    assert machine.abctl("confirm").code == 0
    status = machine.abctl("status", "--json").json("status")
    assert (status["primary"], status["trial"], status["slot_sets"]["B"]["state"]) == ("B", None, "good")
    assert machine.abctl("rollback").code == 0
    machine.power_on()
    assert machine.booted is not SlotName.B


@pytest.mark.slow
def test_a_release_that_nobody_confirms_falls_back_and_is_refused(machine: Machine, two: Release) -> None:
    assert machine.upgrade(two).code == 0
    for expected, runs in (("B", True), ("B", True), ("B", False), ("A", False)):
        machine.power_on()
        assert machine.booted == expected
        assert not runs or machine.abctl("settle").code == 0
    assert "2 in slot set B fell back" in machine.abctl("status").out
    assert_fails(machine.upgrade(two), 22, "2 is refused here", "abctl allow 2")
    [trial] = machine.abctl("evidence", "--json").json("evidence")["trials"]
    assert [boot["stage"] for boot in trial["boots"]] == ["userland", "userland", "grub"]
    assert machine.abctl("settle").code == 0
    status = machine.abctl("status", "--json").json("status")
    assert status["last_trial"]["boots"] == trial["boots"]
    assert [item["version"] for item in status["refused"]] == ["2"]
    assert machine.abctl("allow", "2").code == 0
    assert machine.upgrade(two).code == 0


def test_a_trial_without_a_kernel_gives_way_at_once(machine: Machine, two: Release) -> None:
    assert machine.upgrade(two).code == 0
    with DiskSlots(open_disk(machine.image)).open_for_writing(Slot(SlotName.B, Part.BOOT)) as boot:
        boot.write_zeros(0, boot.size)
    machine.power_on()
    assert machine.booted == SlotName.A
    rehearsal = machine.abctl("rehearse", "--boots", "2", "--json").json("rehearse")
    assert [boot["booted"] for boot in rehearsal["boots"]] == ["A", "A"]


def test_a_rehearsal_shows_every_attempt_and_changes_nothing(machine: Machine, two: Release) -> None:
    assert machine.upgrade(two).code == 0
    before = machine.fingerprint()
    rehearsal = machine.abctl("rehearse", "--json").json("rehearse")
    assert [boot["booted"] for boot in rehearsal["boots"]] == ["B", "B", "B", "A", "A"]
    assert machine.fingerprint() == before


@pytest.mark.slow
def test_the_history_tells_the_life_in_order(machine: Machine, two: Release) -> None:
    machine.upgrade(two)
    machine.power_on()
    machine.abctl("confirm")
    machine.abctl("mark-bad", "--reason", "it \x1b[31mhums")
    history = machine.abctl("history", "--json").json("history")
    assert [entry["what"] for entry in history["entries"]] == [
        "created",
        "installed",
        "confirmed",
        "marked_bad",
    ]
    assert "\x1b" not in machine.abctl("history").out


def test_what_is_shown_of_a_disk_fits_its_schema(machine: Machine) -> None:
    shown = machine.abctl("disk", "show", "--json").json("disk")
    assert [slot["name"] for slot in shown["slots"]][:3] == ["A_boot", "A_root", "A_var"]
    assert machine.abctl("disk", "check", "--json").json("check")["same"] is True


def test_a_disk_of_another_layout_differs(guest: Machine) -> None:
    said = run(ABCTL, "--layout", "guestos", "disk", "check", guest.image)
    assert said.code == 3
    assert "B_root" in said.out


def test_a_plan_names_what_would_be_written_and_writes_nothing(machine: Machine, two: Release) -> None:
    before = machine.fingerprint()
    plan = machine.upgrade(two, "--dry-run", "--json").json("plan")
    assert (plan["version"], plan["slot_set"], plan["refused"]) == ("2", "B", None)
    assert machine.fingerprint() == before


def test_an_archive_is_installed(guest: Machine, archive: Archive) -> None:
    assert guest.abctl("upgrade", archive.path, "--sha256", archive.sha256).code == 0
    guest.power_on()
    assert guest.booted == SlotName.B


# --- refusals: each has its exit code, its sentence, and writes nothing -----------------------------


def assert_refused(machine: Machine, said: Said, before: str, code: int, *words: str) -> None:
    assert_fails(said, code, *words)
    assert machine.fingerprint() == before


def test_nothing_is_installed_without_a_digest(
    guest: Machine, releases: dict[tuple[str, str], Release]
) -> None:
    before = guest.fingerprint()
    said = guest.abctl("upgrade", releases["2", "guestos-small"].directory)
    assert_refused(guest, said, before, 27, "--sha256")


def test_a_wrong_digest_costs_nothing(
    guest: Machine, releases: dict[tuple[str, str], Release], archive: Archive
) -> None:
    before = guest.fingerprint()
    for source in (releases["2", "guestos-small"].directory, archive.path):
        assert_refused(guest, guest.abctl("upgrade", source, "--sha256", ZEROS), before, 32)


def test_a_release_for_other_layouts_is_refused(
    guest: Machine, releases: dict[tuple[str, str], Release]
) -> None:
    before = guest.fingerprint()
    assert_refused(guest, guest.upgrade(releases["2", "hostos-small"]), before, 24, "hostos-small")


def test_an_image_that_is_too_large_is_refused(guest: Machine, tmp_path: Path) -> None:
    before = guest.fingerprint()
    large = make_release(tmp_path / "large", "9", layout="guestos-small", boot_size=96 * 1024 * 1024)
    assert_refused(guest, guest.upgrade(large), before, 23, "boot.img", "B_boot")


@pytest.mark.slow
def test_nothing_is_installed_on_an_unconfirmed_trial(
    guest: Machine, releases: dict[tuple[str, str], Release]
) -> None:
    guest.upgrade(releases["2", "guestos-small"])
    before = guest.fingerprint()
    three = releases["3", "guestos-small"]
    assert_refused(guest, guest.upgrade(three), before, 20, "on trial")
    guest.power_on()
    before = guest.fingerprint()
    assert_refused(guest, guest.upgrade(three), before, 20, "abctl confirm")


def test_only_the_primary_may_upgrade(guest: Machine, releases: dict[tuple[str, str], Release]) -> None:
    guest.booted = SlotName.B
    before = guest.fingerprint()
    assert_refused(
        guest, guest.upgrade(releases["2", "guestos-small"]), before, 21, "B runs", "A is the primary"
    )


def test_there_must_be_something_to_confirm_and_to_roll_back_to(guest: Machine) -> None:
    before = guest.fingerprint()
    assert_refused(guest, guest.abctl("confirm"), before, 25, "nothing is on trial")
    assert_refused(guest, guest.abctl("rollback"), before, 26, "slot set B is empty")


def test_a_trial_that_does_not_run_cannot_be_confirmed(
    guest: Machine, releases: dict[tuple[str, str], Release]
) -> None:
    guest.upgrade(releases["2", "guestos-small"])
    before = guest.fingerprint()
    assert_refused(guest, guest.abctl("confirm"), before, 25, "slot set A runs")
    guest.booted = None
    assert_refused(guest, guest.abctl("confirm"), before, 25, "nothing of this disk runs")


def test_one_abctl_at_a_time(guest: Machine, releases: dict[tuple[str, str], Release]) -> None:
    before = guest.fingerprint()
    with guest.image.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert_refused(guest, guest.upgrade(releases["2", "guestos-small"]), before, 15)
        assert guest.abctl("status").code == 0


@pytest.mark.slow
@pytest.mark.loop
@pytest.mark.parametrize("slot", ["B_root", "B_boot"])
def test_a_mounted_slot_is_not_written(
    guest: Machine, releases: dict[tuple[str, str], Release], tmp_path: Path, slot: str
) -> None:
    guest.upgrade(releases["2", "guestos-small"])
    guest.power_on()
    guest.abctl("confirm")
    guest.abctl("rollback")
    guest.power_on()
    disk = open_disk(guest.image)
    (place,) = disk.places_of(disk.layout.find_slot(Slot(SlotName.B, Part(slot[2:]))))
    point = tmp_path / "mounted"
    point.mkdir()
    before = guest.fingerprint()
    with attached(guest.image, place) as device:
        subprocess.run(["mount", "-o", "ro", device, point], check=True)
        try:
            said = guest.upgrade(releases["3", "guestos-small"])
        finally:
            subprocess.run(["umount", point], check=True)
    assert_refused(guest, said, before, 14, slot, str(point))


@pytest.mark.slow
def test_a_server_that_fails_has_its_own_code(
    guest: Machine, server: HostileServer, releases: dict[tuple[str, str], Release]
) -> None:
    two = releases["2", "guestos-small"]
    url = server.offer_folder("/2", two.directory)
    before = guest.fingerprint()
    for behaviour, code in ((Behaviour.NOT_FOUND, 40), (Behaviour.ERROR, 41), (Behaviour.LOOP, 41)):
        server.spoil("/2/manifest.json", behaviour)
        said = guest.abctl("upgrade", url, "--sha256", two.manifest_sha256)
        assert_refused(guest, said, before, code, "127.0.0.1")


@pytest.mark.slow
def test_a_body_that_is_cut_leaves_the_running_system_and_says_what_is_left(
    guest: Machine, server: HostileServer, releases: dict[tuple[str, str], Release]
) -> None:
    two = releases["2", "guestos-small"]
    url = server.offer_folder("/2", two.directory)
    server.spoil("/2/root.img.zst", Behaviour.CUT)
    running = guest.slot(SlotName.A, Part.ROOT)
    said = guest.abctl("upgrade", url, "--sha256", two.manifest_sha256)
    assert_fails(said, 42, "root.img.zst", "Slot set B was being written and is left empty")
    assert guest.slot(SlotName.A, Part.ROOT) == running
    guest.power_on()
    assert guest.booted == SlotName.A


def test_a_disk_that_is_none_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.img"
    empty.write_bytes(bytes(1024 * 1024))
    for path in (empty, tmp_path / "missing.img"):
        assert_fails(run(ABCTL, "--disk", path, "status"), 12, str(path))


def test_a_machine_that_abctl_did_not_start_is_told_to_name_a_disk() -> None:
    assert_fails(run(ABCTL, "status"), 10, "--disk")


def test_a_layout_with_an_overlap_is_refused(
    tmp_path: Path, releases: dict[tuple[str, str], Release]
) -> None:
    shipped = Path(__file__).resolve().parents[1] / "layout/guestos-small.toml"
    text = shipped.read_text()
    assert "start_sector = 34816" in text
    layout = tmp_path / "overlap.toml"
    layout.write_text(text.replace("start_sector = 34816", "start_sector = 34815"))
    one = releases["1", "guestos-small"]
    arguments = ("--layout", layout, "--release", one.directory, "--sha256", one.manifest_sha256)
    said = run(ABCTL, "disk", "create", tmp_path / "host.img", *arguments)
    assert_fails(said, 11, "overlap.toml", "esp and grub overlap")
    assert not (tmp_path / "host.img").exists()


def test_an_image_that_exists_is_kept(guest: Machine, releases: dict[tuple[str, str], Release]) -> None:
    before = guest.fingerprint()
    one = releases["1", "guestos-small"]
    arguments = ("--layout", "guestos-small", "--release", one.directory, "--sha256", one.manifest_sha256)
    assert_refused(guest, run(ABCTL, "disk", "create", guest.image, *arguments), before, 28, str(guest.image))


# --- a host of the older system ---------------------------------------------------------------------


def make_older(machine: Machine, alternative: str, cycle: str) -> None:
    """Make the grub partition what the older system makes of it."""
    disk = open_disk(machine.image)
    grub = disk.layout.find_role(Role.GRUB)
    assert grub
    mtools = f"{machine.image}@@{disk.places_of(grub)[0].offset}"
    subprocess.run(["mdeltree", "-i", mtools, "::env1", "::env2"], check=True)
    subprocess.run(["mdel", "-i", mtools, "::select.cfg", "::state.cfg", "::slots.cfg"], check=True)
    block = f"# GRUB Environment Block\nboot_alternative={alternative}\nboot_cycle={cycle}\n".encode()
    for name, content in (("grub.cfg", b"set timeout=1\n"), ("grubenv", block.ljust(1024, b"#"))):
        source = machine.image.with_name(name)
        source.write_bytes(content)
        subprocess.run(["mcopy", "-D", "o", "-i", mtools, source, f"::{name}"], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alternative", "cycle", "boots"),
    [("A", "stable", "AA"), ("B", "stable", "BB"), ("B", "install", "BB"), ("B", "first_boot", "BA"),
     ("B", "failsafe_check", "AA"), ("A", "first_boot", "AB")],
)  # fmt: skip
def test_a_host_of_the_older_system_is_adopted_where_it_stands(
    guest: Machine, releases: dict[tuple[str, str], Release], alternative: str, cycle: str, boots: str
) -> None:
    two = releases["2", "guestos-small"]
    guest.upgrade(two)
    make_older(guest, alternative, cycle)
    guest.booted = None
    assert_refused(guest, guest.upgrade(two), guest.fingerprint(), 18, "abctl adopt")
    if cycle == "failsafe_check":
        # The older system's check is running out: the next boot is its way back.
        guest.booted = SlotName(alternative)
    assert guest.abctl("adopt").code == 0
    assert guest.abctl("status", "--json").json("status")["slot_sets"]["B"]["version"] == "2"
    for expected in boots:
        guest.power_on()
        assert guest.booted == expected


def test_adopting_again_changes_nothing(guest: Machine) -> None:
    before = guest.fingerprint()
    assert guest.abctl("adopt").code == 0
    assert guest.fingerprint() == before


# --- at any moment ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_who_interrupts_a_command_that_is_ending_already_sees_nothing_of_it(how: signal.Signals) -> None:
    code = (
        "import atexit, sys, time; from abctl.cli import main; sys.argv = ['abctl', '--version']; "
        "atexit.register(lambda: (print('ending', flush=True), time.sleep(0.5))); main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any(line == "ending\n" for line in process.stdout)
        process.send_signal(how)
        _, said = process.communicate()
    assert (said, process.returncode) == ("", 0)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_upgrade_that_is_ended_leaves_a_host_that_boots_and_goes_on(
    guest: Machine, releases: dict[tuple[str, str], Release], how: signal.Signals
) -> None:
    two = releases["2", "guestos-small"]
    command = guest.command("upgrade", two.directory, "--sha256", two.manifest_sha256)
    running = guest.slot(SlotName.A, Part.ROOT), guest.slot(SlotName.A, Part.BOOT)
    ended_early, armed = 0, False
    for tenths in range(2, 14):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(tenths / 10)
        process.send_signal(how)
        _, said = process.communicate()
        assert "Traceback" not in said
        assert process.returncode in (0, -signal.SIGKILL, 130, -how), said
        ended_early += process.returncode != 0
        env = read_boot_env(DiskGrubPartition(open_disk(guest.image)).read()).env
        assert env is not None
        assert env.primary is SlotName.A
        armed = env.trial is not None
        if armed:
            break
        guest.power_on()
        assert guest.booted == SlotName.A
    assert ended_early
    assert (guest.slot(SlotName.A, Part.ROOT), guest.slot(SlotName.A, Part.BOOT)) == running
    if not armed:
        assert guest.upgrade(two).code == 0
    guest.power_on()
    assert guest.booted == SlotName.B


# --- help -------------------------------------------------------------------------------------------

COMMANDS = (
    *(
        "status",
        "history",
        "evidence",
        "rehearse",
        "upgrade",
        "confirm",
        "rollback",
        "mark-bad",
        "allow",
        "settle",
        "adopt",
        "health",
        "health watch",
    ),
    *("disk", "disk create", "disk show", "disk check"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(command: str) -> None:
    said = run(ABCTL, *command.split(), "--help")
    assert said.code == 0
    assert f"abctl {command}" in said.out.split("Example")[1].replace("--disk host.img ", "").replace(
        "--layout hostos ", ""
    ).replace("--disk /dev/sda ", "")


def test_the_help_names_every_command() -> None:
    said = run(ABCTL, "--help")
    for command in COMMANDS:
        assert command.split()[0] in said.out


def test_a_wrong_command_line_is_told_in_a_sentence() -> None:
    said = run(ABCTL, "--booted", "A", "status")
    assert said.code == 2
    assert "--booted goes with --disk" in said.err


# --- health -----------------------------------------------------------------------------------------


def test_a_machine_that_is_no_host_is_not_healthy_and_the_checks_say_why() -> None:
    said = run(ABCTL, "health", "--json")
    report = said.json("health")
    assert (said.code, report["healthy"], report["slot_set"]) == (3, False, None)
    texts = {check["name"]: check["text"] for check in report["checks"]}
    assert "was not started by abctl's GRUB" in texts["slot-set"]
    assert run(ABCTL, "health").out.startswith("UNHEALTHY  What runs is not healthy:")


def test_health_is_that_of_the_running_host_only() -> None:
    said = run(ABCTL, "--disk", "host.img", "health", "watch")
    assert said.code == 2
    assert "leave out --disk" in said.err
