"""The recipe of an image: which Debian packages, which kernel arguments, how large.

suite = "bookworm"
packages = ["linux-image-amd64", "systemd-sysv", "udev", "lvm2", "python3", "libparted2"]
kernel_arguments = "console=ttyS0"
overlay = "overlay"          # a folder beside the recipe, copied over the tree
root_size = "2 GiB"
"""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from abctl.core.envblock import make_block
from abctl.core.layout_file import Size
from abctl.core.problems import describe_problems
from abctl.errors import BadRecipe

ARGUMENTS_FILE = "arguments"  # in Boot; GRUB reads it
_ARGUMENTS_SIZE = 1024  # bytes, as grub-editenv makes them
_ARGUMENTS_MAX = 900
# No quotes, and nothing that GRUB's shell would take for more than itself.
_ARGUMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:;=/+@%-]*")
_OURS = {"root", "ro", "rw", "panic", "dfinity.system"}
_NAME = r"^[a-z0-9][a-z0-9+.-]*(:[a-z0-9]+)?$"
_SUITE = r"^[a-z0-9][a-z0-9.-]*$"
_SOURCE = r"^(https?://|file:/|copy:/|deb )[ -~]+$"
_HOSTNAME = r"^[A-Za-z0-9]([A-Za-z0-9-]{0,62})$"


def _check_arguments(text: str) -> str:
    for word in text.split():
        name = word.partition("=")[0]
        if name in _OURS or name.startswith("abctl."):
            raise ValueError(f"{name} is set by GRUB, from the boot environment: leave it out")
        if not _ARGUMENT.fullmatch(word):
            raise ValueError(f"{word!r} cannot be passed on by GRUB: letters, digits and _.,:;=/+@%- can")
    return " ".join(text.split())


def _check_path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("give the path in the tree, with a slash before it; * stands for anything")
    return text


KernelArguments = Annotated[str, Field(max_length=_ARGUMENTS_MAX), AfterValidator(_check_arguments)]
_Line = Annotated[str, Field(min_length=1, max_length=4096)]


class Recipe(BaseModel):
    """How the tree of an image is made, and what the images are."""

    model_config = ConfigDict(title="abctl image recipe", extra="forbid", strict=True, frozen=True)

    suite: Annotated[str, Field(pattern=_SUITE, description="Debian's name, for example bookworm")]
    packages: Annotated[
        tuple[Annotated[str, Field(pattern=_NAME)], ...],
        Field(min_length=1, strict=False, description="what is installed, with what it depends on"),
    ]
    mirrors: Annotated[
        tuple[Annotated[str, Field(pattern=_SOURCE)], ...],
        Field(strict=False, description="URLs, or lines of sources.list; default: those of this machine"),
    ] = ()
    components: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] = ("main",)
    exclude: Annotated[
        tuple[Annotated[str, AfterValidator(_check_path)], ...],
        Field(strict=False, description="paths that no package may install, for example /usr/share/doc/*"),
    ] = ()
    overlay: Annotated[str | None, Field(description="a folder beside the recipe, copied over the tree")] = (
        None
    )
    commands: Annotated[
        tuple[_Line, ...], Field(strict=False, description="for the shell in the tree, as the last step")
    ] = ()
    hostname: Annotated[str, Field(pattern=_HOSTNAME)] = "localhost"
    kernel_arguments: KernelArguments = ""
    boot_size: Annotated[Size | None, Field(description="bytes, or '192 MiB'; default: what it takes")] = None
    root_size: Annotated[Size | None, Field(description="bytes, or '1 GiB'; default: what it takes")] = None
    abctl: Annotated[bool, Field(description="whether abctl is installed, with its units")] = True


def parse_recipe(values: object, where: str) -> Recipe:
    """Return the recipe in ``values`` (from TOML); raise BadRecipe naming ``where`` and every problem."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise BadRecipe(f"{where}: {describe_problems(error)}") from error


def parse_arguments(text: str) -> str:
    """Return kernel arguments that GRUB can pass on; raise BadRecipe."""
    if len(text) > _ARGUMENTS_MAX:
        raise BadRecipe(f"kernel arguments have at most {_ARGUMENTS_MAX} characters")
    try:
        return _check_arguments(text)
    except ValueError as error:
        raise BadRecipe(f"kernel arguments: {error}") from error


def make_arguments_block(arguments: str) -> bytes:
    """Return what GRUB reads in Boot: one variable in an environment block."""
    return make_block({"kernel_arguments": arguments}, _ARGUMENTS_SIZE)
