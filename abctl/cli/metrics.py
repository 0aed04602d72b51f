"""abctl metrics: what Prometheus should know of this host."""

import logging
from pathlib import Path

import click

from abctl.cli.wiring import Target

log = logging.getLogger(__name__)

FILE = Path("/run/node_exporter/collector_textfile/abctl.prom")


@click.command(short_help="Tell Prometheus how the slot sets are.")
@click.option("--write", is_flag=True, help=f"Replace {FILE}, which node_exporter reads.")
@click.pass_obj
def metrics(target: Target, write: bool) -> None:
    """Print the metrics of this host, in Prometheus' text format.

    With --write they go to the folder of node_exporter's textfile collector; the service abctl-metrics does
    so every minute. Where the slot sets cannot be looked at, abctl_up is 0.

    \b
    Examples:
      abctl metrics
      abctl metrics --write
    """
    from abctl.cli.describe_metrics import make_families  # noqa: PLC0415
    from abctl.cli.metrics_host import gather_facts  # noqa: PLC0415
    from abctl.core.exposition import render  # noqa: PLC0415
    from abctl.host.replace import replace_file  # noqa: PLC0415

    text = render(make_families(gather_facts(target)))
    if write:
        if target.disk:
            raise click.UsageError("--write is for the running host: leave out --disk")
        replace_file(FILE, text.encode())
    else:
        click.echo(text, nl=False)
