"""All of the small world: every event in every reachable state, cut in every write."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from abctl.core.bootenv import (
    BlockDamaged,
    BootEnv,
    Copy,
    EnvFiles,
    Outcome,
    SlotSet,
    SlotState,
    decode,
    decode_older,
    encode,
    encode_older,
)
from abctl.core.machine import Allow, MarkBad, RollBack, Running
from abctl.core.record import Record, Refusal
from abctl.core.slot import SlotName
from abctl.core.units import Seconds, Version
from abctl.errors import AbctlError
from tests.invariants import check
from tests.world import Content, Kind, Release, State, Tear, World

NOW = Seconds(0)
FIRST = Release(Version("1"), Kind.GOOD)
RELEASES = (
    Release(Version("2"), Kind.GOOD),
    Release(Version("2"), Kind.PANICS),
    Release(Version("2"), Kind.NO_KERNEL),
    Release(Version("2"), Kind.UNHEALTHY),
)
TEARS = ((0, True), (300, True), (300, False))
NEWEST, OLD = 10, 9
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
        return replace(decode(block or b""), outcome=Outcome.NONE)
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
def write_copy(primary: SlotName, trial: object, in_a: SlotSet, in_b: SlotSet, generation: int) -> bytes:
    return encode(
        BootEnv(primary, trial, {SlotName.A: in_a, SlotName.B: in_b}, Outcome.NONE, generation)  # type: ignore[arg-type]
    )


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
        sets = env.slot_sets
        block = write_copy(env.primary, env.trial, sets[SlotName.A], sets[SlotName.B], rank)
        files = files.with_copy(copy, block)
    running = state.running
    if running.kernel and running.generation == highest:
        running = replace(running, generation=NEWEST if highest else 0)
    elif running.kernel:
        running = replace(Running.all_of(running.kernel), generation=1)
    refusals = tuple(sorted({item.version for item in state.record.refusals}))
    record = Record(refusals=tuple(Refusal(NOW, version, None, "") for version in refusals))
    contents = {name: canonical_content(content) for name, content in state.contents.items()}
    return replace(state, files=files, contents=contents, running=running, record=record)


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
    )


# --- what may happen --------------------------------------------------------------------------------

Action = Callable[[World], object]


def events_of(state: State) -> Iterator[tuple[str, Action]]:
    """Yield all that people do; with nothing running they work on the disk from outside."""
    yield "power on", lambda world: world.power_on()
    for release in RELEASES:
        yield f"install {release}", lambda world, release=release: world.install(release)
    yield "confirm", lambda world: world.confirm()
    yield "roll back", lambda world: world.do(RollBack(NOW))
    for name in SlotName:
        yield f"mark {name} bad", lambda world, name=name: world.do(MarkBad(NOW, name, "an admin said so"))
    for refusal in state.record.refusals:
        version = refusal.version
        yield f"allow {version}", lambda world, version=version: world.do(Allow(NOW, version))


def cuts_of(world: World) -> Iterator[State]:
    """Yield what stands on the disk after power failed in each write of what ``world`` just did."""
    for number, write in enumerate(world.writes):
        for at, from_front in TEARS:
            yield replace(write.torn(Tear(number, at, from_front)), running=Running())


@dataclass
class Coverage:
    """What an enumeration went through."""

    states: int = 0
    events: int = 0
    refused: int = 0
    cuts: int = 0
    boots: set[tuple[object, ...]] = field(default_factory=set)


def explore(starts: list[State], coverage: Coverage, limit: int = 10**9) -> dict[tuple[object, ...], State]:
    """Go through everything that is reachable, and check the invariants in each state."""
    seen: dict[tuple[object, ...], State] = {}
    todo: deque[State] = deque()

    def reach(state: State) -> None:
        state = canonical(state)
        key = key_of(state)
        if key not in seen:
            seen[key] = state
            check(state)
            todo.append(state)

    for start in starts:
        reach(start)
    while todo and len(seen) < limit:
        state = todo.popleft()
        for name, action in events_of(state):
            world = World(state)
            coverage.events += 1
            try:
                action(world)
            except AbctlError:
                coverage.refused += 1
            except AssertionError as error:
                error.add_note(f"{name} in {state}")
                raise
            for cut in cuts_of(world):
                coverage.cuts += 1
                reach(cut)
            reach(world.state)
    coverage.states = len(seen)
    return seen
