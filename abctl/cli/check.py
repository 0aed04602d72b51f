"""check: what the signed repository offers, and why a release is taken or not."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import click

from abctl.cli.describe_offers import describe_offers
from abctl.cli.fetching import FetchOptions, fetching_options
from abctl.cli.options import json_option
from abctl.cli.render_offers import render_offers
from abctl.cli.repository import Repository, read_host_config
from abctl.cli.show import show
from abctl.cli.wiring import Target, lock_machine, open_machine
from abctl.core.consider import OVERRIDABLE, Reason
from abctl.errors import Busy


class _ReasonType(click.ParamType):  # type: ignore[type-arg]
    """A reason that an admin may override."""

    name = "REASON"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Reason:
        if value not in OVERRIDABLE:
            self.fail(f"{value} is not one of {', '.join(OVERRIDABLE)}", param, ctx)
        return Reason(str(value))


def repository_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --repository and --override."""
    for option in (
        click.option(
            "--repository",
            "repositories",
            multiple=True,
            metavar="URL",
            help="A http, https or file URL of the signed repository, instead of those in config.toml; "
            "repeatable.",
        ),
        click.option(
            "--override",
            "overrides",
            type=_ReasonType(),
            multiple=True,
            help=f"Take a release in spite of this reason: {', '.join(OVERRIDABLE)}; recorded; repeatable.",
        ),
    ):
        command = option(command)
    return command


@click.command(short_help="Show what is on offer, and why it is taken or not.")
@repository_options
@fetching_options
@json_option
@click.pass_obj
def check(
    target: Target,
    repositories: tuple[str, ...],
    overrides: tuple[Reason, ...],
    fetch: FetchOptions,
    as_json: bool,
) -> None:
    """Refresh the signed metadata, and show each release on offer with what speaks against it here.

    Nothing is installed. What was seen is remembered, so that nobody can offer older metadata later.

    \b
    Examples:
      abctl check
      abctl check --repository file:///media/usb/hostos --json
    """
    repository = Repository(read_host_config(target), repositories, fetch.make_fetching())
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_machine(target))
            is_free = True
        except Busy:
            # Looking must be possible while an upgrade runs, which remembers for itself.
            is_free = False
        machine = stack.enter_context(open_machine(target, write=False))
        findings = repository.check(
            machine,
            lambda said: click.echo(f"abctl: {said}", err=True),
            remember=is_free,
            overrides=frozenset(overrides),
        )
    show(describe_offers(findings, disk=target.name), render_offers, as_json=as_json)
