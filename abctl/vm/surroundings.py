"""What the launcher needs of the host, as protocols; ``cli`` wires the adapters."""

from dataclasses import dataclass
from typing import Protocol

from abctl.core.guest import Domain
from abctl.core.guest_state import GuestState, Hold
from abctl.core.slot import SlotName
from abctl.core.units import Seconds
from abctl.vm.description import Description


class Hypervisor(Protocol):
    """What runs domains; calls raise NoHypervisor where it does not answer, ToolFailed where it refuses."""

    def find(self, name: str, uuid: str) -> Domain | None:
        """Return the domain with this name, or else with this UUID."""
        ...

    def create(self, xml: str) -> None: ...

    def press_power_button(self, domain: Domain) -> None: ...

    def destroy(self, domain: Domain) -> None: ...

    def forget(self, domain: Domain) -> None:
        """Remove the definition of a domain that outlasts its end."""
        ...


class Serial(Protocol):
    """The log of the serial console."""

    def begin(self) -> None:
        """Put the file of the last start aside."""
        ...

    def read(self) -> bytes:
        """Return what came since the last call, and all of the file at the first."""
        ...

    def tail(self, size: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Booting:
    """What the guest's own GRUB boots; ``generation`` is that of the guest's boot environment."""

    slot_set: SlotName
    version: str | None
    on_trial: bool
    generation: int


class Surroundings(Protocol):
    """What the keeper needs of the host; everything may raise AbctlError that does not say otherwise."""

    @property
    def hypervisor(self) -> Hypervisor: ...

    def serial(self, description: Description) -> Serial: ...

    def now(self) -> Seconds: ...

    def since_boot(self) -> float: ...

    def wait(self, seconds: float) -> None: ...

    def describe(self) -> Description: ...

    def new_run(self) -> str:
        """Return a name for a start that no other start has."""
        ...

    def prepare(self, description: Description, run: str) -> str:
        """Return the XML of a start: the machine has all that it needs, and the medium CONFIG is made."""
        ...

    def settle(self, description: Description) -> None:
        """Record what became of the guest's last boot; it does not run. Never raises AbctlError."""
        ...

    def look(self, description: Description) -> Booting | None:
        """Return what the guest's GRUB will boot; None where abctl cannot tell. Never raises AbctlError."""
        ...

    def note_healthy(self, booting: Booting) -> None:
        """Remember that this trial reported healthy, for ``settle``. Never raises AbctlError."""
        ...

    def read_hold(self) -> Hold | None:
        """Return why the guest is to stay stopped."""
        ...

    def end_lost_upgrade(self) -> bool:
        """Return once whether an upgrade that held the guest was killed."""
        ...

    def last_state(self) -> GuestState | None: ...

    def tell(self, state: GuestState) -> None:
        """Leave for other commands how it stands. Never raises AbctlError."""
        ...
