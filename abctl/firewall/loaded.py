"""What the kernel gives back, in nft's JSON, as rules again.

It differs in form from what was loaded: what one match implies is left out, neighbouring prefixes and ports
are joined, types have names. So it is compared as rules and not as text.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network, summarize_address_range
from typing import Any

from abctl.firewall.icmp import parse_type
from abctl.firewall.rules import (
    PORT_MAX,
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
    collapse,
    family_of,
    join_ranges,
)

FAMILY, TABLE = "inet", "abctl"
PRIORITY = 0  # that of "filter"
_FOREIGN_MAX = 160  # characters

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Foreign:
    """A rule that abctl does not make."""

    text: str
    name: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Counted:
    """A rule in the kernel, and how many packets and bytes have met it; None where nobody counts."""

    rule: Rule | Foreign
    packets: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """The table in the kernel. ``wrong`` says what of its form is not as abctl makes it."""

    rules: Mapping[Chain, tuple[Counted, ...]]
    wrong: tuple[str, ...] = ()

    @property
    def has_our_form(self) -> bool:
        """Whether its chains are those that abctl makes, and there is nothing beside them."""
        return not self.wrong

    def list_rules(self, chain: Chain) -> tuple[Rule | Foreign, ...]:
        return tuple(item.rule for item in self.rules[chain])


def list_objects(text: str) -> list[dict[str, Any]]:
    """Return the objects in what nft lists; raise ValueError where that is something else."""
    try:
        found = json.loads(text)["nftables"]
        objects = [{str(kind): dict(values)} for item in found for kind, values in item.items()]
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("nft has listed something else than rules") from error
    return [item for item in objects if "metainfo" not in item]


def parse_loaded(objects: Iterable[Json]) -> Loaded | None:
    """Return the table among ``objects``; None where it is not there."""
    rules: dict[Chain, list[Counted]] = {chain: [] for chain in Chain}
    chains: set[Chain] = set()
    wrong: list[str] = []
    is_there = False
    for item in objects:
        ((kind, values),) = item.items()
        if kind == "table":
            is_there = True
            # What flags there are, nft 1.0.6 does not say right; abctl sets none.
            wrong += ["the table has flags: it may be switched off"] if "flags" in values else []
        elif kind == "chain" and values.get("name") in list(Chain):
            chain = Chain(values["name"])
            chains.add(chain)
            wrong += _find_wrong(chain, values)
        elif kind == "rule" and values.get("chain") in list(Chain):
            rules[Chain(values["chain"])].append(_parse_counted(values))
        else:
            wrong.append(f"{kind} {values.get('name') or values.get('chain')} is not abctl's")
    if not is_there:
        return None
    wrong += [f"chain {chain} is missing" for chain in Chain if chain not in chains]
    return Loaded({chain: tuple(found) for chain, found in rules.items()}, tuple(wrong))


def _find_wrong(chain: Chain, values: Json) -> list[str]:
    wanted = {"type": "filter", "hook": str(chain), "prio": PRIORITY, "policy": "drop"}
    return [
        f"the {key} of chain {chain} is {values.get(key)}, not {value}"
        for key, value in wanted.items()
        if values.get(key) != value
    ]


def _parse_counted(values: Json) -> Counted:
    expr = values.get("expr")
    expr = expr if isinstance(expr, list) else []
    counter = next((item["counter"] for item in expr if isinstance(item, dict) and "counter" in item), None)
    counts = counter if isinstance(counter, dict) else {}
    rule = _parse_rule(Chain(values["chain"]), expr, str(values.get("comment", "")))
    return Counted(rule, counts.get("packets"), counts.get("bytes"))


def _parse_rule(chain: Chain, expr: list[Any], name: str) -> Rule | Foreign:
    found: dict[str, Any] = {}
    try:
        for item in expr:
            ((kind, value),) = item.items()
            for key, part in _read_statement(chain, kind, value):
                if found.setdefault(key, part) != part:
                    raise ValueError(f"two of {key}")
        return Rule(chain=chain, name=name, **found)
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        plain = [item for item in expr if not (isinstance(item, dict) and "counter" in item)]
        return Foreign(f"{chain}: {json.dumps(plain)}"[:_FOREIGN_MAX], name)


Found = Iterable[tuple[str, Any]]


def _read_statement(chain: Chain, kind: str, value: Any) -> Found:
    """Return which fields of a rule a statement fills."""
    match kind:
        case "counter":
            return ()
        case "accept" | "drop" if value is None:
            return (("action", Action(kind)),)
        case "limit":
            return (("rate", _read_limit(dict(value))),)
        case "ct count" if set(value) == {"val"}:
            return (("connections", int(value["val"])),)
        case "match":
            return _read_match(chain, value["op"], value["left"], value["right"])
    raise ValueError(kind)


def _read_limit(values: dict[str, Any]) -> Rate:
    over = bool(values.pop("inv", False))
    burst = int(values.pop("burst", 0))
    rate = Rate(int(values.pop("rate")), Per(values.pop("per")), burst, over)
    if values:
        raise ValueError("a limit of another kind")
    return rate


def _read_match(chain: Chain, op: str, left: Json, right: Any) -> Found:
    ((kind, where),) = left.items()
    if kind == "ct" and where == {"key": "state"} and op in ("in", "=="):
        names = [item for part in _items(right) for item in (part if isinstance(part, list) else [part])]
        return (("states", frozenset(State(name) for name in names)),)
    if op != "==":
        raise ValueError(op)
    if kind == "meta":
        return _read_meta(chain, where["key"], right)
    if kind != "payload":
        raise ValueError(kind)
    return _PAYLOADS[where["protocol"], where["field"]](right)


def _read_meta(chain: Chain, key: str, right: Any) -> Found:
    if key == ("oifname" if chain is Chain.OUTPUT else "iifname"):
        return (("interface", _text(right)),)
    if key == "nfproto":
        return (("family", Family(right)),)
    if key == "l4proto":
        protocol = _read_protocol(right)
        return (("protocol", protocol), *([("family", protocol.family)] if protocol.family else []))
    raise ValueError(key)


def _read_protocol(right: Any) -> Protocol:
    """Return the protocol that nft names, or numbers where the host has no /etc/protocols."""
    if type(right) is int:
        return next(protocol for protocol in Protocol if protocol.number == right)
    return Protocol("icmpv6" if right == "ipv6-icmp" else right)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def _read_addresses(family: Family, key: str) -> Callable[[Any], Found]:
    def read(right: Any) -> Found:
        networks = collapse(network for item in _items(right) for network in _read_networks(item))
        if any(family_of(network) is not family for network in networks):
            raise ValueError("of the other family")
        return (("family", family), (key, Addresses(networks)))

    return read


def _read_networks(item: Any) -> Iterable[Network]:
    if isinstance(item, str):
        return (ip_network(item),)
    ((kind, value),) = item.items()
    if kind == "prefix":
        return (ip_network(f"{value['addr']}/{value['len']}"),)
    if kind != "range":
        raise ValueError(kind)
    first, last = (ip_address(end) for end in value)
    return tuple(summarize_address_range(first, last))


def _read_ports(protocol: Protocol, key: str) -> Callable[[Any], Found]:
    def read(right: Any) -> Found:
        ranges: Ranges = join_ranges(_read_range(item) for item in _items(right))
        return (("protocol", protocol), (key, ranges))

    return read


def _read_range(item: Any) -> tuple[int, int]:
    first, last = item["range"] if isinstance(item, dict) else (item, item)
    if type(first) is not int or type(last) is not int or not 0 <= first <= last <= PORT_MAX:
        raise ValueError("no port")
    return first, last


def _read_types(protocol: Protocol) -> Callable[[Any], Found]:
    def read(right: Any) -> Found:
        numbers = {number for item in _items(right) for number in _read_type_range(protocol, item)}
        return (("family", protocol.family), ("protocol", protocol), ("types", tuple(sorted(numbers))))

    return read


def _read_type_range(protocol: Protocol, item: Any) -> Iterable[int]:
    first, last = item["range"] if isinstance(item, dict) else (item, item)
    return range(parse_type(protocol, first), parse_type(protocol, last) + 1)


def _items(right: Any) -> list[Any]:
    """Return what may be a single value, or a set of them."""
    if isinstance(right, dict) and set(right) == {"set"}:
        items = right["set"]
        return items if isinstance(items, list) else [items]
    return [right]


_PAYLOADS: Mapping[tuple[str, str], Callable[[Any], Found]] = {
    ("ip", "saddr"): _read_addresses(Family.IPV4, "sources"),
    ("ip", "daddr"): _read_addresses(Family.IPV4, "destinations"),
    ("ip6", "saddr"): _read_addresses(Family.IPV6, "sources"),
    ("ip6", "daddr"): _read_addresses(Family.IPV6, "destinations"),
    ("tcp", "sport"): _read_ports(Protocol.TCP, "source_ports"),
    ("tcp", "dport"): _read_ports(Protocol.TCP, "ports"),
    ("udp", "sport"): _read_ports(Protocol.UDP, "source_ports"),
    ("udp", "dport"): _read_ports(Protocol.UDP, "ports"),
    ("icmp", "type"): _read_types(Protocol.ICMP),
    ("icmpv6", "type"): _read_types(Protocol.ICMPV6),
}
