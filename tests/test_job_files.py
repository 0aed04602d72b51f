"""Files of jobs: who runs holds its own, old ones go, and a folder that cannot be used is named."""

import os
from pathlib import Path

import pytest

from abctl.errors import Busy, WriteFailed
from abctl.host.jobs import JobFolder, SystemdJobs

KEPT = 32


def test_a_job_that_runs_cannot_be_started_again_and_loses_nothing_of_what_it_said(tmp_path: Path) -> None:
    jobs = JobFolder(tmp_path / "jobs")
    with jobs.hold("7") as file:
        file.write("half\n")
        file.flush()
        with pytest.raises(Busy, match="job 7 runs already"), jobs.hold("7"):
            pass
        assert jobs.is_alive("7")
        assert jobs.read_progress("7", 0) == b"half\n"
    assert not jobs.is_alive("7")
    with jobs.hold("7"):
        assert jobs.read_progress("7", 0) == b""


def test_only_the_owner_comes_to_the_locks_of_jobs(tmp_path: Path) -> None:
    """Whoever held one would keep an ended job alive, and all others waiting."""
    folder = tmp_path / "jobs"
    folder.mkdir(mode=0o755)
    jobs = JobFolder(folder)
    with jobs.lock():
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_job_that_nobody_knows_has_said_nothing_and_does_not_run(tmp_path: Path) -> None:
    jobs = JobFolder(tmp_path / "jobs")
    assert jobs.read_progress("7", 0) == b""
    assert not jobs.is_alive("7")


def test_the_files_of_the_newest_jobs_are_kept_and_no_more(tmp_path: Path) -> None:
    jobs = JobFolder(tmp_path)
    for number in range(KEPT + 3):
        with jobs.hold(str(number)):
            pass
        os.utime(jobs.path_of(str(number)), (number, number))
    left = {path.stem for path in tmp_path.glob("*.jsonl")}
    # The one that was begun last is the newest only since then.
    assert left == {str(number) for number in range(3, KEPT + 3)}


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    jobs = JobFolder(tmp_path / "taken/jobs")
    with (
        pytest.raises(WriteFailed, match="jsonl cannot be written: Not a directory"),
        jobs.hold("7"),
    ):
        pass
    with (
        pytest.raises(WriteFailed, match="lock cannot be opened: Not a directory"),
        jobs.lock(),
    ):
        pass


def test_jobs_of_systemd_are_instances_of_a_unit_and_nobody_waits_for_them(tmp_path: Path) -> None:
    asked: list[tuple[str, ...]] = []

    def run(*command: str, timeout: float) -> str:
        assert timeout < 5  # the agent answers within that
        asked.append(command)
        return ""

    jobs = SystemdJobs(tmp_path, run)
    jobs.start("7")
    jobs.stop("7")
    assert asked == [("systemctl", word, "--no-block", "abctl-job@7.service") for word in ("start", "stop")]
