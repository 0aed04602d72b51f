"""What a builder is told of a recipe, what GRUB gets of it, and where apt gets a suite from."""

import pytest

from abctl.core.apt_sources import find_source_lines
from abctl.core.recipe import Recipe, make_arguments_block, parse_arguments, parse_recipe
from abctl.errors import BadRecipe
from tests.told import told

BARE = {"suite": "bookworm", "packages": ["udev"]}


def test_a_bare_recipe_has_these_defaults() -> None:
    assert parse_recipe(BARE, "host.toml") == Recipe(
        suite="bookworm",
        packages=("udev",),
        mirrors=(),
        components=("main",),
        exclude=(),
        overlay=None,
        commands=(),
        hostname="localhost",
        kernel_arguments="",
        boot_size=None,
        root_size=None,
        abctl=True,
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        *(
            (
                {"kernel_arguments": f"quiet {name}=1"},
                f"kernel_arguments: {name} is set by GRUB, from the boot environment: leave it out",
            )
            for name in ("root", "ro", "rw", "panic", "dfinity.system", "abctl.why")
        ),
        (
            {"kernel_arguments": "ro"},
            "kernel_arguments: ro is set by GRUB, from the boot environment: leave it out",
        ),
        (
            {"kernel_arguments": "root=a=b"},
            "kernel_arguments: root is set by GRUB, from the boot environment: leave it out",
        ),
        (
            {"kernel_arguments": "a 'b'"},
            "kernel_arguments: \"'b'\" cannot be passed on by GRUB: letters, digits and _.,:;=/+@%- can",
        ),
        (
            {"exclude": ["usr"]},
            "exclude.0: give the path in the tree, with a slash before it; * stands for anything",
        ),
        ({"boot_size": "0 B"}, "boot_size: Input should be greater than 0"),
    ],
)
def test_a_recipe_that_cannot_be_is_told(changes: dict[str, object], said: str) -> None:
    assert told(BadRecipe, parse_recipe, {**BARE, **changes}, "host.toml") == f"host.toml: {said}"


def test_kernel_arguments_have_900_characters_at_the_most() -> None:
    assert parse_arguments("a" * 900) == "a" * 900
    assert told(BadRecipe, parse_arguments, "a" * 901) == "kernel arguments have at most 900 characters"
    assert told(BadRecipe, parse_arguments, "rw") == (
        "kernel arguments: rw is set by GRUB, from the boot environment: leave it out"
    )
    assert parse_arguments("rootwait=1 console=ttyS0,115200n8 xabctl.why=1") == (
        "rootwait=1 console=ttyS0,115200n8 xabctl.why=1"
    )


def test_grub_reads_kernel_arguments_from_a_block_of_1024_bytes() -> None:
    block = make_arguments_block("quiet")
    assert block == b"# GRUB Environment Block\nkernel_arguments=quiet\n".ljust(1_024, b"#")


# --- apt's sources ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "uris"),
    [
        ("a.list", "deb http://a trixie main", ["http://a"]),
        ("a.list", "  deb   http://a   trixie", ["http://a"]),
        ("a.list", "deb [arch=amd64 signed-by=/x] http://a trixie", ["http://a"]),
        ("a.list", "deb http://a/]b trixie main", ["http://a/]b"]),
        ("a.list", "deb [a=b] http://a/]b trixie main", ["http://a/]b"]),
        ("a.list", "deb http://a # trixie", []),
        ("a.list", "deb http://a trixie# main", ["http://a"]),
        ("a.list", "deb http://a", []),
        ("a.list", "deb-src http://a trixie", []),
        ("a.list", "debug http://a trixie\nhttp://a trixie\n\ndeb", []),
        ("a.list", "#deb http://a trixie\ndeb http://b trixie # deb http://c trixie", ["http://b"]),
        ("a.sources", "Types: deb\nURIs: http://a http://b\nSuites: trixie", ["http://a", "http://b"]),
        ("a.sources", "TYPES: deb-src deb\nuris: http://a\nSUITES: sid trixie", ["http://a"]),
        ("a.sources", "Types: deb-src\nURIs: http://a\nSuites: trixie", []),
        ("a.sources", "URIs: http://a\nSuites: trixie", []),
        ("a.sources", "Types: deb\nSuites: trixie", []),
        ("a.sources", "Types: deb\nURIs: http://a", []),
        ("a.sources", "Types: deb\nURIs: http://a\nSuites: trixie\nEnabled: NO", []),
        ("a.sources", "Types: deb\nURIs: http://a\nSuites: trixie\nEnabled: yes", ["http://a"]),
        ("a.sources", "Types: deb\nURIs: http://a\n# http://no\n http://b\nSuites: trixie", ["http://a", "http://b"]),
        (
            "a.sources",
            "Types: deb\nURIs:\n\thttp://a\n  http://b\nSuites:\n sid\n trixie\n",
            ["http://a", "http://b"],
        ),
        ("a.sources", " deb\nTypes: deb\nURIs: http://a\nSuites: trixie", ["http://a"]),
        (
            "a.sources",
            "Types: deb\nURIs: http://a\nSuites: trixie\n\nTypes: deb\nURIs: http://b\nSuites: trixie",
            ["http://a", "http://b"],
        ),
        ("a.sources", "Types: deb\nURIs: http://a\nSuites: trixie\n\nEnabled: no\nURIs: http://b", ["http://a"]),
    ],
)  # fmt: skip
def test_where_apt_gets_a_suite_from_is_read_as_apt_reads_it(name: str, text: str, uris: list[str]) -> None:
    lines = find_source_lines({name: text}, "trixie", ["main"])
    assert list(lines) == [f"deb {uri} trixie main" for uri in uris]


def test_each_source_stands_once_in_the_order_of_the_files_with_its_updates() -> None:
    texts = {
        "z.list": "deb http://z trixie main\ndeb http://a trixie main",
        "a.list": "deb http://a trixie main\ndeb http://a trixie-security main\ndeb http://a sid main",
        "m.sources": "Types: deb\nURIs: http://m\nSuites: trixie-updates",
    }
    assert find_source_lines(texts, "trixie", ("main", "non-free")) == (
        "deb http://a trixie main non-free",
        "deb http://a trixie-security main non-free",
        "deb http://m trixie-updates main non-free",
        "deb http://z trixie main non-free",
    )
    assert find_source_lines({"a.list": "deb http://\x07a trixie"}, "trixie", ["main"]) == (
        "deb http://?a trixie main",
    )
