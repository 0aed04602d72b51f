"""Where the time of a full installation goes: a flame graph of abctl and its workers, by py-spy."""

import subprocess
import sys
from pathlib import Path

from tests.bench.server import Server
from tests.bench.slots import Restorer, Target
from tests.bench.tools import TOOLS

_RATE = 250  # samples a second
_FULL = TOOLS[0]


def draw_flames(server: Server, target: Target, restorer: Restorer, picture: Path) -> None:
    """Install once under py-spy, and write ``picture``, an SVG; paths in it begin with the package."""
    restorer.restore()
    spy = Path(sys.executable).with_name("py-spy")
    options = f"--native --subprocesses --function --rate {_RATE} --output {picture.resolve()}"
    under_spy = f"exec {spy} record {options} -- {sys.executable} "
    subprocess.run(
        ["bash", "-c", _FULL.script(server, target).replace("exec ", under_spy, 1)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    # It shows the command line, with this machine's paths.
    picture.write_text(picture.read_text().replace(f"{Path.cwd()}/", ""))
