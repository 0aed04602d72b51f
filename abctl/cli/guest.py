"""abctl guest: start, stop, watch and upgrade the virtual machine that this host is for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from abctl.cli.lazy import LazyGroup
from abctl.cli.options import json_option
from abctl.cli.wiring import Target

if TYPE_CHECKING:
    from abctl.cli.report_guest import GuestDoneReport


_COMMANDS = {
    "status": "abctl.cli.guest:status",
    "start": "abctl.cli.guest:start",
    "stop": "abctl.cli.guest:stop",
    "upgrade": "abctl.cli.guest_upgrade:upgrade",
    "console": "abctl.cli.guest:console",
    "xml": "abctl.cli.guest:xml",
    "run": "abctl.cli.guest:run",
}


@click.group(cls=LazyGroup, places=_COMMANDS, short_help="Run the guest of this host.")
@click.pass_obj
def guest(target: Target) -> None:
    """Run the guest of this host: the virtual machine that /etc/abctl/guest.toml describes.

    The service abctl-guest ('abctl guest run') starts it with the host, watches over it, and has it power off
    before the host does. The other commands work with that service, or without it where it does not run.

    \b
    Examples:
      abctl guest status
      abctl guest stop
      abctl guest upgrade --dry-run
    """
    if target.disk:
        raise click.UsageError("the guest is that of the running host: leave out --disk")


@click.command(short_help="Show how the guest stands, and its slot sets.")
@json_option
@click.pass_obj
def status(target: Target, as_json: bool) -> None:
    """Show how the guest stands, what it said last, and its own slot sets.

    Changes nothing. What stands on the guest's disk and console is the guest's word: it is cleaned, and
    nothing is done because of it.

    \b
    Examples:
      abctl guest status
      abctl guest status --json
    """
    from abctl.cli.describe_guest import describe_guest  # noqa: PLC0415
    from abctl.cli.guest_host import LiveGuest  # noqa: PLC0415
    from abctl.cli.render_guest import render_guest  # noqa: PLC0415
    from abctl.cli.show import show  # noqa: PLC0415

    show(describe_guest(LiveGuest.of(target)), render_guest, as_json=as_json)


@click.command(short_help="Start the guest.")
@click.option("--no-wait", is_flag=True, help="Do not wait until it says that it is healthy.")
@json_option
@click.pass_obj
def start(target: Target, no_wait: bool, as_json: bool) -> None:
    """Start the guest where it does not run, and wait until it says that it is healthy.

    Before that, all that it needs is checked: processors, memory, disk, network, firmware, libvirt. What is
    missing is named at once.

    \b
    Examples:
      abctl guest start
      abctl guest start --no-wait
    """
    from abctl.cli.guest_life import start_guest  # noqa: PLC0415

    _show_done(start_guest(target, wait=not no_wait), as_json=as_json)


@click.command(short_help="Have the guest power off.")
@click.option("--force", is_flag=True, help="End it at once, as by pulling the plug.")
@json_option
@click.pass_obj
def stop(target: Target, force: bool, as_json: bool) -> None:
    """Ask the guest to power off, and end it where it does not within life.stop_within (120 s).

    The service leaves it stopped until 'abctl guest start', or the next boot of the host.

    \b
    Examples:
      abctl guest stop
      abctl guest stop --force
    """
    from abctl.cli.guest_life import stop_guest  # noqa: PLC0415

    _show_done(stop_guest(target, force=force), as_json=as_json)


@click.command(short_help="Keep the guest running, as the service abctl-guest does.")
@click.pass_obj
def run(target: Target) -> None:
    """Keep the guest running until SIGTERM or Ctrl-C, which has it power off.

    A guest that ends is started again, after pauses that grow from 1 s to 2 min. One that does not get
    healthy is started again a few times (life.tries), then left as it is. libvirt's daemon may be restarted
    meanwhile. How the guest stands is left in /run/abctl/guest.json. The host is never rebooted from here.

    \b
    Example:
      abctl guest run
    """
    from abctl.cli.guest_life import keep_guest  # noqa: PLC0415

    keep_guest(target)


@click.command(short_help="Show the guest's console.")
@click.option("--log", "lines", type=click.IntRange(1, 10000), metavar="LINES", help="Show its last lines.")
@click.pass_obj
def console(target: Target, lines: int | None) -> None:
    """Connect this terminal with the guest's serial console; Ctrl-] ends it.

    The guest's bytes then reach the terminal as they are, as on any console. With --log its last lines are
    shown instead, cleaned.

    \b
    Examples:
      abctl guest console
      abctl guest console --log 50
    """
    from abctl.cli.guest_console import connect, read_lines  # noqa: PLC0415
    from abctl.cli.guest_host import LiveGuest  # noqa: PLC0415

    if lines is None:
        connect(LiveGuest.of(target))
        return
    for line in read_lines(LiveGuest.of(target), lines):
        click.echo(line)


@click.command(short_help="Show the guest as libvirt's XML.")
@click.pass_obj
def xml(target: Target) -> None:
    """Show what libvirt would be given at a start, and on stderr what speaks against one.

    Starts nothing and changes nothing. Exit code 71 where the machine lacks something.

    \b
    Example:
      abctl guest xml
    """
    from abctl.cli.guest_host import LiveGuest  # noqa: PLC0415
    from abctl.errors import GuestUnfit  # noqa: PLC0415

    host = LiveGuest.of(target)
    text, problems = host.show_xml(host.describe())
    click.echo(text, nl=False)
    sys.stdout.flush()
    if problems:
        raise GuestUnfit(f"this machine cannot run {host.describe().name}: {'; '.join(problems)}")


def _show_done(report: GuestDoneReport, *, as_json: bool) -> None:
    from abctl.cli.render_guest import render_done  # noqa: PLC0415
    from abctl.cli.show import show  # noqa: PLC0415

    show(report, render_done, as_json=as_json)
