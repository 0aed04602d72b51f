"""Options of the commands that sign, the passphrases of their keys, and their clock."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abctl.core.rollout_spec import TIME_MAX, parse_duration, parse_rollout, parse_time
from abctl.core.terms import Wave
from abctl.core.units import Seconds
from abctl.errors import BadKey, Interrupted, SourceNotFound

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

PASSPHRASE_VARIABLE = "ABCTL_PASSPHRASE"
_EPOCH_VARIABLE = "SOURCE_DATE_EPOCH"

repository_argument = click.argument("repository", type=click.Path(path_type=Path), metavar="REPO")
passphrase_option = click.option(
    "--passphrase-file",
    "passphrase_files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help=f"A file whose first line is the passphrase (else {PASSPHRASE_VARIABLE}, or asked for); repeatable.",
)
online_key_option = click.option(
    "--online-key",
    "online_keys",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    metavar="KEY",
    help="The key of snapshot and timestamp; repeatable.",
)


def targets_key_option(*, required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--key",
        "keys",
        type=click.Path(path_type=Path),
        multiple=True,
        required=required,
        metavar="KEY",
        help="A key of targets; repeatable, where several have to sign.",
    )


def signing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --key, --online-key and --passphrase-file."""
    for option in (passphrase_option, online_key_option, targets_key_option()):
        command = option(command)
    return command


class _ParsedType(click.ParamType):  # type: ignore[type-arg]
    """What a function of the core parses, which raises ValueError."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = _ParsedType("DURATION", parse_duration)
ROLLOUT: "_ParsedType" = _ParsedType("SPEC", parse_rollout)
TIME = _ParsedType("TIME", lambda text: parse_time(text, now()))
Waves = tuple[Wave, ...]


def now() -> Seconds:
    """Return the time that is signed: the clock's, or what SOURCE_DATE_EPOCH says."""
    said = os.environ.get(_EPOCH_VARIABLE)
    if not said:
        return Seconds(int(time.time()))
    if not said.isascii() or not said.isdigit() or int(said) > TIME_MAX:
        raise click.UsageError(f"{_EPOCH_VARIABLE} is {said[:40]!r}, not seconds since 1970")
    return Seconds(int(said))


# --- keys -------------------------------------------------------------------------------------------


def read_signers(paths: Sequence[Path], files: Sequence[Path]) -> "tuple[CryptoSigner, ...]":
    """Return the private keys in ``paths``, each once; raise BadKey, SourceNotFound."""
    found = {}
    for path in paths:
        signer = _read_signer(path, files)
        found[signer.public_key.keyid] = signer
    return tuple(found.values())


def _read_signer(path: Path, files: Sequence[Path]) -> "CryptoSigner":
    from abctl.build.keys import needs_passphrase, read_signer  # noqa: PLC0415

    if not needs_passphrase(path):
        return read_signer(path, ())
    known = list_passphrases(files)
    if not known and sys.stdin.isatty():
        known = [click.prompt(f"Passphrase of {path}", hide_input=True, err=True)]
    return read_signer(path, known)


def choose_passphrase(path: Path, files: Sequence[Path]) -> str:
    """Return the passphrase for a new key, asking twice for it; raise BadKey where there is none."""
    known = list_passphrases(files)
    if not known and sys.stdin.isatty():
        text = f"Passphrase for {path}"
        known = [click.prompt(text, hide_input=True, confirmation_prompt=True, err=True)]
    if not known:
        raise BadKey(
            f"a passphrase is needed for {path}: give it with --passphrase-file or {PASSPHRASE_VARIABLE}, or "
            "say --no-passphrase"
        )
    return known[0]


def list_passphrases(files: Sequence[Path], environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the passphrases that were given, in files or else in the environment; raise BadKey."""
    if files:
        return [_check(_read_line(path), str(path)) for path in files]
    said = environ.get(PASSPHRASE_VARIABLE)
    return [] if said is None else [_check(said, PASSPHRASE_VARIABLE)]


def _read_line(path: Path) -> str:
    try:
        return path.read_bytes().partition(b"\n")[0].rstrip(b"\r").decode()
    except OSError as error:
        raise SourceNotFound(f"the passphrase in {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadKey(f"the passphrase in {path} is not text in UTF-8: give another file") from error


def _check(passphrase: str, where: str) -> str:
    if not passphrase:
        raise BadKey(
            f"the passphrase in {where} is empty: give another, or make the key with --no-passphrase"
        )
    return passphrase


@contextmanager
def saying_interrupted(repository: Path) -> Iterator[None]:
    """Turn Ctrl-C into what it means for a repository."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"interrupted: {repository} is as it was or as it should become; run the same command again"
        ) from error
