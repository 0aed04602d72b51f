"""The commands; the only code that prints, and the only place where adapters are wired."""

import logging
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import click

from abctl.cli.failure import Interruption, explain
from abctl.cli.lazy import LazyGroup
from abctl.cli.options import complete_slot_set
from abctl.cli.wiring import Target
from abctl.core.slot import SlotName

# Each command's module is imported when it is asked for, so that `abctl status` stays quick.
_COMMANDS = {
    "status": "abctl.cli.look:status",
    "history": "abctl.cli.look:history",
    "evidence": "abctl.cli.look:evidence",
    "explain": "abctl.cli.explaining:explain",
    "doctor": "abctl.cli.doctor:doctor",
    "rehearse": "abctl.cli.look:rehearse",
    "health": "abctl.cli.health:health",
    "agent": "abctl.cli.agent:agent",
    "identity": "abctl.cli.identity:identity",
    "metrics": "abctl.cli.metrics:metrics",
    "check": "abctl.cli.check:check",
    "upgrade": "abctl.cli.upgrade:upgrade",
    "confirm": "abctl.cli.admin:confirm",
    "rollback": "abctl.cli.admin:rollback",
    "mark-bad": "abctl.cli.admin:mark_bad",
    "allow": "abctl.cli.admin:allow",
    "settle": "abctl.cli.admin:settle",
    "adopt": "abctl.cli.adopt:adopt",
    "disk": "abctl.cli.disk:disk",
    "firewall": "abctl.cli.firewall:firewall",
    "guest": "abctl.cli.guest:guest",
    "release": "abctl.cli.release:release",
    "build": "abctl.cli.build:build",
}


@click.group(
    cls=LazyGroup,
    places=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="abctl", message="%(prog)s %(version)s")
@click.option(
    "--disk",
    type=click.Path(path_type=Path),
    help="Work on this disk image or device, not on the running host.",
)
@click.option(
    "--layout", help="The disk's layout: hostos, guestos, or a file (default: found by what is on the disk)."
)
@click.option(
    "--booted",
    type=click.Choice(list(SlotName), case_sensitive=False),
    metavar="A|B",
    shell_complete=complete_slot_set,
    help="With --disk: the slot set that runs there, as a virtual host knows it (default: none runs).",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The folder with config.toml and root.json (default: /etc/abctl).",
)
@click.option("--debug", is_flag=True, help="Show tracebacks and what is done.")
@click.pass_context
def cli(
    ctx: click.Context,
    disk: Path | None,
    layout: str | None,
    booted: SlotName | None,
    config: Path | None,
    debug: bool,
) -> None:
    """A/B upgrades for hypervisor hosts: write the other slot set, try it, keep it or fall back.

    Every command works on the running host, or with --disk on a disk image or device.

    \b
    Examples:
      abctl status
      abctl check
      abctl upgrade
      abctl --disk host.img disk show

    Exit codes: 0 done, 2 wrong command line, others as in docs/errors.md.
    """
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        format="abctl: %(levelname)s: %(message)s",
        stream=sys.stderr,
    )
    logging.addLevelName(logging.WARNING, "warning")
    if booted and not disk:
        raise click.UsageError(
            "--booted goes with --disk: on the running host abctl sees for itself what runs"
        )
    ctx.obj = Target(disk, layout, booted, config)


def main() -> NoReturn:
    """Run a command; every failure becomes one sentence and its own exit code."""
    Interruption.watch()
    try:
        result = cli.main(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(result if isinstance(result, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read the output has seen enough; python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        sentence, exit_code = explain(error)
        click.echo(f"abctl: error: {sentence}", err=True)
        sys.exit(exit_code)
    finally:
        Interruption.ignore()
