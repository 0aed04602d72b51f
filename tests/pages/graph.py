"""Every state and arrow of the state machine, found by asking ``transition`` and ``next_boot`` themselves."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from abctl.core.bootenv import read_boot_env
from abctl.core.bootstate import BootEnv, Outcome, SlotSet, SlotState, Why
from abctl.core.events import (
    Allow,
    CameUp,
    Confirm,
    Event,
    Host,
    InstallFailed,
    InstallStarted,
    InstallVerified,
    MarkBad,
    RollBack,
    Running,
    Settle,
    Unhealthy,
)
from abctl.core.grub import next_boot
from abctl.core.machine import transition
from abctl.core.record import Record
from abctl.core.slot import SlotName
from abctl.core.units import Digest, Seconds, Version
from abctl.errors import AbctlError
from tests.states import files_of

_AT, _DIGEST, _NEW = Seconds(0), Digest("0" * 64), Version("new")
_GENERATION = 5


class Node(StrEnum):
    """What the states of a host are put together to, so that they fit into a picture."""

    GOOD = "other is good"
    EMPTY = "other is empty"
    UNTESTED = "other is untested"
    BAD = "other is bad"
    ARMED = "on trial, not running"
    RUNNING = "trial runs"
    USED_UP = "attempts used up"
    WEAK = "the primary is not good"


@dataclass(frozen=True, slots=True)
class Arrow:
    """What leads from one node to another: an admin's or a program's word, or a power-on."""

    start: Node
    end: Node
    word: str


def find_node(host: Host) -> Node:
    """Return the node that a host belongs to."""
    env = host.env
    if env[env.primary].state is not SlotState.GOOD:
        return Node.WEAK
    if env.trial is None:
        return Node[env[env.primary.other].state.name]
    if host.running.kernel is env.trial.slot_set:
        return Node.RUNNING
    return Node.ARMED if env.trial.attempts else Node.USED_UP


@dataclass(frozen=True, slots=True)
class Graph:
    """The arrows that lead from one node to another, and how many states there are."""

    arrows: frozenset[Arrow]
    states: int


def find_arrows() -> Graph:
    """Follow every word and every power-on from a new host on, in every state."""
    first = Host(BootEnv(SlotName.A).with_slot_set(SlotName.A, SlotSet(SlotState.GOOD)))
    first = replace(first, env=first.env.with_slot_set(SlotName.B, SlotSet(SlotState.EMPTY)))
    known, todo, arrows = {_canonical(first)}, deque([_canonical(first)]), set[Arrow]()
    while todo:
        host = todo.popleft()
        for word, outcome in _steps(host):
            after = _canonical(outcome)
            if find_node(after) is not find_node(host):
                arrows.add(Arrow(find_node(host), find_node(after), word))
            if after not in known:
                known.add(after)
                todo.append(after)
    return Graph(frozenset(arrows), len(known))


def _canonical(host: Host) -> Host:
    """Return the host without what decides nothing here: generations, history, and names of versions."""
    sets = {name: SlotSet(host.env[name].state, Version(name.lower())) for name in SlotName}
    keeps_outcome = host.env.outcome in (Outcome.GAVE_WAY, Outcome.INSTALLING)
    outcome = host.env.outcome if keeps_outcome else Outcome.NONE
    env = replace(host.env, slot_sets=_Sets(sets), outcome=outcome, generation=_GENERATION)
    return Host(env, replace(host.running, generation=_GENERATION, attempts=None), Record())


class _Sets(dict[SlotName, SlotSet]):
    """A dict that nobody changes, so that states can be put into a set."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted(self.items(), key=str)))


def _steps(host: Host) -> Iterator[tuple[str, Host]]:
    """Yield what may happen and what the host is then; what is refused does not happen."""
    for word, event in _events(host):
        try:
            yield word, transition(host, event)[0]
        except AbctlError:
            continue
    yield from _power_on(host)


def _events(host: Host) -> Iterator[tuple[str, Event]]:
    """Yield what may be said once the host has settled, as it does before every other event."""
    yield "install", InstallStarted(_AT, _NEW, _DIGEST)
    if host.env.outcome is Outcome.INSTALLING:
        yield "installed", InstallVerified(_AT, _NEW, _DIGEST, 0, 0.0)
        yield "installation failed", InstallFailed(_AT, _NEW, "")
    yield "confirm", Confirm(_AT)
    yield "unhealthy", Unhealthy(_AT, "")
    yield "roll back", RollBack(_AT)
    for name in SlotName:
        whose = "the primary" if name is host.env.primary else "the other"
        yield f"mark {whose} bad", MarkBad(_AT, name, "")
        version = host.env[name].version
        if version:
            yield "allow", Allow(_AT, version)


def _power_on(host: Host) -> Iterator[tuple[str, Host]]:
    """Yield what a power-on comes to: the system comes up, or does not, or its kernel is missing."""
    choice = next_boot(files_of(host.env))
    env = read_boot_env(choice.files).env
    assert env is not None
    yield "power on, does not come up", Host(env)
    unsettled = choice.why is Why.UNSETTLED
    passed_over = env.primary if unsettled else None
    word = "power on, the primary failed 5 times" if unsettled else "power on"
    yield word, _come_up(env, choice.slot_set, choice.why, passed_over)
    if choice.second:
        yield "power on, no kernel", _come_up(env, choice.second, Why.NO_KERNEL, choice.slot_set)


def _come_up(env: BootEnv, slot_set: SlotName, why: Why, passed_over: SlotName | None) -> Host:
    running = replace(Running.all_of(slot_set, why), passed_over=passed_over, generation=env.generation)
    settled, _ = transition(Host(env, running), Settle(_AT))
    return transition(settled, CameUp(_AT))[0]
