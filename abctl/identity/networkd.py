"""The host's bridge and its network card as files of systemd-networkd.

Every value in them is of a type that holds neither a line break nor anything else that begins a new setting.
"""

from collections.abc import Iterable

from abctl.core.macs import Mac
from abctl.identity.identity import Addresses

BRIDGE = "br6"
# An admin's files in /etc/systemd/network with a lower number come first, one with the same name instead.
PREFIX = "70-abctl-"
_HEAD = "# Written by abctl from the host's identity; 'abctl identity apply' writes it anew.\n"

Section = tuple[str, Iterable[tuple[str, str]]]


def make_network_files(host: Addresses, gateway: str | None, card: Mac | None) -> dict[str, str]:
    """Return the files for /run/systemd/network by name.

    ``card`` is the MAC of the card that goes into the bridge; without one the bridge stands alone. Without a
    prefix the bridge's address follows from router advertisements, and is the same as soon as they name it.
    """
    files = {
        f"{PREFIX}bridge.netdev": _make_file(
            ("NetDev", [("Name", BRIDGE), ("Kind", "bridge"), ("MACAddress", host.mac_ipv6)]),
            # A guest must not wait half a minute for its first packet; there is one uplink, so no loop.
            ("Bridge", [("STP", "no"), ("ForwardDelaySec", "0")]),
        ),
        f"{PREFIX}bridge.network": _make_file(("Match", [("Name", BRIDGE)]), *_address(host, gateway)),
    }
    if card is not None:
        files[f"{PREFIX}card.network"] = _make_file(
            ("Match", [("PermanentMACAddress", card), ("Type", "ether")]),
            ("Network", [("Bridge", BRIDGE), ("LinkLocalAddressing", "no"), ("IPv6AcceptRA", "no")]),
        )
    return files


def _address(host: Addresses, gateway: str | None) -> tuple[Section, ...]:
    basics = [
        ("LinkLocalAddressing", "ipv6"),
        ("IPv6LinkLocalAddressGenerationMode", "eui64"),
        ("IPv6PrivacyExtensions", "no"),
        # A bridge without a cable keeps its address, and so does a guest's way to the host.
        ("ConfigureWithoutCarrier", "yes"),
    ]
    if host.ipv6 is None:
        return (("Network", [*basics, ("IPv6AcceptRA", "yes")]),)
    static = ("Address", f"{host.ipv6}/64")
    if gateway is not None:
        return (("Network", [*basics, ("IPv6AcceptRA", "no"), static, ("Gateway", gateway)]),)
    # Routers say the way out; an address of our own is there already.
    return (
        ("Network", [*basics, ("IPv6AcceptRA", "yes"), static]),
        ("IPv6AcceptRA", [("UseAutonomousPrefix", "no")]),
    )


def _make_file(*sections: Section) -> str:
    blocks = (
        "".join((f"[{name}]\n", *(f"{key}={value}\n" for key, value in lines))) for name, lines in sections
    )
    return _HEAD + "\n" + "\n".join(blocks)
