"""The list of jobs for an admin."""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from abctl.agent.desk import follow_all
from abctl.agent.jobs import Job, JobState
from abctl.cli.agent_host import TargetHost, make_runner, open_jobs
from abctl.cli.report import Digest, Disk, Note, Report, Time
from abctl.cli.style import Style, sentence
from abctl.cli.wiring import Target
from abctl.core.agent_rules import HOST_CID
from abctl.core.clock import format_time
from abctl.host.clock import now


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport(Report):
    """One upgrade that somebody asked the agent for."""

    id: str
    asked_by: Annotated[int, Note("the guest's CID; 2 is an admin of the host", minimum=0)]
    asked: Time
    changed: Time
    state: JobState
    wanted: Annotated[str | None, Note("a version or a URL; null: the newest that fits")]
    version: Annotated[str | None, Note("what was installed")]
    sha256: Digest | None
    exit_code: Annotated[
        int | None, Note("of the upgrade; null where it did not fail", minimum=0, maximum=255)
    ]
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsReport(Report):
    """abctl agent jobs: the upgrades that were asked for, newest first."""

    disk: Disk
    jobs: tuple[JobReport, ...]


def describe_jobs(target: Target, folder: Path | None) -> JobsReport:
    """Look at the list, and at what became of each; changes nothing."""
    runner = make_runner(target, folder)
    known, host = open_jobs(target, runner).read(), TargetHost(target)
    current = follow_all(known, host, runner, now())
    return JobsReport(disk=target.name, jobs=tuple(describe_job(job) for job in reversed(current.jobs)))


def describe_job(job: Job) -> JobReport:
    return JobReport(
        id=job.id,
        asked_by=job.cid,
        asked=format_time(job.asked),
        changed=format_time(job.changed),
        state=job.state,
        wanted=job.wanted.version or job.wanted.url or None,
        version=job.version,
        sha256=job.sha256,
        exit_code=job.exit_code,
        sentence=_say_job(job),
    )


_SAID = {
    JobState.REQUESTED: "waits for its process",
    JobState.RUNNING: "is being installed",
    JobState.FAILED: "was not installed",
    JobState.CANCELLED: "was cancelled",
    JobState.INSTALLED: "is installed, and on trial",
    JobState.CONFIRMED: "was confirmed",
    JobState.FELL_BACK: "fell back",
    JobState.CALLED_OFF: "was called off",
    JobState.STAYED_UP: "is not healthy, but stays up",
    JobState.FORGOTTEN: "was installed",
}


def _say_job(job: Job) -> str:
    release = job.version or job.wanted.version or job.wanted.url or "the newest release"
    why = f": {job.text}" if job.text and job.state is not JobState.CONFIRMED else ""
    return f"{release} {_SAID[job.state]}{why}"


def render_jobs(report: JobsReport, style: Style) -> str:
    if not report.jobs:
        return "No upgrade was asked for."
    return "\n".join(_render_job(job, style) for job in report.jobs)


def _render_job(job: JobReport, style: Style) -> str:
    asked_by = "an admin" if job.asked_by == HOST_CID else f"guest {job.asked_by}"
    indent = "    "
    said = textwrap.fill(sentence(job.sentence), style.width, initial_indent=indent, subsequent_indent=indent)
    return f"{job.asked}  {style.bold(job.id)}  {asked_by}\n{said}"
