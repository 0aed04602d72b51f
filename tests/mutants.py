"""`make mutants`: break the code on purpose, one fault at a time, and see that the tests notice.

Each fault is put into a copy of the tree, where only the tests run that should catch it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.faults import MUTANTS, Mutant

REPOSITORY = Path(__file__).resolve().parents[1]
REPORT = REPOSITORY / "docs/mutants.md"
_AT_ONCE = 2
_TIME_LIMIT = 900  # seconds for the tests of one fault
_PYTEST = ("-m", "pytest", "-x", "-q", "-rfE", "-p", "no:cacheprovider", "-p", "no:randomly")
_IMPORTED_FROM = (
    "import abctl, tests, pathlib; print(*(pathlib.Path(m.__file__).parents[1] for m in (abctl, tests)))"
)


@dataclass(frozen=True, slots=True)
class Result:
    """The first test that failed, or None where the fault survived."""

    mutant: Mutant
    caught_by: str | None


def main() -> int:
    """Try every fault two at a time, and write the report; return 1 where one survives."""
    began = time.monotonic()
    for mutant in MUTANTS:
        found = (REPOSITORY / mutant.file).read_text().count(mutant.old)
        if found != 1:
            sys.exit(f"mutants: {mutant.file} has {mutant.old!r} {found} times, not once: {mutant.fault}")
    tests = sorted({test for mutant in MUTANTS for test in mutant.tests})
    sound = Mutant("none", "README.md", "", "", tuple(tests))
    with (
        tempfile.TemporaryDirectory(prefix="abctl-mutants-") as folder,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        baseline = pool.submit(_try, sound, Path(folder) / "sound")
        tried = pool.map(_try, MUTANTS, (Path(folder) / str(n) for n in range(len(MUTANTS))))
        results = [_tell(result) for result in tried]
    if baseline.result().caught_by:
        sys.exit(f"mutants: {baseline.result().caught_by} fails without any fault: mend it first")
    REPORT.write_text(_describe(results))
    survived = [result for result in results if result.caught_by is None]
    print(f"{len(results)} faults, {len(survived)} survived; {time.monotonic() - began:.0f} s; {REPORT.name}")
    return 1 if survived else 0


def _try(mutant: Mutant, tree: Path) -> Result:
    """Put the fault into a copy of the tree, and run its tests there."""
    _copy_tree(tree)
    if mutant.old:
        path = tree / mutant.file
        path.write_text(path.read_text().replace(mutant.old, mutant.new))
    places = _run(tree, "-c", _IMPORTED_FROM).stdout.split()
    assert places == [str(tree.resolve())] * 2, f"the tests would run {places} and not {tree}"
    done = _run(tree, *_PYTEST, *mutant.tests)
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1) or bool(failed) != bool(done.returncode):
        sys.exit(f"mutants: pytest itself failed: {mutant.fault}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    shutil.rmtree(tree)
    return Result(mutant, failed[1] if failed else None)


def list_tree() -> list[str]:
    """Return the paths of what git knows, and of what is new and not ignored."""
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (REPOSITORY / name).is_file()]


def _copy_tree(tree: Path) -> None:
    for name in list_tree():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tree / name)


def _run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=_TIME_LIMIT,
        check=False,
    )


def _tell(result: Result) -> Result:
    print(f"{'caught  ' if result.caught_by else 'SURVIVED'}  {result.mutant.fault}", flush=True)
    return result


def _describe(results: list[Result]) -> str:
    """Return the report in Markdown."""
    caught = sum(result.caught_by is not None for result in results)
    rows = [
        f"| {result.mutant.fault} | `{result.mutant.file}` | {_name_test(result.caught_by)} |"
        for result in results
    ]
    return (
        f"# Faults put in on purpose\n\n`make mutants` puts {len(results)} faults into copies of the tree, "
        f"one at a time, and runs the tests that should notice: {caught} were caught.\n\n"
        "| fault | file | first test that failed |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _name_test(test: str | None) -> str:
    # The pipe would end a cell.
    return f"`{test.partition('[')[0].removeprefix('tests/')}`" if test else "none: it SURVIVED"


if __name__ == "__main__":
    sys.exit(main())
