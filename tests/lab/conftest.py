"""What scenarios share: what was built once, a machine with a disk of its own, and the table at the end."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.damage import install_trial
from tests.lab.machine import Machine
from tests.lab.places import RUNS
from tests.lab.prepare import Stock, copy_sparse, get_stock
from tests.lab.qemu import Hardware
from tests.lab.report import render_table
from tests.lab.server import Server, serve
from tests.lab.variants import Variant

_BEGAN = time.time()
KEEP_DISKS = "LAB_KEEP_DISKS"  # in the environment: leave disk.img in the runs


class Lab:
    """Gives a scenario its machine, and remembers what has to end with it."""

    def __init__(self, folder: Path, stock: Stock, stack: ExitStack) -> None:
        self.folder = folder
        self.stock = stock
        self._stack = stack

    def make_disk(self, trial: Variant | None = None, attempts: int = 3) -> Path:
        """Return a disk with 1.0.0 in slot set A, and perhaps a release in B that is on trial."""
        disk = self.folder / "disk.img"
        copy_sparse(self.stock.disk, disk)
        if trial:
            install_trial(disk, self.stock.release(trial), attempts=attempts)
        return disk

    def host(
        self,
        trial: Variant | None = None,
        *,
        attempts: int = 3,
        disk: Path | None = None,
        server: Server | None = None,
        hardware: Hardware | None = None,
    ) -> Machine:
        """Return a machine that is off; it is cut off at the end of the scenario."""
        disk = disk or self.make_disk(trial, attempts)
        machine = Machine(self.folder, disk, hardware, port=server.port if server else None)
        return self._stack.enter_context(machine)

    def serve(self) -> Server:
        """Return a server of the signed repository, until the end of the scenario."""
        return self._stack.enter_context(serve(self.stock.repository.folder))


@pytest.fixture(scope="session")
def stock() -> Stock:
    return get_stock()


@pytest.fixture
def lab(request: pytest.FixtureRequest, stock: Stock) -> Iterator[Lab]:
    """A folder of the test's name under .cache/lab/runs, and what comes with it."""
    name = request.node.name.removeprefix("test_").replace("[", "-").replace("]", "")
    folder = RUNS / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        yield Lab(folder, stock, stack)
    if not os.environ.get(KEEP_DISKS):
        (folder / "disk.img").unlink(missing_ok=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the boots took."""
    runs = [
        json.loads(path.read_text())
        for path in sorted(RUNS.glob("*/events.json"))
        if path.stat().st_mtime >= _BEGAN
    ]
    if runs:
        terminalreporter.section("what the boots took")
        terminalreporter.write_line(render_table(runs))
