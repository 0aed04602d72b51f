"""Observe, decide, perform: what every command does with a host, whichever adapters stand behind it."""

from collections.abc import Iterable
from dataclasses import dataclass

from abctl.core.bootenv import Reading, read_boot_env
from abctl.core.evidence import Stage
from abctl.core.health import CheckResult
from abctl.core.machine import CameUp, Confirm, Event, Host, InstallVerified, RollBack, Settle, transition
from abctl.core.rebuild import rebuild
from abctl.ports import Ports
from abctl.update import witness
from abctl.update.perform import perform, write_boot_env

__all__ = ["Observed", "Ports", "apply", "come_up", "note_stage", "observe", "settle"]


@dataclass(frozen=True, slots=True)
class Observed:
    """A host, and how the boot environment was found."""

    host: Host
    reading: Reading


def observe(ports: Ports) -> Observed:
    """Look at the host without changing anything; a lost boot environment is rebuilt from what runs."""
    reading = read_boot_env(ports.grub.read())
    env = reading.env or rebuild(ports.running, ports.version_in)
    return Observed(Host(env, ports.running, ports.records.read()), reading)


def settle(ports: Ports) -> Host:
    """Record how the last trial ended, and bring all copies of the boot environment into step."""
    observed = observe(ports)
    note = witness.note_boots(ports, observed.host)
    host, effects = transition(observed.host, Settle(ports.now(), note))
    if host.env == observed.host.env and not observed.reading.in_step:
        write_boot_env(ports.grub, host.env, every_copy=False)
        witness.follow(ports, observed.host, observe(ports).host)
    perform(effects, ports.grub, ports.slots, ports.records)
    return host


def come_up(ports: Ports) -> Host:
    """Answer for this boot: to be said by the health service of the system that runs, after ``settle``."""
    host, effects = transition(observe(ports).host, CameUp(ports.now()))
    perform(effects, ports.grub, ports.slots, ports.records)
    return host


def apply(ports: Ports, event: Event) -> Host:
    """Settle, decide on ``event``, perform it, and return the host as it is then."""
    host, effects = transition(settle(ports), event)
    if isinstance(event, InstallVerified):
        witness.make_marks_file(ports, anew=True)
    before = observe(ports).host
    perform(effects, ports.grub, ports.slots, ports.records)
    if isinstance(event, Confirm):
        witness.note_attempt(ports, before, Stage.CONFIRMED)
    elif isinstance(event, RollBack):
        witness.note_attempt(ports, before, Stage.USERLAND, ended="given up by an admin")
    else:
        witness.follow(ports, before, observe(ports).host)
    return host


def note_stage(
    ports: Ports,
    stage: Stage,
    *,
    ended: str = "",
    checks: Iterable[CheckResult] = (),
    tail: Iterable[str] = (),
) -> None:
    """Note how far this boot of a trial got, and what was seen; nothing outside a trial.

    What cannot be written is only warned of. The stage never goes back; what is given replaces.
    """
    witness.note_attempt(ports, observe(ports).host, stage, ended=ended, checks=checks, tail=tail)
