"""firewall show, check, explain and diff: the commands that change nothing."""

import sys
from typing import NoReturn

import click

from abctl.cli.describe_firewall import describe_decision, describe_diff, describe_policy
from abctl.cli.firewall_source import choose, make_wanted, read_policy, source_options
from abctl.cli.options import json_option
from abctl.cli.render_firewall import render_check, render_diff, render_explanation, render_rules
from abctl.cli.report_firewall import FirewallCheckReport
from abctl.cli.show import show
from abctl.cli.wiring import Target
from abctl.errors import ToolFailed
from abctl.firewall.change import read_loaded
from abctl.firewall.decide import decide
from abctl.firewall.drift import find_drift
from abctl.firewall.loaded import Loaded, parse_loaded
from abctl.firewall.packet import parse_packet
from abctl.firewall.policy import Policy
from abctl.firewall.render import make_load, make_objects
from abctl.host.firewall_files import admin_session
from abctl.host.nft import Nft

_DIFFERENT = 3  # exit code of `firewall diff`


@click.command("show", short_help="List the rules of a policy, in order.")
@source_options
@json_option
@click.pass_obj
def show_rules(target: Target, policy: str | None, sets: tuple[str, ...], as_json: bool) -> None:
    """List all rules of a policy in order: the first that matches a packet decides.

    Where the kernel has exactly these rules, it tells how many packets have met each.

    \b
    Examples:
      abctl firewall show
      abctl firewall show --policy hostos-wide --json
    """
    _, wanted = read_policy(choose(target, policy, sets))
    try:
        found = read_loaded(Nft())
        loaded = not find_drift(_as_loaded(wanted), found)
    except ToolFailed:
        found, loaded = None, None
    show(describe_policy(wanted, found, loaded=loaded), render_rules, as_json=as_json)


def _as_loaded(policy: Policy) -> Loaded:
    loaded = parse_loaded(make_objects(policy.rules))
    assert loaded is not None
    return loaded


@click.command(short_help="See whether a policy is sound; load nothing.")
@source_options
@json_option
@click.pass_obj
def check(target: Target, policy: str | None, sets: tuple[str, ...], as_json: bool) -> None:
    """See whether a policy is sound and the kernel takes it, and warn of what it leaves out. Loads nothing.

    Without root's rights the kernel is not asked.

    \b
    Examples:
      abctl firewall check
      abctl firewall check --policy ./firewall.toml
    """
    choice = choose(target, policy, sets)
    source, found = read_policy(choice)
    wanted = make_wanted(choice, source, found)
    problem = None
    try:
        nft = Nft()
        nft.check(make_load(wanted.objects, read_loaded(nft)))
    except ToolFailed as error:
        if not is_unasked(error):
            raise
        problem = str(error)
    report = FirewallCheckReport(
        policy=source.name,
        rules=count_rules(wanted.objects),
        kernel=problem is None,
        kernel_problem=problem,
        remarks=(*found.remarks, *warn_of_session(found)),
    )
    show(report, render_check, as_json=as_json)


@click.command(short_help="Tell what becomes of a packet, and why.")
@click.argument("packet", nargs=-1, required=True)
@source_options
@json_option
@click.pass_obj
def explain(
    target: Target, packet: tuple[str, ...], policy: str | None, sets: tuple[str, ...], as_json: bool
) -> None:
    """Tell what becomes of a PACKET, by which rule, and which rules nearly accept it. Nothing is sent.

    The packet is a sentence: its protocol, for ICMP with the type; 'from' and 'to' with an address, 'port N',
    or both; 'in' or 'out' where the addresses do not say it; 'on INTERFACE'; and the state of its connection,
    which is new where that is not said.

    \b
    Examples:
      abctl firewall explain "tcp from 10.1.2.3 to port 22"
      abctl firewall explain "udp to 2001:db8::1 port 53 out"
      abctl firewall explain "icmpv6 nd-neighbor-solicit from fe80::1"
      abctl firewall explain "ping from 192.0.2.7"
    """
    _, wanted = read_policy(choose(target, policy, sets))
    try:
        described = parse_packet(" ".join(packet))
        decision = decide(wanted.rules, described)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    report = describe_decision(wanted.name, described, decision, wanted.rules)
    show(report, render_explanation, as_json=as_json)


@click.command(short_help="Compare the kernel's rules with a policy.")
@source_options
@json_option
@click.pass_obj
def diff(target: Target, policy: str | None, sets: tuple[str, ...], as_json: bool) -> NoReturn:
    """Compare the rules in the kernel with those of a policy, and name each difference.

    Exit code 0 where there is none, 3 where there are some.

    \b
    Example:
      abctl firewall diff
    """
    _, wanted = read_policy(choose(target, policy, sets))
    found = read_loaded(Nft())
    report = describe_diff(wanted.name, found, find_drift(_as_loaded(wanted), found))
    show(report, render_diff, as_json=as_json)
    sys.exit(0 if report.same else _DIFFERENT)


def is_unasked(error: ToolFailed) -> bool:
    """Whether the kernel could not be asked at all, as without root's rights or without nft."""
    return str(error).startswith(("nft may not", "the program nft is not"))


def count_rules(objects: tuple[object, ...]) -> int:
    return sum(isinstance(item, dict) and "rule" in item for item in objects)


def warn_of_session(policy: Policy) -> tuple[str, ...]:
    """Return a warning where the SSH session of this command could not be opened again."""
    session = admin_session()
    if session is None:
        return ()
    try:
        packet = parse_packet(f"tcp in from {session.client} to {session.server} port {session.port}")
        decision = decide(policy.rules, packet)
    except ValueError:
        return ()
    if decision.action == "accept":
        return ()
    return (
        f"your own SSH session, from {session.client} to port {session.port}, could not be opened again: "
        f"{decision.rule.name}",
    )
