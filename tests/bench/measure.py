"""Run one tool once, and say what it cost."""

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from tests.bench.packing import image
from tests.bench.server import Server
from tests.bench.slots import Restorer, Target, is_same
from tests.bench.tools import Tool


@dataclass(frozen=True, slots=True)
class Cost:
    """Times in seconds, sizes in bytes; ``rss`` of the largest process, ``temporary`` is the peak on disk."""

    tool: str
    kind: str
    wall: float
    cpu: float
    rss: int
    downloaded: int
    written: int
    temporary: int


def measure(tool: Tool, server: Server, target: Target, restorer: Restorer, work: Path) -> Cost:
    """Restore slot set B, run the tool, and compare what it wrote; exit where that is wrong."""
    restorer.restore()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    sent = server.sent()
    target.written.start()
    code, wall, cpu, rss, temporary = _run(tool.script(server, target), work)
    if code:
        raise SystemExit(f"bench: {tool.name} failed with {code}: {(work / 'said').read_text()[-800:]}")
    cost = Cost(
        tool=tool.name,
        kind=tool.kind,
        wall=wall,
        cpu=cpu,
        rss=rss,
        downloaded=server.sent() - sent,
        written=target.written.count(),
        temporary=temporary,
    )
    for part in tool.images:
        if not is_same(image(part), target.boot if part == "boot" else target.root):
            raise SystemExit(f"bench: {tool.name} wrote something else than {image(part).name}")
    shutil.rmtree(work)
    return cost


# A child begins with the peak of whoever started it, so that has to be a small process.
_STARTER = """
import json, os, sys, time
began = time.monotonic()
child = os.posix_spawnp("bash", ["bash", "-euo", "pipefail", "-c", sys.argv[1]], os.environ)
_, status, usage = os.wait4(child, 0)
figures = time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
os.write(3, json.dumps([os.waitstatus_to_exitcode(status), *figures]).encode())
"""


def _run(script: str, work: Path) -> tuple[int, float, float, int, int]:
    """Run a script in a child; its cost is that of all processes below it that were waited for."""
    watch = _Watch(work)
    with (work / "said").open("wb") as said, (work.parent / "figures").open("w+b") as figures:
        command = [sys.executable, "-S", "-E", "-c", f"import os; os.dup2({figures.fileno()}, 3)\n{_STARTER}"]
        subprocess.run(
            [*command, script],
            cwd=work,
            stdout=said,
            stderr=said,
            stdin=subprocess.DEVNULL,
            pass_fds=(figures.fileno(),),
            check=True,
        )
        temporary = watch.stop()
        figures.seek(0)
        code, wall, cpu, rss = json.loads(figures.read())
    return code, wall, cpu, rss, temporary


class _Watch:
    """Looks now and then how much a folder holds, and remembers the most."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._over = threading.Event()
        self._most = 0
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def stop(self) -> int:
        self._over.set()
        self._thread.join()
        return self._most

    def _look(self) -> None:
        while not self._over.wait(0.25):
            self._most = max(self._most, _space_of(self._folder))


def _space_of(folder: Path) -> int:
    total = 0
    for at, _, files in os.walk(folder, onerror=lambda _: None):
        for name in files:
            try:
                total += (Path(at) / name).lstat().st_blocks * 512
            except OSError:
                continue
    return total
