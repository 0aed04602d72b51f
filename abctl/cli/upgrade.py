"""upgrade: fetch, prove and write a release, and put it on trial."""

import sys

import click

from abctl.cli.describe_upgrade import describe_install, describe_plan, describe_refused_plan
from abctl.cli.options import json_option, sha256_option
from abctl.cli.progress import show_progress
from abctl.cli.render import render_install, render_plan
from abctl.cli.show import show
from abctl.cli.wiring import Target, locate, open_machine
from abctl.core.units import Digest
from abctl.errors import AbctlError
from abctl.host.scripts import check_scripts
from abctl.update.install import install, plan_only
from abctl.update.operate import observe


@click.command(short_help="Install a release and put it on trial.")
@click.argument("source")
@sha256_option
@click.option("--dry-run", is_flag=True, help="Only show the plan, or the reason for refusing.")
@click.option("--no-reboot", is_flag=True, help="Leave the reboot into the trial to somebody else.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@json_option
@click.pass_obj
def upgrade(
    target: Target,
    source: str,
    sha256: Digest | None,
    dry_run: bool,
    no_reboot: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Write the release in SOURCE to the slot set that does not run, and reboot into it on trial.

    SOURCE is a URL, a file or a folder: a release directory (the one that holds manifest.json), or an
    update-img.tar.zst, .tar.gz or .tar. Nothing is installed without --sha256, which says what the right
    bytes are. Every byte is read back from the disk before the slot set is put on trial.

    \b
    Examples:
      abctl upgrade https://releases.example/2.0.0/ --sha256 4f2c... --dry-run
      abctl upgrade /media/usb/update-img.tar.zst --sha256 91ab... --no-reboot
    """
    if dry_run:
        return _show_plan(target, source, sha256, as_json=as_json)
    with open_machine(target, write=True) as machine:
        check_scripts(machine.grub_files())
        offer = locate(source, sha256)
        with show_progress(sys.stderr, quiet=quiet or as_json) as on_progress:
            installed = install(machine.ports, machine.layout.name, offer, on_progress)
        rebooting = machine.reboot if not no_reboot else None
        report = describe_install(
            installed,
            observe(machine.ports).host,
            machine.ports.grub.read(),
            source=source,
            rebooting=rebooting is not None,
            disk=target.name,
        )
        show(report, render_install, as_json=as_json)
        if rebooting:
            rebooting()
    return 0


def _show_plan(target: Target, source: str, sha256: Digest | None, *, as_json: bool) -> int:
    """Show what an upgrade would do; the exit code is that of the upgrade itself where it is refused."""
    try:
        with open_machine(target, write=False) as machine:
            check_scripts(machine.grub_files())
            plan = plan_only(machine.ports, machine.layout.name, locate(source, sha256))
    except AbctlError as error:
        report = describe_refused_plan(error, source=source, sha256=sha256, disk=target.name)
    else:
        report = describe_plan(plan, source=source, disk=target.name)
    show(report, render_plan, as_json=as_json)
    return report.exit_code
