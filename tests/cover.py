"""Writes docs/coverage.md: which lines and branches the tests go through, by room (`make cover`).

python -m tests.cover            runs all tests, writes the page, and fails under a limit
python -m tests.cover --only X   runs only these tests (arguments of pytest), and lists what the core lacks
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/coverage.md"
FOLDER = ROOT / ".cache/coverage"
_TESTS = ("-n", "2", "-q", "--timeout", "1800")  # measured, the long ones take several times as long
_LIMITS = {"core": 100.0}
_LIMIT = 90.0
_TEXT = """\
# What the tests go through

`make cover` runs all tests under coverage.py, those that start guests too (an hour), with branches, and with
the commands and services that the tests start. It fails where the core is not at 100 %, or another room not
above 90 %. A room is a folder below `abctl/`; `itself` is what lies beside the folders. The share is of lines
and branches together.

| room | files | lines | branches | missing lines | missing branches | covered |
|---|---|---|---|---|---|---|
"""
_AFTER = """\

Not counted: the bodies of protocols, imports for types only, and `assert_never`. The lab (`make lab`) is not
part of it. What runs in processes without rights (`worker*`, `confine`, `bootstrap` and `seccomp` in
`abctl/host`) cannot write down what it went through, so most of it counts as missing.
"""


@dataclass(frozen=True, slots=True)
class Room:
    """How much of one folder is covered."""

    name: str
    files: int = 0
    lines: int = 0
    branches: int = 0
    missing_lines: int = 0
    missing_branches: int = 0

    def plus(self, summary: Mapping[str, int]) -> "Room":
        return Room(
            self.name,
            self.files + 1,
            self.lines + summary["num_statements"],
            self.branches + summary["num_branches"],
            self.missing_lines + summary["missing_lines"],
            self.missing_branches + summary["missing_branches"],
        )

    @property
    def share(self) -> float:
        """Percent; a room that is not wholly covered is never rounded to 100."""
        whole = self.lines + self.branches
        missing = self.missing_lines + self.missing_branches
        return 100.0 if not missing else min(99.9, 100 * (whole - missing) / whole)

    @property
    def is_enough(self) -> bool:
        return self.share >= _LIMITS[self.name] if self.name in _LIMITS else self.share > _LIMIT


def add_up(report: Mapping[str, Any]) -> list[Room]:
    """Return the rooms of a report of coverage.py in JSON, the core first."""
    rooms: dict[str, Room] = {}
    for path, file in report["files"].items():
        parts = Path(path).parts
        name = parts[1] if len(parts) > 2 else "itself"
        rooms[name] = rooms.get(name, Room(name)).plus(file["summary"])
    return sorted(rooms.values(), key=lambda room: (room.name != "core", room.name == "itself", room.name))


def list_gaps(report: Mapping[str, Any], room: str) -> Iterable[str]:
    """Yield the lines and branches that nothing goes through in a room."""
    for path, file in sorted(report["files"].items()):
        if Path(path).parts[1] == room:
            branches = defaultdict(list)
            for line, target in file["missing_branches"]:
                branches[line].append("the end" if target < 0 else str(target))
            yield from (f"{path}:{line} is not reached" for line in file["missing_lines"])
            yield from (f"{path}:{line} never goes to {' or '.join(to)}" for line, to in branches.items())


def make_page(rooms: Iterable[Room], gaps: Iterable[str], tests: Iterable[str] = ()) -> str:
    """Return the page; ``tests`` are named where they were not all."""
    rows = "".join(
        f"| {room.name} | {room.files} | {room.lines:,} | {room.branches:,} | {room.missing_lines} "
        f"| {room.missing_branches} | {room.share:.1f} % |\n"
        for room in rooms
    )
    only = ", ".join(f"`{name}`" for name in tests)
    part = (
        f"Measured with a part of the tests, so these are the least that is covered: {only}.\n"
        if only
        else ""
    )
    listed = "".join(f"- `{gap}`\n" for gap in gaps)
    missing = f"What is missing in the core:\n\n{listed}" if listed else ""
    return "\n".join(filter(None, (_TEXT + rows + _AFTER, part, missing)))


def report(tests: Sequence[str] = (), *, page: bool = True) -> int:
    """Say what is covered, write the page, and return 1 where a room is under its limit."""
    target = FOLDER / "report.json"
    _run("json", "--quiet", "-o", str(target))
    found = json.loads(target.read_text())
    rooms, gaps = add_up(found), list(list_gaps(found, "core"))
    if page:
        PAGE.write_text(make_page(rooms, gaps, tests))
    for gap in gaps:
        print(gap)
    for room in rooms:
        print(f"{room.name:10} {room.share:5.1f} %{'' if room.is_enough else '  NOT ENOUGH'}")
    return 0 if all(room.is_enough for room in rooms) else 1


def main(arguments: list[str]) -> int:
    """Run the tests, write the page, and return 1 where a test fails or a room is under its limit."""
    only = arguments[1:] if arguments[:1] == ["--only"] else None
    _run("erase")
    failed = _run("run", "-m", "pytest", *(_TESTS if only is None else only))
    _run("combine", "--quiet")
    return report(page=only is None) or failed


def unmeasured() -> dict[str, str]:
    """Return the environment of a process that is not to be measured: it would load and write more."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def _run(*arguments: str) -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    return subprocess.run([sys.executable, "-m", "coverage", *arguments], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
