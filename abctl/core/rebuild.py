"""A boot environment for a host that lost it."""

from collections.abc import Callable

from abctl.core.bootstate import BootEnv, SlotSet, SlotState
from abctl.core.events import Running
from abctl.core.slot import SlotName
from abctl.core.units import Version


def rebuild(running: Running, versions: Callable[[SlotName], Version | None]) -> BootEnv:
    """Return a boot environment for a host that lost both copies and the older system's file.

    What runs is good, for it runs; of the other slot set nothing is known. Where nothing runs, GRUB's
    fixed rule says A.
    """
    primary = running.booted or SlotName.A
    return BootEnv(
        primary=primary,
        slot_sets={
            name: SlotSet(SlotState.GOOD if name is primary else SlotState.UNTESTED, versions(name))
            for name in SlotName
        },
    )
