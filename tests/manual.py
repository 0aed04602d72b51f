"""Make the man pages in abctl/files from the help of the commands, or check that they are in step with it.

python -m tests.manual           writes them
python -m tests.manual --check   names those that are out of step, and fails
"""

import inspect
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

import abctl
from abctl.cli import cli
from abctl.core.clock import BUILT_AT
from tests.errors_page import explain, has_own_code, list_errors
from tests.generated import write_or_check

FOLDER = Path(abctl.__file__).parent / "files/usr/share/man/man1"
_DATE = datetime.fromtimestamp(BUILT_AT, UTC).strftime("%Y-%m-%d")
# The backslash first: the others bring theirs along.
_CODES = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}
_FILES = (
    ("/etc/abctl/config.toml", "How this host is to be kept up to date."),
    ("/etc/abctl/root.json", "Root metadata of the signed repository: whose signatures count."),
    ("/boot/grub/env1/grubenv, /boot/grub/env2/grubenv", "The two copies of the boot environment."),
    ("/boot/config/abctl/", "What outlasts both slot sets: refused versions, history, evidence."),
    ("/run/abctl/health.json", "The last results of the health checks."),
)


def make_pages() -> dict[Path, str]:
    """Return the page of each command, by its path."""
    return {FOLDER / f"{name_of(context)}.1": _make_page(context) for context in walk(make_root())}


def make_root() -> click.Context:
    """Return the context of ``abctl`` itself."""
    return click.Context(cli, info_name="abctl", **cli.context_settings)


def walk(context: click.Context) -> Iterator[click.Context]:
    """Yield a command and all below it, in the order of the help."""
    yield context
    command = context.command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            if not child.hidden:
                yield from walk(click.Context(child, info_name=name, parent=context))


def name_of(context: click.Context) -> str:
    """Return the name of a command's page."""
    return context.command_path.replace(" ", "-")


# --- one page ---------------------------------------------------------------------------------------


def _make_page(context: click.Context) -> str:
    lines = [
        f'.TH {name_of(context).upper()} 1 "{_DATE}" "abctl" "abctl"',
        ".SH NAME",
        f"{_escape(name_of(context))} \\- {_escape(_summary(context.command))}",
        ".SH SYNOPSIS",
        f".B {_escape(context.command_path)}",
        _escape(" ".join(context.command.collect_usage_pieces(context))),
        *_describe(context.command),
        *_list_options(context),
        *_list_commands(context),
        *(_list_files_and_codes() if context.parent is None else ()),
        *_see_also(context),
    ]
    return "\n".join(lines) + "\n"


def _summary(command: click.Command) -> str:
    text = command.get_short_help_str(limit=200).rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _describe(command: click.Command) -> Iterator[str]:
    """Yield the help as paragraphs; examples get a section of their own."""
    yield ".SH DESCRIPTION"
    examples: list[str] = []
    for number, paragraph in enumerate(paragraphs(command.help or "")):
        if not paragraph.startswith("\b"):
            yield from ([".PP"] if number else [])
            yield _escape(" ".join(paragraph.split()))
            continue
        head, *lines = paragraph.removeprefix("\b").strip("\n").splitlines()
        if head.startswith("Example"):
            examples += lines
        else:
            yield from (".PP", ".nf", *map(_escape, (head, *lines)), ".fi")
    if examples:
        yield from (".SH EXAMPLES", ".nf", *(_escape(line.strip()) for line in examples), ".fi")


def paragraphs(text: str) -> list[str]:
    """Return the parts of a help; what is to stay as it is begins with a backspace, as click wants it."""
    return [part for part in inspect.cleandoc(text).split("\n\n") if part.strip()]


def _list_options(context: click.Context) -> Iterator[str]:
    records = [
        record
        for param in context.command.get_params(context)
        if isinstance(param, click.Option) and (record := param.get_help_record(context))
    ]
    if records:
        yield ".SH OPTIONS"
    for names, text in records:
        yield from (".TP", f"\\fB{_escape(names)}\\fR", _escape(text))


def _list_commands(context: click.Context) -> Iterator[str]:
    command = context.command
    if not isinstance(command, click.Group):
        return
    yield ".SH COMMANDS"
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        if child and not child.hidden:
            page = _escape(f"{name_of(context)}-{name}")
            yield from (".TP", f"\\fB{page}\\fR(1)", _escape(child.get_short_help_str(limit=200)))


def _list_files_and_codes() -> Iterator[str]:
    yield ".SH FILES"
    for path, text in _FILES:
        yield from (".TP", f"\\fI{_escape(path)}\\fR", _escape(text))
    yield ".SH EXIT STATUS"
    general = (
        ("0", "Done."),
        ("1", "A fault in abctl itself."),
        ("2", "A wrong command line."),
        ("3", "A check found a difference or a fault."),
    )
    own = [(str(kind.exit_code), explain(kind)[0]) for kind in list_errors() if has_own_code(kind)]
    for code, text in (*general, *own):
        yield from (".TP", f"\\fB{code}\\fR", _escape(text))


def _see_also(context: click.Context) -> Iterator[str]:
    if context.parent is None:
        return
    above = _escape(name_of(context.parent))
    yield from (".SH SEE ALSO", f"\\fB{above}\\fR(1)")


def _escape(text: str) -> str:
    """Return text as roff shows it: no character of it is an order, and none becomes another."""
    for char, code in _CODES.items():
        text = text.replace(char, code)
    return f"\\&{text}" if text.startswith((".", "\\(aq")) else text


# --- all of them ------------------------------------------------------------------------------------


def find_complaints(pages: dict[Path, str]) -> list[str]:
    """Return what groff has to say against the pages, where this machine has it."""
    groff = shutil.which("groff")
    if groff is None:
        return []
    command = (groff, "-man", "-Tutf8", "-ww")
    said = [
        (path, subprocess.run(command, input=text, capture_output=True, text=True, check=False).stderr)
        for path, text in pages.items()
    ]
    return [f"{path}: {complaint}" for path, complaint in said if complaint]


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` return 1 where one is out of step."""
    pages = make_pages()
    failed = write_or_check(pages, "make manual", arguments, FOLDER.glob("*"))
    complaints = find_complaints(pages) if arguments == ["--check"] else []
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if failed or complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
