"""adopt: take over a host that the older system made."""

from dataclasses import replace

import click

from abctl.cli.wiring import Target, open_machine
from abctl.core.bootenv import BootEnv
from abctl.core.slot import SlotName
from abctl.host.scripts import install_scripts
from abctl.update.operate import Ports, observe, settle


@click.command(short_help="Take over a host that the older system made.")
@click.pass_obj
def adopt(target: Target) -> None:
    """Put abctl's GRUB scripts and boot environment on a host that the older system made.

    The host keeps its place: what its boot_alternative and boot_cycle say becomes the primary, or
    the trial that is under way. The older grub.cfg is kept as grub.cfg.older. Running it again changes
    nothing; after an upgrade of abctl it brings the scripts up to date.

    \b
    Example:
      abctl adopt
    """
    with open_machine(target, write=True) as machine:
        observed = observe(machine.ports)
        files = machine.ports.grub.read()
        env = None if files.first and files.second else _with_versions(observed.host.env, machine.ports)
        install_scripts(machine.grub_files(), machine.layout, env)
        host = settle(machine.ports)
    click.echo(
        f"GRUB runs abctl's scripts from the next power-on; slot set {host.env.primary} is the primary."
    )


def _with_versions(env: BootEnv, ports: Ports) -> BootEnv:
    """Fill in what the older system's boot environment does not say."""
    for name in SlotName:
        if env[name].version is None:
            env = env.with_slot_set(name, replace(env[name], version=ports.version_in(name)))
    return env
