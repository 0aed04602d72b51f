"""Make the Debian packages abctl and abctl-host out of this tree and its .venv.

python -m package.deb                     into dist/
python -m package.deb --version 0.1.0+1   another version than pyproject.toml's, for a package made anew

The same tree and SOURCE_DATE_EPOCH (default: the date of this abctl) give the same bytes. DEBFULLNAME and
DEBEMAIL say who answers for the packages.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from abctl.build.tree import Tree, write_tree
from abctl.core.clock import BUILT_AT
from package.contents import HERE, Origin, list_conffiles, make_trees

_BLOCK = 1024  # of Installed-Size
_SCRIPTS = ("postinst", "prerm", "postrm")


def make_packages(output: Path, origin: Origin, level: int) -> None:
    """Make the packages in ``output``, packed with xz's ``level``."""
    os.umask(0o022)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        scratch = Path(work, "scratch")
        scratch.mkdir()
        trees = make_trees(origin, scratch)
        for name, tree in trees.items():
            _lay_out(name, tree, origin, Path(work, name))
            _pack(Path(work, name), output, origin, level)


def _lay_out(name: str, tree: Tree, origin: Origin, folder: Path) -> None:
    write_tree(folder, tree)
    control = folder / "DEBIAN"
    control.mkdir()
    (control / "control").write_text(_make_control(name, tree, origin))
    (control / "md5sums").write_text(_make_sums(tree))
    if conffiles := list_conffiles(tree):
        (control / "conffiles").write_text("".join(f"{path}\n" for path in conffiles))
    for script in _SCRIPTS:
        if (HERE / name / script).exists():
            shutil.copyfile(HERE / name / script, control / script)
            (control / script).chmod(0o755)
    if (HERE / name / "triggers").exists():
        shutil.copyfile(HERE / name / "triggers", control / "triggers")
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (origin.made_at, origin.made_at), follow_symlinks=False)


def _pack(folder: Path, output: Path, origin: Origin, level: int) -> None:
    command = ("dpkg-deb", "--root-owner-group", "-Zxz", f"-z{level}", "--build", folder, output)
    subprocess.run(command, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": str(origin.made_at)})


def _make_control(name: str, tree: Tree, origin: Origin) -> str:
    major, minor = sys.version_info[:2]
    return (
        (HERE / name / "control")
        .read_text()
        .format(
            version=origin.version,
            architecture=_architecture(),
            maintainer=origin.maintainer,
            size=sum(-(-node.size // _BLOCK) for node in tree.values()),
            python=f"{major}.{minor}",
            next_python=f"{major}.{minor + 1}",
        )
    )


def _make_sums(tree: Tree) -> str:
    """Return what debsums compares; a configuration file is meant to be changed."""
    return "".join(
        f"{hashlib.md5(node.source.read_bytes(), usedforsecurity=False).hexdigest()}  {path}\n"
        for path, node in tree.items()
        if node.source is not None and f"/{path}" not in list_conffiles(tree)
    )


def _setting(name: str, default: str) -> str:
    return os.environ.get(name) or default


def _architecture() -> str:
    done = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m package.deb", description="Make the Debian packages.")
    parser.add_argument("--version", default=version("abctl"))
    parser.add_argument("--output", type=Path, default=Path("dist"))
    parser.add_argument("--level", type=int, choices=range(10), default=6, help="xz's; 0 is quick, 9 small")
    chosen = parser.parse_args()
    origin = Origin(
        version=chosen.version,
        maintainer=f"{_setting('DEBFULLNAME', 'abctl')} <{_setting('DEBEMAIL', 'abctl@localhost')}>",
        made_at=int(_setting("SOURCE_DATE_EPOCH", str(BUILT_AT))),
    )
    make_packages(chosen.output, origin, chosen.level)


if __name__ == "__main__":
    main()
