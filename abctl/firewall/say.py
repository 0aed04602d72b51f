"""Rules in words."""

from abctl.firewall.icmp import name_type
from abctl.firewall.rules import Addresses, Chain, Family, Ranges, Rule

FAMILIES = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}
_NETWORKS_SHOWN = 3


def say_rule(rule: Rule) -> str:
    """Return a rule as one line: ``input: accept IPv4 tcp port 22 from rfc1918``."""
    parts = [
        f"{rule.chain}: {rule.action}",
        say_what(rule),
        f"from {say_addresses(rule.sources)}" if rule.sources else "",
        f"source port {say_ranges(rule.source_ports)}" if rule.source_ports else "",
        f"to {say_addresses(rule.destinations)}" if rule.destinations else "",
        _say_interface(rule),
        say_limits(rule),
    ]
    return " ".join(part for part in parts if part)


def say_what(rule: Rule) -> str:
    """Return which packets a rule is about, apart from their addresses."""
    parts = [
        " or ".join(sorted(rule.states)),
        FAMILIES[rule.family] if rule.family else "",
        str(rule.protocol) if rule.protocol else "",
        f"port {say_ranges(rule.ports)}" if rule.ports else "",
        say_types(rule),
    ]
    return " ".join(part for part in parts if part) or "everything"


def say_types(rule: Rule) -> str:
    if not rule.types or rule.protocol is None:
        return ""
    return ", ".join(name_type(rule.protocol, number) for number in rule.types)


def say_ranges(ranges: Ranges) -> str:
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def say_addresses(addresses: Addresses) -> str:
    """Return the name of a set, or its prefixes where it has none."""
    if addresses.label:
        return (
            f"{addresses.networks[0]} ({addresses.label})"
            if len(addresses.networks) == 1
            else addresses.label
        )
    shown = ", ".join(str(network) for network in addresses.networks[:_NETWORKS_SHOWN])
    more = len(addresses.networks) - _NETWORKS_SHOWN
    return (f"{shown} and {more} more" if more > 0 else shown) or "nobody"


def say_limits(rule: Rule) -> str:
    """Return what else it depends on."""
    parts = []
    if rule.rate:
        parts.append(f"{'beyond' if rule.rate.over else 'up to'} {rule.rate}")
    if rule.connections is not None:
        parts.append(f"up to {rule.connections} at once")
    return ", ".join(parts)


def _say_interface(rule: Rule) -> str:
    if not rule.interface:
        return ""
    return f"{'out by' if rule.chain is Chain.OUTPUT else 'in by'} {rule.interface}"
