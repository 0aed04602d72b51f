"""Make the reports of the firewall from its values. Nothing here looks at a host."""

from collections.abc import Iterator, Sequence

from abctl.cli.report_firewall import (
    DifferenceReport,
    FirewallDiffReport,
    FirewallExplainReport,
    FirewallReport,
    MissReport,
    RuleReport,
    SetReport,
)
from abctl.firewall.decide import Decision
from abctl.firewall.drift import Drift
from abctl.firewall.icmp import name_type
from abctl.firewall.loaded import Counted, Loaded
from abctl.firewall.packet import Packet
from abctl.firewall.policy import NamedSet, Policy
from abctl.firewall.rules import Addresses, Chain, Ranges, Rule
from abctl.firewall.say import say_limits, say_ranges, say_rule


def describe_policy(policy: Policy, found: Loaded | None, *, loaded: bool | None) -> FirewallReport:
    """Return a policy with what the kernel has counted, where ``loaded`` says that it has these rules."""
    counted = found if loaded else None
    rules = (item for chain in Chain for item in _describe_chain(policy.rules, chain, counted))
    return FirewallReport(
        policy=policy.name,
        description=policy.description,
        loaded=loaded,
        rules=tuple(rules),
        sets=tuple(_describe_set(item) for item in policy.sets),
        remarks=policy.remarks,
    )


def _describe_chain(rules: Sequence[Rule], chain: Chain, found: Loaded | None) -> Iterator[RuleReport]:
    ours = [rule for rule in rules if rule.chain is chain and rule.can_match]
    counts = found.rules[chain] if found else (None,) * len(ours)
    for place, (rule, counted) in enumerate(zip(ours, counts, strict=True), 1):
        yield describe_rule(rule, place, counted)


def describe_rule(rule: Rule, place: int, counted: Counted | None = None) -> RuleReport:
    types = [name_type(rule.protocol, number) for number in rule.types] if rule.protocol else []
    return RuleReport(
        place=place,
        chain=rule.chain,
        action=rule.action,
        family=rule.family,
        protocol=rule.protocol,
        ports=_describe_ranges(rule.ports),
        source_ports=_describe_ranges(rule.source_ports),
        types=tuple(types),
        sources=_describe_addresses(rule.sources),
        destinations=_describe_addresses(rule.destinations),
        interface=rule.interface or None,
        states=tuple(sorted(rule.states)),
        limits=say_limits(rule) or None,
        name=rule.name,
        sentence=say_rule(rule),
        packets=counted.packets if counted else None,
        size=counted.size if counted else None,
    )


def _describe_ranges(ranges: Ranges) -> tuple[str, ...]:
    return tuple(say_ranges((item,)) for item in ranges)


def _describe_addresses(addresses: Addresses | None) -> tuple[str, ...] | None:
    return None if addresses is None else tuple(str(network) for network in addresses.networks)


def _describe_set(item: NamedSet) -> SetReport:
    return SetReport(
        name=item.name,
        description=item.description,
        prefixes=tuple(str(network) for network in item.networks),
        source=item.source,
    )


def describe_diff(name: str, found: Loaded | None, drift: Sequence[Drift]) -> FirewallDiffReport:
    """Return in what the kernel's rules, ``found``, differ from those of the policy ``name``."""
    return FirewallDiffReport(
        policy=name,
        loaded=found is not None,
        same=not drift,
        differences=tuple(
            DifferenceReport(kind=item.kind, chain=item.chain, place=item.place, text=item.text)
            for item in drift
        ),
    )


def describe_decision(
    name: str, packet: Packet, decision: Decision, rules: Sequence[Rule]
) -> FirewallExplainReport:
    """Return what the ``rules`` of the policy ``name`` make of a packet."""
    chain = [rule for rule in rules if rule.chain is packet.chain and rule.can_match]
    return FirewallExplainReport(
        policy=name,
        packet=str(packet),
        action=decision.action,
        rule=describe_rule(decision.rule, decision.place),
        beyond=decision.beyond.action if decision.beyond else None,
        unless=tuple(describe_rule(rule, _place_of(rule, chain)) for rule in decision.unless),
        misses=tuple(
            MissReport(rule=describe_rule(item.rule, _place_of(item.rule, chain)), but=item.but)
            for item in decision.misses
        ),
    )


def _place_of(rule: Rule, chain: Sequence[Rule]) -> int:
    return next(place for place, item in enumerate(chain, 1) if item is rule)
