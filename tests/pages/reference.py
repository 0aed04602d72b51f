"""The reference pages: every command with its options, every schema, every decision record."""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click

from tests import schemas
from tests.generated import ROOT
from tests.manual import make_root, paragraphs, walk

_COMMANDS = """\
# Commands

Made from the help of the commands by `make pages`, as the man pages are (`man abctl-upgrade`). Each command
takes the options of `abctl` itself before its name: `abctl --disk host.img status`. Exit codes are in
[errors](../errors.md).

"""
_SCHEMAS = """\
# Configuration and schemas

JSON Schemas (draft 2020-12) of all that abctl reads from people and all that it prints for programs, made
from the models by `make schemas`. A field that is not listed is refused. This page is made by `make pages`.

## What people write

TOML files are held to these as JSON would be.

| schema | what it is |
|---|---|
{inputs}
## What programs read

| schema | printed by |
|---|---|
{outputs}
## config.toml

`/etc/abctl/config.toml`; every section and field may be left out. Health, agent and policy are told in
[health](../health.md), [agent](../agent.md) and [trust](../trust.md).

| field | type | default | bounds |
|---|---|---|---|
{fields}"""
_DECISIONS = """\
# Decisions

One page for each choice that somebody would question: what the question was, what was decided, and what
follows. A decision that is taken back keeps its page; the new one names it. `make pages` makes this list.

| | decision |
|---|---|
"""


def make_commands_page() -> str:
    """Return docs/reference/commands.md: a section for each command, in the order of the help."""
    contexts = list(walk(make_root()))
    rows = "".join(
        f"| [{c.command_path}](#{c.command_path.replace(' ', '-')}) | {_summary(c)} |\n" for c in contexts
    )
    return _COMMANDS + f"| command | |\n|---|---|\n{rows}" + "".join(map(_make_section, contexts))


def _summary(context: click.Context) -> str:
    return escape(context.command.get_short_help_str(limit=200))


def _make_section(context: click.Context) -> str:
    usage = " ".join(context.command.collect_usage_pieces(context))
    parts = [f"\n## {context.command_path}\n", f"    {context.command_path} {usage}\n"]
    for paragraph in paragraphs(inspect.cleandoc(context.command.help or "")):
        if paragraph.startswith("\b"):
            head, *lines = paragraph.removeprefix("\b").strip("\n").splitlines()
            parts.append(f"{escape(head)}\n\n" + "".join(f"    {line.strip()}\n" for line in lines))
        else:
            parts.append(escape(" ".join(paragraph.split())) + "\n")
    return "\n".join([*parts, *_list_options(context)])


def _list_options(context: click.Context) -> Iterator[str]:
    records = [
        record
        for param in context.command.get_params(context)
        if isinstance(param, click.Option) and "--help" not in param.opts
        if (record := param.get_help_record(context))
    ]
    if records:
        rows = "".join(
            f"| `{names.replace('|', chr(92) + '|')}` | {escape(text)} |\n" for names, text in records
        )
        yield f"| option | |\n|---|---|\n{rows}"


def escape(text: str) -> str:
    """Return text of which Markdown makes nothing but text."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)


def make_schemas_page() -> str:
    """Return docs/reference/schemas.md."""
    found = {
        path.stem.removesuffix(".schema"): text
        for path, text in schemas.make_files().items()
        if "schemas" in path.parts
    }
    made = {name: json.loads(text) for name, text in found.items()}
    inputs = "".join(f"| {_link(name)} | {escape(made[name]['description'])} |\n" for name in schemas.INPUTS)
    outputs = [*schemas.OUTPUTS, *schemas.LINES]
    return _SCHEMAS.format(
        inputs=inputs,
        outputs="".join(f"| {_link(name)} | {escape(made[name]['description'])} |\n" for name in outputs),
        fields="".join(_list_fields(made["config"])),
    )


def _link(name: str) -> str:
    return f"[{name}](../../schemas/{name}.schema.json)"


def _list_fields(schema: dict[str, object]) -> Iterator[str]:
    """Yield a row for each field of each section of config.toml."""
    sections, definitions = schema["properties"], schema["$defs"]
    assert isinstance(sections, dict)
    assert isinstance(definitions, dict)
    for section, reference in sections.items():
        name = reference["$ref"].rpartition("/")[2]
        for field, form in definitions[name]["properties"].items():
            default = json.dumps(form.get("default"))
            row = (f"`{section}.{field}`", _say_type(form, definitions), f"`{default}`", _say_bounds(form))
            yield "| " + " | ".join("none" if cell == "`null`" else cell for cell in row) + " |\n"


def _say_type(form: dict[str, object], definitions: dict[str, dict[str, object]]) -> str:
    if "$ref" in form:
        return _say_type(definitions[str(form["$ref"]).rpartition("/")[2]], definitions)
    if isinstance(form.get("anyOf"), list):
        kinds = [_say_type(item, definitions) for item in form["anyOf"]]  # type: ignore[attr-defined]
        return " or ".join(kind for kind in kinds if kind != "null")
    if isinstance(form.get("enum"), list):
        return ", ".join(f"`{item}`" for item in form["enum"])  # type: ignore[attr-defined]
    return {"array": "list", "object": "table"}.get(str(form["type"]), str(form["type"]))


def _say_bounds(form: dict[str, object]) -> str:
    options = form.get("anyOf", [form])
    assert isinstance(options, list)
    names = {"minimum": "at least", "maximum": "at most", "exclusiveMaximum": "less than"}
    names |= {"maxLength": "characters at most", "maxItems": "entries at most"}
    return ", ".join(
        f"{text} {option[key]:,}" for option in options for key, text in names.items() if key in option
    )


def make_decisions_page(folder: Path = ROOT / "docs/adr") -> str:
    """Return docs/adr/index.md: the title of each record."""
    rows = []
    for path in sorted(folder.glob("[0-9]*.md")):
        title = path.read_text("utf-8").splitlines()[0].removeprefix("# ")
        rows.append(f"| [{path.name[:4]}]({path.name}) | {_without_number(title)} |\n")
    return _DECISIONS + "".join(rows)


def _without_number(title: str) -> str:
    return re.sub(r"^(ADR )?\d+[.:]? *", "", title)


def make_reference(docs: Path) -> dict[Path, str]:
    """Return what each of these pages has to hold."""
    return {
        docs / "reference/commands.md": make_commands_page(),
        docs / "reference/schemas.md": make_schemas_page(),
        docs / "adr/index.md": make_decisions_page(),
    }
