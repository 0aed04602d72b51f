"""Options and arguments that several commands share."""

import click
from click.shell_completion import CompletionItem

from abctl.core.slot import SlotName
from abctl.core.units import Bytes, Digest, Version, parse_digest, parse_size, parse_version

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON; the schema is in schemas/.")


def complete_slot_set(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the slot sets that begin as the word does, however it is written."""
    return [CompletionItem(name.value) for name in SlotName if name.startswith(incomplete.upper())]


class SizeType(click.ParamType):  # type: ignore[type-arg]
    """A size such as 110G."""

    name = "SIZE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Bytes:
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class DigestType(click.ParamType):  # type: ignore[type-arg]
    """A SHA-256."""

    name = "HEX"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Digest:
        try:
            return parse_digest(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class VersionType(click.ParamType):  # type: ignore[type-arg]
    """A version."""

    name = "VERSION"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Version:
        try:
            return parse_version(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


sha256_option = click.option(
    "--sha256", type=DigestType(), help="SHA-256 of the archive, or of the release's manifest.json."
)
