"""abctl as it lies in the root of a host: the program, what it needs to run, its data and its units."""

import re
import sys
from collections.abc import Mapping
from importlib.metadata import Distribution
from pathlib import Path

import abctl
from abctl.build.dependencies import find_dependencies, list_files
from abctl.build.tree import Tree, a_file, follow, read_tree, resolve
from abctl.errors import BadTree

PYTHON_FOLDER = "usr/lib/abctl/python"
DATA = ("grub", "layout", "schemas")  # folders of scripts, layouts and schemas
_DATA_FOLDER = "usr/share/abctl"
_MACHINE = slice(18, 20)  # of an ELF file: which processor it is for
_LIBRARY = re.compile(r"usr/lib/([^/]+/)?libparted\.so\.2")
_LAUNCHER = f"""\
#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/{PYTHON_FOLDER}")
from abctl.__main__ import main

main()
"""
# For `python3 -I -m abctl.host.worker`, which abctl starts; no other program finds anything there.
_PATH_FILE = (
    f'import sys; any((word + ".").startswith("abctl.") for word in sys.orig_argv[1:]) '
    f'and sys.path.insert(0, "/{PYTHON_FOLDER}")\n'
)


def make_abctl_tree(data: Mapping[str, Path], scratch: Path) -> Tree:
    """Return abctl's files by their place; ``data`` says where each folder of DATA is."""
    package = Path(abctl.__file__).parent
    made: Tree = {}
    for source in sorted(package.rglob("*.py")):
        if "files" not in source.relative_to(package).parts:
            made[f"{PYTHON_FOLDER}/abctl/{source.relative_to(package)}"] = a_file(source)
    for dependency in find_dependencies():
        made |= _make_package(dependency, scratch)
    for name, folder in data.items():
        for path, node in read_tree(folder, normal=True).items():
            made[f"{_DATA_FOLDER}/{name}/{path}"] = node
    made["usr/bin/abctl"] = a_file(_write(scratch / "launcher", _LAUNCHER), 0o755)
    made["usr/lib/python3/dist-packages/abctl.pth"] = a_file(_write(scratch / "pth", _PATH_FILE))
    return made | make_host_files()


def _make_package(package: Distribution, scratch: Path) -> Tree:
    """Return a package with a list of its files, so that what is made here can be made from there again."""
    made = {
        f"{PYTHON_FOLDER}/{path}": a_file(source)
        for path, source in list_files(package)
        if source.is_file() and not path.startswith("abctl/")
    }
    metadata = next(path for path in made if path.endswith(".dist-info/METADATA"))
    listed = "".join(f"{path.removeprefix(f'{PYTHON_FOLDER}/')},,\n" for path in sorted(made))
    record = _write(scratch / f"RECORD-{package.name}", listed)
    return made | {f"{metadata.removesuffix('METADATA')}RECORD": a_file(record)}


def make_host_files() -> Tree:
    """Return what goes to its place in the host as it is: units, the generator, hooks of the initramfs."""
    return read_tree(Path(abctl.__file__).parent / "files", normal=True)


def check_python(tree: Tree) -> None:
    """Raise BadTree where abctl, as it is installed here, could not run in the tree."""
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    place = follow(tree, resolve(tree, "usr/bin/python3"))
    node = tree.get(place)
    if node is None:
        raise BadTree("the tree has no /usr/bin/python3, which abctl needs: add the package python3")
    theirs = Path(place).name.removeprefix("python")
    if theirs != mine:
        raise BadTree(
            f"the tree has Python {theirs}, and abctl is installed here for Python {mine}: run abctl build "
            f"with Python {theirs}, or choose the Debian release that has {mine}"
        )
    if _machine_of(Path(sys.executable)) != _machine_of(node.source):
        raise BadTree(
            "the tree is for another kind of processor than this machine: build it on one of its own"
        )
    if not any(_LIBRARY.fullmatch(path) for path in tree):
        raise BadTree("the tree has no libparted.so.2, which abctl needs: add the package libparted2")


def _machine_of(path: Path | None) -> bytes:
    if path is None:
        return b""
    with path.open("rb") as file:
        head = file.read(_MACHINE.stop)
    return head[_MACHINE] if head.startswith(b"\x7fELF") else b""


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
