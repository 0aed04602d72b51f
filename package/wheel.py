"""Make a wheel of abctl, and the lists by which pip takes nothing but what was seen here.

python -m package.wheel   into dist/

    abctl-*.whl        abctl with its scripts, layouts, schemas and units
    requirements.txt   the wheel and all that it needs, with versions and hashes
    build-tools.txt    what pip builds the packages with that come as source
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from abctl.core.clock import BUILT_AT

_TREE = Path(__file__).resolve().parents[1]
_SOURCES = ("abctl", "grub", "layout", "schemas", "pyproject.toml")
_TOOLS = ("packaging", "setuptools", "wheel")


def make_wheel(output: Path) -> Path:
    """Make the wheel and the lists in ``output``; return the wheel's path."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        # In a copy: setuptools leaves things in the folder that it works in, and finds them again later.
        source = Path(work, "source")
        for name in _SOURCES:
            _copy(_TREE / name, source / name)
        command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check")
        subprocess.run(
            (*command, "--no-deps", "--no-build-isolation", "--wheel-dir", Path(work, "made"), source),
            check=True,
            env={"SOURCE_DATE_EPOCH": str(BUILT_AT), **os.environ},
        )
        (made,) = Path(work, "made").iterdir()
        wheel = output / made.name
        shutil.copyfile(made, wheel)
    _write_lists(output, wheel)
    return wheel


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


def _write_lists(output: Path, wheel: Path) -> None:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    needed = (_TREE / "requirements.txt").read_text()
    (output / "requirements.txt").write_text(f"./{wheel.name} --hash=sha256:{digest}\n{needed}")
    # A requirement, and the lines with its hashes, which are indented.
    locked = re.split(r"^(?=\S)", (_TREE / "requirements-dev.txt").read_text(), flags=re.M)
    tools = [text for text in locked if text.startswith(tuple(f"{tool}==" for tool in _TOOLS))]
    (output / "build-tools.txt").write_text("".join(tools))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m package.wheel", description="Make a wheel of abctl.")
    parser.add_argument("--output", type=Path, default=Path("dist"))
    print(make_wheel(parser.parse_args().output))


if __name__ == "__main__":
    main()
