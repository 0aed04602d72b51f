"""A host's whole identity: its name, and the addresses of its node's machines."""

from dataclasses import dataclass

from abctl.core.hostname import make_hostname
from abctl.core.macs import Family, Index, Mac, Prefix, derive_mac, eui64_address
from abctl.core.settings import Settings
from abctl.identity.management import Management, Source


@dataclass(frozen=True, slots=True)
class Addresses:
    """One machine's MAC address for each family; ``ipv6`` is None where no prefix is known."""

    machine: Index
    mac_ipv4: Mac
    mac_ipv6: Mac
    ipv6: str | None


@dataclass(frozen=True, slots=True)
class Identity:
    """What a host goes by: ``hostname`` is None without a management MAC, ``machines`` empty without both."""

    settings: Settings
    management: Management
    hostname: str | None
    machines: tuple[Addresses, ...]
    warnings: tuple[str, ...]

    def find(self, machine: Index) -> Addresses | None:
        return next((found for found in self.machines if found.machine is machine), None)


def make_identity(settings: Settings, management: Management) -> Identity:
    """Return what follows from the settings and the management MAC; raise BadIdentity."""
    mac, warnings = management.mac, list(management.warnings)
    if settings.deployment is None:
        is_given = management.source is Source.GIVEN
        remedy = "--deployment" if is_given else "'abctl identity set deployment=NAME'"
        warnings.append(
            "the deployment is not known, so there are no MAC addresses for the host and its guest: name it "
            f"with {remedy}"
        )
    return Identity(
        settings,
        management,
        make_hostname(settings.host_type, mac, settings.node_id) if mac else None,
        _list_addresses(mac, settings.deployment, settings.ipv6_prefix)
        if mac and settings.deployment
        else (),
        tuple(warnings),
    )


def _list_addresses(management: Mac, deployment: str, prefix: Prefix | None) -> tuple[Addresses, ...]:
    return tuple(_calculate(machine, management, deployment, prefix) for machine in Index)


def _calculate(machine: Index, management: Mac, deployment: str, prefix: Prefix | None) -> Addresses:
    mac_ipv6 = derive_mac(management, deployment, Family.IPV6, machine)
    return Addresses(
        machine,
        derive_mac(management, deployment, Family.IPV4, machine),
        mac_ipv6,
        eui64_address(prefix, mac_ipv6) if prefix else None,
    )
