"""The rules that every policy begins and ends with: what a host on an IP network cannot do without."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network

from abctl.firewall import icmp
from abctl.firewall.rules import (
    LOOPBACK,
    Action,
    Addresses,
    Chain,
    Family,
    Network,
    Per,
    Protocol,
    Ranges,
    Rate,
    Rule,
    State,
    spread,
)

RFC1918: tuple[Network, ...] = tuple(
    IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
LINK_LOCAL: tuple[Network, ...] = (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10"))
ECHO_RATE = Rate(50, Per.SECOND, burst=100)
SSH = 22
END = "end: nothing admits it"

_DHCP_SERVER, _DHCP_CLIENT = ((67, 67),), ((68, 68),)
_DHCP6_SERVER, _DHCP6_CLIENT = ((547, 547),), ((546, 546),)
_LINK_LOCAL_6 = Addresses((IPv6Network("fe80::/10"),), "link-local")
# All DHCPv6 relays and servers (RFC 8415), and one of them on this link.
_DHCP6_TO = Addresses((IPv6Network("fe80::/10"), IPv6Network("ff02::1:2/128")), "DHCPv6 servers")
_ECHO = {Protocol.ICMP: icmp.ECHO_REQUEST, Protocol.ICMPV6: icmp.ECHO_REQUEST_6}
_REDIRECT = {Protocol.ICMP: icmp.REDIRECT, Protocol.ICMPV6: icmp.REDIRECT_6}


@dataclass(frozen=True, slots=True)
class Basics:
    """What of it can be chosen: how many pings are answered (None: none), and whether DHCP is used."""

    echo_rate: Rate | None = ECHO_RATE
    dhcp: bool = True


def make_first(basics: Basics) -> tuple[Rule, ...]:
    """Return what comes before the rules of a policy."""
    return tuple(part for rule in (*_first_input(basics), *_first_output(basics)) for part in spread(rule))


def make_last() -> tuple[Rule, ...]:
    """Return what comes after them; the kernel's own policy of each chain is to drop, too."""
    return tuple(Rule(chain=chain, action=Action.DROP, name=END) for chain in Chain)


def _first_input(basics: Basics) -> Iterator[Rule]:
    chain = Chain.INPUT
    yield _rule(chain, "loopback", interface=LOOPBACK)
    yield _rule(chain, "what belongs to no connection", Action.DROP, states=frozenset({State.INVALID}))
    # They count as errors about a connection, and would send what this host sends another way.
    yield from _pair(chain, "redirects", _REDIRECT, Action.DROP)
    if basics.echo_rate:
        # Before what is established, for the second ping of a series is.
        over = Rate(basics.echo_rate.count, basics.echo_rate.per, basics.echo_rate.burst, over=True)
        for rule in _pair(chain, "too many pings", _ECHO, Action.DROP):
            yield replace(rule, rate=over)
    yield _rule(chain, "connections that exist", states=frozenset({State.ESTABLISHED, State.RELATED}))
    if basics.echo_rate:
        yield from _pair(chain, "ping", _ECHO)
    found = (icmp.ROUTER_ADVERT, icmp.NEIGHBOR_SOLICIT, icmp.NEIGHBOR_ADVERT)
    yield _icmp6(chain, "neighbour discovery", found)
    yield _icmp6(chain, "multicast groups", (icmp.LISTENER_QUERY,))
    if basics.dhcp:
        yield _udp(chain, "DHCP", Family.IPV4, _DHCP_SERVER, _DHCP_CLIENT)
        answer = _udp(chain, "DHCPv6", Family.IPV6, _DHCP6_SERVER, _DHCP6_CLIENT)
        yield replace(answer, sources=_LINK_LOCAL_6)


def _first_output(basics: Basics) -> Iterator[Rule]:
    chain = Chain.OUTPUT
    yield _rule(chain, "loopback", interface=LOOPBACK)
    yield _rule(chain, "what belongs to no connection", Action.DROP, states=frozenset({State.INVALID}))
    yield _rule(chain, "connections that exist", states=frozenset({State.ESTABLISHED, State.RELATED}))
    yield from _pair(chain, "ping", _ECHO)
    found = (icmp.ROUTER_SOLICIT, icmp.NEIGHBOR_SOLICIT, icmp.NEIGHBOR_ADVERT)
    yield _icmp6(chain, "neighbour discovery", found)
    groups = (icmp.LISTENER_REPORT, icmp.LISTENER_DONE, icmp.LISTENER_REPORT_2)
    yield _icmp6(chain, "multicast groups", groups)
    if basics.dhcp:
        yield _udp(chain, "DHCP", Family.IPV4, _DHCP_CLIENT, _DHCP_SERVER)
        question = _udp(chain, "DHCPv6", Family.IPV6, _DHCP6_CLIENT, _DHCP6_SERVER)
        yield replace(question, destinations=_DHCP6_TO)


def _rule(
    chain: Chain,
    what: str,
    action: Action = Action.ACCEPT,
    *,
    interface: str = "",
    states: frozenset[State] = frozenset(),
) -> Rule:
    return Rule(chain=chain, action=action, name=f"basic: {what}", interface=interface, states=states)


def _pair(
    chain: Chain, what: str, types: Mapping[Protocol, int], action: Action = Action.ACCEPT
) -> Iterator[Rule]:
    for protocol, number in types.items():
        yield Rule(
            chain=chain,
            action=action,
            name=f"basic: {what}",
            family=protocol.family,
            protocol=protocol,
            types=(number,),
        )


def _icmp6(chain: Chain, what: str, types: tuple[int, ...]) -> Rule:
    return Rule(
        chain=chain,
        action=Action.ACCEPT,
        name=f"basic: {what}",
        family=Family.IPV6,
        protocol=Protocol.ICMPV6,
        types=types,
    )


def _udp(chain: Chain, what: str, family: Family, source_ports: Ranges, ports: Ranges) -> Rule:
    return Rule(
        chain=chain,
        action=Action.ACCEPT,
        name=f"basic: {what}",
        family=family,
        protocol=Protocol.UDP,
        source_ports=source_ports,
        ports=ports,
    )


# --- when nothing better is to be had ---------------------------------------------------------------


def make_emergency(host_prefixes: tuple[Network, ...] = ()) -> tuple[Rule, ...]:
    """Return rules for a host whose own policy cannot be used: it can be reached and mended, and no more.

    SSH from private networks and from the host's own prefixes; and out, what an upgrade needs.
    """
    ssh = _emergency(Chain.INPUT, "openssh", Protocol.TCP, SSH)
    four = tuple(network for network in host_prefixes if isinstance(network, IPv4Network))
    six = tuple(network for network in host_prefixes if isinstance(network, IPv6Network))
    who = (
        (Family.IPV4, Addresses(RFC1918, "rfc1918")),
        (Family.IPV4, Addresses(four, "host-prefix")),
        (Family.IPV6, Addresses(six, "host-prefix")),
    )
    out = (
        ("DNS", Protocol.TCP, 53),
        ("DNS", Protocol.UDP, 53),
        ("NTP", Protocol.UDP, 123),
        ("HTTP", Protocol.TCP, 80),
        ("HTTPS", Protocol.TCP, 443),
    )
    return (
        *make_first(Basics()),
        *(part for family, found in who for part in spread(replace(ssh, family=family, sources=found))),
        *(_emergency(Chain.OUTPUT, what, protocol, port) for what, protocol, port in out),
        *make_last(),
    )


def _emergency(chain: Chain, what: str, protocol: Protocol, port: int) -> Rule:
    return Rule(
        chain=chain,
        action=Action.ACCEPT,
        name=f"emergency: {what}",
        protocol=protocol,
        ports=((port, port),),
    )
