"""The machine's network cards, and in which order they count.

Of several cards the first is the one with the lowest place on the PCI bus: it stays the same when modules are
loaded in another order, when the kernel names cards otherwise, and when a cable is moved.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from abctl.core.macs import Mac

_PCI = re.compile(r"([0-9a-f]{4,}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")

Place = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Card:
    """A physical network card.

    ``path`` is its place in /sys/devices, ``port`` the number of its port where one device has several.
    ``is_own`` tells that ``mac`` is the card's own address, and not one that a program gave it.
    """

    name: str
    mac: Mac
    path: str
    port: int = 0
    is_own: bool = True

    @property
    def place(self) -> Place:
        """The PCI addresses on the way to it; empty for what hangs on no PCI bus."""
        return parse_place(self.path)


def parse_place(path: str) -> Place:
    """Return the PCI addresses in a path below /sys/devices, as domain, bus, device and function."""
    matches = (_PCI.fullmatch(word) for word in path.split("/"))
    return tuple(tuple(int(group, 16) for group in match.groups()) for match in matches if match)


def order_cards(cards: Iterable[Card]) -> tuple[Card, ...]:
    """Return the cards in the order in which they count: those on PCI first, by their place on the bus.

    What hangs on USB comes after: a server's management controller often shows itself as such a card.
    """
    return tuple(
        sorted(
            cards,
            key=lambda card: ("/usb" in card.path, not card.place, card.place, card.port, card.name),
        )
    )
