"""upgrade: fetch, prove and write a release, and put it on trial."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TextIO

import click

from abctl.cli.check import repository_options
from abctl.cli.choice import Choice, Picked, Signed, Unsigned
from abctl.cli.complete import complete_release
from abctl.cli.describe_upgrade import describe_install, describe_plan, describe_refused_plan
from abctl.cli.fetching import FetchOptions, fetching_options
from abctl.cli.options import SizeType, json_option, sha256_option
from abctl.cli.progress import Ending, Form, choose_form, frame_progress, progress_options, show_progress
from abctl.cli.render import render_install, render_plan
from abctl.cli.report_upgrade import InstallReport
from abctl.cli.show import show
from abctl.cli.wiring import Machine, Target, open_machine
from abctl.core.consider import Reason
from abctl.core.units import Bytes, Digest, Version, parse_version
from abctl.errors import AbctlError, BadRelease, SourceProblem, Untrusted
from abctl.host.scripts import check_scripts
from abctl.ports import Offer
from abctl.update.install import Installed, install, plan_only
from abctl.update.operate import observe
from abctl.update.progress import OnProgress, Remark
from abctl.update.write import Wishes


@click.command(short_help="Install a release and put it on trial.")
@click.argument("what", metavar="[VERSION | SOURCE]", required=False, shell_complete=complete_release)
@sha256_option
@repository_options
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
    what: str | None,
    sha256: Digest | None,
    repositories: tuple[str, ...],
    overrides: tuple[Reason, ...],
    dry_run: bool,
    no_reboot: bool,
    max_download: Bytes | None,
    no_delta: bool,
    fetch: FetchOptions,
    progress: Form,
    as_json: bool,
) -> int:
    """Write a release to the slot set that does not run, and reboot into it on trial.

    Without an argument it is the newest release of the signed repository that fits this host ('abctl check'
    shows which and why); with VERSION it is that one. Of a release that the disk holds partly already, that
    part is not downloaded, and an installation that was cut short goes on where it was. Every byte is read
    back from the disk before the slot set is put on trial.

    What nobody signed is installed with --sha256 only, and only where config.toml allows it: SOURCE is then
    a URL, a file or a folder, of a release directory (the one that holds manifest.json) or of an
    update-img.tar.zst, .tar.gz or .tar.

    \b
    Examples:
      abctl upgrade --dry-run
      abctl upgrade 2.0.0 --override wave
      abctl upgrade /media/usb/update-img.tar.zst --sha256 91ab... --no-reboot
    """
    form = choose_form(progress, sys.stderr, as_json=as_json)
    wishes = Wishes(max_download, no_delta, any_layout=Reason.LAYOUT in overrides)
    choice: Choice
    if sha256 is not None:
        choice = Unsigned(target, _require_source(what, repositories, overrides), sha256, fetch)
    elif fetch.mirrors:
        raise click.UsageError(
            "--mirror goes with --sha256; mirrors of the signed repository are --repository"
        )
    else:
        choice = Signed(target, _parse_wanted(what), repositories, frozenset(overrides), fetch)
    order = _Order(target, choice, wishes, form, as_json)
    with frame_progress(sys.stderr, form) as ending:
        if dry_run:
            return _show_plan(order, ending)
        _upgrade(order, no_reboot=no_reboot)
    return 0


def _require_source(what: str | None, repositories: tuple[str, ...], overrides: tuple[Reason, ...]) -> str:
    if what is None:
        raise click.UsageError("--sha256 goes with a SOURCE: the URL, file or folder that has this SHA-256")
    if repositories or overrides:
        raise click.UsageError("--repository and --override go with signed releases, --sha256 with others")
    return what


def _parse_wanted(what: str | None) -> Version | None:
    """Return the version that the user named, None for the newest; raise Untrusted where it is a source."""
    if what is None:
        return None
    try:
        return parse_version(what)
    except ValueError as error:
        raise Untrusted(
            f"{what[:200]!r} is not a version of the signed repository, and nothing says that what is there "
            "is the right one: give its SHA-256 with --sha256, or take 'abctl upgrade [VERSION]'"
        ) from error


@dataclass(frozen=True, slots=True)
class _Order:
    """What the user asked for."""

    target: Target
    choice: Choice
    wishes: Wishes
    form: Form
    as_json: bool


def _upgrade(order: _Order, *, no_reboot: bool) -> None:
    def tell(report: InstallReport) -> None:
        show(report, render_install, as_json=order.as_json)

    carry_out(order.target, order.choice, order.wishes, (sys.stderr, order.form), tell, no_reboot=no_reboot)


def carry_out(
    target: Target,
    choice: Choice,
    wishes: Wishes,
    progress: tuple[TextIO, Form],
    tell: Callable[[InstallReport], None],
    *,
    no_reboot: bool,
) -> None:
    """Install what was chosen, tell it, and reboot into it where something is there to reboot."""
    with open_machine(target, write=True) as machine:
        check_scripts(machine.grub_files())
        with show_progress(*progress) as on_progress:
            picked = choice.pick(machine, on_progress, remember=True)
            installed = _install(machine, picked, wishes, on_progress)
        rebooting = machine.reboot if not no_reboot else None
        report = describe_install(
            installed,
            observe(machine.ports).host,
            machine.ports.grub.read(),
            source=picked.source,
            rebooting=rebooting is not None,
            disk=target.name,
        )
        tell(report)
        if rebooting:
            rebooting()


def _install(machine: Machine, picked: Picked, wishes: Wishes, on_progress: OnProgress) -> Installed:
    """Install from the first place that gives the right bytes; what one gave stays on the disk."""
    wishes = replace(wishes, note=picked.note)
    *others, last = picked.offers
    for offer in others:
        try:
            return install(machine.ports, machine.layout.name, offer, on_progress, wishes)
        except (BadRelease, SourceProblem) as error:
            on_progress(Remark(f"{error}; going on with the next mirror"))
    return install(machine.ports, machine.layout.name, last, on_progress, wishes)


def _show_plan(order: _Order, ending: Ending) -> int:
    """Show what an upgrade would do; the exit code is that of the upgrade itself where it is refused."""
    disk, source = order.target.name, order.choice.source
    offer: Offer | None = None
    try:
        with (
            open_machine(order.target, write=False) as machine,
            show_progress(sys.stderr, order.form) as on_progress,
        ):
            check_scripts(machine.grub_files())
            picked = order.choice.pick(machine, on_progress, remember=False)
            offer, source = picked.offers[0], picked.source
            plan = plan_only(machine.ports, machine.layout.name, offer, on_progress, order.wishes)
    except AbctlError as error:
        ending.error = error
        report = describe_refused_plan(
            error, source=source, sha256=offer.sha256 if offer else None, disk=disk
        )
    else:
        report = describe_plan(plan, source=source, disk=disk)
    show(report, render_plan, as_json=order.as_json)
    return report.exit_code
