"""What a firewall is made of: rules in order, of which the first that matches a packet decides.

A rule here is one rule of the kernel, no more and no less, so that what is decided here, what is loaded and
what the kernel gives back can be compared.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Ranges = tuple[tuple[int, int], ...]  # of ports, both ends included, sorted and apart from each other

PORT_MAX = 65535
LOOPBACK = "lo"


class Chain(StrEnum):
    """Where in the kernel a packet meets the rules."""

    INPUT = "input"  # what is for this host
    FORWARD = "forward"  # what this host would route
    OUTPUT = "output"  # what this host sends


class Family(StrEnum):
    """A version of the Internet Protocol."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


class Protocol(StrEnum):
    """What IP carries."""

    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    ICMPV6 = "icmpv6"

    @property
    def family(self) -> Family | None:
        """The only version of IP that carries it; None for both."""
        return {Protocol.ICMP: Family.IPV4, Protocol.ICMPV6: Family.IPV6}.get(self)

    @property
    def number(self) -> int:
        """Its number in the header of IP (RFC 5237); a host need not have the file with the names."""
        return {Protocol.ICMP: 1, Protocol.TCP: 6, Protocol.UDP: 17, Protocol.ICMPV6: 58}[self]

    @property
    def has_ports(self) -> bool:
        return self in (Protocol.TCP, Protocol.UDP)


class Action(StrEnum):
    """What becomes of a packet."""

    ACCEPT = "accept"
    DROP = "drop"


class State(StrEnum):
    """What the kernel's connection tracking makes of a packet."""

    NEW = "new"  # the first of a connection, or what is never tracked
    ESTABLISHED = "established"
    RELATED = "related"  # an error about a connection
    INVALID = "invalid"


class Per(StrEnum):
    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Addresses:
    """A set of addresses of one family, in as few prefixes as it takes; ``label`` is its name for people."""

    networks: tuple[Network, ...]
    label: str = field(default="", compare=False)

    def __contains__(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many packets in a time; ``burst`` more may come at once. ``over``: what comes beyond that."""

    count: int
    per: Per
    burst: int = 5
    over: bool = False

    def __str__(self) -> str:
        return f"{self.count} a {self.per}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a packet must have to match, and what becomes of it then; what is None or empty asks for nothing.

    ``interface`` is the one that it came in by, or goes out by. ``connections`` is how many there may be at
    once by this rule. ``name`` says where the rule is from, and is its comment in the kernel.
    """

    chain: Chain
    action: Action
    name: str = field(default="", compare=False)
    family: Family | None = None
    protocol: Protocol | None = None
    ports: Ranges = ()
    source_ports: Ranges = ()
    types: tuple[int, ...] = ()
    sources: Addresses | None = None
    destinations: Addresses | None = None
    interface: str = ""
    states: frozenset[State] = frozenset()
    rate: Rate | None = None
    connections: int | None = None

    @property
    def is_conditional(self) -> bool:
        """Whether it also depends on what else there is on the line."""
        return self.rate is not None or self.connections is not None

    @property
    def can_match(self) -> bool:
        """Whether there are packets for it: an empty set of addresses has none."""
        return all(item is None or item.networks for item in (self.sources, self.destinations))


def collapse(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Return the same addresses in as few prefixes as it takes, sorted; all must be of one family."""
    found = list(networks)
    four = [network for network in found if isinstance(network, IPv4Network)]
    six = [network for network in found if isinstance(network, IPv6Network)]
    assert not (four and six)
    return (*collapse_addresses(four), *collapse_addresses(six))


def of_family(networks: Iterable[Network], family: Family) -> tuple[Network, ...]:
    """Return the prefixes of one family, collapsed."""
    return collapse(network for network in networks if family_of(network) is family)


def family_of(item: Address | Network) -> Family:
    return Family.IPV4 if item.version == 4 else Family.IPV6  # noqa: PLR2004 - the version of IP


def join_ranges(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return the same numbers in as few ranges as it takes, sorted."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return tuple(joined)


SPREAD_MAX = 32  # rules that one that accepts is spread over
DROPS_MAX = 4096  # rules that one that drops may come to


def spread(rule: Rule) -> tuple[Rule, ...]:
    """Return the same as rules that have one prefix and one range of ports each, where that can be.

    The kernel looks up prefixes and ranges in sets, and a new set is empty for some microseconds after the
    rule that has it counts already. So what drops never has one: it would be open for so long. What accepts
    may, where it is for many, and is closed for so long; a limit holds for all of its prefixes together.
    """
    if rule.is_conditional or (rule.action is Action.ACCEPT and count_spread(rule) > SPREAD_MAX):
        return (rule,)
    return tuple(
        replace(rule, sources=source, destinations=destination, ports=ports, source_ports=source_ports)
        for source in _split_addresses(rule.sources)
        for destination in _split_addresses(rule.destinations)
        for ports in _split_ranges(rule.ports)
        for source_ports in _split_ranges(rule.source_ports)
    )


def count_spread(rule: Rule) -> int:
    """Return how many rules it comes to."""
    addresses = len(_split_addresses(rule.sources)) * len(_split_addresses(rule.destinations))
    return addresses * len(_split_ranges(rule.ports)) * len(_split_ranges(rule.source_ports))


def _split_addresses(addresses: Addresses | None) -> tuple[Addresses | None, ...]:
    if addresses is None or not addresses.networks:
        return (addresses,)
    return tuple(Addresses((network,), addresses.label) for network in addresses.networks)


def _split_ranges(ranges: Ranges) -> tuple[Ranges, ...]:
    """Single ports stay together: a set of them needs no such order."""
    if all(first == last for first, last in ranges):
        return (ranges,)
    return tuple((item,) for item in ranges)
