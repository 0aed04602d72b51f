"""explain: how a host stands, in sentences."""

import click

from abctl.cli.describe_explain import describe_explanation
from abctl.cli.options import json_option
from abctl.cli.render_explain import render_explanation
from abctl.cli.show import show
from abctl.cli.standing import look_at, report_scene
from abctl.cli.wiring import Target, open_machine


@click.command(short_help="Explain what runs, why, and what comes next.")
@json_option
@click.pass_obj
def explain(target: Target, as_json: bool) -> None:
    """Explain how the host stands: what runs and how it came to run, what the next power-ons boot and why,
    and what upgrade, confirm and rollback would do now, or why they would be refused.

    Changes nothing.

    \b
    Examples:
      abctl explain
      abctl --disk host.img explain --json
    """
    with open_machine(target, write=False) as machine:
        scene = look_at(machine, target.name, target.prompt)
        report = describe_explanation(report_scene(machine, scene), scene, machine.ports.now())
    show(report, render_explanation, as_json=as_json)
