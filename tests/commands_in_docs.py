"""Find the commands that the documentation shows, and whether abctl has them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from abctl.cli import cli
from tests.manual import make_root

_BLOCK = re.compile(r"(?:^(?: {4}|\t).*\n|^```[\s\S]*?^```\n)+", re.MULTILINE)
_LINE = re.compile(r"^\s*(?:[$#] )?(abctl (?:-|[a-z]).*)$", re.MULTILINE)
_WORDS = re.compile(r"`(abctl (?:-|[a-z])[^`\n]*)`")
_REST = re.compile(r"(\s#|\s\||\s{2,}|\.\.\.).*$")  # a remark, a pipe, a column, or what is left out


def list_commands(page: Path) -> Iterator[str]:
    """Yield each command of a page, in blocks and in sentences, without what is not part of it."""
    text = page.read_text("utf-8")
    blocks = "\n".join(_BLOCK.findall(text))
    shown = _LINE.findall(re.sub(r"\\\n\s*", " ", blocks)) + _WORDS.findall(_BLOCK.sub("", text))
    yield from (_REST.sub("", command) for command in shown)


def find_fault(command: str) -> str | None:
    """Return what is wrong with a command line: a command or an option that abctl does not have."""
    context, words = make_root(), shlex.split(command)[1:]
    kind: click.Command = cli
    try:
        while True:
            _, words, _ = kind.make_parser(context).parse_args(words)
            if not isinstance(kind, click.Group) or not words:
                return None
            name, *words = words
            # Of `keys|publish|renew` the first stands for all.
            inner = kind.get_command(context, name.partition("|")[0])
            if inner is None:
                return f"there is no command {name}"
            context, kind = click.Context(inner, info_name=name, parent=context), inner
    except click.BadOptionUsage:
        return None  # its value was left out in a sentence
    except click.UsageError as error:
        return error.format_message()
