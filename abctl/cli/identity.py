"""abctl identity: show what a host goes by, change its settings, and apply them."""

import os
import sys
from typing import TYPE_CHECKING

import click

from abctl.cli.options import json_option
from abctl.cli.wiring import Target
from abctl.core.hostname import HostType

if TYPE_CHECKING:
    from abctl.cli.report_identity import IdentityReport


@click.group(short_help="Show and apply a host's name, addresses and keys.")
@click.pass_obj
def identity(target: Target) -> None:
    """A host's name, its MAC and IPv6 addresses, and the SSH keys of its users.

    All of it follows from the management MAC and a few settings on the config volume, which both slot sets
    share.

    \b
    Examples:
      abctl identity show
      abctl identity set deployment=mainnet ipv6_prefix=2602:ffe4:801:17::/64
      abctl identity apply
    """
    if target.disk:
        raise click.UsageError("an identity is that of the running host: leave out --disk")


@identity.command(short_help="Show what a host goes by.")
@click.option("--mgmt-mac", metavar="MAC", help="Calculate for the host with this management MAC.")
@click.option("--deployment", metavar="NAME", help="With --mgmt-mac: the deployment, such as mainnet.")
@click.option("--prefix", metavar="PREFIX", help="With --mgmt-mac: its IPv6 prefix of 64 bits.")
@click.option("--node-id", metavar="ID", help="With --mgmt-mac: its node-id.")
@click.option(
    "--type",
    "host_type",
    type=click.Choice([kind.value for kind in HostType]),
    help="With --mgmt-mac: what it is (default: host).",
)
@json_option
def show(
    mgmt_mac: str | None,
    deployment: str | None,
    prefix: str | None,
    node_id: str | None,
    host_type: str | None,
    as_json: bool,
) -> None:
    """Show name, MAC addresses and IPv6 addresses, and where they come from. Changes nothing.

    With --mgmt-mac nothing is looked at here: it is calculated for any host, on any machine.

    \b
    Examples:
      abctl identity show
      abctl identity show --mgmt-mac 70:b5:e8:e8:25:de --deployment testnet
    """
    from abctl.cli.render_identity import render_identity  # noqa: PLC0415
    from abctl.cli.show import show as print_report  # noqa: PLC0415

    values = {"deployment": deployment, "ipv6_prefix": prefix, "node_id": node_id, "host_type": host_type}
    if mgmt_mac is None and any(values.values()):
        raise click.UsageError(
            "--deployment, --prefix, --node-id and --type go with --mgmt-mac; of this host they are "
            "settings, see 'abctl identity set --help'"
        )
    report = _report_this() if mgmt_mac is None else _report_other(mgmt_mac, values)
    print_report(report, render_identity, as_json=as_json)


def _report_this() -> "IdentityReport":
    from abctl.cli.describe_identity import describe_identity  # noqa: PLC0415
    from abctl.cli.identity_host import Around, find_identity  # noqa: PLC0415
    from abctl.host.hostname import read_hostname  # noqa: PLC0415
    from abctl.host.settings_file import SettingsFile  # noqa: PLC0415

    read = SettingsFile().read()
    found = find_identity(Around(), read)
    return describe_identity(found, running=read_hostname(), warnings=read.warnings)


def _report_other(mac: str, values: dict[str, str | None]) -> "IdentityReport":
    from abctl.cli.describe_identity import describe_identity  # noqa: PLC0415
    from abctl.cli.identity_host import calculate_identity  # noqa: PLC0415

    return describe_identity(calculate_identity(mac, values))


@identity.command(name="set", short_help="Change settings, which both slot sets share.")
@click.argument("settings", nargs=-1, required=True, metavar="NAME=VALUE...")
def set_(settings: tuple[str, ...]) -> None:
    """Change settings on the config volume; without a value a setting is taken away.

    \b
    host_type        host, replica or boundary
    deployment       for example mainnet
    management_mac   counts more than what is found in the hardware
    ipv6_prefix      64 bits, as in 2602:ffe4:801:17::/64
    ipv6_gateway     as in fe80::1; without it routers say it
    node_id          its first characters become part of the name

    They count from the next boot on, or with 'abctl identity apply'.

    \b
    Examples:
      abctl identity set deployment=mainnet
      abctl identity set management_mac=
    """
    from abctl.host.settings_file import SettingsFile  # noqa: PLC0415

    changes: dict[str, str | None] = {}
    for word in settings:
        name, equals, value = word.partition("=")
        if not equals:
            raise click.UsageError(f"{word!r} is no setting: give it as NAME=VALUE")
        changes[name] = value or None
    file = SettingsFile()
    file.update(changes)
    click.echo(f"Kept in {file.path}. It counts with 'abctl identity apply', or from the next boot on.")


@identity.command(short_help="Give the running host its identity.")
@json_option
def apply(as_json: bool) -> None:
    """Set the hostname, write the files of systemd-networkd, and put the SSH keys in order.

    The service abctl-identity does it at each boot. What is right already is left alone. SSH keys come from
    /boot/config/ssh_authorized_keys/{backup,readonly,admin}: what is not there is taken away.

    \b
    Example:
      abctl identity apply
    """
    from abctl.cli.identity_apply import apply_identity  # noqa: PLC0415
    from abctl.cli.identity_host import Around  # noqa: PLC0415
    from abctl.cli.render_identity import render_applied  # noqa: PLC0415
    from abctl.cli.show import show as print_report  # noqa: PLC0415

    if os.geteuid() != 0:
        raise click.UsageError("only root can give a host its name: run it as root")
    report, failure = apply_identity(Around())
    print_report(report, render_applied, as_json=as_json)
    if failure:
        sys.exit(failure.exit_code)
