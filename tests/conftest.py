"""What several tests share: a disk in memory, releases that fit it, a server, and a word on loop devices."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from abctl.core.slot import Part
from tests.disks import LOOP_PROBLEM
from tests.fake_volumes import MemoryDisk, make_images
from tests.hostile_server import HostileServer, serve_hostile
from tests.releases import Archive, Release, pack_archive, pack_release

# It boots whole machines and has targets of its own, `make lab` and `make lab-full`.
collect_ignore = ["lab"]

# The same examples each time, so that only a change turns them red; HYPOTHESIS_PROFILE=random looks further.
# No deadline: a busy machine is no fault.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
# For `make mutation`, where each test runs a thousand times.
settings.register_profile("short", derandomize=True, deadline=None, max_examples=20)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Nobody shall take a run without real LVM for a whole one."""
    if LOOP_PROBLEM is not None:
        terminalreporter.section("NOT TESTED HERE: real LVM", red=True)
        terminalreporter.line(f"{LOOP_PROBLEM}; disks with GPT slots were tested all the same")


@pytest.fixture
def memory_disk() -> MemoryDisk:
    return MemoryDisk()


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with serve_hostile() as server:
        yield server


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[Part, Path]:
    return make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def release(tmp_path: Path, images: dict[Part, Path]) -> Release:
    """A release directory that a test may spoil."""
    return pack_release(tmp_path / "release", "2.0.0", images)


@pytest.fixture(scope="session")
def sound_release(tmp_path_factory: pytest.TempPathFactory, images: dict[Part, Path]) -> Release:
    return pack_release(tmp_path_factory.mktemp("release"), "2.0.0", images)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory, images: dict[Part, Path]) -> Archive:
    return pack_archive(tmp_path_factory.mktemp("archive") / "update-img.tar.zst", "2.0.0", images)
