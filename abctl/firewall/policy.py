"""A policy as rules: its sets filled, its rules in order between those that every policy has."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from abctl.errors import BadFirewall
from abctl.firewall.basics import LINK_LOCAL, RFC1918, Basics, make_first, make_last
from abctl.firewall.form import (
    ANY,
    NEVER,
    Direction,
    PolicyForm,
    Ports,
    RuleForm,
    WidestForm,
    parse_ports,
    parse_prefix,
    parse_rate,
)
from abctl.firewall.icmp import parse_type
from abctl.firewall.remarks import find_remarks
from abctl.firewall.rules import (
    DROPS_MAX,
    Action,
    Addresses,
    Chain,
    Family,
    Network,
    Rule,
    count_spread,
    family_of,
    join_ranges,
    of_family,
    spread,
)

HOST_PREFIX = "host-prefix"
# Private and link-local addresses come from nowhere in the Internet, so they may be as wide as they are.
BUILTIN: Mapping[str, tuple[Network, ...]] = {"rfc1918": RFC1918, "link-local": LINK_LOCAL}
_PROBLEMS_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Filling:
    """What the host puts into a set, and where it says so."""

    networks: tuple[Network, ...]
    source: str


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A set of a policy as it is filled; ``source`` is what fills it."""

    name: str
    networks: tuple[Network, ...]
    source: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in order, and the sets that were used for them. ``remarks`` is what an admin should know."""

    name: str
    rules: tuple[Rule, ...]
    sets: tuple[NamedSet, ...] = ()
    remarks: tuple[str, ...] = ()
    description: str = ""


@dataclass
class _Making:
    """What is needed to make the rules, and what was found wrong."""

    name: str
    sets: dict[str, NamedSet]
    widest: WidestForm
    problems: list[str] = field(default_factory=list)


def make_policy(form: PolicyForm, name: str, fillings: Mapping[str, Filling] | None = None) -> Policy:
    """Return the policy; ``fillings`` take the place of what it says of its sets.

    Raise BadFirewall with every set that is not there and every accept that is too wide.
    """
    filled = {} if fillings is None else fillings
    making = _Making(name, _make_sets(form, filled), form.widest)
    strays = [item.source for key, item in filled.items() if key not in making.sets]
    own = tuple(
        rule for number, item in enumerate(form.rules, 1) for rule in _make_rules(making, number, item)
    )
    if making.problems:
        shown = "; ".join(making.problems[:_PROBLEMS_SHOWN])
        more = len(making.problems) - _PROBLEMS_SHOWN
        raise BadFirewall(f"{name} is not sound: {shown}{f'; and {more} more' if more > 0 else ''}")
    used = tuple(making.sets[item] for item in _list_used(form))
    first, last = make_first(_make_basics(form)), make_last()
    rules = (*first, *(part for rule in own for part in spread(rule)), *last)
    remarks = (
        *find_remarks((*first, *own, *last), own),
        *(f"{item} fills a set that the policy does not have" for item in strays),
    )
    return Policy(name, rules, used, remarks, form.description)


def list_sets(form: PolicyForm) -> tuple[str, ...]:
    """Return the names of all sets that a rule of the policy may name."""
    return tuple(_make_sets(form, {}))


def make_policy_at_boot(
    form: PolicyForm, name: str, fillings: Mapping[str, Filling]
) -> tuple[Policy, tuple[str, ...]]:
    """Return the policy with those ``fillings`` that go with it, and what is wrong with the others.

    A file of the host must not keep the release's policy from being loaded. Raise BadFirewall where that
    itself is wrong.
    """
    policy = make_policy(form, name)
    problems = []
    kept: dict[str, Filling] = {}
    for key, filling in fillings.items():
        try:
            policy = make_policy(form, name, {**kept, key: filling})
            kept[key] = filling
        except BadFirewall as error:
            problems.append(f"{filling.source} is left out: {error}")
    return policy, tuple(problems)


def _make_basics(form: PolicyForm) -> Basics:
    rate = form.basics.echo_rate
    return Basics(None if rate == NEVER else parse_rate(rate), form.basics.dhcp)


def _make_sets(form: PolicyForm, fillings: Mapping[str, Filling]) -> dict[str, NamedSet]:
    sets = {name: NamedSet(name, networks, "built in") for name, networks in BUILTIN.items()}
    sets[HOST_PREFIX] = NamedSet(HOST_PREFIX, (), "nothing fills it", "what is delegated to this host")
    for name, item in form.sets.items():
        networks = tuple(parse_prefix(text) for text in item.prefixes)
        sets[name] = NamedSet(name, networks, "the policy", item.description)
    for name, filling in fillings.items():
        if name in sets:
            sets[name] = NamedSet(name, filling.networks, filling.source, sets[name].description)
    return sets


def _list_used(form: PolicyForm) -> list[str]:
    places = [place for rule in form.rules for place in (*(rule.sources or ()), *(rule.destinations or ()))]
    return [place for place in dict.fromkeys(places) if place != ANY and not _is_prefix(place)]


def _is_prefix(place: str) -> bool:
    return "/" in place or ":" in place or "." in place


# --- rules ------------------------------------------------------------------------------------------


def _make_rules(making: _Making, number: int, form: RuleForm) -> Iterator[Rule]:
    """Yield the rule once for each version of IP that it is for."""
    where = f"rule {number}: {form.description}".removesuffix(": ")
    families = _list_families(form)
    sources = _find_networks(making, where, "from", form.sources)
    destinations = _find_networks(making, where, "to", form.destinations)
    for places, networks in ((form.sources, sources), (form.destinations, destinations)):
        is_written = bool(networks and places) and all(_is_prefix(place) for place in places or ())
        if is_written and not any(of_family(networks or (), family) for family in families):
            making.problems.append(f"{where} is for {families[0]}, and its prefixes are not")
    if form.direction is Direction.INPUT and form.action is Action.ACCEPT:
        _check_width(making, where, form)
    for family in families:
        rule = _make_rule(where, form, family, sources, destinations)
        if rule.action is Action.DROP and count_spread(rule) > DROPS_MAX:
            making.problems.append(
                f"{where} drops by more than {DROPS_MAX} combinations of prefixes and ports"
            )
        yield rule


def _list_families(form: RuleForm) -> tuple[Family, ...]:
    only = form.family or (form.protocol and form.protocol.family)
    return (only,) if only else tuple(Family)


def _make_rule(
    where: str,
    form: RuleForm,
    family: Family,
    sources: Sequence[Network] | None,
    destinations: Sequence[Network] | None,
) -> Rule:
    types = {parse_type(form.protocol, item) for item in form.types} if form.protocol else set()
    return Rule(
        chain=Chain(form.direction),
        action=form.action,
        name=where,
        family=family,
        protocol=form.protocol,
        ports=_make_ports(form.ports),
        source_ports=_make_ports(form.source_ports),
        types=tuple(sorted(types)),
        sources=_make_addresses(family, form.sources, sources),
        destinations=_make_addresses(family, form.destinations, destinations),
        rate=parse_rate(form.rate) if form.rate else None,
        connections=form.connections,
    )


def _make_ports(ports: Ports) -> tuple[tuple[int, int], ...]:
    return join_ranges(parse_ports(item) for item in ports)


def _make_addresses(
    family: Family, places: Sequence[str] | None, networks: Sequence[Network] | None
) -> Addresses | None:
    if places is None or networks is None:
        return None
    has_prefixes = any(_is_prefix(place) for place in places)
    return Addresses(of_family(networks, family), "" if has_prefixes else ", ".join(places))


def _find_networks(
    making: _Making, where: str, key: str, places: Sequence[str] | None
) -> tuple[Network, ...] | None:
    """Return all prefixes in ``places``; None for any address."""
    if places is None or ANY in places:
        return None
    networks: list[Network] = []
    for place in places:
        if _is_prefix(place):
            networks.append(parse_prefix(place))
        elif place in making.sets:
            networks += making.sets[place].networks
        else:
            known = ", ".join(sorted(making.sets))
            making.problems.append(
                f"{where}: {key} names the set {place}, which is not there; there are {known}"
            )
    return tuple(networks)


def _check_width(making: _Making, where: str, form: RuleForm) -> None:
    """An accept on input must not let in more of the world than ``widest`` says."""
    shortest = {Family.IPV4: making.widest.ipv4, Family.IPV6: making.widest.ipv6}
    families = _list_families(form)
    if form.sources is None or ANY in form.sources:
        for family in families:
            if shortest[family]:
                making.problems.append(
                    f"{where} accepts from every {family} address: say from whom, or set widest.{family} to 0"
                )
        return
    for place in form.sources:
        for network in _list_own(making, place):
            family = family_of(network)
            if family in families and network.prefixlen < shortest[family]:
                making.problems.append(
                    f"{where} accepts from {network}{_say_set(place)}, which is wider than "
                    f"/{shortest[family]}: name smaller prefixes, or set widest.{family}"
                )


def _list_own(making: _Making, place: str) -> tuple[Network, ...]:
    """Return the prefixes of a place that somebody wrote down; those that are built in may be wide."""
    if _is_prefix(place):
        return (parse_prefix(place),)
    found = making.sets.get(place)
    return () if found is None or found.networks == BUILTIN.get(place) else found.networks


def _say_set(place: str) -> str:
    return "" if _is_prefix(place) else f" in the set {place}"
