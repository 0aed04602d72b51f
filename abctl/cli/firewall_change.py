"""firewall apply, confirm and revert."""

import logging
import time

import click

from abctl.cli.firewall_look import count_rules, warn_of_session
from abctl.cli.firewall_source import (
    Choice,
    choose,
    make_wanted,
    read_host_prefixes,
    read_policy,
    read_policy_at_boot,
    source_options,
)
from abctl.cli.firewall_standing import FileNotebook
from abctl.cli.options import json_option
from abctl.cli.render_firewall import render_apply
from abctl.cli.report_firewall import FirewallApplyReport
from abctl.cli.show import show
from abctl.cli.wiring import Target
from abctl.errors import AbctlError
from abctl.firewall import change
from abctl.firewall.basics import make_emergency
from abctl.firewall.change import Surroundings
from abctl.firewall.render import make_objects
from abctl.firewall.state import Wanted
from abctl.host import clock
from abctl.host.firewall_revert import make_reverter
from abctl.host.nft import Nft

log = logging.getLogger(__name__)

_SECONDS_MAX = 3600


def _open() -> Surroundings:
    return Surroundings(Nft(), FileNotebook(), make_reverter(), clock.since_boot, clock.now)


@click.command(short_help="Load the policy, on approval.")
@click.option(
    "--for",
    "seconds",
    type=click.IntRange(5, _SECONDS_MAX),
    default=60,
    show_default=True,
    help="Seconds until the rules from before are put back.",
)
@click.option("--permanent", "--no-revert", is_flag=True, help="Load it for good; for scripts.")
@click.option("--boot", is_flag=True, hidden=True)
@source_options
@json_option
@click.pass_obj
def apply(
    target: Target,
    seconds: int,
    permanent: bool,
    boot: bool,
    policy: str | None,
    sets: tuple[str, ...],
    as_json: bool,
) -> None:
    """Load a policy into the kernel, in one step.

    After a minute the rules from before are put back, unless 'abctl firewall confirm' follows: so nobody
    locks himself out. Confirm from a new session, which is what shows that one can be opened. The rules are
    put back though this session is cut. What --policy and --set say holds until the next boot.

    \b
    Examples:
      abctl firewall apply
      abctl firewall apply --for 300 --policy ./new.toml
      abctl firewall apply --permanent
    """
    choice = choose(target, policy, sets)
    if boot:
        load_at_boot(choice)
        return
    source, found = read_policy(choice)
    wanted = make_wanted(choice, source, found)
    if permanent:
        change.load(_open(), wanted)
    else:
        change.load_on_approval(_open(), wanted, seconds)
    report = FirewallApplyReport(
        policy=source.name,
        rules=count_rules(wanted.objects),
        seconds=None if permanent else seconds,
        emergency=None,
        remarks=(*found.remarks, *warn_of_session(found)),
    )
    show(report, render_apply, as_json=as_json)


def load_at_boot(choice: Choice) -> None:
    """Load the host's policy for good; where it cannot be used, the emergency rules, and raise why.

    So a host whose release has a broken policy is closed, and can be reached and mended.
    """
    host = _open()
    try:
        source, policy, problems = read_policy_at_boot(choice)
        for problem in problems:
            log.warning("%s", problem)
        change.load(host, make_wanted(choice, source, policy, problems))
    except AbctlError as error:
        prefixes = tuple(network for item in read_host_prefixes(choice) for network in item.networks)
        objects = make_objects(make_emergency(prefixes))
        change.load(host, Wanted("emergency", objects, emergency=str(error)))
        log.error("the firewall's emergency rules are loaded")
        raise


@click.command(short_help="Keep the rules that were loaded on approval.")
def confirm() -> None:
    """Keep the rules that 'abctl firewall apply' has loaded. Run it in a new session.

    \b
    Example:
      abctl firewall confirm
    """
    wanted = change.confirm(_open())
    click.echo(f"The rules of {wanted.name} stay.")


@click.command(short_help="Put back the rules from before.")
@click.option("--when-due", is_flag=True, hidden=True)
def revert(when_due: bool) -> None:
    """Put back what was loaded before 'abctl firewall apply', at once.

    \b
    Example:
      abctl firewall revert
    """
    if when_due:
        change.revert_when_due(_open(), time.sleep)
        return
    before = change.revert(_open())
    what = (
        f"The rules of {before.name} are loaded again."
        if before
        else "As before, there are no rules of abctl's."
    )
    click.echo(what)
