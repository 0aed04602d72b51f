"""What the commands of ``abctl firewall`` report. Forms as in ``report``."""

from dataclasses import dataclass
from typing import Annotated

from abctl.cli.report import Note, Report
from abctl.firewall.drift import Kind
from abctl.firewall.rules import Action, Chain, Family, Protocol, State

Remarks = Annotated[tuple[str, ...], Note("what an admin should know of the policy")]
PolicyName = Annotated[str, Note("a policy that comes with abctl, or the file it was read from")]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleReport(Report):
    """One rule as the kernel has it."""

    place: Annotated[int, Note("1 is the first of its chain", minimum=1)]
    chain: Chain
    action: Action
    family: Annotated[Family | None, Note("null: both")]
    protocol: Annotated[Protocol | None, Note("null: all")]
    ports: Annotated[tuple[str, ...], Note("numbers and ranges such as 9100-9199; empty: all")]
    source_ports: tuple[str, ...]
    types: Annotated[tuple[str, ...], Note("of ICMP or ICMPv6; empty: all")]
    sources: Annotated[tuple[str, ...] | None, Note("prefixes; null: any address")]
    destinations: Annotated[tuple[str, ...] | None, Note("prefixes; null: any address")]
    interface: Annotated[str | None, Note("that it comes in by, or goes out by; null: any")]
    states: Annotated[tuple[State, ...], Note("of its connection; empty: all")]
    limits: Annotated[str | None, Note("what else it depends on, in words")]
    name: Annotated[str, Note("where the rule is from; its comment in the kernel")]
    sentence: str
    packets: Annotated[int | None, Note("that have met it; null where it is not loaded", minimum=0)]
    size: Annotated[int | None, Note("bytes of them", minimum=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetReport(Report):
    """A set of prefixes that rules of the policy name."""

    name: str
    description: str
    prefixes: tuple[str, ...]
    source: Annotated[str, Note("what fills it")]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallReport(Report):
    """abctl firewall show: the rules of a policy, in order."""

    policy: PolicyName
    description: str
    loaded: Annotated[bool | None, Note("whether the kernel has exactly these rules; null: not known")]
    rules: tuple[RuleReport, ...]
    sets: tuple[SetReport, ...]
    remarks: Remarks


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallCheckReport(Report):
    """abctl firewall check: a policy that is sound."""

    policy: PolicyName
    rules: Annotated[int, Note("rules of the kernel that it comes to", minimum=0)]
    kernel: Annotated[bool, Note("whether the kernel was asked and takes them")]
    kernel_problem: Annotated[str | None, Note("why it was not asked")]
    remarks: Remarks


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallApplyReport(Report):
    """abctl firewall apply: rules were loaded."""

    policy: PolicyName
    rules: Annotated[int, Note("rules in the kernel", minimum=0)]
    seconds: Annotated[
        int | None, Note("until they are put back unless confirmed; null: they stay", minimum=0)
    ]
    emergency: Annotated[str | None, Note("why the emergency rules were loaded in place of the policy")]
    remarks: Remarks


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceReport(Report):
    """One thing in which the kernel's rules differ from the policy."""

    kind: Kind
    chain: Chain | None
    place: Annotated[int | None, Note("of a rule in its chain", minimum=1)]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallDiffReport(Report):
    """abctl firewall diff: the kernel's rules beside those of a policy."""

    policy: PolicyName
    loaded: Annotated[bool, Note("whether there are any rules of abctl's in the kernel")]
    same: bool
    differences: tuple[DifferenceReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MissReport(Report):
    """A rule that would accept the packet, but for one thing."""

    rule: RuleReport
    but: Annotated[str, Note("which part of the packet it is")]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallExplainReport(Report):
    """abctl firewall explain: what the rules of a policy make of a packet."""

    policy: PolicyName
    packet: str
    action: Action
    rule: Annotated[RuleReport, Note("the one that decides, within its limits")]
    beyond: Annotated[Action | None, Note("what becomes of what exceeds its limits; null: it has none")]
    unless: Annotated[tuple[RuleReport, ...], Note("rules before it that drop what comes too often")]
    misses: Annotated[tuple[MissReport, ...], Note("rules that would accept it but for one thing")]
