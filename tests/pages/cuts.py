"""What the next power-on does after a power cut in any write of an upgrade, asked of the production code."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby

from abctl.core.bootenv import encode, encode_older
from abctl.core.bootstate import BootEnv, EnvFiles, SlotSet, SlotState
from abctl.core.record import Record
from abctl.core.slot import SlotName
from abctl.core.units import Version
from tests.world import Content, Kind, Release, State, Tear, World

_OLD, _NOW, _NEW = (Release(Version(text), Kind.GOOD) for text in ("1.0.0", "2.0.0", "3.0.0"))
_BROKEN = replace(_NEW, kind=Kind.PANICS)
# Nothing of the write took, some of it did, nearly all of it did; from the front or from the back.
_TEARS = ((0, True), (100, True), (256, True), (412, False))
_FILES = {
    "env1/grubenv": "the first copy",
    "env2/grubenv": "the second copy",
    "grubenv": "the older system's file",
}


def make_table() -> str:
    """Return rows of Markdown: the step, the write that is cut, and what the next power-on boots."""
    rows = []
    for step, world in _steps():
        told = [(write.what, _tell(world, number)) for number, write in enumerate(world.writes)]
        for said, group in groupby(told, key=lambda item: item[1]):
            writes = [_name(what) for what, _ in group]
            rows.append(f"| {step} | {_shorten(writes)} | {said} |\n")
    return "".join(rows)


def _steps() -> Iterator[tuple[str, World]]:
    """Yield each step of two upgrades, a good one and a bad one, with what it wrote."""
    host = _run(_fresh(), World.power_on).state
    good = _run(host, lambda world: world.install(_NEW))
    yield "the upgrade", good
    trial = _run(good.state.without_power(), World.power_on)
    yield "the power-on of the trial", trial
    yield "the confirmation", _run(trial.state, World.confirm)
    bad = _run(host, lambda world: world.install(_BROKEN)).state.without_power()
    for _ in range(3):
        bad = _run(bad, World.power_on).state.without_power()
    yield "the power-on after three failures", _run(bad, World.power_on)


def _fresh() -> State:
    env = BootEnv(
        SlotName.A,
        slot_sets={
            SlotName.A: SlotSet(SlotState.GOOD, _NOW.version),
            SlotName.B: SlotSet(SlotState.GOOD, _OLD.version),
        },
        answering=frozenset(SlotName),
    )
    contents = {SlotName.A: Content.of(_NOW), SlotName.B: Content.of(_OLD)}
    return State(EnvFiles(encode(env), encode(env), encode_older(env)), contents, Record())


def _run(state: State, action: Callable[[World], object]) -> World:
    world = World(state)
    action(world)
    return world


def _tell(world: World, number: int) -> str:
    """Return what the next power-on comes to, whichever part of write ``number`` took."""
    write = world.writes[number]
    outcomes = [_power_on(write.torn(Tear(number, at, front)).without_power()) for at, front in _TEARS]
    return " or ".join(dict.fromkeys(outcomes))


def _power_on(state: State) -> str:
    after = _run(state, World.power_on).state
    booted, env = after.running.kernel, after.env
    assert booted is not None
    assert env is not None
    release = after.contents[booted].release
    assert release is not None, "what boots is not whole"
    how = "on trial" if env.trial and env.trial.slot_set is booted else "the primary"
    return f"{booted} ({release.version}), {how}"


def _name(what: str) -> str:
    words = what.split()
    name = _FILES.get(words[-1], words[-1])
    if words[0] == "GRUB":
        return f"GRUB writes {name}"
    if words[:2] == ["write", "the"]:
        return "the record"
    return name.replace("_", " ")


def _shorten(names: list[str]) -> str:
    """Return names in order, those that always go together as one, and what comes again and again once."""
    text = ", ".join(names).replace(", ".join(_FILES.values()), "all three copies")
    return ", ".join(name for name, _ in groupby(re.sub(r"B (boot|root)", "slot set B", text).split(", ")))
