"""Processes of jobs: what they have said so far, whether they run, and how they are started and stopped."""

import fcntl
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from abctl.core.units import KIB
from abctl.errors import Busy, WriteFailed
from abctl.host.run import Program, run
from abctl.host.systemd import Run

FOLDER = Path("/run/abctl/jobs")
_SUFFIX = ".jsonl"
_KEPT = 32  # of the newest jobs
_READ_MAX = 64 * KIB
_TIMEOUT = 4.0  # seconds; the agent answers in five


class JobFolder:
    """Files of jobs: each process locks its own as long as it runs, and writes its progress there."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder

    def path_of(self, job_id: str) -> Path:
        return self.folder / f"{job_id}{_SUFFIX}"

    @contextmanager
    def hold(self, job_id: str) -> Iterator[TextIO]:
        """Open the file of a job, and be alive; raise Busy where it runs already, or WriteFailed."""
        path = self.path_of(job_id)
        try:
            self._make()
            # Not emptied before it is locked: it may be that of a job that runs.
            file = os.fdopen(
                os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "w", encoding="utf-8"
            )
        except OSError as error:
            raise WriteFailed(f"{path} cannot be written: {error.strerror}") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Busy(f"job {job_id} runs already") from error
            file.truncate(0)
            self._forget_older()
            yield file

    def is_alive(self, job_id: str) -> bool:
        try:
            fd = os.open(self.path_of(job_id), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def read_progress(self, job_id: str, offset: int) -> bytes:
        """Return some of what a job has said from this byte on; nothing where there is no more."""
        try:
            with self.path_of(job_id).open("rb") as file:
                file.seek(offset)
                return file.read(_READ_MAX)
        except OSError:
            return b""

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Wait until nobody else changes the list of jobs, and keep others from it; raise WriteFailed."""
        path = self.folder / "list.lock"
        try:
            self._make()
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise WriteFailed(f"{path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _make(self) -> None:
        # Whoever could open the files could hold their locks, and so keep jobs alive or waiting.
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.folder.stat().st_mode & 0o077:
            self.folder.chmod(0o700)

    def _forget_older(self) -> None:
        files = sorted(self.folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)
        for path in files[:-_KEPT]:
            with suppress(OSError):
                path.unlink()


class SystemdJobs(JobFolder):
    """Jobs as instances of a unit, which outlive the agent."""

    def __init__(self, folder: Path = FOLDER, run: Run = run) -> None:
        super().__init__(folder)
        self._run = run

    def start(self, job_id: str) -> None:
        self._run("systemctl", "start", "--no-block", _unit_of(job_id), timeout=_TIMEOUT)

    def stop(self, job_id: str) -> None:
        self._run("systemctl", "stop", "--no-block", _unit_of(job_id), timeout=_TIMEOUT)


def _unit_of(job_id: str) -> str:
    return f"abctl-job@{job_id}.service"


class ChildJobs(JobFolder):
    """Jobs as children of the agent, where no systemd runs or the host is a disk image.

    ``arguments`` are what abctl is called with, up to the job's id.
    """

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        super().__init__(folder)
        self._command = (sys.executable, "-m", "abctl", *arguments)
        self._children: dict[str, Program] = {}

    def start(self, job_id: str) -> None:
        self._bury()
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - it is no path of ours
            self._children[job_id] = Program(
                *self._command, job_id, keep=nothing.fileno(), environment=os.environ
            )

    def stop(self, job_id: str) -> None:
        child = self._children.get(job_id)
        if child is not None and child.wait(0) is None:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)

    def is_alive(self, job_id: str) -> bool:
        self._bury()
        return job_id in self._children or super().is_alive(job_id)

    def _bury(self) -> None:
        """Forget children that have ended."""
        for job_id, child in tuple(self._children.items()):
            if child.wait(0) is not None:
                del self._children[job_id]
