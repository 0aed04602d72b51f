"""The process of one job: 'abctl upgrade' on behalf of a guest, with its progress in a file."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from abctl.agent.desk import JobStore
from abctl.agent.jobs import Job, Jobs, JobState, find_installed, note_installed
from abctl.cli.agent_host import TargetHost, open_jobs
from abctl.cli.choice import Choice, Signed, Unsigned
from abctl.cli.failure import explain
from abctl.cli.fetching import FetchOptions
from abctl.cli.progress import Form, frame_progress
from abctl.cli.report_upgrade import InstallReport
from abctl.cli.repository import read_host_config
from abctl.cli.upgrade import carry_out
from abctl.cli.wiring import Target
from abctl.core import config
from abctl.core.agent_rules import HOST_CID
from abctl.core.record import Entry, Happened
from abctl.core.units import Digest, Version
from abctl.errors import AbctlError, Interrupted, NothingToDo, Untrusted
from abctl.host.clock import now
from abctl.host.jobs import FOLDER, JobFolder
from abctl.update.write import Wishes

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Work:
    """One job, and where it is noted how it goes."""

    job_id: str
    target: Target
    store: JobStore

    def begin(self) -> Job:
        """Note that the job runs; raise NothingToDo where it is not to."""
        job = self._find(self.store.read())
        if not job.is_open:
            raise NothingToDo(f"job {self.job_id} is {job.state} already")
        return self._note(lambda known: known.become(JobState.RUNNING, now()))

    def install(self, report: InstallReport) -> None:
        """Note that the job's release is installed, before the reboot that may follow at once."""
        self._note(lambda known: _installed(known, report, self._find_entry(known)))

    def fail(self, error: BaseException) -> None:
        """Note why the job ended, where it had not done its work by then."""
        sentence, code = explain(error)
        try:
            self._note(lambda known: _failed(known, sentence, code))
        except AbctlError as problem:  # what made the job fail is worth more
            log.warning("how job %s ended could not be noted: %s", self.job_id, problem)

    def _note(self, change: Callable[[Job], Job]) -> Job:
        return self._find(self.store.change(lambda known: known.put(change(self._find(known)))))

    def _find(self, known: Jobs) -> Job:
        job = known.find(self.job_id, HOST_CID)
        if job is None:
            raise NothingToDo(f"there is no job {self.job_id}: 'abctl agent jobs' lists them")
        return job

    def _find_entry(self, job: Job) -> Entry | None:
        return find_installed(TargetHost(self.target).record(), job)


def run_job(target: Target, job_id: str, folder: Path | None) -> None:
    """Run a job to its end; raise SystemExit with the exit code of the upgrade where it failed."""
    files = JobFolder(folder or FOLDER)
    work = _Work(job_id, target, open_jobs(target, files))
    with files.hold(job_id) as stream, frame_progress(stream, Form.JSON):
        job = work.begin()
        try:
            carry_out(
                target,
                _choose(job, target),
                Wishes(),
                (stream, Form.JSON),
                work.install,
                no_reboot=not job.wanted.reboot,
            )
        except BaseException as error:
            work.fail(error)
            raise


def _choose(job: Job, target: Target) -> Choice:
    """Return what the job installs; raise Untrusted where its guest may not have that."""
    if job.wanted.sha256 is None:
        return Signed(target, job.wanted.version, (), frozenset(), FetchOptions())
    if read_host_config(target).config.unsigned.allow is not config.Unsigned.ANYONE:
        raise Untrusted("this host installs only what is signed: [unsigned] in its config.toml says so")
    return Unsigned(target, job.wanted.url, job.wanted.sha256, FetchOptions(), f"guest {job.cid}")


def _installed(job: Job, report: InstallReport, entry: Entry | None) -> Job:
    if entry is None:  # a record that could not be written, or a clock that was set back
        entry = Entry(now(), Happened.INSTALLED)
    done = note_installed(job, entry)
    return replace(done, version=Version(report.version), sha256=Digest(report.sha256))


def _failed(job: Job, sentence: str, code: int) -> Job:
    if not job.is_open:
        return job
    if job.is_cancelled and code == Interrupted.exit_code:
        return job.become(JobState.CANCELLED, now(), "cancelled: what runs is as it was")
    return job.become(JobState.FAILED, now(), sentence, code)
