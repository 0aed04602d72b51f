"""Make the report of an identity. Nothing here looks at a host."""

from collections.abc import Sequence

from abctl.cli.report_identity import IdentityReport, MachineReport, ManagementReport
from abctl.identity.identity import Addresses, Identity
from abctl.identity.management import Management


def describe_identity(
    identity: Identity, *, running: str | None = None, warnings: Sequence[str] = ()
) -> IdentityReport:
    """Return what a host goes by; ``running`` is its name now, None for another host than this one."""
    settings = identity.settings
    return IdentityReport(
        hostname=identity.hostname,
        running_hostname=running,
        host_type=settings.host_type,
        management=_describe_management(identity.management),
        deployment=settings.deployment,
        ipv6_prefix=settings.ipv6_prefix,
        ipv6_gateway=settings.ipv6_gateway,
        node_id=settings.node_id,
        machines=tuple(_describe_machine(found) for found in identity.machines),
        warnings=(*warnings, *identity.warnings),
    )


def _describe_management(found: Management) -> ManagementReport | None:
    if found.mac is None or found.source is None:
        return None
    return ManagementReport(mac=found.mac, source=found.source, card=found.card or None)


def _describe_machine(found: Addresses) -> MachineReport:
    return MachineReport(
        name=found.machine.name.lower().replace("_", "-"),
        index=found.machine.value,
        mac_ipv4=found.mac_ipv4,
        mac_ipv6=found.mac_ipv6,
        ipv6=found.ipv6,
    )
