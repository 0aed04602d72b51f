"""The physical network cards of this machine, as /sys/class/net shows them."""

from pathlib import Path

from abctl.core.macs import parse_mac
from abctl.core.nics import Card, order_cards
from abctl.errors import BadIdentity
from abctl.host.small_files import read_small

_FOLDER = "sys/class/net"
_ETHERNET = "1"  # ARPHRD_ETHER in /sys/class/net/*/type
_OWN = "0"  # of addr_assign_type: not made up by a driver, nor set by a program


def list_cards(root: Path = Path("/")) -> tuple[Card, ...]:
    """Return the physical Ethernet cards in the order in which they count.

    Bridges, bonds, VLANs and tunnels have no device; virtual functions of a card, wireless cards and what is
    no Ethernet are left out too.
    """
    try:
        folders = sorted((root / _FOLDER).iterdir())
    except OSError:
        return ()
    return order_cards(card for folder in folders if (card := _read_card(folder)) is not None)


def _read_card(folder: Path) -> Card | None:
    device = folder / "device"
    is_physical = device.exists() and "/devices/virtual/" not in f"{folder.resolve()}/"
    is_other = (device / "physfn").exists() or (folder / "phy80211").exists() or (folder / "bridge").exists()
    if not is_physical or is_other or read_small(folder / "type") != _ETHERNET:
        return None
    try:
        mac = parse_mac(read_small(folder / "address"))
    except BadIdentity:
        return None
    port = read_small(folder / "dev_port")
    return Card(
        name=folder.name,
        mac=mac,
        path=str(device.resolve()),
        port=int(port) if port.isascii() and port.isdecimal() else 0,
        is_own=read_small(folder / "addr_assign_type") in (_OWN, ""),
    )
