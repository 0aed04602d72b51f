"""release list, show and check: what a repository holds, and whether all of it is sound."""

from pathlib import Path

import click

from abctl.build.audit import audit, find_release
from abctl.build.repository import Repository, read_state
from abctl.cli.describe_published import describe_audit, describe_release, describe_releases
from abctl.cli.options import VersionType, json_option
from abctl.cli.render_published import render_audit, render_release, render_releases
from abctl.cli.show import show
from abctl.cli.signing import now, repository_argument
from abctl.core.units import Version


@click.command("list", short_help="List the releases of a repository.")
@repository_argument
@json_option
def list_releases(repository: Path, as_json: bool) -> None:
    """List what is on offer in REPO, what is in its archive, and what was recalled; no key is needed.

    \b
    Example:
      abctl release list ./repo
    """
    state = read_state(Repository(repository))
    show(describe_releases(repository, state, now()), render_releases, as_json=as_json)


@click.command("show", short_help="Show one release of a repository.")
@repository_argument
@click.argument("version", type=VersionType())
@json_option
def show_release(repository: Path, version: Version, as_json: bool) -> None:
    """Show the terms of VERSION in REPO, and compare its files with what was signed.

    \b
    Example:
      abctl release show ./repo 2.0.0
    """
    place = Repository(repository)
    catalogue = read_state(place).catalogue
    release = find_release(place, catalogue.find(version))
    show(describe_release(repository, catalogue, release, now()), render_release, as_json=as_json)


@click.command(short_help="Verify a whole repository as a host would.")
@repository_argument
@json_option
def check(repository: Path, as_json: bool) -> None:
    """Verify all signatures, dates and files in REPO, also on a mirror or a USB stick; no key is needed.

    \b
    Example:
      abctl release check /media/usb/repo
    """
    audited = audit(Repository(repository), now())
    show(describe_audit(repository, audited, now()), render_audit, as_json=as_json)
