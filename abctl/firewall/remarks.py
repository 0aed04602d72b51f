"""What an admin should know of rules that are sound: who is locked out, and what decides nothing."""

from collections.abc import Iterator, Sequence

from abctl.firewall.basics import SSH
from abctl.firewall.rules import Action, Addresses, Chain, Network, Protocol, Ranges, Rule
from abctl.firewall.say import FAMILIES


def find_remarks(rules: Sequence[Rule], own: Sequence[Rule]) -> Iterator[str]:
    """Yield what is to be said of ``rules``, of which ``own`` are those of the policy itself."""
    if not any(_admits_ssh(rule) for rule in rules):
        yield "no rule admits SSH (tcp port 22 on input): nobody could log in over the network"
    yield from _find_empty(own)
    for number, rule in enumerate(own):
        if not rule.can_match:
            continue
        earlier = next((other for other in own[:number] if other.can_match and _covers(other, rule)), None)
        if earlier is not None:
            yield f"{rule.name} decides nothing, for {earlier.name} comes before it and has the same packets"


def _find_empty(own: Sequence[Rule]) -> Iterator[str]:
    """A rule that is for a set without prefixes: one remark for each set."""
    matching = {rule.name for rule in own if rule.can_match}
    found: dict[str, list[str]] = {}
    for rule in own:
        empty = next((item for item in (rule.sources, rule.destinations) if item and not item.networks), None)
        if empty is not None and rule.name not in matching and rule.family:
            names = found.setdefault(f"no {FAMILIES[rule.family]} prefixes in {empty.label}", [])
            names += [rule.name] if rule.name not in names else []
    for what, names in found.items():
        yield f"{what}, so nothing matches {', '.join(names)}"


def _admits_ssh(rule: Rule) -> bool:
    if rule.chain is not Chain.INPUT or rule.action is not Action.ACCEPT or not rule.can_match:
        return False
    is_for_it = rule.protocol in (None, Protocol.TCP) and not rule.source_ports
    has_port = not rule.ports or any(first <= SSH <= last for first, last in rule.ports)
    return is_for_it and has_port and not rule.interface and not rule.states


def _covers(first: Rule, second: Rule) -> bool:
    """Whether every packet of ``second`` is one of ``first``, which always decides then."""
    if first.chain is not second.chain or first.family is not second.family or first.is_conditional:
        return False
    return (
        first.protocol in (None, second.protocol)
        and (not first.types or (bool(second.types) and set(second.types) <= set(first.types)))
        and _covers_ranges(first.ports, second.ports)
        and _covers_ranges(first.source_ports, second.source_ports)
        and _covers_addresses(first.sources, second.sources)
        and _covers_addresses(first.destinations, second.destinations)
    )


def _covers_ranges(first: Ranges, second: Ranges) -> bool:
    if not first:
        return True
    return bool(second) and all(any(a <= c and d <= b for a, b in first) for c, d in second)


def _covers_addresses(first: Addresses | None, second: Addresses | None) -> bool:
    if first is None or second is None:
        return first is None
    return all(any(_is_inside(item, other) for other in first.networks) for item in second.networks)


def _is_inside(item: Network, other: Network) -> bool:
    return (
        item.version == other.version and other.prefixlen <= item.prefixlen and item.network_address in other
    )
