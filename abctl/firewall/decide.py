"""What the rules make of a packet."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from abctl.firewall.packet import Packet
from abctl.firewall.rules import Action, Address, Addresses, Ranges, Rule

_MISSES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Miss:
    """A rule that would accept the packet, but for one thing: ``but`` says which."""

    rule: Rule
    but: str


@dataclass(frozen=True, slots=True)
class Decision:
    """``rule`` decides, within its limits; ``beyond`` is what is decided of what exceeds them.

    ``unless`` are rules on the way that drop what comes too often, ``misses`` those that nearly accept it.
    """

    rule: Rule
    place: int  # of the rule in its chain, from 1
    beyond: "Decision | None" = None
    unless: tuple[Rule, ...] = ()
    misses: tuple[Miss, ...] = ()

    @property
    def action(self) -> Action:
        return self.rule.action


def decide(rules: Sequence[Rule], packet: Packet) -> Decision:
    """Return what becomes of ``packet``: the first rule of its chain that matches decides.

    Limits are taken as not exceeded. Raise ValueError where it depends on an address that is not said.
    """
    chain = [rule for rule in rules if rule.chain is packet.chain and rule.can_match]
    return _decide(chain, packet, 0)


def _decide(chain: Sequence[Rule], packet: Packet, start: int) -> Decision:
    unless = []
    for place in range(start, len(chain)):
        rule = chain[place]
        if any(_find_mismatches(rule, packet)):
            continue
        if rule.rate and rule.rate.over:
            unless.append(rule)
            continue
        beyond = _decide(chain, packet, place + 1) if rule.is_conditional else None
        misses = _find_misses(chain, packet) if rule.action is Action.DROP and start == 0 else ()
        return Decision(rule, place + 1, beyond, tuple(unless), misses)
    raise AssertionError("each chain ends with a rule that matches everything")


def _find_misses(chain: Iterable[Rule], packet: Packet) -> tuple[Miss, ...]:
    misses: dict[tuple[str, str], Miss] = {}
    for rule in chain:
        if rule.action is not Action.ACCEPT or rule.states or rule.interface:
            continue
        but = list(_find_mismatches(rule, packet, may_ask=False))
        if len(but) == 1 and but[0] not in ("protocol", "version of IP"):
            misses.setdefault((rule.name, but[0]), Miss(rule, but[0]))
    return tuple(misses.values())[:_MISSES_SHOWN]


def _find_mismatches(rule: Rule, packet: Packet, *, may_ask: bool = True) -> Iterator[str]:
    """Yield each part of the packet that is not as the rule wants it; none: it matches.

    What needs an address that is not said comes last, so that it is asked for only where all else matches.
    """
    if rule.interface and rule.interface != packet.interface:
        yield "interface"
    if rule.states and packet.state not in rule.states:
        yield "state"
    if rule.protocol in (None, packet.protocol):
        yield from _find_mismatches_inside(rule, packet)
    else:
        yield "protocol"
    if rule.family in (None, packet.family):
        yield from _find_strangers(rule, packet, may_ask=may_ask)
    else:
        yield "version of IP"


def _find_mismatches_inside(rule: Rule, packet: Packet) -> Iterator[str]:
    if rule.types and packet.type not in rule.types:
        yield "type"
    if not _is_in(rule.ports, packet.port):
        yield "port"
    if not _is_in(rule.source_ports, packet.source_port):
        yield "source port"


def _find_strangers(rule: Rule, packet: Packet, *, may_ask: bool) -> Iterator[str]:
    for name, wanted, address in (
        ("source", rule.sources, packet.source),
        ("destination", rule.destinations, packet.destination),
    ):
        if wanted is not None and not _contains(wanted, address, name, rule, may_ask=may_ask):
            yield name


def _is_in(ranges: Ranges, number: int | None) -> bool:
    if not ranges:
        return True
    return number is not None and any(first <= number <= last for first, last in ranges)


def _contains(wanted: Addresses, address: Address | None, name: str, rule: Rule, *, may_ask: bool) -> bool:
    if address is not None:
        return address in wanted
    if not may_ask:
        return False
    word = "from" if name == "source" else "to"
    raise ValueError(f"it depends on the {name} ({rule.name}): add '{word} ADDRESS'")
