"""release rollout, floor and revoke: change what holds for releases that are published."""

from pathlib import Path
from typing import Any

import click

from abctl.build import change
from abctl.build.change import Plan
from abctl.build.commit import Signers
from abctl.build.publish import Done
from abctl.build.repository import Repository
from abctl.cli.options import VersionType, json_option
from abctl.cli.release_publish import report
from abctl.cli.signing import (
    ROLLOUT,
    TIME,
    Waves,
    now,
    read_signers,
    repository_argument,
    saying_interrupted,
    signing_options,
)
from abctl.core.terms import REASON_MAX
from abctl.core.units import Seconds, Version, parse_version


class _ReasonType(click.ParamType):  # type: ignore[type-arg]
    """A reason that hosts show."""

    name = "TEXT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip()
        if not text or len(text) > REASON_MAX or not text.isprintable():
            self.fail(f"give a reason of one line and up to {REASON_MAX} characters", param, ctx)
        return text


class _FloorType(VersionType):
    """A version, or none."""

    name = "VERSION|none"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return "none" if str(value) == "none" else super().convert(value, param, ctx)


def _read(keys: tuple[Path, ...], online_keys: tuple[Path, ...], files: tuple[Path, ...]) -> Signers:
    return Signers(read_signers(keys, files), read_signers(online_keys, files))


@click.command(short_help="Pause, resume, abort or change the rollout of a release.")
@repository_argument
@click.argument("version", type=VersionType())
@signing_options
@click.option("--pause", "how", flag_value="pause", help="Let no more hosts take it for now.")
@click.option("--resume", "how", flag_value="resume", help="Go on where it was paused, as if no time passed.")
@click.option("--abort", "reason", type=_ReasonType(), help="Let no host take it any more; hosts show why.")
@click.option("--rollout", "waves", type=ROLLOUT, help="Another rollout, for example 10%,100%@2d.")
@click.option(
    "--start", type=TIME, help="With --rollout: when it begins (default: when the one before did, or now)."
)
@json_option
def rollout(
    repository: Path,
    version: Version,
    keys: tuple[Path, ...],
    online_keys: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    how: str | None,
    reason: str | None,
    waves: Waves | None,
    start: Seconds | None,
    as_json: bool,
) -> None:
    """Change the rollout of VERSION in REPO; hosts see it when they look next.

    A rollout that is paused or aborted takes nothing from hosts that have the release already; 'abctl
    release revoke' does.

    \b
    Examples:
      abctl release rollout ./repo 2.0.0 --pause --key targets.key --online-key online.key
      abctl release rollout ./repo 2.0.0 --rollout 10%,100%@2d --start now \\
        --key targets.key --online-key online.key
    """
    if sum(item is not None for item in (how, reason, waves)) != 1:
        raise click.UsageError("say one of --pause, --resume, --abort and --rollout")
    if start is not None and waves is None:
        raise click.UsageError("--start goes with --rollout")
    place, signers = Repository(repository), _read(keys, online_keys, passphrase_files)
    with saying_interrupted(repository):
        done, said = _change_rollout(place, signers, version, how, reason, waves, start)
    report(repository, done, f"the rollout of {version} {said}", version, as_json=as_json)


def _change_rollout(
    place: Repository,
    signers: Signers,
    version: Version,
    how: str | None,
    reason: str | None,
    waves: Waves | None,
    start: Seconds | None,
) -> tuple[Done, str]:
    """Do what was said, and return what to say of it."""
    if waves is not None:
        return change.restart(place, signers, now(), version, Plan(waves, start)), "is another one"
    if reason is not None:
        return change.abort(place, signers, now(), version, reason), f"is aborted: {reason}"
    if how == "pause":
        return change.pause(place, signers, now(), version), "is paused"
    return change.resume(place, signers, now(), version), "goes on"


@click.command(short_help="Set the oldest version that hosts may install.")
@repository_argument
@click.argument("version", type=_FloorType(), metavar="VERSION|none")
@signing_options
@json_option
def floor(
    repository: Path,
    version: str,
    keys: tuple[Path, ...],
    online_keys: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Let hosts install nothing that is older than VERSION; 'none' takes that back.

    \b
    Example:
      abctl release floor ./repo 1.8.0 --key targets.key --online-key online.key
    """
    wanted = None if version == "none" else parse_version(version)
    signers = _read(keys, online_keys, passphrase_files)
    with saying_interrupted(repository):
        done = change.set_floor(Repository(repository), signers, now(), wanted)
    said = f"hosts install nothing older than {wanted}" if wanted else "there is no floor any more"
    report(repository, done, said, wanted, as_json=as_json)


@click.command(short_help="Recall a release: no host shall take or keep it.")
@repository_argument
@click.argument("version", type=VersionType())
@signing_options
@click.option("--reason", type=_ReasonType(), help="Why; hosts that run it show this.")
@click.option("--undo", is_flag=True, help="Take a recall back.")
@json_option
def revoke(
    repository: Path,
    version: Version,
    keys: tuple[Path, ...],
    online_keys: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    reason: str | None,
    undo: bool,
    as_json: bool,
) -> None:
    """Recall VERSION: it is on offer no more, and hosts that run it say that they should not.

    Only an admin who overrides the recall still gets it; --undo puts it on offer again.

    \b
    Example:
      abctl release revoke ./repo 2.0.0 --reason "loses network after 3 days" \\
        --key targets.key --online-key online.key
    """
    if undo == (reason is not None):
        raise click.UsageError("say either --reason or --undo")
    place, signers = Repository(repository), _read(keys, online_keys, passphrase_files)
    with saying_interrupted(repository):
        if reason is not None:
            done = change.revoke(place, signers, now(), version, reason)
            said = f"{version} is recalled: {reason}"
        else:
            done = change.undo_revoke(place, signers, now(), version)
            said = f"{version} is recalled no more"
    report(repository, done, said, version, as_json=as_json)
