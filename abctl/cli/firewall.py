"""firewall: which packets the host takes and sends."""

import click

from abctl.cli.lazy import LazyGroup
from abctl.cli.wiring import Target

_COMMANDS = {
    "show": "abctl.cli.firewall_look:show_rules",
    "check": "abctl.cli.firewall_look:check",
    "explain": "abctl.cli.firewall_look:explain",
    "diff": "abctl.cli.firewall_look:diff",
    "apply": "abctl.cli.firewall_change:apply",
    "confirm": "abctl.cli.firewall_change:confirm",
    "revert": "abctl.cli.firewall_change:revert",
}


@click.group(cls=LazyGroup, places=_COMMANDS, short_help="Load, check and explain the firewall.")
@click.pass_obj
def firewall(target: Target) -> None:
    """Decide which packets the running host takes and sends; all others are dropped.

    The policy is /etc/abctl/firewall.toml, or what --policy names: a file, or one that comes with abctl
    (hostos, hostos-wide). Without either it is hostos. New rules are loaded on approval: those from before
    are put back by themselves unless 'abctl firewall confirm' follows.

    \b
    Examples:
      abctl firewall check
      abctl firewall explain "tcp from 10.1.2.3 to port 22"
      abctl firewall apply
      abctl firewall confirm
    """
    if target.disk:
        raise click.UsageError("the firewall is that of the running host: leave out --disk")
