"""Rules as commands to the kernel, in nft's JSON (libnftables-json(5)); only ``inet abctl`` is touched.

Addresses stand in the rules themselves, not in sets of the kernel's: so the rules change as a whole, in one
step, and no set can be left behind that is fuller than its policy.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from abctl.firewall.icmp import name_type
from abctl.firewall.loaded import FAMILY, PRIORITY, TABLE, Loaded, list_objects
from abctl.firewall.rules import Action, Addresses, Chain, Family, Network, Protocol, Ranges, Rule

COMMENT_MAX = 120  # bytes; the kernel keeps 128 at most, with an end
_PLACE = {"family": FAMILY, "table": TABLE}
_IP = {Family.IPV4: "ip", Family.IPV6: "ip6"}

Json = dict[str, Any]


def make_objects(rules: Iterable[Rule]) -> tuple[Json, ...]:
    """Return the table, its chains and its rules; a rule that no packet can match is left out."""
    table = {"table": {"family": FAMILY, "name": TABLE}}
    chains = tuple({"chain": _make_chain(chain)} for chain in Chain)
    return (table, *chains, *({"rule": _make_rule(rule)} for rule in rules if rule.can_match))


def make_load(objects: Sequence[Mapping[str, Any]], found: Loaded | None) -> str:
    """Return the one transaction that puts ``objects`` in the place of what was ``found``; None: no table.

    Where the chains are as they should be they stay, and with them their policy, to drop: so there is no
    moment without either the old rules or the new ones. Anything else is replaced whole.
    """
    adds = [{"add": item} for item in objects]
    table, *rest = adds
    kept = [table, *(item for item in rest if "chain" in item["add"])]
    if found is None:
        return encode(adds)
    if found.has_our_form:
        rules = [item for item in rest if "chain" not in item["add"]]
        return encode([*kept, {"flush": table["add"]}, *rules])
    return encode([table, {"delete": table["add"]}, *adds])


def make_restore(before: str | None, found: Loaded | None) -> str:
    """Return the transaction that brings back what ``before`` lists; None: there was no table."""
    if before is None:
        table = {"table": {"family": FAMILY, "name": TABLE}}
        return encode([{"add": table}, {"delete": table}])
    return make_load([_without_handle(item) for item in list_objects(before)], found)


def encode(commands: Iterable[Mapping[str, Any]]) -> str:
    return json.dumps({"nftables": list(commands)})


def _without_handle(item: Json) -> Json:
    ((kind, values),) = item.items()
    if kind == "table":
        return {kind: {"family": FAMILY, "name": TABLE}}
    return {kind: {key: value for key, value in values.items() if key not in ("handle", "index", "position")}}


def _make_chain(chain: Chain) -> Json:
    return {**_PLACE, "name": chain, "type": "filter", "hook": chain, "prio": PRIORITY, "policy": "drop"}


def _make_rule(rule: Rule) -> Json:
    comment = rule.name.encode()[:COMMENT_MAX].decode("utf-8", "ignore")
    return {**_PLACE, "chain": rule.chain, "comment": comment, "expr": _make_expr(rule)}


def _make_expr(rule: Rule) -> list[Json]:
    expr = []
    if rule.interface:
        key = "oifname" if rule.chain is Chain.OUTPUT else "iifname"
        expr.append(_match({"meta": {"key": key}}, rule.interface))
    if rule.states:
        expr.append(_match({"ct": {"key": "state"}}, sorted(rule.states), "in"))
    if rule.family:
        expr.append(_match({"meta": {"key": "nfproto"}}, rule.family))
    for name, addresses in (("saddr", rule.sources), ("daddr", rule.destinations)):
        if addresses is not None:
            assert rule.family
            expr.append(_match(_payload(_IP[rule.family], name), _make_addresses(addresses)))
    if rule.protocol:
        expr += _match_protocol(rule, rule.protocol)
    return [*expr, *_make_end(rule)]


def _match_protocol(rule: Rule, protocol: Protocol) -> list[Json]:
    expr = [_match({"meta": {"key": "l4proto"}}, protocol.number)]
    if rule.types:
        names = [name_type(protocol, number) for number in rule.types]
        values = [int(name) if name.isdecimal() else name for name in names]
        expr.append(_match(_payload(protocol, "type"), _one_or_set(values)))
    for name, ranges in (("sport", rule.source_ports), ("dport", rule.ports)):
        if ranges:
            expr.append(_match(_payload(protocol, name), _make_ports(ranges)))
    return expr


def _make_end(rule: Rule) -> list[Json]:
    expr: list[Json] = []
    if rule.rate:
        over = {"inv": True} if rule.rate.over else {}
        limit = {"rate": rule.rate.count, "per": rule.rate.per, "burst": rule.rate.burst, **over}
        expr.append({"limit": limit})
    if rule.connections is not None:
        expr.append({"ct count": {"val": rule.connections}})
    verdict = "accept" if rule.action is Action.ACCEPT else "drop"
    return [*expr, {"counter": {"packets": 0, "bytes": 0}}, {verdict: None}]


def _match(left: Json, right: Any, op: str = "==") -> Json:
    return {"match": {"op": op, "left": left, "right": right}}


def _payload(protocol: str, name: str) -> Json:
    return {"payload": {"protocol": protocol, "field": name}}


def _make_addresses(addresses: Addresses) -> Any:
    return _one_or_set([_make_network(network) for network in addresses.networks])


def _make_network(network: Network) -> Any:
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}


def _make_ports(ranges: Ranges) -> Any:
    return _one_or_set([first if first == last else {"range": [first, last]} for first, last in ranges])


def _one_or_set(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else {"set": values}
