"""Fuzz every parser for some minutes, two at a time, and count the inputs.

python -m tests.fuzz                    all targets, ten minutes; the counts go into docs/fuzzing.md
python -m tests.fuzz --seconds 60 tar   one minute, one target
python -m tests.fuzz --replay FILE tar  a target meets the input in FILE
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.fuzz import hunt
from tests.fuzz.hunt import Hunt
from tests.fuzz.target import meet
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "fuzzing.md"
FULL_RUN = 600.0  # seconds; counts of shorter runs do not go into the page
_BEGIN, _END = "<!-- counts: written by make fuzz -->\n", "<!-- end of counts -->\n"
_GRACE = 60.0  # seconds to start, to shrink a failure and to end
_STARTING = 1.5  # seconds that a target takes to start


def start_hunt(name: str, folder: Path, seconds: float, first_seed: int) -> Hunt:
    """Fuzz one target in a process of its own; whatever ends that process is a failure of the last input."""
    command = [sys.executable, "-m", "tests.fuzz", "--child", str(first_seed), "--seconds", str(seconds)]
    began = time.monotonic()
    try:
        done = subprocess.run(
            [*command, "--folder", str(folder), name],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=seconds + _GRACE,
            check=False,
        )
        how = f"exit code {done.returncode}: {done.stderr[-2000:]}"
    except subprocess.TimeoutExpired:
        done, how = None, "it did not end"
    if done is not None and done.returncode == 0:
        return Hunt(**json.loads(done.stdout))
    place = folder / f"{name}.failed"
    place.write_bytes(hunt.read_last(folder / f"{name}.last"))
    return Hunt(name, 0, time.monotonic() - began, str(place), how)


def run_all(names: list[str], folder: Path, seconds: float, first_seed: int) -> list[Hunt]:
    """Share ``seconds`` among the targets, and print each as it ends."""
    jobs = os.cpu_count() or 1
    each = max(0.5, seconds * jobs / (-(-len(names) // jobs) * jobs) - _STARTING)
    hunts = []
    with ThreadPoolExecutor(jobs) as pool:
        run = partial(start_hunt, folder=folder, seconds=each, first_seed=first_seed)
        for found in pool.map(run, names):
            hunts.append(found)
            print(f"{found.target:<12} {found.inputs:>9,} inputs in {found.seconds:5.1f} s", flush=True)
            if found.failure:
                print(f"    FAILED at the input in {found.failure}\n{found.error}", flush=True)
    return hunts


def write_page(hunts: list[Hunt], seconds: float) -> None:
    """Put the counts of a full run into the page."""
    rows = [f"| {found.target} | {found.inputs:,} | {found.seconds:.0f} |\n" for found in hunts]
    total = sum(found.inputs for found in hunts)
    table = "".join(["| target | inputs | seconds |\n|---|---:|---:|\n", *rows])
    said = f"{total:,} inputs in a run of {seconds:.0f} s; none failed.\n\n"
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    PAGE.write_text(f"{before}{_BEGIN}\n{said}{table}\n{_END}{rest.partition(_END)[2]}")


def replay(name: str, file: Path) -> None:
    """Let a target meet one input under the same bounds."""
    with hunt.bounded():
        meet(TARGETS[name], file.read_bytes())


def main() -> int:
    """Return 1 where an input failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all by default")
    parser.add_argument("--seconds", type=float, default=FULL_RUN, help="for all together")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "fuzz", help="for inputs that fail")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--rounds", type=int, help="stop after as many, with --child")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument(
        "--page", action="store_true", help="put the counts of a shorter run into the page too"
    )
    parser.add_argument("--replay", type=Path, metavar="FILE")
    asked = parser.parse_args()
    names = asked.targets or list(TARGETS)
    if asked.replay:
        replay(names[0], asked.replay)
        return 0
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.child is not None:
        hunt.main(TARGETS[names[0]], asked.folder, asked.seconds, asked.child, asked.rounds)
        return 0
    print(f"seed {asked.seed}, {asked.seconds:.0f} s", flush=True)
    hunts = run_all(names, asked.folder, asked.seconds, asked.seed)
    is_sound = not any(found.failure for found in hunts)
    if is_sound and (asked.page or asked.seconds >= FULL_RUN) and not asked.targets:
        write_page(hunts, asked.seconds)
    return 0 if is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
