"""All of the small world: every event in every reachable state, cut in every write."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

from abctl.core.bootenv import (
    UNSETTLED_MAX,
    BlockDamaged,
    BootEnv,
    Copy,
    EnvFiles,
    Outcome,
    SlotSet,
    SlotState,
    Trial,
    decode,
    decode_older,
    encode,
    encode_older,
    read_boot_env,
)
from abctl.core.machine import Running
from abctl.core.record import Record, Refusal
from abctl.core.slot import SlotName
from abctl.core.units import Seconds, Version
from abctl.errors import AbctlError
from tests.invariants import assert_one_loss_changes_nothing, check
from tests.world import Content, Kind, Release, State, Tear, World

NOW = Seconds(0)
FIRST = Release(Version("1"), Kind.GOOD)
TEARS = ((0, True), (100, True), (412, False))
NEWEST, OLD = 10, 9
# Whoever cuts power before userland once does it again until it makes a difference, and then goes on.
A_TURN = UNSETTLED_MAX
TORN = b"\0" * 512


def fresh_host(primary: SlotName) -> State:
    """Return a host as `disk create` makes it: one slot set good, the other empty."""
    env = BootEnv(
        primary,
        slot_sets={
            primary: SlotSet(SlotState.GOOD, FIRST.version),
            primary.other: SlotSet(SlotState.EMPTY),
        },
        generation=NEWEST,
    )
    return State(
        files=EnvFiles(encode(env), encode(env), encode_older(env)),
        contents={primary: Content.of(FIRST), primary.other: Content()},
        verified=frozenset({primary}),
        trusted=frozenset({primary}),
    )


# --- the same, however it came about ----------------------------------------------------------------


@lru_cache(maxsize=100_000)
def read_copy(block: bytes | None) -> BootEnv | None:
    try:
        env = decode(block or b"")
        # The other slot set answers once it is the primary, as after a confirm; only a new host does not.
        env = replace(env, answering=env.answering | {env.primary.other})
        return replace(env, outcome=Outcome.NONE, unsettled=A_TURN if env.unsettled else 0)
    except BlockDamaged:
        return None


@lru_cache(maxsize=100_000)
def canonical_older(block: bytes | None) -> bytes | None:
    try:
        env = decode_older(block or b"")
    except BlockDamaged:
        return block and b"\0" * 1024
    return encode_older(env) if env.trial is None else block


@lru_cache(maxsize=100_000)
def write_copy(
    primary: SlotName,
    trial: Trial | None,
    sets: tuple[SlotSet, SlotSet],
    generation: int,
    counted: tuple[frozenset[SlotName], int],
) -> bytes:
    in_order = dict(zip(SlotName, sets, strict=True))
    return encode(BootEnv(primary, trial, in_order, Outcome.NONE, generation, *counted))


def canonical(state: State) -> State:
    """Return the state without what decides nothing: how high the generations are, times, history."""
    envs = {copy: read_copy(state.files[copy]) for copy in (Copy.FIRST, Copy.SECOND)}
    highest = max((env.generation for env in envs.values() if env), default=0)
    files = EnvFiles(older=canonical_older(state.files.older))
    for copy, env in envs.items():
        if env is None:
            files = files.with_copy(copy, state.files[copy] and TORN)
            continue
        rank = NEWEST if env.generation == highest else OLD
        sets, counted = (env[SlotName.A], env[SlotName.B]), (env.answering, env.unsettled)
        block = write_copy(env.primary, env.trial, sets, rank, counted)
        files = files.with_copy(copy, block)
    running = state.running
    if running.kernel and running.generation == highest:
        running = replace(running, generation=NEWEST if highest else 0)
    elif running.kernel:
        running = replace(Running.all_of(running.kernel), generation=1)
    refusals = tuple(sorted({item.version for item in state.record.refusals}))
    record = Record(refusals=tuple(Refusal(NOW, version, None, "") for version in refusals))
    contents = {name: canonical_content(content) for name, content in state.contents.items()}
    whole = frozenset(name for name, content in contents.items() if content.release)
    return replace(
        state,
        files=files,
        contents=contents,
        running=running,
        record=record,
        trusted=state.trusted & whole,
        given_up=frozenset(SlotName),
    )


def canonical_content(content: Content) -> Content:
    """Whatever is not whole is the same ruin, except that GRUB may still find a kernel in it."""
    if content.release:
        return content
    return Content(boot=(FIRST, None)) if content.has_kernel else Content()


def key_of(state: State) -> tuple[object, ...]:
    return (
        state.files,
        state.contents[SlotName.A],
        state.contents[SlotName.B],
        state.running,
        tuple(item.version for item in state.record.refusals),
        state.unwritable,
        state.verified,
        state.trusted,
        state.given_up,
        state.fell_back,
    )


# --- what may happen --------------------------------------------------------------------------------

Action = Callable[[World], object]


def events_of(releases: Sequence[Release]) -> Iterator[tuple[str, Action]]:
    """Yield all that people do; with nothing running they work on the disk from outside."""
    yield "power on", World.power_on
    yield "confirm", World.confirm
    yield "give up", World.give_up_and_reboot
    yield "roll back", World.roll_back
    for release in releases:
        yield f"install {release.kind}", partial(World.install, release=release)
    for name in SlotName:
        yield f"mark {name} bad", partial(World.mark_bad, slot_set=name)
    for version in sorted({FIRST.version, *(release.version for release in releases)}):
        yield f"allow {version}", partial(World.allow, version=version)


def cuts_of(world: World, tears: Sequence[tuple[int, bool]] = TEARS) -> Iterator[State]:
    """Yield what stands on the disk after power failed in each write of what ``world`` just did."""
    for number, write in enumerate(world.writes):
        for at, from_front in tears:
            yield write.torn(Tear(number, at, from_front)).without_power()


def faults_of(state: State) -> Iterator[tuple[str, State]]:
    """Yield the state with one thing broken: a file lost, torn or not to be written, or a kernel lost."""
    files = state.files
    for copy in Copy:
        yield f"lose {copy}", replace(state, files=files.with_copy(copy, None))
        torn = (files[copy] or b"")[:60].ljust(512, b"\0")
        yield f"tear {copy}", replace(state, files=files.with_copy(copy, torn))
        yield f"{copy} not to be written", replace(state, unwritable=frozenset({copy}))
    yield "lose both copies", replace(state, files=EnvFiles(older=files.older))
    for name in SlotName:
        broken = replace(state, contents={**state.contents, name: Content()})
        yield f"lose the kernel of {name}", replace(broken, trusted=state.trusted - {name})


@contextmanager
def noted(what: str) -> Iterator[None]:
    """Say with a failed check what led to it."""
    try:
        yield
    except AssertionError as error:
        error.add_note(what)
        raise


@dataclass
class Enumeration:
    """A walk through everything that is reachable, checking the invariants in each state.

    With ``with_faults`` one thing breaks, at any moment, until all is in step again. Without
    ``keep_record`` the config volume is broken, so that nothing is ever refused by the record.
    """

    releases: tuple[Release, ...]
    keep_record: bool = False
    with_faults: bool = False
    states: dict[tuple[object, ...], State] = field(default_factory=dict)
    events: int = 0
    refused: int = 0
    cuts: int = 0
    faults: int = 0
    installable: set[tuple[object, ...]] = field(default_factory=set)
    came_from: dict[tuple[object, ...], set[tuple[object, ...]]] = field(default_factory=dict)
    _all_events: tuple[tuple[str, Action], ...] = ()
    _todo: deque[tuple[State, bool]] = field(default_factory=deque)
    _known: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._all_events = tuple(events_of(self.releases))

    def reach(self, state: State, *, damaged: bool = False) -> tuple[object, ...]:
        """Check a state, come back to it later unless it was reached before, and return its key."""
        if not self.keep_record:
            state = replace(state, record=Record(), fell_back=frozenset())
        raw = hash((key_of(state), damaged))
        if raw in self._known:
            return ()
        self._known.add(raw)
        state = canonical(state)
        key = key_of(state)
        mended = read_boot_env(state.files).in_step and not state.unwritable and state.trusted
        damaged = damaged and not mended
        if key not in self.states and (*key, damaged) not in self.states:
            self.states[(*key, damaged) if damaged else key] = state
            with noted(f"reached: {state}"):
                check(state, damaged=damaged)
            self._todo.append((state, damaged))
        return key

    def walk(self, limit: int = 10**9) -> None:
        while self._todo and len(self.states) < limit:
            state, damaged = self._todo.popleft()
            for name, action in self._all_events:
                with noted(f"{name} in {state}"):
                    self.step(state, action, damaged)
            if self.with_faults and not damaged:
                self.break_things(state)

    def step(self, state: State, action: Action, damaged: bool) -> None:
        world = World(state)
        self.events += 1
        try:
            action(world)
        except AbctlError:
            self.refused += 1
        # A torn write and one that never was are the same to the record.
        for cut in cuts_of(world, TEARS[:1] if self.keep_record else TEARS):
            self.cuts += 1
            self.reach(cut, damaged=damaged)
        self.reach(world.state, damaged=damaged)

    def break_things(self, state: State) -> None:
        if read_boot_env(state.files).in_step:
            with noted(f"in {state}"):
                assert_one_loss_changes_nothing(state)
        for name, broken in faults_of(state):
            self.faults += 1
            with noted(f"{name} in {state}"):
                self.reach(broken, damaged=True)
