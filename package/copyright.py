"""Who owns what is in a package, and under which licence: as the packages of Python say it themselves."""

from importlib.metadata import Distribution

from abctl.build.abctl_tree import PYTHON_FOLDER
from abctl.build.dependencies import find_dependencies, list_files

_UNKNOWN = "not stated"
_CLASS = "License :: OSI Approved :: "
_HEAD = """\
abctl: A/B upgrade and boot-slot manager for Linux hypervisor hosts

Copyright 2026 the authors of abctl
License: {licence}

The package abctl brings these packages of Python along, unchanged but for the symbols of compiled code.
Copyright is with their authors; the files below each of them name these, and hold the licence. Licences that
many packages share are in /usr/share/common-licenses: Apache-2.0, GPL-2 and MPL-2.0 among them.

"""


def make_copyright() -> str:
    """Return the text of the file ``copyright``."""
    own, *others = sorted(find_dependencies(), key=lambda package: package.name != "abctl")
    return _HEAD.format(licence=read_licence(own)) + "\n".join(_describe(package) for package in others)


def read_licence(package: Distribution) -> str:
    """Return a package's licence as its metadata name it, in one line."""
    fields = package.metadata
    classes = [
        text.removeprefix(_CLASS) for text in fields.get_all("Classifier", []) if text.startswith(_CLASS)
    ]
    said = next(
        (text for name in ("License-Expression", "License") for text in fields.get_all(name, [])),
        ", ".join(classes),
    )
    return said.splitlines()[0] if said else _UNKNOWN


def _describe(package: Distribution) -> str:
    files = [
        f"    /{PYTHON_FOLDER}/{path}\n"
        for path, _ in list_files(package)
        if ".dist-info/" in path
        and path.rpartition("/")[2].startswith(("LICEN", "COPYING", "NOTICE", "AUTHORS"))
    ]
    return f"{package.name} {package.version}: {read_licence(package)}\n{''.join(sorted(files))}"
