"""What lies in which package: abctl as an image gets it, divided in two, and what only a package has."""

import gzip
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from abctl.build.abctl_tree import DATA, PYTHON_FOLDER, make_abctl_tree, make_host_files
from abctl.build.tree import Node, Tree, a_file, read_tree
from abctl.host.data import find_data
from package.copyright import make_copyright

HERE = Path(__file__).parent
COMMAND, HOST = "abctl", "abctl-host"
# What of a host's files is of use wherever abctl is. All else makes a machine a host.
_EVERYWHERE = (
    *("usr/share/man/", "usr/share/bash-completion/", "usr/share/fish/", "usr/share/zsh/"),
    "usr/lib/sysusers.d/abctl.conf",
)
_DOCUMENTS = (".md", ".json", ".yml", ".svg")
_BUILD_ID, _ID_SIZE = ".note.gnu.build-id", 20
_NOTE_HEAD = struct.pack("<III4s", 4, _ID_SIZE, 3, b"GNU")  # of a note in an ELF file: its name, a build-id


@dataclass(frozen=True, slots=True)
class Origin:
    """What a package says of itself: its version, who answers for it, and when it was made."""

    version: str
    maintainer: str
    made_at: int


def make_trees(origin: Origin, scratch: Path) -> dict[str, Tree]:
    """Return the files of each package by their place; ``scratch`` gets those that are made for it."""
    host_files = _files_of(make_host_files())
    whole = _files_of(make_abctl_tree({name: find_data(name) for name in DATA}, scratch))
    of_host = {path for path in host_files if not path.startswith(_EVERYWHERE)}
    command = {path: node for path, node in whole.items() if path not in of_host}
    # Here it is the source of what `abctl build image` puts into an image.
    command |= {f"{PYTHON_FOLDER}/abctl/files/{path}": node for path, node in host_files.items()}
    command |= {"etc/abctl/config.toml": a_file(HERE / COMMAND / "config.toml")}
    command |= _documents()
    trees = {COMMAND: command, HOST: {path: host_files[path] for path in of_host}}
    copyright_text = make_copyright()
    return {
        name: _finish(tree | _formalities(name, origin, copyright_text, scratch), scratch)
        for name, tree in trees.items()
    }


def _files_of(tree: Tree) -> Tree:
    return {path: node for path, node in tree.items() if not node.is_folder}


def _documents() -> Tree:
    """Return the documents: the units and the man pages name them by this place."""
    found = _files_of(read_tree(HERE.parent / "docs", normal=True))
    made = {f"usr/share/doc/abctl/{path}": node for path, node in found.items() if path.endswith(_DOCUMENTS)}
    return made | {f"usr/share/doc/abctl/{name}": a_file(HERE.parent / name) for name in ("CHANGELOG.md",)}


def _formalities(name: str, origin: Origin, copyright_text: str, scratch: Path) -> Tree:
    """Return what Debian's policy asks of a package."""
    date = format_datetime(datetime.fromtimestamp(origin.made_at, UTC))
    changes = (
        f"abctl ({origin.version}) unstable; urgency=medium\n\n"
        "  * /usr/share/doc/abctl/CHANGELOG.md tells what changed.\n\n"
        f" -- {origin.maintainer}  {date}\n"
    )
    made = {
        f"usr/share/doc/{name}/changelog": _write(scratch / f"{name}.changelog", changes.encode()),
        f"usr/share/doc/{name}/copyright": _write(scratch / f"{name}.copyright", copyright_text.encode()),
        f"usr/share/lintian/overrides/{name}": HERE / name / "lintian-overrides",
    }
    return {path: a_file(source) for path, source in made.items()}


def _finish(tree: Tree, scratch: Path) -> Tree:
    """Return the tree with packed man pages and changelogs, and without symbols in compiled code."""
    return dict(_finish_file(path, node, scratch) for path, node in sorted(tree.items()))


def _finish_file(path: str, node: Node, scratch: Path) -> tuple[str, Node]:
    assert node.source is not None
    made = scratch / path.replace("/", "%")
    if path.startswith("usr/share/man/") or path.endswith("/changelog"):
        packed = gzip.compress(node.source.read_bytes(), 9, mtime=0)
        return f"{path}.gz", a_file(_write(made, packed))
    if path.endswith(".so"):
        _strip(node.source, made)
        return path, a_file(made)
    return path, node


def _strip(source: Path, made: Path) -> None:
    """Leave out symbols; the build-id becomes zeros, for it depends on the folder that was compiled in."""
    command: list[str | Path] = ["objcopy", "--strip-unneeded"]
    if _BUILD_ID.encode() in source.read_bytes():
        zeros = _write(made.with_suffix(".id"), _NOTE_HEAD + bytes(_ID_SIZE))
        command += ["--update-section", f"{_BUILD_ID}={zeros}"]
    subprocess.run([*command, source, made], check=True)


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def list_conffiles(paths: Iterable[str]) -> list[str]:
    """Return what dpkg keeps as an admin changed it."""
    return sorted(f"/{path}" for path in paths if path.startswith("etc/"))
