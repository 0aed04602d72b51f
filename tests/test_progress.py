"""Progress: alive on a terminal, sparing in a log, silent where nobody wants it."""

import io
import os
import pty
import re
import subprocess
import sys
from itertools import count

import pytest

from abctl.cli.progress import PlainProgress, say_duration, show_progress
from abctl.core.slot import Part
from abctl.core.units import GIB, MIB
from abctl.update.progress import Progress, Step

WRITE_ALL = """
import sys
from abctl.cli.progress import show_progress
from abctl.core.slot import Part
from abctl.update.progress import Progress, Step
with show_progress(sys.stderr) as tell:
    for done in (0, 5, 10):
        tell(Progress(Step.WRITE, Part.ROOT, done << 20, 10 << 20))
sys.exit(3 if "rich" in sys.modules else 0)
"""


def write_root(done: int, total: int = 10 * GIB) -> Progress:
    return Progress(Step.WRITE, Part.ROOT, done, total)


def test_a_log_gets_a_line_every_two_seconds_and_one_at_the_end() -> None:
    lines: list[str] = []
    ticks = count()
    tell = PlainProgress(lines.append, clock=lambda: next(ticks) * 0.5)
    for step in range(20):
        tell(write_root(step * 512 * MIB))
    tell(write_root(10 * GIB))
    tell(write_root(10 * GIB))
    assert lines == [
        "abctl: writing root: 1.5 GiB of 10 GiB (15 %), 1 GiB/s, 8 s left",
        "abctl: writing root: 3.5 GiB of 10 GiB (35 %), 1 GiB/s, 6 s left",
        "abctl: writing root: 5.5 GiB of 10 GiB (55 %), 1 GiB/s, 4 s left",
        "abctl: writing root: 7.5 GiB of 10 GiB (75 %), 1 GiB/s, 2 s left",
        "abctl: writing root: 9.5 GiB of 10 GiB (95 %), 1 GiB/s, 0 s left",
        "abctl: wrote root: 10 GiB in 10.0 s, 1 GiB/s",
    ]


def test_each_step_of_each_image_says_that_it_is_done() -> None:
    lines: list[str] = []
    tell = PlainProgress(lines.append, clock=lambda: 0.0)
    for part in (Part.BOOT, Part.ROOT):
        for step in Step:
            tell(Progress(step, part, MIB, MIB))
    assert [line.split(":")[1] for line in lines] == [
        " checked boot",
        " wrote boot",
        " read back boot",
        " checked root",
        " wrote root",
        " read back root",
    ]


def test_nothing_is_shown_where_nobody_wants_it() -> None:
    stream = io.StringIO()
    with show_progress(stream, quiet=True) as tell:
        tell(write_root(10 * GIB))
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59.4, "59 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_times_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert say_duration(seconds) == said


def test_a_log_costs_no_import_of_rich() -> None:
    done = subprocess.run([sys.executable, "-c", WRITE_ALL], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(r"abctl: wrote root: 10 MiB in \d+\.\d s\n", done.stderr)


def test_a_terminal_gets_a_bar_for_each_step() -> None:
    master, slave = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    command = [sys.executable, "-c", WRITE_ALL]
    done = subprocess.run(command, stderr=slave, env=environ, check=False)
    os.close(slave)
    shown = os.read(master, 64 * 1024).decode()
    os.close(master)
    assert done.returncode == 3
    assert re.search(r"writing root .*100 %.*10 MiB", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown))
