"""What ``abctl identity`` reports. Forms as in ``report``."""

from dataclasses import dataclass
from typing import Annotated

from abctl.cli.report import Note, Report
from abctl.core.hostname import HostType
from abctl.identity.management import Source

_MAC = Note("lower case with colons", pattern="^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagementReport(Report):
    """The management MAC, from which the name and all other addresses follow."""

    mac: Annotated[str, _MAC]
    source: Annotated[
        Source,
        Note("given on the command line, settings, kept since an earlier boot, ipmi, or a network card"),
    ]
    card: Annotated[str | None, Note("the network card it is of; null where it is not found there")]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineReport(Report):
    """The addresses of one of the node's machines."""

    name: str
    index: Annotated[int, Note("second byte of its MAC addresses", minimum=0, maximum=255)]
    mac_ipv4: Annotated[str, _MAC]
    mac_ipv6: Annotated[str, _MAC]
    ipv6: Annotated[str | None, Note("by EUI-64; null where no prefix is known")]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityReport(Report):
    """abctl identity show: what a host goes by."""

    hostname: Annotated[str | None, Note("that it should have; null without a management MAC")]
    running_hostname: Annotated[str | None, Note("that the kernel has; null for another host")]
    host_type: HostType
    management: Annotated[ManagementReport | None, Note("null: none was found")]
    deployment: str | None
    ipv6_prefix: str | None
    ipv6_gateway: str | None
    node_id: str | None
    machines: Annotated[tuple[MachineReport, ...], Note("empty without a management MAC and a deployment")]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedReport(Report):
    """abctl identity apply: what was changed on the running host, and what could not be."""

    hostname: str | None
    changed: Annotated[tuple[str, ...], Note("a sentence for each change; empty: all was right already")]
    warnings: tuple[str, ...]
    failures: tuple[str, ...]
