"""upgrade: fetch, prove and write a release, and put it on trial."""

import sys
from dataclasses import dataclass

import click

from abctl.cli.describe_upgrade import describe_install, describe_plan, describe_refused_plan
from abctl.cli.fetching import FetchOptions, fetching_options
from abctl.cli.options import SizeType, json_option, sha256_option
from abctl.cli.progress import Ending, Form, choose_form, frame_progress, progress_options, show_progress
from abctl.cli.render import render_install, render_plan
from abctl.cli.show import show
from abctl.cli.wiring import Target, locate, open_machine
from abctl.core.units import Bytes, Digest
from abctl.errors import AbctlError
from abctl.host.scripts import check_scripts
from abctl.ports import Offer
from abctl.update.install import install, plan_only
from abctl.update.operate import observe
from abctl.update.progress import OnProgress
from abctl.update.write import Wishes


@click.command(short_help="Install a release and put it on trial.")
@click.argument("source")
@sha256_option
@click.option("--dry-run", is_flag=True, help="Only show the plan, or the reason for refusing.")
@click.option("--no-reboot", is_flag=True, help="Leave the reboot into the trial to somebody else.")
@click.option(
    "--max-download",
    type=SizeType(),
    help="Download no more than this, as in 200M; rather refuse and say why.",
)
@click.option("--no-delta", is_flag=True, help="Fetch all that the slots lack, whatever else the disk holds.")
@fetching_options
@progress_options
@json_option
@click.pass_obj
def upgrade(
    target: Target,
    source: str,
    sha256: Digest | None,
    dry_run: bool,
    no_reboot: bool,
    max_download: Bytes | None,
    no_delta: bool,
    fetch: FetchOptions,
    progress: Form,
    as_json: bool,
) -> int:
    """Write the release in SOURCE to the slot set that does not run, and reboot into it on trial.

    SOURCE is a URL, a file or a folder: a release directory (the one that holds manifest.json), or an
    update-img.tar.zst, .tar.gz or .tar. Nothing is installed without --sha256, which says what the right
    bytes are. Of a release that 'abctl release build' made, what the disk holds already is not downloaded,
    and an installation that was cut short goes on where it was. Every byte is read back from the disk
    before the slot set is put on trial.

    \b
    Examples:
      abctl upgrade https://releases.example/2.0.0/ --sha256 4f2c... --dry-run
      abctl upgrade /media/usb/update-img.tar.zst --sha256 91ab... --no-reboot
    """
    form = choose_form(progress, sys.stderr, as_json=as_json)
    order = _Order(target, source, sha256, Wishes(max_download, no_delta), fetch, form, as_json)
    with frame_progress(sys.stderr, form) as ending:
        if dry_run:
            return _show_plan(order, ending)
        _upgrade(order, no_reboot=no_reboot)
    return 0


@dataclass(frozen=True, slots=True)
class _Order:
    """What the user asked for."""

    target: Target
    source: str
    sha256: Digest | None
    wishes: Wishes
    fetch: FetchOptions
    form: Form
    as_json: bool

    def locate(self, on_progress: OnProgress) -> Offer:
        return locate(self.source, self.sha256, self.fetch.make_fetching(on_progress))


def _upgrade(order: _Order, *, no_reboot: bool) -> None:
    with open_machine(order.target, write=True) as machine:
        check_scripts(machine.grub_files())
        with show_progress(sys.stderr, order.form) as on_progress:
            installed = install(
                machine.ports, machine.layout.name, order.locate(on_progress), on_progress, order.wishes
            )
        rebooting = machine.reboot if not no_reboot else None
        report = describe_install(
            installed,
            observe(machine.ports).host,
            machine.ports.grub.read(),
            source=order.source,
            rebooting=rebooting is not None,
            disk=order.target.name,
        )
        show(report, render_install, as_json=order.as_json)
        if rebooting:
            rebooting()


def _show_plan(order: _Order, ending: Ending) -> int:
    """Show what an upgrade would do; the exit code is that of the upgrade itself where it is refused."""
    disk, source = order.target.name, order.source
    try:
        with (
            open_machine(order.target, write=False) as machine,
            show_progress(sys.stderr, order.form) as on_progress,
        ):
            check_scripts(machine.grub_files())
            plan = plan_only(
                machine.ports, machine.layout.name, order.locate(on_progress), on_progress, order.wishes
            )
    except AbctlError as error:
        ending.error = error
        report = describe_refused_plan(error, source=source, sha256=order.sha256, disk=disk)
    else:
        report = describe_plan(plan, source=source, disk=disk)
    show(report, render_plan, as_json=order.as_json)
    return report.exit_code
