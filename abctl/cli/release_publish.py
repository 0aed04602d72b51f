"""release publish and release renew: put a release on offer, and keep what is signed from expiring."""

from pathlib import Path

import click

from abctl.build import change
from abctl.build import publish as publishing
from abctl.build.commit import Signers
from abctl.build.publish import Done, Wishes
from abctl.build.repository import Repository
from abctl.cli.describe_published import describe_publication
from abctl.cli.options import VersionType, json_option
from abctl.cli.render_published import render_publication
from abctl.cli.show import show
from abctl.cli.signing import (
    DURATION,
    ROLLOUT,
    TIME,
    Waves,
    now,
    online_key_option,
    passphrase_option,
    read_signers,
    repository_argument,
    saying_interrupted,
    signing_options,
    targets_key_option,
)
from abctl.core.offer import KEEP
from abctl.core.units import Seconds, Version


def report(folder: Path, done: Done, sentence: str, version: Version | None, *, as_json: bool) -> None:
    """Print what was done to a repository."""
    said = sentence if done.is_changed else "all was so already, and nothing was written"
    if done.new_root:
        said += f"; root version {done.new_root} is published"
    what = describe_publication(
        folder, done.state, now(), sentence=said, changed=done.is_changed, version=version
    )
    show(what, render_publication, as_json=as_json)


@click.command(short_help="Put a release directory on offer, signed.")
@repository_argument
@click.argument("release", type=click.Path(path_type=Path))
@signing_options
@click.option(
    "--needs", type=VersionType(), help="The oldest version that may go to it directly: a stepping stone."
)
@click.option(
    "--rollout",
    "waves",
    type=ROLLOUT,
    help="Shares of all hosts, and how long after the start: 1%,10%@1d,100%@3d (default: all at once).",
)
@click.option("--start", type=TIME, help="When the rollout begins: RFC 3339, or now (default).")
@click.option("--floor", type=VersionType(), help="From now on, hosts install nothing that is older.")
@click.option(
    "--keep",
    type=click.IntRange(1, 100),
    help=f"Newest releases for each layout that stay on offer; remembered (at first {KEEP}).",
)
@json_option
def publish(
    repository: Path,
    release: Path,
    keys: tuple[Path, ...],
    online_keys: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    needs: Version | None,
    waves: Waves | None,
    start: Seconds | None,
    floor: Version | None,
    keep: int | None,
    as_json: bool,
) -> None:
    """Put the release directory RELEASE on offer in the repository REPO.

    Every file is compared with the manifest, put in place, and only then signed for: timestamp.json comes
    last, so that no host ever sees half of it. Interrupted, the same command goes on. A version stands for
    one release for ever.

    \b
    Example:
      abctl release publish ./repo ./2.0.0 --key targets.key --online-key online.key \\
        --needs 1.8.0 --rollout 1%,10%@1d,100%@3d
    """
    if start is not None and waves is None:
        raise click.UsageError("--start goes with --rollout")
    signers = Signers(read_signers(keys, passphrase_files), read_signers(online_keys, passphrase_files))
    wishes = Wishes(needs, waves, start, floor, keep)
    with saying_interrupted(repository):
        checked, done = publishing.publish(Repository(repository), release, signers, wishes, now())
    listed = done.state.catalogue.find(checked.version)
    is_offered = checked.version in done.state.catalogue.offered
    where = "is on offer" if is_offered else "is in the archive, for newer ones are on offer"
    rollout = "" if listed.terms.rollout is None else ", as its rollout goes on"
    report(
        repository, done, f"{checked.version} {where}{rollout if is_offered else ''}", checked.version,
        as_json=as_json,
    )  # fmt: skip


@click.command(short_help="Sign timestamp anew, and what else is due; for a timer.")
@repository_argument
@online_key_option
@targets_key_option(required=False)
@passphrase_option
@click.option(
    "--if-within",
    "within",
    type=DURATION,
    metavar="DURATION",
    help="Only where timestamp or snapshot expires in this time, for example 1d.",
)
@json_option
def renew(
    repository: Path,
    online_keys: tuple[Path, ...],
    keys: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    within: int | None,
    as_json: bool,
) -> None:
    """Sign the timestamp of REPO anew, and its snapshot where half of its life is over.

    Hosts refuse a repository whose timestamp has expired, so that nobody can withhold what is newer: run this
    from a timer. With --key, targets and archive are signed anew too, which is due twice a year. A new
    root that changes keys waits until this is run with the old keys and the new ones.

    \b
    Example:
      abctl release renew ./repo --online-key online.key --if-within 2d
    """
    signers = Signers(read_signers(keys, passphrase_files), read_signers(online_keys, passphrase_files))
    with saying_interrupted(repository):
        before = now()
        done = change.renew(Repository(repository), signers, before, within)
    what = "signed anew: timestamp" + (", targets and archive" if keys else "")
    report(repository, done, what, None, as_json=as_json)
