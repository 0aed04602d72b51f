"""Hosts as an admin meets them, made by production events and power-ons; reports are tried on them."""

from collections.abc import Callable
from dataclasses import replace

from abctl.cli.describe import describe_status
from abctl.cli.report import StatusReport
from abctl.cli.verdict import Scene
from abctl.core.advice import Prompt
from abctl.core.bootenv import BootEnv, Copy, EnvFiles, SlotSet, SlotState, Why
from abctl.core.envblock import make_block
from abctl.core.machine import Allow, Host, InstallFailed, InstallStarted, MarkBad, RollBack, Running
from abctl.core.record import Entry, Happened, Record
from abctl.core.slot import SlotName
from abctl.core.units import Seconds, Version
from abctl.update.operate import observe
from abctl.update.operate import settle as settle_host
from tests.states import files_of
from tests.world import Content, Kind, Release, State, World

Story = Callable[[], World]

A, B = SlotName.A, SlotName.B
NOW = Seconds(1_795_000_000)  # 2026-11-18 11:06:40 UTC
ONE, TWO, THREE = (Release(Version(f"{number}.0.0"), Kind.GOOD) for number in (1, 2, 3))
URL_REASON = "https://releases.example/2.0.0/root.img.zst ended after 1000 of 123456 bytes: try again"


def fresh() -> World:
    """A new host: 1.0.0 in A, nothing in B."""
    env = BootEnv(A, slot_sets={A: SlotSet(SlotState.GOOD, ONE.version), B: SlotSet(SlotState.EMPTY)})
    record = Record().with_entry(Entry(NOW, Happened.CREATED, A, ONE.version))
    running = Running.all_of(A, Why.PRIMARY)
    return World(State(files_of(env), {A: Content.of(ONE), B: Content()}, record, running))


def installing() -> World:
    world = fresh()
    world.do(InstallStarted(NOW, TWO.version, TWO.digest))
    return world


def install_failed() -> World:
    world = installing()
    world.do(InstallFailed(NOW, TWO.version, URL_REASON))
    return world


def armed() -> World:
    world = fresh()
    world.install(TWO)
    return world


def armed_and_off() -> World:
    world = armed()
    world.lose_power()
    return world


def on_trial(boots: int = 1) -> World:
    world = armed()
    for _ in range(boots):
        world.power_on()
    return world


def on_last_attempt() -> World:
    return on_trial(3)


def confirmed() -> World:
    world = on_trial()
    world.confirm()
    return world


def fell_back_unsettled() -> World:
    """3.0.0 in A was never confirmed, and nothing has recorded that yet."""
    world = confirmed()
    world.install(THREE)
    for _ in range(3):
        world.power_on()
    boot = world.start_grub()
    assert boot.booted is B
    world.state = replace(world.state, running=Running.all_of(B, boot.why))
    return world


def no_kernel_unsettled() -> World:
    """The kernel of 3.0.0 in A could not be loaded, and nothing has recorded that yet."""
    world = confirmed()
    world.install(Release(THREE.version, Kind.NO_KERNEL))
    boot = world.start_grub()
    assert boot.booted is B
    world.state = replace(world.state, running=Running(B, B, B, boot.why, boot.passed_over, boot.generation))
    return world


def fell_back() -> World:
    world = confirmed()
    world.install(THREE)
    for _ in range(4):
        world.power_on()
    return world


def no_kernel() -> World:
    """3.0.0 in A has no kernel that GRUB can load."""
    world = confirmed()
    world.install(Release(THREE.version, Kind.NO_KERNEL))
    world.power_on()
    return world


def allowed() -> World:
    world = fell_back()
    world.do(Allow(NOW, THREE.version))
    return world


def marked_bad() -> World:
    world = confirmed()
    world.do(MarkBad(NOW, A, "network card dies after an hour"))
    return world


def both_bad() -> World:
    world = marked_bad()
    world.do(MarkBad(NOW, B, "and this one forgets its network as soon as it is asked for it " * 3))
    return world


def rolled_back() -> World:
    world = confirmed()
    world.do(RollBack(NOW))
    return world


def rolled_back_and_booted() -> World:
    world = rolled_back()
    world.power_on()
    return world


def gave_up_trial() -> World:
    world = on_trial()
    world.do(RollBack(NOW))
    return world


def called_off() -> World:
    world = armed()
    world.do(RollBack(NOW))
    return world


def mixed() -> World:
    world = confirmed()
    world.state = replace(world.state, running=Running(B, B, A, Why.PRIMARY))
    return world


def one_copy_torn() -> World:
    world = armed()
    block = world.state.files.first or b""
    world.state = replace(
        world.state, files=world.state.files.with_copy(Copy.FIRST, block[:150].ljust(512, b"x"))
    )
    return world


def lost() -> World:
    world = fresh()
    world.state = replace(world.state, files=EnvFiles(), record=Record())
    return world


def _older(cycle: str) -> World:
    world = fresh()
    older = make_block({"boot_alternative": "A", "boot_cycle": cycle}, 1024)
    world.state = replace(world.state, files=EnvFiles(older=older), record=Record())
    return world


def older_system() -> World:
    return _older("stable")


def older_system_first_boot() -> World:
    return _older("failsafe_check")


def longest() -> World:
    """The longest versions and reasons there are."""
    versions = {name: Version(letter * 64) for name, letter in ((A, "a"), (B, "b"))}
    env = BootEnv(A, slot_sets={name: SlotSet(SlotState.GOOD, version) for name, version in versions.items()})
    world = World(State(files_of(env), {A: Content(), B: Content()}, running=Running.all_of(A)))
    world.do(MarkBad(NOW, B, "r" * 200))
    return world


STORIES: tuple[Story, ...] = (
    fresh,
    installing,
    install_failed,
    armed,
    armed_and_off,
    on_trial,
    on_last_attempt,
    confirmed,
    fell_back_unsettled,
    no_kernel_unsettled,
    fell_back,
    no_kernel,
    allowed,
    marked_bad,
    both_bad,
    rolled_back,
    rolled_back_and_booted,
    gave_up_trial,
    called_off,
    mixed,
    one_copy_torn,
    lost,
    older_system,
    older_system_first_boot,
    longest,
)


def host_of(world: World) -> Host:
    return observe(world.ports).host


def settle(world: World) -> None:
    settle_host(world.ports)


def status_of(world: World, disk: str | None = None) -> StatusReport:
    """Return what `abctl status` reports of a world."""
    observed = observe(world.ports)
    prompt = Prompt(disk, observed.host.running.kernel)
    scene = Scene(observed.host, observed.reading, world.state.files, prompt)
    return describe_status(scene, layout="hostos")
