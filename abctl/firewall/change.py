"""Load rules, on approval or for good; confirm them, or put back what was there before.

What puts them back is started before anything is loaded, so that nothing that dies on the way leaves a host
with rules that lock its admin out.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from abctl.core.units import Seconds
from abctl.errors import AbctlError, NothingToDo, ToolFailed
from abctl.firewall.loaded import Loaded, list_objects, parse_loaded
from abctl.firewall.render import make_load, make_restore
from abctl.firewall.state import Memory, Pending, Wanted

log = logging.getLogger(__name__)

_LOOK_EVERY = 5.0  # seconds


class Filter(Protocol):
    """The kernel's packet filter, spoken to in nft's JSON."""

    def read(self) -> str | None:
        """Return what is in abctl's table; None where it is not there. Raise ToolFailed."""
        ...

    def check(self, commands: str) -> None:
        """Raise ToolFailed where the kernel would not take the transaction; change nothing."""
        ...

    def load(self, commands: str) -> None:
        """Carry out the transaction, all of it or nothing; raise ToolFailed."""
        ...


class Notebook(Protocol):
    """Where what is loaded is remembered until the next boot."""

    def read(self) -> Memory: ...

    def write(self, memory: Memory) -> None:
        """Raise WriteFailed."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Wait until no other abctl changes the firewall; raise Busy where that takes too long."""
        ...


class Reverter(Protocol):
    """What puts the old rules back when nobody confirms, though this process and its terminal are gone."""

    def arm(self, seconds: float) -> None:
        """Run 'abctl firewall revert --when-due' after so many seconds; raise ToolFailed."""
        ...

    def disarm(self) -> None:
        """Let it be; never raises AbctlError. One that runs all the same finds nothing to put back."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a change works with; ``since_boot`` is in seconds, ``now`` the time of day."""

    filter: Filter
    notebook: Notebook
    reverter: Reverter
    since_boot: Callable[[], float]
    now: Callable[[], Seconds]


def read_loaded(kernel: Filter) -> Loaded | None:
    """Return what is loaded; raise ToolFailed."""
    return _parse(kernel.read())


def _parse(text: str | None) -> Loaded | None:
    if text is None:
        return None
    try:
        return parse_loaded(list_objects(text))
    except ValueError as error:
        raise ToolFailed(str(error)) from error


def load(host: Surroundings, wanted: Wanted) -> None:
    """Load rules for good; what waits to be confirmed is settled by that. Raise ToolFailed, WriteFailed."""
    with host.notebook.lock():
        commands = make_load(wanted.objects, read_loaded(host.filter))
        host.filter.check(commands)
        host.filter.load(commands)
        host.notebook.write(Memory(wanted, host.now()))
        host.reverter.disarm()


def load_on_approval(host: Surroundings, wanted: Wanted, seconds: float) -> None:
    """Load rules, to be put back after ``seconds`` unless they are confirmed; raise ToolFailed, WriteFailed.

    Where others wait to be confirmed already, it is what was there before those that would be put back.
    """
    with host.notebook.lock():
        text = host.filter.read()
        found = _parse(text)
        commands = make_load(wanted.objects, found)
        host.filter.check(commands)
        memory = host.notebook.read()
        waiting = memory.pending or Pending(0.0, text, memory.wanted)
        _check_way_back(host, waiting.before, found)
        pending = replace(waiting, deadline=host.since_boot() + seconds)
        try:
            host.notebook.write(Memory(wanted, host.now(), pending))
            host.reverter.arm(seconds)
            host.filter.load(commands)
        except AbctlError:
            _call_off(host, memory, text)
            raise


def _check_way_back(host: Surroundings, before: str | None, found: Loaded | None) -> None:
    try:
        host.filter.check(make_restore(before, found))
    except AbctlError as error:
        raise ToolFailed(
            f"what is loaded now could not be put back ({error}): load the new rules with --permanent"
        ) from error


def _call_off(host: Surroundings, memory: Memory, before: str | None) -> None:
    """Go back to what there was; where that fails too, the rules are put back when their time is over."""
    try:
        # Who does not answer in time may have loaded them all the same.
        host.filter.load(make_restore(before, read_loaded(host.filter)))
        host.notebook.write(memory)
    except AbctlError as error:
        log.warning("%s", error)
        return
    if memory.pending is None:
        host.reverter.disarm()


def confirm(host: Surroundings) -> Wanted:
    """Keep what waits to be confirmed; return what that is. Raise NothingToDo where nothing waits."""
    with host.notebook.lock():
        memory = host.notebook.read()
        if memory.pending is None or memory.wanted is None:
            raise NothingToDo(_say_nothing_waits(memory))
        host.notebook.write(replace(memory, pending=None))
        host.reverter.disarm()
        return memory.wanted


def _say_nothing_waits(memory: Memory) -> str:
    if memory.put_back:
        return "nobody confirmed in time, so the rules from before are loaded again: apply the new ones anew"
    return "no rules wait to be confirmed"


def revert(host: Surroundings) -> Wanted | None:
    """Put back what was there before the rules that wait; return where that came from. Raise NothingToDo."""
    with host.notebook.lock():
        memory = host.notebook.read()
        if memory.pending is None:
            raise NothingToDo(_say_nothing_waits(memory))
        return _put_back(host, memory.pending, is_due=False)


def revert_when_due(host: Surroundings, sleep: Callable[[float], None]) -> bool:
    """Wait for the deadline of what waits, and put back what was there; return whether that came to it.

    It ends within seconds after somebody has confirmed.
    """
    while True:
        with host.notebook.lock():
            pending = host.notebook.read().pending
            if pending is None:
                return False
            left = pending.deadline - host.since_boot()
            if left <= 0:
                _put_back(host, pending, is_due=True)
                return True
        sleep(min(left, _LOOK_EVERY))


def _put_back(host: Surroundings, pending: Pending, *, is_due: bool) -> Wanted | None:
    host.filter.load(make_restore(pending.before, read_loaded(host.filter)))
    host.notebook.write(Memory(pending.wanted, host.now(), put_back=is_due))
    host.reverter.disarm()
    return pending.wanted
