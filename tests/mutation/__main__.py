"""Write docs/mutation.md: what the tests notice of small changes to the core (`make mutation`).

python -m tests.mutation [--seconds N] [--jobs N]    try what is not decided yet, or survived, for so long
python -m tests.mutation [...] MODULE...             try all changes of these modules
python -m tests.mutation --report                    only write the page anew, after one of these

mutmut makes the changes (mutants), in a copy of the tree under .cache/mutation, and runs for each those of
the selected tests (pyproject.toml) that come to the function. What is decided is kept there and beside the
page, so that it goes on the next time; a function that changed meanwhile is tried anew.
"""

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

from tests.mutants import list_tree
from tests.mutation.decided import keep, read_mutants, restore
from tests.mutation.page import OPEN, make_page, read_reasons
from tests.mutation.places import DECIDED, PAGE, ROOT, TREE


def copy_tree() -> None:
    """Bring the copy into step with the tree."""
    wanted = set(list_tree())
    for name in wanted:
        source, target = ROOT / name, TREE / name
        if not target.exists() or not filecmp.cmp(source, target, shallow=False):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    for target in (TREE / "abctl").rglob("*.py"):
        if str(target.relative_to(TREE)) not in wanted:
            target.unlink()


def run(modules: Sequence[str], seconds: int, jobs: int) -> None:
    """Let mutmut try for so long at the most."""
    copy_tree()
    restore(DECIDED)
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    # It tries what is named though it is decided, and what is open where nothing is named.
    named = (f"abctl.core.{module}.x*" for module in modules)
    command = ("nice", "-n", "19", mutmut, "run", "--max-children", str(jobs), *named)
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "short"}
    with subprocess.Popen(command, cwd=TREE, env=environment) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.terminate()  # what is decided is written down already
    keep(DECIDED)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tests.mutation")
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("modules", nargs="*")
    options = parser.parse_args(arguments)
    if not options.report:
        run(options.modules, options.seconds, options.jobs)
    with chdir(TREE):
        page = make_page(read_mutants(DECIDED), read_reasons())
    PAGE.write_text(page)
    print(f"{PAGE.name} written; {page.count(OPEN)} functions have survivors that are not explained")
    return 1 if OPEN in page else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
