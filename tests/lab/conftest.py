"""What scenarios share: what was built once, a machine with a disk of its own, and the table at the end."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.damage import install_trial
from tests.lab.machine import Machine
from tests.lab.places import RUNS
from tests.lab.prepare import Stock, copy_sparse, get_stock, make_signed_repository
from tests.lab.qemu import Hardware
from tests.lab.report import render_table
from tests.lab.server import Server, serve
from tests.lab.variants import Variant
from tests.vsock.device import VsockDevice

_BEGAN = time.time()
KEEP_DISKS = "LAB_KEEP_DISKS"  # in the environment: leave disk.img in the runs
_OWN_CID = 77  # of a host as its VSOCK device says it; its guests have others


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

    def serve(self, *variants: Variant) -> Server:
        """Return a server of the signed repository, or of one of these, until the end of the scenario."""
        folder = self._publish(variants) if variants else self.stock.repository.folder
        return self._stack.enter_context(serve(folder))

    def _publish(self, variants: Sequence[Variant]) -> Path:
        for variant in variants:
            self.stock.release(variant)
        parent = Path(self._stack.enter_context(tempfile.TemporaryDirectory(dir=self.folder)))
        make_signed_repository(self.stock, parent / "repository", variants)
        return parent / "repository"

    def join_guests(self, cids: Iterable[int], port: int) -> tuple[Path, dict[int, Path]]:
        """Return a VSOCK device for the host's hardware, and by CID the sockets on which guests call it.

        The names are short, for the kernel takes no long ones.
        """
        parent = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-")))
        paths = {cid: parent / f"guest-{cid}" for cid in cids}
        callers = {path: (cid, port) for cid, path in paths.items()}
        device = self._stack.enter_context(VsockDevice(parent / "device", _OWN_CID, callers=callers))
        return device.path, paths


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
