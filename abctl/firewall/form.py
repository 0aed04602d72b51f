"""The form of a firewall policy, field by field; ``schemas/`` is made from these classes.

base = "hostos"              # a shipped policy that this one adds to; its rules come after those here

[widest]                     # how wide the source of an accept on input may be: length of the prefix
ipv4 = 16
ipv6 = 64

[basics]
echo_rate = "50/second"      # pings that are answered; "never" for none
dhcp = true                  # this host gets its addresses by DHCP

[sets.ic-registry]           # may be empty; a file of the host can fill it
description = "delegated IPv6 subnets from the IC registry"
prefixes = ["2001:db8:17::/64"]

[[rules]]                    # in order: the first that matches decides
direction = "input"
family = "ipv6"
protocol = "tcp"
ports = [22, "9100-9199"]
from = ["ic-registry"]       # sets, prefixes, or "any"
description = "openssh"
rate = "10/minute burst 20"  # of new connections
connections = 16             # at once
"""

import re
from enum import StrEnum
from ipaddress import ip_network
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from abctl.core.problems import clean_text
from abctl.core.toml_file import parse_toml
from abctl.errors import BadFirewall
from abctl.firewall.icmp import parse_type
from abctl.firewall.rules import PORT_MAX, Action, Family, Network, Per, Protocol, Rate

POLICY_MAX = 256 * 1024  # bytes; a real one has a few KiB
PREFIXES_MAX = 4096  # in one set
RULES_MAX = 256
ANY = "any"
NEVER = "never"

_CONFIG = ConfigDict(extra="forbid", strict=True, frozen=True)
_SET_NAME = r"^[a-z][a-z0-9-]{0,39}$"
_RATE = re.compile(r"([0-9]{1,6})/(second|minute|hour|day)(?: burst ([0-9]{1,6}))?")
_RATE_PATTERN = rf"^({_RATE.pattern})$"
_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_BURST = 5  # what nft takes where none is said


class Direction(StrEnum):
    """Which packets a rule is about; nothing is forwarded."""

    INPUT = "input"
    OUTPUT = "output"


def parse_prefix(text: str) -> Network:
    """Return a prefix such as ``2001:db8::/64``, or a single address; raise ValueError."""
    try:
        return ip_network(text)
    except ValueError as error:
        why = (
            "it has bits set behind its length" if "host bits" in str(error) else "write it as 2001:db8::/64"
        )
        raise ValueError(f"{clean_text(text[:60])!r} is not a prefix: {why}") from None


def parse_rate(text: str) -> Rate:
    """Return a rate such as ``10/minute`` or ``10/minute burst 20``; raise ValueError."""
    match = _RATE.fullmatch(text)
    if not match or not int(match[1]) or match[3] == "0":
        raise ValueError(f"{text[:40]!r} is not a rate, as in '10/minute' or '10/minute burst 20'")
    return Rate(int(match[1]), Per(match[2]), int(match[3] or _BURST))


def parse_ports(value: int | str) -> tuple[int, int]:
    """Return a port, or a range such as ``9100-9199``; raise ValueError."""
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    first, last = (int(match[1]), int(match[2])) if match else (value, value)
    if isinstance(first, str) or isinstance(last, str) or not 0 < first <= last <= PORT_MAX:
        raise ValueError(f"{value!r} is not a port from 1 to {PORT_MAX}, nor a range such as '9100-9199'")
    return first, last


def _check_prefix(text: str) -> str:
    parse_prefix(text)
    return text


def _check_rate(text: str) -> str:
    if text != NEVER:
        parse_rate(text)
    return text


def _check_new_rate(text: str) -> str:
    parse_rate(text)
    return text


def _check_ports(value: int | str) -> int | str:
    parse_ports(value)
    return value


def _check_place(text: str) -> str:
    if not re.fullmatch(_SET_NAME, text):
        parse_prefix(text)
    return text


def _check_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it has characters that cannot be shown")
    return text


Line = Annotated[str, Field(max_length=80), AfterValidator(_check_line)]
SetName = Annotated[str, Field(pattern=_SET_NAME)]
Ports = Annotated[
    tuple[Annotated[int | str, AfterValidator(_check_ports)], ...], Field(max_length=64, strict=False)
]
Places = Annotated[
    tuple[Annotated[str, Field(max_length=60), AfterValidator(_check_place)], ...],
    Field(min_length=1, max_length=64, strict=False),
]


class _Form(BaseModel):
    model_config = _CONFIG


class WidestForm(_Form):
    """The shortest prefix that an accept on input may have as a source; 0 allows everybody."""

    ipv4: Annotated[int, Field(ge=0, le=32)] = 16
    ipv6: Annotated[int, Field(ge=0, le=128)] = 64


class BasicsForm(_Form):
    """What comes before the rules."""

    echo_rate: Annotated[
        str,
        Field(description="pings that are answered, as in '50/second burst 100', or 'never'"),
        AfterValidator(_check_rate),
    ] = "50/second burst 100"
    dhcp: Annotated[bool, Field(description="whether this host gets its addresses by DHCP")] = True


class SetForm(_Form):
    """Prefixes under a name; a file of the host, NAME.prefixes, takes their place."""

    description: Line = ""
    prefixes: Annotated[
        tuple[Annotated[str, Field(max_length=60), AfterValidator(_check_prefix)], ...],
        Field(max_length=PREFIXES_MAX, strict=False),
    ] = ()


class RuleForm(_Form):
    """What a packet must have to match, and what becomes of it."""

    model_config = _CONFIG | {"populate_by_name": True}

    direction: Annotated[Direction, Field(strict=False)]
    family: Annotated[Family | None, Field(strict=False, description="default: both")] = None
    protocol: Annotated[Protocol | None, Field(strict=False, description="default: all")] = None
    ports: Annotated[Ports, Field(description="where it goes to: numbers, or ranges as text")] = ()
    source_ports: Ports = ()
    types: Annotated[
        tuple[int | str, ...],
        Field(max_length=64, strict=False, description="of ICMP or ICMPv6, by name or number"),
    ] = ()
    sources: Annotated[Places | None, Field(alias="from", description="sets, prefixes or 'any'")] = None
    destinations: Annotated[Places | None, Field(alias="to", description="sets, prefixes or 'any'")] = None
    action: Annotated[Action, Field(strict=False)] = Action.ACCEPT
    description: Line = ""
    rate: Annotated[
        str | None,
        Field(description="of new connections, as in '10/minute burst 20'"),
        AfterValidator(lambda text: text if text is None else _check_new_rate(text)),
    ] = None
    connections: Annotated[
        int | None, Field(ge=1, le=1_000_000, description="how many there may be at once")
    ] = None

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        problems = [text for text in (self._ports_problem(), self._types_problem()) if text]
        for name, places in (("from", self.sources), ("to", self.destinations)):
            if places and ANY in places and len(places) > 1:
                problems.append(f"{name} has 'any' beside others, so the others mean nothing")
        if self.action is Action.DROP and (self.rate or self.connections):
            problems.append("rate and connections go with what is accepted: what is beyond them is not")
        if self.protocol and self.protocol.family and self.family not in (None, self.protocol.family):
            problems.append(f"{self.protocol} is not carried by {self.family}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _ports_problem(self) -> str:
        if not (self.ports or self.source_ports) or (self.protocol and self.protocol.has_ports):
            return ""
        if self.protocol is None:
            return "it has ports but no protocol, so it would be for all ports: say tcp or udp"
        return f"{self.protocol} has no ports"

    def _types_problem(self) -> str:
        if not self.types:
            return ""
        if self.protocol is None or self.protocol.has_ports:
            return "types go with the protocol icmp or icmpv6"
        try:
            for item in self.types:
                parse_type(self.protocol, item)
        except ValueError as error:
            return str(error)
        return ""


class PolicyForm(_Form):
    """Which packets a host takes and sends; all others are dropped."""

    model_config = _CONFIG | {"title": "abctl firewall policy"}

    description: Line = ""
    base: Annotated[
        SetName | None, Field(description="a shipped policy, whose rules come after those here")
    ] = None
    widest: WidestForm = WidestForm()
    basics: BasicsForm = BasicsForm()
    sets: Annotated[dict[SetName, SetForm], Field(max_length=64)] = {}
    rules: Annotated[tuple[RuleForm, ...], Field(max_length=RULES_MAX, strict=False)] = ()


def parse_policy(text: str, name: str) -> PolicyForm:
    """Return the policy in ``text``; raise BadFirewall, naming ``name`` and every wrong field."""
    return parse_toml(PolicyForm, text, name, BadFirewall)


def add_base(form: PolicyForm, base: PolicyForm) -> PolicyForm:
    """Return ``form`` with what it does not say itself taken from ``base``; its own rules come first."""
    said = form.model_fields_set
    return PolicyForm(
        description=form.description or base.description,
        base=base.base,
        widest=form.widest if "widest" in said else base.widest,
        basics=form.basics if "basics" in said else base.basics,
        sets={**base.sets, **form.sets},
        rules=(*form.rules, *base.rules),
    )


def parse_prefixes(text: str, name: str) -> tuple[Network, ...]:
    """Return what a file of prefixes lists, one a line, ``#`` begins a comment; raise BadFirewall.

    All lines that are wrong are named.
    """
    networks, problems = [], []
    for number, line in enumerate(text.splitlines(), 1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        try:
            networks.append(parse_prefix(word))
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    if len(networks) > PREFIXES_MAX:
        problems.append(f"it has {len(networks)} prefixes, and {PREFIXES_MAX} is the most")
    if problems:
        more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""  # noqa: PLR2004 - as core/problems
        raise BadFirewall(f"{name} is not sound: {'; '.join(problems[:8])}{more}")
    return tuple(networks)
