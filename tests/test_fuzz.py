"""Each parser meets some hundred inputs that nobody meant; ``make fuzz`` goes on for minutes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from abctl.errors import BadManifest
from tests.fuzz import hunt
from tests.fuzz.__main__ import ROOT
from tests.fuzz.hunt import Hunter, read_last
from tests.fuzz.target import Target, meet
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    """In bounded time and memory, and the same inputs each time; what is taken can be written again."""
    child = [sys.executable, "-m", "tests.fuzz", "--child", "1", "--rounds", "1", "--seconds", "60"]
    done = subprocess.run(
        [*child, "--folder", tmp_path, name], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["failure"] is None, found["error"]
    assert found["inputs"] >= 200 // TARGETS[name].cost


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_sound(name: str) -> None:
    """Else the edits would not get past the first check."""
    target = TARGETS[name]
    answers = [meet(target, target.repair(seed)) for seed in target.seeds()]
    assert "taken" in answers


def hunt_for(check: Target, folder: Path) -> Hunter:
    hunter = Hunter(check, 30.0, folder / "last")
    hunter.run(1, rounds=4)
    return hunter


def _fail_at_a_number(data: bytes) -> None:
    if b"255" in data:
        raise KeyError("255")
    raise BadManifest("no manifest")


def _say_what_no_terminal_may_show(data: bytes) -> None:
    if b"\x1b" in data:
        raise BadManifest("no \x1b[31mmanifest")


def _never_end(data: bytes) -> None:
    while data[:1] == b"\xff":
        pass


def _take_all_memory(data: bytes) -> None:
    if b"4294967295" in data:
        bytearray(2**32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "smallest"),
    [
        (_fail_at_a_number, b"255"),
        (_say_what_no_terminal_may_show, b"\x1b"),
        (_never_end, b"\xff"),
        (_take_all_memory, b"4294967295"),
    ],
)
def test_a_parser_with_a_fault_is_found_out_and_the_input_is_made_small(
    check: Callable[[bytes], None], smallest: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hunt, "INPUT_SECONDS", 0.2)
    target = Target("faulty", lambda: [b'{"format": 1, "size": 4096}', b"\x00" * 40], check)
    assert hunt_for(target, tmp_path).failing == smallest


def test_a_process_that_dies_leaves_its_input(tmp_path: Path) -> None:
    """As it would be with a fault in a library written in C."""
    script = """
import os, sys
from pathlib import Path
from tests.fuzz.hunt import Hunter
from tests.fuzz.target import Target
target = Target("dying", lambda: [b"seed"], lambda data: os.abort() if len(data) > 100 else None)
Hunter(target, 30.0, Path(sys.argv[1]) / "dying.last").run(1)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], cwd=ROOT, check=False, capture_output=True
    )
    assert done.returncode < 0
    assert len(read_last(tmp_path / "dying.last")) > 100
