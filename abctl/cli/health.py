"""abctl health: run the health checks; abctl health watch: the service that confirms or gives up a trial."""

import sys

import click

from abctl.cli.options import json_option
from abctl.cli.wiring import Target

_UNHEALTHY = 3  # exit code


@click.group(short_help="Run the health checks.", invoke_without_command=True)
@json_option
@click.pass_context
def health(ctx: click.Context, as_json: bool) -> None:
    """Run all health checks once, and show what each found.

    These decide whether a slot set on trial is confirmed. Exit code 0 where all required checks pass, 3
    where one fails. Changes nothing.

    \b
    Examples:
      abctl health
      abctl health --json
    """
    target = ctx.obj
    assert isinstance(target, Target)
    if target.disk:
        raise click.UsageError("health checks look at the running host: leave out --disk")
    if ctx.invoked_subcommand is None:
        sys.exit(_show_health(target, as_json=as_json))


@health.command(short_help="Watch a trial until it is confirmed or given up.")
@click.pass_obj
def watch(target: Target) -> None:
    """Watch over this boot, as the service abctl-health does.

    In a trial the checks are run again and again: when all required ones have passed for long enough, it is
    confirmed; where that has not come by the deadline, the host reboots, and falls back in the end. Any
    other boot is checked until all required checks pass, or the deadline has come. The result is left in
    /run/abctl/health.json.

    \b
    Example:
      abctl health watch
    """
    from abctl.cli.health_watch import watch_host  # noqa: PLC0415

    watch_host(target)


def _show_health(target: Target, *, as_json: bool) -> int:
    from abctl.cli.health_once import check_once  # noqa: PLC0415
    from abctl.cli.render_health import render_health  # noqa: PLC0415
    from abctl.cli.show import show  # noqa: PLC0415

    report = check_once(target)
    show(report, render_health, as_json=as_json)
    return 0 if report.healthy else _UNHEALTHY
