"""Answers requests that were let in: looks at the host, notes jobs, and hands them on.

It works over protocols: what stands behind them is wired by the command line, and by tests. All methods may
block, so that the server calls them in threads; ``JobStore.change`` is what keeps two of them apart.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from abctl.agent import answers, jobs
from abctl.agent.answers import Answer, BootStateAnswer, EntryAnswer, HistoryAnswer, describe_job
from abctl.agent.jobs import Job, Jobs, JobState
from abctl.agent.messages import (
    OURS,
    AskBootState,
    AskHistory,
    AskStatus,
    AskVersion,
    AttachHsm,
    Cancel,
    DetachHsm,
    GetHostOsVersion,
    GetVsockProtocol,
    ListJobs,
    Message,
    SetNodeId,
    StartUpgrade,
    UpgradeFromUrl,
)
from abctl.core.clock import format_time
from abctl.core.record import Record
from abctl.core.units import Seconds
from abctl.errors import AbctlError

NO_VERSION = "Could not read hostOS version"  # as the older system
NO_JOB = "there is no such job, or another guest asked for it"

log = logging.getLogger(__name__)


class HostView(Protocol):
    """What a guest may know of the host; each raises AbctlError."""

    def version(self) -> str: ...

    def boot_state(self) -> BootStateAnswer: ...

    def record(self) -> Record:
        """Return the record, with the end of the last trial in it."""
        ...


class JobStore(Protocol):
    """The list of jobs on the config volume."""

    def read(self) -> Jobs: ...

    def change(self, change: Callable[[Jobs], Jobs]) -> Jobs:
        """Read, change and write, one at a time over all processes; raise WriteFailed."""
        ...


class JobRunner(Protocol):
    """Runs jobs in processes of their own."""

    def start(self, job_id: str) -> None:
        """Start a job and return at once; raise AbctlError."""
        ...

    def stop(self, job_id: str) -> None:
        """Ask its process to end, and return at once; raise AbctlError."""
        ...

    def is_alive(self, job_id: str) -> bool: ...

    def read_progress(self, job_id: str, offset: int) -> bytes:
        """Return some of what its process has said from this byte on, nothing where there is no more."""
        ...


class Guest(Protocol):
    """The virtual machine that asks; each raises AbctlError."""

    def attach_hsm(self) -> None: ...

    def detach_hsm(self) -> None: ...


class Names(Protocol):
    """What the host goes by."""

    def set_node_id(self, node_id: str) -> None:
        """Keep the node's id; raise AbctlError where it is none."""
        ...


@dataclass(frozen=True, slots=True)
class Desk:
    """Answers one request after the other; ``make_id`` gives ids of jobs that nobody can guess."""

    host: HostView
    store: JobStore
    runner: JobRunner
    guest: Guest
    names: Names
    now: Callable[[], Seconds]
    make_id: Callable[[], str]
    abctl_version: str
    jobs_per_hour: int

    def answer(self, cid: int, message: Message) -> Answer:
        """Do what ``cid`` asks for; whatever speaks against it is the answer."""
        try:
            return self._answer(cid, message)
        except AbctlError as error:
            return answers.Refusal(str(error))

    def _answer(self, cid: int, message: Message) -> Answer:
        match message:
            case StartUpgrade() | UpgradeFromUrl():
                return self._start(cid, message)
            case AskStatus() | Cancel() | ListJobs():
                return self._answer_of_jobs(cid, message)
            case AskHistory(last=last):
                return describe_history(self.host.record(), last)
            case AskBootState():
                return self.host.boot_state()
            case _:
                return self._answer_small(message)

    def _answer_small(self, message: Message) -> Answer:
        match message:
            case AttachHsm():
                self.guest.attach_hsm()
            case DetachHsm():
                self.guest.detach_hsm()
            case SetNodeId(node_id=node_id):
                self.names.set_node_id(node_id)
            case GetVsockProtocol():
                return answers.ProtocolVersion()
            case GetHostOsVersion():
                return self._version(answers.HostOsVersion)
            case AskVersion():
                return self._version(
                    lambda version: answers.VersionAnswer(
                        hostos=version, abctl=self.abctl_version, protocol=("1.0.0", OURS)
                    )
                )
            case _:
                raise TypeError(f"nobody answers {type(message).__name__}")
        return answers.NoPayload()

    def _version(self, make: Callable[[str], Answer]) -> Answer:
        try:
            return make(self.host.version())
        except AbctlError as error:
            log.warning("%s", error)
            return answers.Refusal(NO_VERSION)

    # --- jobs ---

    def find_job(self, cid: int, job_id: str) -> Job | None:
        """Return a job as it stands now; None where ``cid`` has none of this id."""
        return self._follow_all().find(job_id, cid)

    def _answer_of_jobs(self, cid: int, message: AskStatus | Cancel | ListJobs) -> Answer:
        match message:
            case AskStatus(job=job_id):
                return self._show(self.find_job(cid, job_id))
            case Cancel(job=job_id):
                return self._cancel(cid, job_id)
            case ListJobs():
                shown = reversed(self._follow_all().visible_to(cid))
                return answers.JobsAnswer(jobs=tuple(describe_job(job) for job in shown), more=0)

    def _show(self, job: Job | None) -> Answer:
        return describe_job(job) if job else answers.Refusal(NO_JOB)

    def _follow_all(self) -> Jobs:
        """Return all jobs as they stand now, and note what they came to."""
        known = self.store.read()
        return self.store.change(self._follow) if self._follow(known) != known else known

    def _follow(self, known: Jobs) -> Jobs:
        return follow_all(known, self.host, self.runner, self.now())

    def _start(self, cid: int, message: StartUpgrade | UpgradeFromUrl) -> Answer:
        asked = jobs.make_job(message, cid, self.make_id(), self.now())
        job = asked

        def request(known: Jobs) -> Jobs:
            nonlocal job
            known = self._follow(known)
            job = known.request(asked, self.jobs_per_hour)
            return known.put(job)

        self.store.change(request)
        if job is asked:
            log.info(
                "CID %d asked for job %s: %s",
                cid,
                job.id,
                job.wanted.version or job.wanted.url or "the newest",
            )
            self._run(job)
        return answers.NoPayload() if isinstance(message, UpgradeFromUrl) else describe_job(job)

    def _run(self, job: Job) -> None:
        """Start a job that is noted; where that fails, it has failed."""
        try:
            self.runner.start(job.id)
        except AbctlError as error:
            failed = job.become(JobState.FAILED, self.now(), f"it could not be started: {error}")
            self.store.change(lambda known: known.put(failed))
            raise

    def _cancel(self, cid: int, job_id: str) -> Answer:
        def note(known: Jobs) -> Jobs:
            job = self._follow(known).find(job_id, cid)
            return known if job is None else known.put(jobs.cancel(job, self.now()))

        job = self.store.change(note).find(job_id, cid)
        if job is not None:
            self.runner.stop(job_id)
        return self._show(job)


def follow_all(known: Jobs, host: HostView, runner: JobRunner, now: Seconds) -> Jobs:
    """Return the jobs as they stand now, by what runs and by what the record says."""
    undecided = [job for job in known.jobs if not job.is_over]
    if not undecided:
        return known
    # Looked at before the record is: what a process notes there last is then seen.
    alive = {job.id for job in undecided if job.is_open and runner.is_alive(job.id)}
    record = host.record()
    for job in undecided:
        known = known.put(jobs.follow(job, record, now, is_alive=job.id in alive))
    return known


def describe_history(record: Record, last: int) -> HistoryAnswer:
    """Return the newest entries of the record, the newest first."""
    shown = record.entries[-last:]
    return HistoryAnswer(
        entries=tuple(
            EntryAnswer(
                at=format_time(entry.at),
                what=entry.what,
                slot_set=entry.slot_set,
                version=entry.version,
                text=entry.text,
            )
            for entry in reversed(shown)
        ),
        more=len(record.entries) - len(shown),
    )
