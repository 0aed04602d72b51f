"""Recipes of images: every wrong field is named; and where apt gets Debian from."""

from collections.abc import Iterator

import pytest

from abctl.core.apt_sources import find_source_lines
from abctl.core.envblock import parse_block
from abctl.core.recipe import make_arguments_block, parse_arguments, parse_recipe
from abctl.errors import BadRecipe

RECIPE = {"suite": "bookworm", "packages": ["systemd-sysv"]}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"suite": "book worm"}, "suite: "),
        ({"packages": []}, "packages: "),
        ({"packages": ["--force"]}, "packages.0: "),
        ({"mirrors": ["ftp://x"]}, "mirrors.0: "),
        ({"exclude": ["usr/share"]}, "exclude.0: give the path in the tree"),
        ({"root_size": "much"}, "root_size: not a size"),
        ({"kernel_arguments": "quiet root=/dev/sda"}, "kernel_arguments: root is set by GRUB"),
        ({"kernel_arguments": "abctl.why=primary"}, "kernel_arguments: abctl.why is set by GRUB"),
        ({"kernel_arguments": 'x="a b"'}, "cannot be passed on by GRUB"),
        ({"kernel_arguments": "-- single"}, "'--' cannot be passed on by GRUB"),
        ({"sweet": 1}, "sweet: "),
    ],
)
def test_a_wrong_recipe_names_the_field(change: dict[str, object], problem: str) -> None:
    with pytest.raises(BadRecipe, match=r"^host\.toml: ") as caught:
        parse_recipe({**RECIPE, **change}, "host.toml")
    assert problem in str(caught.value)


def test_kernel_arguments_of_the_command_line_are_looked_at_too() -> None:
    with pytest.raises(BadRecipe, match="kernel arguments: panic is set by GRUB"):
        parse_arguments("panic=0")
    with pytest.raises(BadRecipe, match="at most 900"):
        parse_arguments("a" * 901)


def test_kernel_arguments_are_written_with_one_space_between_them() -> None:
    assert parse_arguments("  quiet   loglevel=3 ") == "quiet loglevel=3"
    assert parse_block(make_arguments_block("quiet loglevel=3")) == {"kernel_arguments": "quiet loglevel=3"}


def test_paths_of_the_tree_are_kept_as_they_are_written() -> None:
    paths = ["/usr/share/doc/*", "/var/cache"]
    assert parse_recipe({**RECIPE, "exclude": paths}, "host.toml").exclude == tuple(paths)


def _sources() -> Iterator[tuple[str, str]]:
    yield (
        "debian.sources",
        "Types: deb deb-src\n# a word\nURIs: http://a.example/debian\nSuites: trixie trixie-updates\n"
        "Components: main\n\nTypes: deb\nURIs:\n http://b.example/s\n http://c.example/s\n"
        "Suites: trixie-security\n\nEnabled: no\nTypes: deb\nURIs: http://off.example\nSuites: trixie\n",
    )
    yield (
        "sources.list",
        "# deb http://no.example trixie main\ndeb [signed-by=/x y=z] http://d.example trixie main\n"
        "deb-src http://d.example trixie main\ndeb http://e.example bookworm main\n",
    )


def test_apts_sources_are_found_in_both_kinds_of_files() -> None:
    assert find_source_lines(dict(_sources()), "trixie", ("main", "contrib")) == (
        "deb http://a.example/debian trixie main contrib",
        "deb http://a.example/debian trixie-updates main contrib",
        "deb http://b.example/s trixie-security main contrib",
        "deb http://c.example/s trixie-security main contrib",
        "deb http://d.example trixie main contrib",
    )
    assert find_source_lines(dict(_sources()), "sid", ("main",)) == ()
