"""Write docs/mutation.md: what the tests notice of small changes to the core (`make mutation`).

python -m tests.mutation [--seconds N] [MODULE...]   try what is not decided yet, or survived, for so long
python -m tests.mutation --report                    only write the page anew

mutmut makes the changes (mutants), in a copy of the tree under .cache/mutation, and runs for each those of
the selected tests (pyproject.toml) that come to the function. What is decided is kept there, so that it goes
on the next time; a function that changed meanwhile is tried anew.
"""

import argparse
import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import chdir
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.mutants import list_tree

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/mutation.md"
REASONS = ROOT / "tests/survivors.toml"
TREE = ROOT / ".cache/mutation"
WANTED = 90.0  # percent killed, or each survivor explained
# Those that decide about a host come first.
FIRST = (
    *("bootenv", "grub", "machine", "settling", "events", "refusing", "record", "envblock", "bootstate"),
    *("consider", "terms", "version_order", "halves", "settings", "plan", "units", "health", "evidence"),
    "clock",
)
_KEY = re.compile(r"abctl\.core\.(?P<module>\w+)\.x(?P<name>.+)__mutmut_\d+")
_TEXT = """\
# Small changes to the core, and whether the tests notice

`make mutation` lets mutmut change one thing at a time in `abctl/core` (a comparison, a constant, an
argument, a word of a message) and runs those of the selected tests ([tool.mutmut] in pyproject.toml) that
come to the function. A change that no test notices survives. It goes on where it stopped, and runs for an
hour unless told otherwise (`make mutation SECONDS=600 MODULES="bootenv grub"`). What is wanted: 90 % noticed
in each module, or a reason for each survivor.

Tests by examples (hypothesis) try 20 of them here, and 100 otherwise. The tests that drive the real GRUB,
real disks and whole commands are too slow for this; what only they notice counts as survived here. Changes
to whole features, tried against all tests, are in [mutants.md](mutants.md).

| module | changes | noticed | of these by a time-out | survived | no test comes there | not tried | noticed |
|---|---|---|---|---|---|---|---|
"""


class Verdict(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    TIMEOUT = "timeout"
    SURVIVED = "survived"
    NO_TESTS = "no tests"
    NOT_TRIED = "not tried"


# The numbers of mutmut, for the ends of its child processes; any other end is that of a test that failed.
_ENDS: dict[int | None, Verdict] = {
    None: Verdict.NOT_TRIED,
    2: Verdict.NOT_TRIED,
    0: Verdict.SURVIVED,
    5: Verdict.NO_TESTS,
    33: Verdict.NO_TESTS,
    **dict.fromkeys((24, -24, 36, 152, 255), Verdict.TIMEOUT),
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change; ``key`` is mutmut's name of it."""

    key: str
    verdict: Verdict

    @property
    def function(self) -> str:
        """The function or method, with its module."""
        match = _KEY.fullmatch(self.key)
        assert match is not None, self.key
        return f"{match['module']}.{match['name'].strip('ǁ').removeprefix('_').replace('ǁ', '.')}"


def read_mutants(meta: Path) -> list[Mutant]:
    """Return what mutmut keeps of one module; nothing where it has not been there yet."""
    if not meta.exists():
        return []
    ends = json.loads(meta.read_text())["exit_code_by_key"]
    return [Mutant(key, _ENDS.get(end, Verdict.KILLED)) for key, end in ends.items()]


def list_modules() -> list[str]:
    """Return the modules of the core, those that decide first."""
    names = sorted(path.stem for path in (ROOT / "abctl/core").glob("[a-z]*.py"))
    return [*FIRST, *(name for name in names if name not in FIRST)]


def read_all() -> dict[str, list[Mutant]]:
    """Return what is known of each module."""
    folder = TREE / "mutants/abctl/core"
    return {module: read_mutants(folder / f"{module}.py.meta") for module in list_modules()}


def copy_tree() -> set[str]:
    """Bring the copy into step with the tree, and return which modules of the core changed."""
    changed = set()
    wanted = set(list_tree())
    for name in wanted:
        source, target = ROOT / name, TREE / name
        if not target.exists() or not filecmp.cmp(source, target, shallow=False):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
            changed.add(name)
    for target in (TREE / "abctl").rglob("*.py"):
        if str(target.relative_to(TREE)) not in wanted:
            target.unlink()
    return {Path(name).stem for name in changed if name.startswith("abctl/core/")}


def choose(modules: Iterable[str], changed: set[str]) -> list[str]:
    """Return what mutmut is to try: all of a module that is new or changed, else what is not settled."""
    known = read_all()
    chosen = []
    for module in modules:
        if not known[module] or module in changed:
            chosen.append(f"abctl.core.{module}.x*")
        else:
            open_ones = (Verdict.NOT_TRIED, Verdict.SURVIVED, Verdict.NO_TESTS)
            chosen += [item.key for item in known[module] if item.verdict in open_ones]
    return chosen


def run(modules: Iterable[str], seconds: int) -> None:
    """Let mutmut try for so long at the most."""
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    command = ("nice", "-n", "19", mutmut, "run", "--max-children", "1")
    chosen = choose(modules, copy_tree())
    if not chosen:
        return
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "short"}
    with subprocess.Popen((*command, *chosen), cwd=TREE, env=environment) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.terminate()  # what is decided is written down already


def make_page(known: Mapping[str, list[Mutant]], reasons: Mapping[str, tuple[int, str]]) -> str:
    """Return the page; ``reasons`` say of a function how many may survive, and why."""
    rows: list[str] = []
    notes: list[str] = []
    lacking: list[str] = []
    for module, mutants in known.items():
        if not any(item.verdict is not Verdict.NOT_TRIED for item in mutants):
            if mutants:
                lacking.append(f"{module} ({len(mutants)})")
            continue
        rows.append(_make_row(module, mutants))
        notes += _make_notes(module, mutants, reasons)
    untried = f"\nNot tried yet, with their numbers of changes: {', '.join(lacking)}.\n" if lacking else ""
    return _TEXT + "".join(rows) + untried + "\n## What survived, and why\n" + "".join(notes)


def _share_of(mutants: Iterable[Mutant]) -> float:
    """Return how many of those that were tried are noticed, in percent."""
    tried = [item.verdict for item in mutants if item.verdict is not Verdict.NOT_TRIED]
    return 100 * sum(verdict in (Verdict.KILLED, Verdict.TIMEOUT) for verdict in tried) / len(tried)


def _make_row(module: str, mutants: list[Mutant]) -> str:
    count = {verdict: sum(item.verdict is verdict for item in mutants) for verdict in Verdict}
    noticed = count[Verdict.KILLED] + count[Verdict.TIMEOUT]
    cells = (
        *(module, len(mutants), noticed, count[Verdict.TIMEOUT], count[Verdict.SURVIVED]),
        *(count[Verdict.NO_TESTS], count[Verdict.NOT_TRIED], f"{_share_of(mutants):.1f} %"),
    )
    return f"| {' | '.join(map(str, cells))} |\n"


def _make_notes(module: str, mutants: list[Mutant], reasons: Mapping[str, tuple[int, str]]) -> Iterable[str]:
    survivors = defaultdict(list)
    for item in mutants:
        if item.verdict in (Verdict.SURVIVED, Verdict.NO_TESTS):
            survivors[item.function].append(item)
    if survivors:
        yield f"\n### {module}\n\n"
    for function, items in survivors.items():
        allowed, why = reasons.get(function, (0, ""))
        is_open = allowed < len(items) and _share_of(mutants) < WANTED
        texts = (f"`{function.partition('.')[2]}`, {len(items)}", why, "NOT EXPLAINED" if is_open else "")
        yield f"- {': '.join(filter(None, texts))}\n\n"
        yield "".join(f"      {line}\n" for line in sorted(_lines_of(items))) + "\n"


def _lines_of(mutants: Iterable[Mutant]) -> set[str]:
    """Return the changed lines, as the mutants have them."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant  # noqa: PLC0415 - it looks for its tree

    diffs = (get_diff_for_mutant(item.key) for item in mutants)
    return {line[1:].strip() for diff in diffs for line in diff.splitlines() if re.match(r"\+(?!\+\+)", line)}


def read_reasons() -> dict[str, tuple[int, str]]:
    """Return how many survivors each function may have, and why."""
    tables = tomllib.loads(REASONS.read_text())
    return {function: (table["survivors"], table["why"]) for function, table in tables.items()}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tests.mutation")
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("modules", nargs="*", default=list_modules())
    options = parser.parse_args(arguments)
    if not options.report:
        run(options.modules, options.seconds)
    known = read_all()
    with chdir(TREE):
        page = make_page(known, read_reasons())
    PAGE.write_text(page)
    print(
        f"{PAGE.name} written; {page.count('NOT EXPLAINED')} functions have survivors that are not explained"
    )
    return 1 if "NOT EXPLAINED" in page else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
