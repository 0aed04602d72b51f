"""Policies for the tests: those that ship, and any that hypothesis makes; and packets for them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from hypothesis import strategies as st

from abctl.firewall import icmp
from abctl.firewall.form import PolicyForm, add_base, parse_policy
from abctl.firewall.packet import Packet
from abctl.firewall.policy import Filling, Policy, make_policy
from abctl.firewall.rules import Address, Chain, Family, Protocol
from abctl.host.firewall_files import find_shipped

REGISTRY = Filling((ip_network("2001:db8:17::/64"), ip_network("2001:db8:18::/64")), "a test")
REGISTRY_LABEL = "ic-registry"
# All of them are addresses of the host under test.
OWN_4, OWN_6 = IPv4Network("10.99.0.0/16"), IPv6Network("2001:db8:99::/112")


@dataclass(frozen=True)
class Row:
    """A row of the tables of hostos.adoc."""

    chain: Chain
    family: Family
    protocol: Protocol
    port: int
    source: str | None
    description: str


def _in(family: Family, protocol: Protocol, port: int, source: str, description: str) -> Row:
    return Row(Chain.INPUT, family, protocol, port, source, description)


def _out(protocol: Protocol, port: int, description: str) -> Row:
    return Row(Chain.OUTPUT, Family.IPV6, protocol, port, None, description)


TABLE = (
    _in(Family.IPV4, Protocol.TCP, 22, "rfc1918", "openssh"),
    _in(Family.IPV4, Protocol.UDP, 67, "rfc1918", "DHCP"),
    _in(Family.IPV6, Protocol.TCP, 22, REGISTRY_LABEL, "openssh"),
    _in(Family.IPV6, Protocol.TCP, 9100, REGISTRY_LABEL, "node_exporter"),
    _in(Family.IPV6, Protocol.TCP, 19531, REGISTRY_LABEL, "systemd-journal-gatewayd"),
    _out(Protocol.TCP, 53, "DNS"),
    _out(Protocol.UDP, 53, "DNS"),
    _out(Protocol.UDP, 123, "NTP"),
    _out(Protocol.TCP, 80, "HTTP to download update disk images"),
    _out(Protocol.TCP, 443, "HTTPS to download update disk images"),
)


@cache
def read_form(name: str) -> PolicyForm:
    form = parse_policy(find_shipped(name).read_text(), name)
    return add_base(form, read_form(form.base)) if form.base else form


def read_shipped(name: str, fillings: Mapping[str, Filling] | None = None) -> Policy:
    return make_policy(read_form(name), name, fillings)


@cache
def hostos() -> Policy:
    """The default policy of a host that knows its registry."""
    return read_shipped("hostos", {REGISTRY_LABEL: REGISTRY})


# --- anything ---------------------------------------------------------------------------------------

_NETWORKS_4 = ["10.1.0.0/16", "10.1.2.0/24", "10.1.3.0/24", "192.0.2.7", "203.0.113.0/25", "203.0.113.128/25"]
_NETWORKS_6 = ["2001:db8:17::/64", "2001:db8:18::/64", "2001:db8:17:0:8000::/65", "2001:db8::7", "fe80::/64"]
_ADDRESSES_4 = [
    IPv4Address(text)
    for text in ("10.1.2.3", "10.1.3.3", "10.2.2.3", "192.0.2.7", "192.0.2.8", "203.0.113.9", "203.0.113.200")
]
_ADDRESSES_6 = [
    IPv6Address(text)
    for text in ("2001:db8:17::1", "2001:db8:17:0:8000::1", "2001:db8:18::1", "2001:db8::7", "2001:db8::8")
]
_PORTS = [21, 22, 23, 53, 67, 68, 80, 443, 546, 547, 9100, 9101, 9102, 50000]
_RATES = ["100/second burst 1000", "20/minute burst 500", "1000/hour burst 400"]
_TYPES = {
    "icmp": ["echo-request", "timestamp-request", 15, 17],
    "icmpv6": ["echo-request", "nd-router-solicit", "nd-redirect", "mld-listener-report", 139],
}


@st.composite
def rules(draw: st.DrawFn) -> dict[str, object]:
    """A rule of a policy as TOML has it; one that is sound."""
    protocol = draw(st.sampled_from(["tcp", "tcp", "udp", "udp", "icmp", "icmpv6", None]))
    families: list[str | None] = ["ipv4", "ipv6", None]
    if protocol in _TYPES:
        families = ["ipv4" if protocol == "icmp" else "ipv6", None]
    family = draw(st.sampled_from(families))
    networks = {
        "ipv4": _NETWORKS_4,
        "ipv6": _NETWORKS_6,
        None: {"icmp": _NETWORKS_4, "icmpv6": _NETWORKS_6}.get(str(protocol), _NETWORKS_4 + _NETWORKS_6),
    }[family]
    values: dict[str, object] = {
        "direction": draw(st.sampled_from(["input", "output"])),
        "action": draw(st.sampled_from(["accept", "accept", "accept", "drop"])),
        "protocol": protocol,
        "family": family,
        "from": draw(st.none() | st.lists(st.sampled_from(networks), min_size=1, max_size=4)),
        "to": draw(st.none() | st.lists(st.sampled_from(networks), min_size=1, max_size=2)),
    }
    if protocol in ("tcp", "udp"):
        ports = st.sampled_from([*_PORTS, "20-30", "9100-9101", "1-65535", "60-90"])
        values["ports"] = draw(st.lists(ports, max_size=4))
        values["source_ports"] = draw(st.just([]) | st.lists(ports, max_size=2))
    if protocol in _TYPES:
        values["types"] = draw(st.lists(st.sampled_from(_TYPES[str(protocol)]), max_size=3, unique=True))
    if values["action"] == "accept":
        values["rate"] = draw(st.none() | st.none() | st.sampled_from(_RATES))
    return {key: value for key, value in values.items() if value is not None}


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any policy whose limits are wider than a test sends packets."""
    form = PolicyForm.model_validate(
        {
            "widest": {"ipv4": 0, "ipv6": 0},
            "basics": {
                "echo_rate": draw(st.sampled_from(["never", "1000/second burst 1000"])),
                "dhcp": draw(st.booleans()),
            },
            "rules": draw(st.lists(rules(), max_size=8)),
        }
    )
    return make_policy(form, "random")


@st.composite
def packets(draw: st.DrawFn, chain: Chain) -> Packet:
    """A packet from the world to this host, or the other way; ``with_own`` gives it the host's address."""
    family = draw(st.sampled_from(Family))
    addresses: list[Address] = [*_ADDRESSES_4] if family is Family.IPV4 else [*_ADDRESSES_6]
    other = draw(st.sampled_from(addresses))
    kind = Protocol.ICMP if family is Family.IPV4 else Protocol.ICMPV6
    protocol = draw(st.sampled_from([Protocol.TCP, Protocol.UDP, kind]))
    number = None
    if protocol is kind:
        # Errors and answers belong to something that was there before; here is only what begins something.
        known = [number for number in icmp.TYPES[kind].values() if icmp.usual_state(kind, number) == "new"]
        number = draw(st.sampled_from(known))
    has_ports = protocol.has_ports
    return Packet(
        chain=chain,
        family=family,
        protocol=protocol,
        source=other if chain is Chain.INPUT else None,
        destination=other if chain is Chain.OUTPUT else None,
        port=draw(st.sampled_from(_PORTS)) if has_ports else None,
        source_port=draw(st.sampled_from([*_PORTS, 40000])) if has_ports else None,
        type=number,
        interface="eth0",
    )


def with_own(packet: Packet, number: int) -> Packet:
    """Return the packet with an address of the host that no other packet has: each begins a connection."""
    own: Address = OWN_4[number] if packet.family is Family.IPV4 else OWN_6[number]
    if packet.chain is Chain.INPUT:
        return replace(packet, destination=own)
    return replace(packet, source=own)
