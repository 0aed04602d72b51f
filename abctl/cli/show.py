"""Print a report, for people or as JSON."""

import sys
from collections.abc import Callable
from typing import TypeVar

import click

from abctl.cli.report import Report
from abctl.cli.style import Style

R = TypeVar("R", bound=Report)


def show(report: R, render: Callable[[R, Style], str], *, as_json: bool) -> None:
    """Print ``report`` to standard output."""
    click.echo(report.to_json() if as_json else render(report, Style.of(sys.stdout)))
