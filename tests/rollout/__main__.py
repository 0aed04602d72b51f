"""``make rollout``: simulate rollouts to a million hosts and write docs/rollout.md."""

import argparse
import resource
import time

from tests.rollout.figures import sweep_stops, tell_all
from tests.rollout.fleet import Habits
from tests.rollout.load import Sizes, find_sizes
from tests.rollout.report import write_report

_FOLLOWED = 100  # hosts in each run whose every decision is made by production too


def main() -> None:
    known = find_sizes()
    parser = argparse.ArgumentParser(prog="python -m tests.rollout")
    parser.add_argument("--hosts", type=int, default=Habits().hosts)
    parser.add_argument("--full", type=float, default=known.full, help="MiB that a host downloads in full")
    parser.add_argument("--blocks", type=float, default=known.blocks, help="MiB by blocks")
    parser.add_argument("--delta", type=float, default=known.delta, help="MiB by a delta")
    parser.add_argument("--source", default=known.source, help="where these sizes were measured")
    asked = parser.parse_args()
    began = time.monotonic()
    habits = Habits(hosts=asked.hosts)
    sizes = Sizes(asked.full, asked.blocks, asked.delta, asked.source)
    stories = tell_all(habits, sizes, _FOLLOWED)
    write_report(stories, sweep_stops(habits), sizes)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"docs/rollout.md written in {time.monotonic() - began:.0f} s with {memory:.0f} MiB")


if __name__ == "__main__":
    main()
