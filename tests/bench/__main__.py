"""``make bench``: make images, measure all tools in turn, and write docs/performance.md."""

import argparse
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

from abctl.core.slot import Part
from tests.bench.flame import draw_flames
from tests.bench.growth import SIZES, make_release, measure_growth
from tests.bench.measure import Cost, measure
from tests.bench.packing import FILES, describe_sizes, image, manifest_sha256, pack_all
from tests.bench.report import PICTURES, write_report
from tests.bench.server import Server, serve
from tests.bench.slots import Restorer, Target, attach, make_disk
from tests.bench.tools import FLOORS, LINK, REINSTALL, TOOLS, Tool, versions
from tests.bench.trees import CACHE, find_changes, make_images

RESULTS = CACHE / "results.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("command", choices=("images", "run", "report", "all"), nargs="?", default="all")
    parser.add_argument("--runs", type=int, default=5, help="runs of each tool (default: 5)")
    parser.add_argument(
        "--tools", default="", help="only tools whose name has one of these words, with commas"
    )
    parser.add_argument(
        "--no-growth", action="store_true", help="leave out the growth from 256 MiB to 16 GiB"
    )
    asked = parser.parse_args()
    if asked.command in ("images", "all", "run"):
        make_images()
        pack_all()
        make_disk(CACHE / "disk.img", FILES / "abctl-v1", manifest_sha256("abctl-v1"))
    if asked.command in ("run", "all"):
        words = [word for word in asked.tools.split(",") if word]
        _run_all(asked.runs, words, with_growth=not asked.no_growth)
    if asked.command in ("report", "all"):
        print(write_report(json.loads(RESULTS.read_text())))


def _run_all(runs: int, words: list[str], *, with_growth: bool) -> None:
    if with_growth:
        for size in SIZES:
            make_release(size)
    with serve(FILES, CACHE / "server") as server, attach(CACHE / "disk.img") as target:
        old = {Part.BOOT: CACHE / "boot-old.img", Part.ROOT: image("root", "v1")}
        restorer = Restorer(target, old)
        bench = _Bench(server, target, restorer, words)
        bench.measure_in_turn(TOOLS, runs)
        # What took so long is kept, whatever comes of the rest.
        RESULTS.write_text(json.dumps(_describe(bench.costs, []), indent=1))
        bench.measure_in_turn(FLOORS, runs)
        bench.measure_in_turn(LINK, runs)
        restorer.have_there({Part.BOOT: image("boot"), Part.ROOT: image("root")})
        bench.measure_in_turn((REINSTALL,), runs)
        restorer.have_there(old)
        draw_flames(server, target, restorer, PICTURES / "flame.svg")
        growth = measure_growth(server) if with_growth else []
    RESULTS.write_text(json.dumps(_describe(bench.costs, growth), indent=1))


class _Bench:
    def __init__(self, server: Server, target: Target, restorer: Restorer, words: list[str]) -> None:
        self._server = server
        self._target = target
        self._restorer = restorer
        self._words = words
        self.costs: list[Cost] = []

    def measure_in_turn(self, tools: tuple[Tool, ...], runs: int) -> None:
        """Measure every tool once, then again: what disturbs one disturbs all."""
        for number in range(runs):
            for tool in tools:
                is_asked = not self._words or any(word in tool.name for word in self._words)
                if is_asked:
                    cost = measure(tool, self._server, self._target, self._restorer, CACHE / "work")
                    said = f"{tool.name}: {cost.wall:.2f} s, {cost.cpu:.2f} s of CPU"
                    print(f"{number + 1}/{runs} {said}", flush=True)
                    self.costs.append(cost)


def _describe(costs: list[Cost], growth: list[dict[str, float]]) -> dict[str, object]:
    info = Path("/proc/cpuinfo").read_text()
    flags = set(info.split("flags", 1)[1].split("\n", 1)[0].split())
    return {
        "machine": {
            "cpus": len(os.sched_getaffinity(0)),
            "sha_ni": "sha_ni" in flags,
            "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "versions": versions(),
        "changes": find_changes(),
        "data": {part: image(part).stat().st_blocks * 512 for part in ("boot", "root")},
        "sizes": describe_sizes(),
        "costs": [asdict(cost) for cost in costs],
        "growth": growth,
    }


if __name__ == "__main__":
    main()
