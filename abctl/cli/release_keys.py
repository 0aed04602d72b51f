"""release keys: make keys, and say by a root that several owners sign which key may sign what."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from securesystemslib.signer import SSlibKey

from abctl.build import rootkeys
from abctl.build.keys import COMMENT_MAX, make_key, public_path, read_public
from abctl.build.repository import Repository, read_pending, read_roots, read_state
from abctl.build.roles import LIFETIMES, ONLINE_ROLES, Role
from abctl.build.rootkeys import Change, KeySet
from abctl.cli.describe_keys import describe_keys
from abctl.cli.options import json_option
from abctl.cli.render_published import render_keys, render_new_key
from abctl.cli.report_published import NewKeyReport
from abctl.cli.show import show
from abctl.cli.signing import (
    choose_passphrase,
    now,
    passphrase_option,
    read_signers,
    repository_argument,
    saying_interrupted,
)
from abctl.core.rollout_spec import format_duration, parse_duration
from abctl.errors import SourceNotFound

_ROLES = {
    "root": (Role.ROOT,),
    "targets": (Role.TARGETS,),
    "online": ONLINE_ROLES,
    "snapshot": (Role.SNAPSHOT,),
    "timestamp": (Role.TIMESTAMP,),
}
_LIFETIMES_TEXT = ", ".join(f"{role}={format_duration(seconds)}" for role, seconds in LIFETIMES.items())


class _LifetimeType(click.ParamType):  # type: ignore[type-arg]
    """How long a role's metadata is good for."""

    name = "ROLE=DURATION"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        role, _, text = str(value).partition("=")
        if role not in LIFETIMES:
            self.fail(f"{role[:40]!r} is none of {', '.join(LIFETIMES)}", param, ctx)
        try:
            seconds = parse_duration(text)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not seconds:
            self.fail("it would expire at once", param, ctx)
        return Role(role), seconds


def _public_option(name: str, text: str, *, required: bool = True) -> Callable[..., Any]:
    return click.option(
        name,
        type=click.Path(path_type=Path),
        multiple=True,
        required=required,
        metavar="PUB",
        help=f"{text}; a .pub file; repeatable.",
    )


_expires_option = click.option(
    "--expires",
    "lifetimes",
    type=_LifetimeType(),
    multiple=True,
    help=f"How long a role's metadata is good for; repeatable (at first {_LIFETIMES_TEXT}).",
)


@click.group()
def keys() -> None:
    """Make keys, and say by a root which keys may sign what.

    \b
    Example:
      abctl release keys new root-1.key --comment "Ada, safe in Bern"
      abctl release keys init ./repo --root root-1.key.pub --root root-2.key.pub \\
        --root root-3.key.pub --root-threshold 2 --targets targets.key.pub --online online.key.pub
      abctl release keys sign ./repo --key root-1.key --key root-3.key
    """


@keys.command(short_help="Make a key.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--comment", default="", help="Whose it is and where it lies; stands in the public root.")
@click.option("--no-passphrase", is_flag=True, help="Do not encrypt it: for a timer on a machine you trust.")
@passphrase_option
@json_option
def new(
    file: Path, comment: str, no_passphrase: bool, passphrase_files: tuple[Path, ...], as_json: bool
) -> None:
    """Make an Ed25519 key: FILE, encrypted by a passphrase, and FILE.pub, its public half.

    \b
    Example:
      abctl release keys new targets.key --comment "release team"
    """
    if len(comment) > COMMENT_MAX or not comment.isprintable():
        raise click.BadParameter(f"one line of up to {COMMENT_MAX} characters", param_hint="--comment")
    passphrase = None if no_passphrase else choose_passphrase(file, passphrase_files)
    key = make_key(file, passphrase, comment)
    report = NewKeyReport(
        file=str(file),
        public=str(public_path(file)),
        keyid=key.keyid,
        comment=comment,
        encrypted=passphrase is not None,
    )
    show(report, render_new_key, as_json=as_json)


@keys.command(short_help="Make the first root of a repository, to be signed.")
@repository_argument
@_public_option("--root", "A key of root, which is kept offline")
@click.option(
    "--root-threshold",
    type=click.IntRange(min=1),
    help="So many of them have to sign a root (default: 2, or 1 of one key).",
)
@_public_option("--targets", "A key that signs releases")
@click.option("--targets-threshold", type=click.IntRange(min=1), default=1, show_default=True)
@_public_option("--online", "A key that signs snapshot and timestamp, from a timer")
@_expires_option
@json_option
def init(
    repository: Path,
    root: tuple[Path, ...],
    root_threshold: int | None,
    targets: tuple[Path, ...],
    targets_threshold: int,
    online: tuple[Path, ...],
    lifetimes: tuple[tuple[Role, int], ...],
    as_json: bool,
) -> None:
    """Make the first root of REPO, in REPO/pending, which is not published until enough have signed it.

    \b
    Example:
      abctl release keys init ./repo --root root-1.key.pub --root root-2.key.pub \\
        --root root-3.key.pub --root-threshold 2 --targets targets.key.pub --online online.key.pub
    """
    owners = _read_all(root)
    sets = {
        Role.ROOT: KeySet(owners, root_threshold or min(2, len(owners))),
        Role.TARGETS: KeySet(_read_all(targets), targets_threshold),
        **dict.fromkeys(ONLINE_ROLES, KeySet(_read_all(online))),
    }
    with saying_interrupted(repository):
        rootkeys.init(Repository(repository), sets, dict(lifetimes), now())
    _show(repository, as_json=as_json)


def _read_all(paths: tuple[Path, ...]) -> tuple[SSlibKey, ...]:
    return tuple({key.keyid: key for key in map(read_public, paths)}.values())


@keys.command(short_help="Sign the root that waits.")
@repository_argument
@click.option(
    "--key",
    "key_files",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    metavar="KEY",
    help="A key of root; repeatable.",
)
@passphrase_option
@json_option
def sign(
    repository: Path, key_files: tuple[Path, ...], passphrase_files: tuple[Path, ...], as_json: bool
) -> None:
    """Add signatures to the root that waits in REPO; with enough of them it is published.

    Only REPO/pending and REPO/metadata/*.root.json are needed for it, on a machine without a network. A root
    that changes the keys of other roles is published when these have signed the rest.

    \b
    Example:
      abctl release keys sign ./repo --key root-1.key
    """
    signers = read_signers(key_files, passphrase_files)
    with saying_interrupted(repository):
        signing = rootkeys.sign_root(Repository(repository), signers)
    said = f"root version {signing.root.version} is signed and published" if signing.is_published else ""
    _show(repository, said, as_json=as_json)


@keys.command(short_help="Make the next root, with other keys or a new date, to be signed.")
@repository_argument
@click.option(
    "--role", type=click.Choice(list(_ROLES)), required=True, help="online: snapshot and timestamp."
)
@_public_option("--add", "A key that the role gets", required=False)
@click.option(
    "--remove", multiple=True, metavar="KEYID", help="A key that it loses; how it begins is enough."
)
@click.option("--threshold", type=click.IntRange(min=1), help="So many of its keys have to sign.")
@_expires_option
@json_option
def rotate(
    repository: Path,
    role: str,
    add: tuple[Path, ...],
    remove: tuple[str, ...],
    threshold: int | None,
    lifetimes: tuple[tuple[Role, int], ...],
    as_json: bool,
) -> None:
    """Make the next root of REPO, or change the one that waits, whose signatures are void then.

    With nothing but --role root, it is the same root with a new date.

    \b
    Examples:
      abctl release keys rotate ./repo --role online --add online-2.key.pub --remove 5ce9d350
      abctl release keys rotate ./repo --role root
    """
    roles = _ROLES[role]
    change = Change(
        add=dict.fromkeys(roles, _read_all(add)),
        remove=dict.fromkeys(roles, remove),
        threshold=dict.fromkeys(roles, threshold) if threshold else {},
        lifetimes=dict(lifetimes),
    )
    with saying_interrupted(repository):
        rootkeys.rotate(Repository(repository), change, now())
    _show(repository, as_json=as_json)


@keys.command("show", short_help="Show which keys may sign what.")
@repository_argument
@json_option
def show_keys(repository: Path, as_json: bool) -> None:
    """Show the roles of REPO, their keys and dates, and which signatures the next root lacks.

    \b
    Example:
      abctl release keys show ./repo
    """
    _show(repository, as_json=as_json)


def _show(folder: Path, sentence: str = "", *, as_json: bool) -> None:
    repository = Repository(folder)
    roots = read_roots(repository)
    pending = read_pending(repository, len(roots))
    if not roots and not pending:
        raise SourceNotFound(f"{folder} has no root: make one with 'abctl release keys init'")
    state = read_state(repository) if roots else None
    show(describe_keys(folder, state, pending, now(), sentence), render_keys, as_json=as_json)
