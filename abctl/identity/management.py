"""Which MAC address is the management MAC, that a host's name and all its addresses are made from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from abctl.core.macs import Mac
from abctl.core.nics import Card
from abctl.core.settings import Settings
from abctl.errors import AbctlError


class Source(StrEnum):
    """Where the management MAC comes from, the first that has one."""

    GIVEN = "given"  # on the command line
    SETTINGS = "settings"  # an admin, or who prepared the host, said it
    KEPT = "kept"  # found in an earlier boot, and kept in the settings
    IPMI = "ipmi"  # the management controller
    CARD = "card"  # the first physical network card


@dataclass(frozen=True, slots=True)
class Management:
    """The management MAC, and how it was found; ``card`` names the network card that it is of.

    ``may_keep`` tells that the next boot would find the same.
    """

    mac: Mac | None
    source: Source | None = None
    card: str = ""
    may_keep: bool = False
    warnings: tuple[str, ...] = ()


def find_management(
    settings: Settings,
    *,
    ask_ipmi: Callable[[], Mac | None],
    list_cards: Callable[[], Sequence[Card]],
) -> Management:
    """Return the management MAC by the first of ``Source`` that has one.

    ``ask_ipmi`` returns None where there is no tool for it, and raises AbctlError where that fails.
    """
    said = (
        (settings.management_mac, Source.SETTINGS),
        (settings.found_mac, Source.KEPT),
    )
    for mac, source in said:
        if mac is not None:
            return Management(mac, source)
    warnings = []
    try:
        if (mac := ask_ipmi()) is not None:
            return Management(mac, Source.IPMI, may_keep=True)
    except AbctlError as error:
        warnings.append(f"the management controller did not tell its MAC address: {error}")
    cards = list_cards()
    if not cards:
        warnings.append(
            "no physical network card was found, so there is no management MAC: name one with "
            "'abctl identity set management_mac=MAC'"
        )
        return Management(None, warnings=tuple(warnings))
    first = cards[0]
    if not first.is_own:
        warnings.append(f"the MAC address of {first.name} was set by a program, and may be another next time")
    # With a controller that answers next time the name would change: it is kept when all had their say.
    return Management(first.mac, Source.CARD, first.name, not warnings, tuple(warnings))
