"""Which installed packages abctl needs to run, as their own metadata tell it."""

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from abctl.errors import BadTree

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^]]*)\])?[^;]*(?:;(.*))?")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
# What only an installer wants to know; some of it names this machine's folders.
_NOT_WANTED = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def find_dependencies(name: str = "abctl") -> tuple[Distribution, ...]:
    """Return the package ``name`` and all that it needs, by name; raise BadTree where one is not installed.

    A requirement with a condition counts where it is installed: whoever installed it has looked at it.
    """
    found: dict[str, Distribution] = {}
    waiting: list[tuple[str, frozenset[str], bool]] = [(name, frozenset(), True)]
    seen = set()
    while waiting:
        wanted = waiting.pop()
        if wanted in seen:
            continue
        seen.add(wanted)
        package, extras, is_needed = wanted
        try:
            found[normal_name(package)] = own = distribution(package)
        except PackageNotFoundError as error:
            if is_needed:
                raise BadTree(
                    f"the Python package {package} is not installed: install abctl again"
                ) from error
            continue
        waiting += requirements_of(own, extras)
    return tuple(found[key] for key in sorted(found))


def normal_name(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements_of(
    own: Distribution, extras: frozenset[str] = frozenset()
) -> Iterator[tuple[str, frozenset[str], bool]]:
    """Yield what a package asks for: a name, its extras, and whether it is needed everywhere."""
    for text in own.requires or ():
        match = _REQUIREMENT.fullmatch(text)
        if match is None:
            continue
        name, asked, condition = match[1], match[2] or "", match[3] or ""
        extra = _EXTRA.search(condition)
        if extra is None or extra[1] in extras:
            yield name, frozenset(word.strip() for word in asked.split(",") if word.strip()), not condition


def list_files(own: Distribution) -> Iterator[tuple[str, Path]]:
    """Yield the files of a package that a program needs, by their path below the folder of packages."""
    for file in own.files or ():
        path = str(file)
        is_metadata = file.parts[0].endswith((".dist-info", ".egg-info"))
        if path.startswith(("..", "/")) or path.endswith((".pyc", ".pth")):
            continue
        if is_metadata and file.name in _NOT_WANTED:
            continue
        yield path, Path(str(own.locate_file(file)))
