"""Observe, decide, perform: what every command does with a host, whichever adapters stand behind it."""

from collections.abc import Callable
from dataclasses import dataclass

from abctl.core.bootenv import Reading, read_boot_env
from abctl.core.machine import Event, Host, Running, Settle, rebuild, transition
from abctl.core.slot import SlotName
from abctl.core.units import Seconds, Version
from abctl.ports import GrubPartition, RecordStore, Slots, Unpack
from abctl.update.perform import perform, write_boot_env


@dataclass(frozen=True, slots=True)
class Ports:
    """One host or disk, as the adapters give it.

    ``version_in`` reads the version out of a slot set's own files, None where it holds none; it is
    asked only when the boot environment is lost. ``unpack`` unpacks what nothing vouches for yet; None is
    in this very process.
    """

    grub: GrubPartition
    slots: Slots
    records: RecordStore
    running: Running
    now: Callable[[], Seconds]
    version_in: Callable[[SlotName], Version | None]
    unpack: Unpack | None = None


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
    host, effects = transition(observed.host, Settle(ports.now()))
    if host.env == observed.host.env and not observed.reading.in_step:
        write_boot_env(ports.grub, host.env, every_copy=False)
    perform(effects, ports.grub, ports.slots, ports.records)
    return host


def apply(ports: Ports, event: Event) -> Host:
    """Settle, decide on ``event``, perform it, and return the host as it is then."""
    host, effects = transition(settle(ports), event)
    perform(effects, ports.grub, ports.slots, ports.records)
    return host
