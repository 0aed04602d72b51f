"""The defects of the older system, and what was reported of it: abctl must be shown not to have them.

D1 to D12 are its known defects. Power-ons here are those of the real GRUB, unless a test says otherwise.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from abctl.cli.describe import describe_history
from abctl.cli.report import Verdict
from abctl.core.bootenv import (
    OLDER_BLOCK_SIZE,
    BootEnv,
    Copy,
    EnvFiles,
    Outcome,
    SlotSet,
    SlotState,
    Trial,
    Why,
)
from abctl.core.envblock import make_block, parse_block
from abctl.core.grub import next_boot
from abctl.core.machine import Confirm, InstallVerified, Running
from abctl.core.record import Happened, Record
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import MIB, Seconds
from abctl.errors import (
    Busy,
    DoesNotFit,
    NotConfirmed,
    NothingToConfirm,
    ReadBackMismatch,
    RunningMismatch,
    VersionRefused,
)
from abctl.host.layouts import read_layout
from abctl.host.live import LiveGrubPartition, LiveSlots, LiveSystem
from abctl.update.install import install
from abctl.update.operate import Ports, apply, settle
from tests.fake_live import FakeHost, live_record
from tests.fake_volumes import LAYOUT, SLOT_SIZES, LazySlots, MemoryDisk, make_images
from tests.grubs import Boot, assert_predicted, real_grub
from tests.invariants import check
from tests.refusals import assert_refused, assert_says, offer_of
from tests.releases import Archive, Release, pack_release
from tests.states import files_of
from tests.stories import ONE, THREE, TWO, fell_back, host_of, status_of
from tests.world import Content, Kind, PowerCut, State, Tear, World
from tests.world import Release as Told

A, B = SlotName.A, SlotName.B
REPOSITORY = Path(__file__).parents[1]
EACH_WAY = pytest.mark.parametrize("primary", [A, B], ids=["A to B", "B to A"])
UNHEALTHY = Told(TWO.version, Kind.UNHEALTHY)


def start_real_grub(files: EnvFiles, kernels: tuple[bool, bool], unwritable: frozenset[Copy]) -> Boot:
    return assert_predicted(files, dict(zip(SlotName, kernels, strict=True)), unwritable)


def a_host(primary: SlotName = A) -> World:
    """1.0.0 runs from ``primary``; nothing is in the other slot set."""
    sets = {primary: SlotSet(SlotState.GOOD, ONE.version), primary.other: SlotSet(SlotState.EMPTY)}
    contents = {primary: Content.of(ONE), primary.other: Content()}
    running = Running.all_of(primary, Why.PRIMARY)
    state = State(
        files_of(BootEnv(primary, slot_sets=sets, generation=3)),
        contents,
        running=running,
        trusted=frozenset({primary}),
    )
    return World(state, start_real_grub)


def boots(world: World, count: int) -> list[tuple[SlotName | None, Why]]:
    """Power on as often, with nobody there to confirm anything."""
    return [(boot.booted, boot.why) for boot in (world.power_on() for _ in range(count))]


def env_of(world: World) -> BootEnv:
    assert world.state.env
    return world.state.env


@contextmanager
def nothing_changes(world: World) -> Iterator[None]:
    before = world.state
    yield
    assert world.state == before


# --- D1 to D12 --------------------------------------------------------------------------------------


@EACH_WAY
def test_d1_a_trial_falls_back_in_both_directions(primary: SlotName) -> None:
    world = a_host(primary)
    world.install(UNHEALTHY)
    trial = primary.other
    assert boots(world, 3) == [(trial, Why.TRIAL)] * 3
    assert boots(world, 2) == [(primary, Why.FALLBACK), (primary, Why.PRIMARY)]


@EACH_WAY
def test_d1_an_admin_rolls_back_in_both_directions(primary: SlotName) -> None:
    world = a_host(primary)
    world.install(TWO)
    world.power_on()
    world.confirm()
    assert boots(world, 1) == [(primary.other, Why.PRIMARY)]
    world.roll_back()
    assert boots(world, 2) == [(primary, Why.PRIMARY)] * 2


def test_d2_a_trial_that_was_never_booted_cannot_be_confirmed() -> None:
    world = a_host()
    world.install(Told(TWO.version, Kind.PANICS))
    for _ in range(2):  # the service that confirms is restarted before the reboot
        with nothing_changes(world), pytest.raises(NothingToConfirm, match="slot set A runs"):
            world.confirm()
    assert boots(world, 4)[-1] == (A, Why.FALLBACK)
    assert env_of(world)[B].state is SlotState.BAD


@EACH_WAY
@pytest.mark.parametrize("is_booted", [False, True])
def test_d3_no_install_while_the_running_slot_set_is_unconfirmed(primary: SlotName, is_booted: bool) -> None:
    world = a_host(primary)
    world.install(UNHEALTHY)
    if is_booted:
        world.power_on()
    with nothing_changes(world), pytest.raises(NotConfirmed, match=r"on trial|abctl confirm"):
        world.install(THREE)
    assert boots(world, 4)[-1][0] is primary, "the only good slot set was written"


def test_d4_a_boot_alone_confirms_nothing() -> None:
    """A start of the system, or of its virtual machine, is no health.

    Only ``confirm`` ends a trial well, and nothing says it by itself. That it is said when the health
    checks of host and guest have passed, and not before, belongs to those checks.
    """
    world = a_host()
    world.install(UNHEALTHY)
    for _ in range(3):
        assert world.power_on().booted is B
        settle(world.ports)
        assert (env_of(world).primary, env_of(world)[B].state) == (A, SlotState.UNTESTED)
    assert boots(world, 1) == [(A, Why.FALLBACK)]


def writes_of_an_install() -> int:
    world = a_host()
    world.install(TWO)
    return len(world.writes)


@pytest.mark.parametrize("write", range(writes_of_an_install()))
def test_d5_a_half_written_slot_set_is_never_booted(write: int) -> None:
    for at, from_front in ((0, True), (200, True), (200, False)):
        world = a_host()
        world.tear = Tear(write, at, from_front)
        with pytest.raises(PowerCut):
            world.install(TWO)
        world.tear = None
        boot = world.power_on()
        assert boot.booted
        assert world.state.contents[boot.booted].release
        assert boot.booted is A or boot.why is Why.TRIAL
        check(world.state)


def test_d5_only_an_installation_that_was_started_can_be_armed() -> None:
    world = a_host()
    world.install(TWO)
    world.power_on()
    world.confirm()
    with nothing_changes(world), pytest.raises(Busy, match="something else changed"):
        world.do(InstallVerified(Seconds(0), THREE.version, THREE.digest, 0, 0.0))


def test_d6_what_is_on_trial_is_on_the_medium_and_in_no_cache(
    memory_disk: MemoryDisk, images: dict[Part, Path], release: Release
) -> None:
    ports = memory_disk.ports
    install(replace(ports, slots=LazySlots(ports.slots)), LAYOUT, offer_of(release))
    assert memory_disk.env.trial == Trial(B, 3)
    for part, image in images.items():
        data = image.read_bytes()
        assert memory_disk.slots[Slot(B, part)][: len(data)] == data
    assert not any(memory_disk.slots[Slot(B, Part.VAR)])


def test_d6_a_disk_that_keeps_something_else_is_noticed(memory_disk: MemoryDisk, release: Release) -> None:
    memory_disk.flipped = (Slot(B, Part.ROOT), 2 * MIB)
    before = memory_disk.take_snapshot()
    assert_says(memory_disk, offer_of(release), ReadBackMismatch, "B_root")
    memory_disk.assert_given_up(before)


def test_d6_an_image_larger_than_its_slot_costs_nothing(memory_disk: MemoryDisk, tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", root_size=SLOT_SIZES[Part.ROOT] + 4096)
    large = pack_release(tmp_path / "release", "2.0.0", images)
    assert_refused(memory_disk, offer_of(large), DoesNotFit, "B_root")


def trial_that_runs() -> World:
    world = a_host()
    world.install(TWO)
    world.power_on()
    return world


@pytest.mark.parametrize("lost", Copy)
@pytest.mark.parametrize("damage", [None, b"\0" * 512, b"# GRUB Environment Block\nprimary=B\n"])
def test_d7_any_one_copy_may_be_lost(lost: Copy, damage: bytes | None) -> None:
    whole = a_host()
    whole.install(UNHEALTHY)
    hurt = World(
        replace(whole.state, files=whole.state.files.with_copy(lost, damage and damage.ljust(512, b"#"))),
        start_real_grub,
    )
    assert boots(hurt, 4) == boots(whole, 4) == [(B, Why.TRIAL)] * 3 + [(A, Why.FALLBACK)]


def test_d7_power_lost_while_confirming_leaves_the_trial_or_the_primary() -> None:
    before = trial_that_runs()
    confirming = World(before.state)
    confirming.confirm()
    for write, at, from_front in product(range(len(confirming.writes)), (0, 60, 300), (True, False)):
        world = World(before.state, start_real_grub)
        world.tear = Tear(write, at, from_front)
        with pytest.raises(PowerCut):
            world.confirm()
        world.tear = None
        assert boots(world, 1) in ([(B, Why.TRIAL)], [(B, Why.PRIMARY)])


def test_d7_other_variables_are_kept() -> None:
    world = a_host()
    older = make_block({"saved_entry": "0", "boot_alternative": "A"}, OLDER_BLOCK_SIZE)
    world.state = replace(world.state, files=world.state.files.with_copy(Copy.OLDER, older))
    world.install(TWO)
    world.power_on()
    world.confirm()
    values = parse_block(world.state.files.older)
    assert values == {"saved_entry": "0", "boot_alternative": "B", "boot_cycle": "stable"}


@pytest.mark.parametrize("name", ["boot_alternative", "boot_cycle", "primary", "attempts", "version_A"])
def test_d8_a_value_is_never_run(name: str) -> None:
    """A value that is a script: GRUB's interpreter, and abctl, take it for a word."""
    script = '$(halt)`halt`";halt;export${x}slot=B#'
    values = {"boot_alternative": "A", name: script}
    older = make_block(values, OLDER_BLOCK_SIZE)
    copy = make_block(
        {"generation": "1", "primary": "A", "trial": "B", **values, "seal": "A/B//", "generation_end": "1"},
        512,
    )
    assert_predicted(EnvFiles(older=older))
    assert_predicted(EnvFiles(copy, copy))
    assert assert_predicted(EnvFiles(copy, copy, older)).booted is A


def test_d11_a_version_that_fell_back_is_not_installed_again() -> None:
    world = a_host()
    world.install(UNHEALTHY)
    boots(world, 4)
    with nothing_changes(world), pytest.raises(VersionRefused, match="all 3 attempts are used up"):
        world.install(TWO)
    world.state = replace(world.state, record=Record())
    with nothing_changes(world), pytest.raises(VersionRefused, match="slot set B holds it and is bad"):
        world.install(TWO)
    world.install(THREE)


def test_d11_an_admin_may_allow_it_again() -> None:
    world = a_host()
    world.install(UNHEALTHY)
    boots(world, 4)
    world.allow(TWO.version)
    world.install(TWO)
    assert boots(world, 1) == [(B, Why.TRIAL)]


# --- what was seen or reported ----------------------------------------------------------------------


@EACH_WAY
def test_a_kernel_that_cannot_be_loaded_gives_way(primary: SlotName) -> None:
    world = a_host(primary)
    world.install(Told(TWO.version, Kind.NO_KERNEL))
    assert boots(world, 2) == [(primary, Why.NO_KERNEL), (primary, Why.PRIMARY)]
    assert env_of(world).outcome is Outcome.FELL_BACK


def test_without_any_kernel_grub_tries_again_and_does_not_wait_at_a_prompt() -> None:
    """grub-emu would not end at a prompt; it ends because the script reboots."""
    world = a_host()
    world.state = replace(world.state, contents={A: Content(), B: Content()})
    assert world.power_on().booted is None
    world.state = replace(world.state, contents={A: Content.of(ONE), B: Content()})
    assert world.power_on().booted is A


@pytest.mark.parametrize("slot_set", SlotName)
def test_a_panic_reboots_instead_of_hanging(slot_set: SlotName) -> None:
    command_line = real_grub().power_on(files_of(BootEnv(slot_set))).command_line
    assert "panic=10" in command_line.split()


def test_a_panic_ends_an_attempt() -> None:
    world = a_host()
    world.install(Told(TWO.version, Kind.PANICS))
    assert boots(world, 4) == [(B, Why.TRIAL)] * 3 + [(A, Why.FALLBACK)]


def test_an_unconfirmed_system_is_told_as_such() -> None:
    """It has no boot but its three; that a limit in time ends it too belongs to the health checks later."""
    world = trial_that_runs()
    status = status_of(world)
    assert status.verdict is Verdict.TRIAL
    assert status.trial
    assert status.trial.attempts_left == 2


def live_ports(host: FakeHost) -> Ports:
    system = LiveSystem(host.layout, host.paths)
    return Ports(
        grub=LiveGrubPartition(host.paths),
        slots=LiveSlots(host.layout, host.paths),
        records=live_record(host.paths),
        running=system.running(),
        now=system.now,
        version_in=lambda _: None,
    )


@pytest.mark.parametrize("point", ["/", "/boot"])
def test_the_right_boot_with_the_wrong_root_confirms_nothing(tmp_path: Path, point: str) -> None:
    host = FakeHost(tmp_path, read_layout("hostos"), booted=B)
    grub, files = LiveGrubPartition(host.paths), files_of(BootEnv(A, Trial(B, 2), generation=9))
    for copy in Copy:
        grub.overwrite(copy, files[copy] or b"")
    host.mount(point, host.devices["A_root" if point == "/" else "A_boot"])
    with pytest.raises(RunningMismatch, match="a mixed system"):
        apply(live_ports(host), Confirm(Seconds(0)))
    assert grub.read() == files


def test_a_version_that_was_rolled_back_from_is_not_installed_again() -> None:
    world = trial_that_runs()
    world.confirm()
    world.roll_back()
    world.power_on()
    with nothing_changes(world), pytest.raises(VersionRefused, match="rolled back by an admin"):
        world.install(TWO)


def test_the_same_archive_under_another_name_is_refused_too(
    memory_disk: MemoryDisk, archive: Archive, tmp_path: Path
) -> None:
    install(memory_disk.ports, LAYOUT, offer_of(archive))
    for _ in range(4):
        memory_disk.files = next_boot(memory_disk.files).files
    again = tmp_path / "another-name.tar.zst"
    again.write_bytes(archive.path.read_bytes())
    assert_refused(memory_disk, offer_of(replace(archive, path=again)), VersionRefused, "2.0.0 is refused")


def test_after_a_fallback_status_and_history_say_so_and_why() -> None:
    world = fell_back()
    status = status_of(world)
    assert status.last_upgrade
    assert status.last_upgrade.outcome is Outcome.FELL_BACK
    reason = "all 3 attempts are used up"
    assert reason in status.slot_sets[A].why
    assert [(item.version, reason in item.reason) for item in status.refused] == [(THREE.version, True)]
    last = describe_history(host_of(world)).entries[-1]
    assert (last.what, last.version) == (Happened.FELL_BACK, THREE.version)
    assert reason in last.text
