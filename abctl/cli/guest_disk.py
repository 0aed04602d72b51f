"""The guest's own slot sets, seen from its host: what its GRUB will boot, and what became of its last boot.

Everything on that disk is the guest's word, and read as such. It is written only while the guest does not
run, and only where the guest's GRUB reads what abctl writes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from abctl.cli.report import StatusReport
from abctl.cli.standing import report_status
from abctl.cli.wiring import Machine, Target, open_machine
from abctl.core.bootenv import EnvFiles, Origin, Why, read_boot_env
from abctl.core.events import Confirm, Running
from abctl.core.grub import next_boot
from abctl.core.slot import SlotName
from abctl.core.units import Version
from abctl.errors import AbctlError, DiskUnusable, NotAdopted
from abctl.host import guest_file
from abctl.host.scripts import check_scripts
from abctl.update import operate
from abctl.vm.surroundings import Booting

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GuestDisk:
    """The disk of the guest; ``root`` is where this host keeps what it noted of it."""

    target: Target
    root: Path

    def look(self) -> Booting | None:
        """Return what the guest's GRUB boots next; None where it cannot be told. Never raises AbctlError."""
        try:
            with open_machine(self.target, write=False) as machine:
                return _look(machine)
        except AbctlError as error:
            log.info("it is not known what the guest boots: %s", error)
            return None

    def settle(self) -> None:
        """Keep a trial that reported healthy, and record one that fell back. Never raises AbctlError."""
        try:
            with open_machine(self.target, write=True) as machine:
                check_scripts(machine.grub_files())
                self._settle(machine)
        except (NotAdopted, DiskUnusable) as error:
            log.info("the guest looks after its boot state itself: %s", error)
        except AbctlError as error:
            log.warning("what became of the guest's last boot could not be recorded: %s", error)

    def _settle(self, machine: Machine) -> None:
        env = operate.observe(machine.ports).host.env
        if env.trial is not None and guest_file.read_healthy(self.root) == env.generation:
            # Only now: while the guest runs, its boot environment is its own.
            ports = replace(machine.ports, running=Running.all_of(env.trial.slot_set))
            env = operate.apply(ports, Confirm(machine.ports.now())).env
            log.info("the guest's slot set %s is confirmed", env.primary)
        else:
            operate.settle(machine.ports)
        guest_file.forget_healthy(self.root)

    def report(self) -> StatusReport:
        """Return how the guest's slot sets stand; raise AbctlError."""
        with open_machine(self.target, write=False) as machine:
            return report_status(machine, self.target.name)

    @property
    def is_adopted(self) -> bool:
        """Whether the guest's GRUB reads what abctl writes; raise AbctlError."""
        with open_machine(self.target, write=False) as machine:
            try:
                check_scripts(machine.grub_files())
            except NotAdopted:
                return False
            return True


def _look(machine: Machine) -> Booting | None:
    return look_at(machine.ports.grub.read(), machine.ports.version_in)


def look_at(files: EnvFiles, version_in: Callable[[SlotName], Version | None]) -> Booting | None:
    """Return what GRUB boots next with these copies of the boot environment, or the older system's file."""
    reading = read_boot_env(files)
    if reading.env is None or reading.origin is Origin.NONE:
        return None
    found = next_boot(files)
    version = reading.env[found.slot_set].version or version_in(found.slot_set)
    return Booting(found.slot_set, version, found.why is Why.TRIAL, reading.env.generation)
