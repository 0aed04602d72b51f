"""confirm, rollback, mark-bad, allow and settle: an admin's words about slot sets."""

import click

from abctl.cli.complete import complete_refused
from abctl.cli.options import complete_slot_set
from abctl.cli.standing import refresh_motd
from abctl.cli.wiring import Machine, Target, open_machine
from abctl.core.events import Allow, Confirm, MarkBad, RollBack
from abctl.core.machine import find_refusal
from abctl.core.slot import SlotName
from abctl.core.units import parse_version
from abctl.update.operate import apply, observe
from abctl.update.operate import settle as settle_host
from abctl.update.witness import make_marks_file


@click.command(short_help="Keep the slot set that is on trial.")
@click.pass_obj
def confirm(target: Target) -> None:
    """Keep the slot set that is on trial: it becomes the primary.

    Works only from the running trial itself. Health checks do this by themselves; an admin may do it
    earlier.

    \b
    Example:
      abctl confirm
    """
    with open_machine(target, write=True) as machine:
        env = apply(machine.ports, Confirm(machine.ports.now())).env
    click.echo(f"Slot set {env.primary} ({env[env.primary].version}) is confirmed and is now the primary.")


@click.command(short_help="Go back to the previous slot set.")
@click.option("--reboot", is_flag=True, help="Reboot into it at once.")
@click.pass_obj
def rollback(target: Target, reboot: bool) -> None:
    """Go back to the previous slot set.

    With a trial running, the trial is given up; with a trial that has not started, it is called off;
    otherwise the other slot set becomes the primary if it is good. The version that is left is refused
    until 'abctl allow'.

    \b
    Example:
      abctl rollback --reboot
    """
    with open_machine(target, write=True) as machine:
        before = observe(machine.ports).host
        env = apply(machine.ports, RollBack(machine.ports.now())).env
        left = before.env.trial.slot_set if before.env.trial else before.env.primary
        release = before.env[left].version
        if before.env.trial:
            click.echo(f"The trial of {release} in slot set {left} is over.")
        if release and find_refusal(observe(machine.ports).host, release, None):
            click.echo(f"{release} is refused from now on; 'abctl allow {release}' takes that back.")
        click.echo(f"Slot set {env.primary} ({env[env.primary].version}) is what the next power-on boots.")
        _reboot_or_say(machine, env.primary, reboot)


def _reboot_or_say(machine: Machine, wanted: SlotName, reboot: bool) -> None:
    if machine.ports.running.kernel is wanted:
        return
    if reboot and machine.reboot:
        machine.reboot()
    elif machine.ports.running.kernel:
        change = "reboot to change over" if machine.reboot else "power it on again to change over"
        click.echo(f"Slot set {machine.ports.running.kernel} runs until then: {change}.")


@click.command("mark-bad", short_help="Say that a slot set is not to be used.")
@click.argument(
    "slot_set",
    type=click.Choice(list(SlotName), case_sensitive=False),
    metavar="[A|B]",
    required=False,
    shell_complete=complete_slot_set,
)
@click.option("--reason", default="marked bad by an admin", help="Kept, and shown in status.")
@click.pass_obj
def mark_bad(target: Target, slot_set: SlotName | None, reason: str) -> None:
    """Say that SLOT_SET (default: the one that runs) is not to be used.

    Its version is refused from now on. If it is the primary and the other slot set is good, that one
    becomes the primary.

    \b
    Example:
      abctl mark-bad --reason "network card dies after an hour"
    """
    with open_machine(target, write=True) as machine:
        bad = slot_set or machine.ports.running.booted
        if bad is None:
            raise click.UsageError("nothing of this disk runs: name the slot set, A or B")
        env = apply(machine.ports, MarkBad(machine.ports.now(), bad, reason)).env
        click.echo(f"Slot set {bad} ({env[bad].version or 'no version'}) is bad: {reason}.")
        if env.primary is bad:
            click.echo(f"It stays the primary all the same: slot set {bad.other} is {env[bad.other].state}.")
        else:
            _reboot_or_say(machine, env.primary, reboot=False)


@click.command(short_help="Take back the refusal of a version.")
@click.argument("version", shell_complete=complete_refused)
@click.pass_obj
def allow(target: Target, version: str) -> None:
    """Take back the refusal of VERSION, so that it may be installed again.

    \b
    Example:
      abctl allow 3.0.0
    """
    try:
        wanted = parse_version(version)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with open_machine(target, write=True) as machine:
        apply(machine.ports, Allow(machine.ports.now(), wanted))
    click.echo(f"{version} may be installed again.")


@click.command(short_help="Record how the last trial ended.")
@click.pass_obj
def settle(target: Target) -> None:
    """Record how the last trial ended, and mend the copies of the boot environment.

    Meant for early in every boot; each command that changes something does it first by itself.

    \b
    Example:
      abctl settle
    """
    with open_machine(target, write=True) as machine:
        before = observe(machine.ports).host
        host = settle_host(machine.ports)
        make_marks_file(machine.ports)
        if target.disk is None:
            refresh_motd(machine)
    for entry in host.record.entries[len(before.record.entries) :]:
        click.echo(f"Slot set {entry.slot_set} ({entry.version}): {entry.text}.")
