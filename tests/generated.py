"""What all makers of generated files have in common: write them, or name those that are out of step."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def find_stale(files: Mapping[Path, str], there: Iterable[Path] = ()) -> list[Path]:
    """Return the files that are missing or hold something else, and of ``there`` those that nobody makes."""
    stale = [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]
    return stale + [path for path in there if path not in files]


def write_or_check(
    files: Mapping[Path, str], command: str, arguments: list[str], there: Iterable[Path] = ()
) -> int:
    """Write the files and remove what nobody makes; with ``--check`` return 1 where one is out of step."""
    stale = find_stale(files, there)
    if arguments == ["--check"]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of step with the code: run '{command}'", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        if path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], "utf-8")
        else:
            path.unlink()
    return 0
