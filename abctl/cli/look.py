"""status, history, evidence and rehearse: the commands that only look."""

import click

from abctl.cli.describe import describe_history, describe_rehearsal
from abctl.cli.describe_evidence import describe_evidence
from abctl.cli.options import json_option
from abctl.cli.render import render_history, render_rehearsal, render_status
from abctl.cli.render_evidence import render_evidence
from abctl.cli.show import show
from abctl.cli.standing import report_status
from abctl.cli.wiring import Target, open_machine
from abctl.core.bootenv import Why
from abctl.core.evidence import Evidence
from abctl.core.grub import answer
from abctl.core.slot import SlotName
from abctl.update.operate import observe
from abctl.update.witness import gather

_BOOTS_MAX = 20


@click.command(short_help="Show what runs and what comes next.")
@json_option
@click.pass_obj
def status(target: Target, as_json: bool) -> None:
    """Show what runs, what the next power-on boots, and what the last upgrade came to.

    Changes nothing.

    \b
    Examples:
      abctl status
      abctl --disk host.img status --json
    """
    with open_machine(target, write=False) as machine:
        report = report_status(machine, target.name, target.prompt)
    show(report, render_status, as_json=as_json)


@click.command(short_help="Show how far each boot of the last trials got.")
@json_option
@click.pass_obj
def evidence(target: Target, as_json: bool) -> None:
    """Show what is kept of the last trials: how far each boot got, its health checks, and its last lines.

    \b
    Example:
      abctl evidence
    """
    with open_machine(target, write=False) as machine:
        kept = machine.ports.evidence.read() if machine.ports.evidence else Evidence()
        current = gather(machine.ports, observe(machine.ports).host)
        report = describe_evidence(kept, current, disk=target.name)
    show(report, render_evidence, as_json=as_json)


@click.command(short_help="Show what happened, and when.")
@click.option("--last", type=click.IntRange(min=1), help="Only so many of the newest entries.")
@json_option
@click.pass_obj
def history(target: Target, last: int | None, as_json: bool) -> None:
    """Show every upgrade, confirmation, fallback and rollback, with time, bytes and reason.

    \b
    Example:
      abctl history --last 10
    """
    with open_machine(target, write=False) as machine:
        report = describe_history(observe(machine.ports).host, disk=target.name, last=last)
    show(report, render_history, as_json=as_json)


@click.command(short_help="Show what the next power-ons would do.")
@click.option(
    "--boots", type=click.IntRange(1, _BOOTS_MAX), default=5, show_default=True, help="How many power-ons."
)
@json_option
@click.pass_obj
def rehearse(target: Target, boots: int, as_json: bool) -> None:
    """Run the shipped GRUB scripts on a copy of the boot environment: what would the next power-ons do?

    In a rehearsal nobody confirms, and the primary comes up whenever it is booted. Needs the program
    grub-emu; nothing of the disk is changed.

    \b
    Example:
      abctl rehearse --boots 4
    """
    from abctl.core.slots_cfg import make_slots_cfg  # noqa: PLC0415
    from abctl.host.grub_emu import GrubEmu  # noqa: PLC0415

    with open_machine(target, write=False) as machine:
        files, env = machine.ports.grub.read(), observe(machine.ports).host.env
        kernels = {name: machine.has_kernel(name) for name in SlotName}
        done = []
        with GrubEmu(make_slots_cfg(machine.layout)) as grub:
            for _ in range(boots):
                boot = grub.power_on(files, kernels)
                done.append(boot)
                files = answer(boot.files) if boot.why in (Why.PRIMARY, Why.FALLBACK) else boot.files
    show(describe_rehearsal(env, done, disk=target.name), render_rehearsal, as_json=as_json)
