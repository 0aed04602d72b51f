"""Upgrades that guests asked for, and what became of them; pure.

The list stands on the config volume in the same form as the record, so that a guest learns after the reboot
what its upgrade came to. How a job ended after its installation is not remembered but read from the record:
whether the trial was confirmed or fell back is known there, and nowhere else.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from abctl.agent.messages import StartUpgrade, UpgradeFromUrl
from abctl.core.agent_rules import HOST_CID
from abctl.core.fields import checked_number
from abctl.core.jobs_file import FORM
from abctl.core.problems import clean_text
from abctl.core.record import Entry, Happened, Record
from abctl.core.units import Digest, Seconds, Version, parse_digest, parse_version
from abctl.errors import Busy, NothingToDo

JOBS_MAX = 32
TEXT_MAX = 400  # characters
_HOUR = 3600
START_LIMIT = 60  # seconds for a job's process to come up


class JobState(StrEnum):
    """How far a job got; what comes after ``installed`` is the trial's end."""

    REQUESTED = "requested"  # noted, its process is not up yet
    RUNNING = "running"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INSTALLED = "installed"  # on trial: it waits for the reboot, or has not proved healthy yet
    CONFIRMED = "confirmed"
    FELL_BACK = "fell_back"
    CALLED_OFF = "called_off"  # an admin ended the trial
    STAYED_UP = "stayed_up"  # not healthy, but the other slot set was no better
    FORGOTTEN = "forgotten"  # the record no longer says how the trial ended


_OPEN = (JobState.REQUESTED, JobState.RUNNING)
_ENDS = {
    Happened.CONFIRMED: JobState.CONFIRMED,
    Happened.FELL_BACK: JobState.FELL_BACK,
    Happened.CALLED_OFF: JobState.CALLED_OFF,
    Happened.MARKED_BAD: JobState.CALLED_OFF,
    Happened.STAYED_UP: JobState.STAYED_UP,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be installed: a signed version (None: the newest), or what a URL and its SHA-256 name."""

    version: Version | None = None
    reboot: bool = True
    url: str = ""
    sha256: Digest | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One request; ``cid`` asked for it.

    ``version`` and ``sha256`` are what was installed, ``installed`` is when, as the record has it. ``text``
    says why it ended as it did; ``exit_code`` is that of the upgrade where it failed.
    """

    id: str
    cid: int
    asked: Seconds
    changed: Seconds
    wanted: Wanted = Wanted()
    key: str = ""
    state: JobState = JobState.REQUESTED
    is_cancelled: bool = False
    version: Version | None = None
    sha256: Digest | None = None
    installed: Seconds | None = None
    text: str = ""
    exit_code: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether its process runs, or is to run."""
        return self.state in _OPEN

    @property
    def is_over(self) -> bool:
        """Whether nothing can change any more."""
        return not self.is_open and self.state is not JobState.INSTALLED

    def become(self, state: JobState, at: Seconds, text: str = "", exit_code: int | None = None) -> "Job":
        return replace(self, state=state, changed=at, text=_shorten(text), exit_code=exit_code)


@dataclass(frozen=True, slots=True)
class Jobs:
    """All jobs that are remembered, oldest first."""

    jobs: tuple[Job, ...] = ()
    serial: int = 0

    def find(self, job_id: str, cid: int) -> Job | None:
        """Return a job that ``cid`` may see: its own one; the host sees all."""
        found = [job for job in self.jobs if job.id == job_id and cid in (job.cid, HOST_CID)]
        return found[0] if found else None

    def visible_to(self, cid: int) -> tuple[Job, ...]:
        return tuple(job for job in self.jobs if cid in (job.cid, HOST_CID))

    def put(self, job: Job) -> "Jobs":
        """Return the list with this job in its place, or at the end."""
        if not any(item.id == job.id for item in self.jobs):
            return replace(self, jobs=_bound((*self.jobs, job)))
        return replace(self, jobs=tuple(job if item.id == job.id else item for item in self.jobs))

    def request(self, job: Job, per_hour: int) -> Job:
        """Return the job that this request is: ``job`` itself, or the one that was asked for before.

        Raise Busy where another upgrade is under way, or a guest has asked for ``per_hour`` already.
        """
        for known in reversed(self.jobs):
            if known.cid == job.cid and _is_same(known, job):
                return known
        if any(known.is_open for known in self.jobs):
            raise Busy("another upgrade of this host is under way: ask again when it has ended")
        recent = [item for item in self.jobs if item.cid == job.cid and 0 <= job.asked - item.asked < _HOUR]
        if job.cid != HOST_CID and len(recent) >= per_hour:
            raise Busy(f"too many upgrades: {per_hour} in an hour are what this host allows each guest")
        return job


def _is_same(known: Job, job: Job) -> bool:
    if job.key or known.key:
        return job.key == known.key
    return known.wanted == job.wanted and not known.is_over


def _bound(jobs: tuple[Job, ...]) -> tuple[Job, ...]:
    """Leave out the oldest job of whoever has most, as long as there are too many."""
    while len(jobs) > JOBS_MAX:
        counts = Counter(job.cid for job in jobs)
        ((most, _),) = counts.most_common(1)
        oldest = next(job for job in jobs if job.cid == most)
        jobs = tuple(job for job in jobs if job is not oldest)
    return jobs


def make_job(message: StartUpgrade | UpgradeFromUrl, cid: int, job_id: str, at: Seconds) -> Job:
    """Return the job that a guest asks for."""
    if isinstance(message, UpgradeFromUrl):
        wanted = Wanted(url=message.url, sha256=parse_digest(message.target_hash))
        return Job(job_id, cid, at, at, wanted)
    version = None if message.version is None else parse_version(message.version)
    return Job(job_id, cid, at, at, Wanted(version, message.reboot), message.key or "")


def cancel(job: Job, at: Seconds) -> Job:
    """Return the job after its cancellation was asked for; raise NothingToDo where it is done already."""
    if job.state is JobState.REQUESTED:
        return replace(job.become(JobState.CANCELLED, at, "cancelled before it began"), is_cancelled=True)
    if job.state is JobState.RUNNING:
        return replace(job, is_cancelled=True)
    raise NothingToDo(f"job {job.id} is {job.state.replace('_', ' ')}: there is nothing to cancel")


# --- what became of it ------------------------------------------------------------------------------


def follow(job: Job, record: Record, now: Seconds, *, is_alive: bool) -> Job:
    """Return the job as it stands now: ``is_alive`` says whether its process runs."""
    if job.is_open and not is_alive:
        job = _bury(job, record, now)
    if job.state is JobState.INSTALLED:
        job = _find_end(job, record.entries)
    return job


def _bury(job: Job, record: Record, now: Seconds) -> Job:
    """Return a job whose process is gone without having said how it went."""
    installed = find_installed(record, job)
    if installed is not None:
        return note_installed(job, installed)
    if job.state is JobState.REQUESTED and 0 <= now - job.asked < START_LIMIT:
        return job
    return job.become(
        JobState.FAILED,
        now,
        "its process ended without a word, as in a power cut: ask again, and it goes on where it was",
    )


def find_installed(record: Record, job: Job) -> Entry | None:
    """Return the record's last entry of an installation, where it is newer than the job."""
    found = [item for item in record.entries if item.what is Happened.INSTALLED and item.at >= job.asked]
    if found and job.wanted.version in (None, found[-1].version):
        return found[-1]
    return None


def note_installed(job: Job, entry: Entry) -> Job:
    job = replace(job, version=entry.version, sha256=entry.sha256, installed=entry.at)
    return job.become(JobState.INSTALLED, entry.at)


def _find_end(job: Job, entries: Sequence[Entry]) -> Job:
    """Return the job with what the record says of its trial."""
    places = [
        place
        for place, entry in enumerate(entries)
        if entry.what is Happened.INSTALLED and (entry.at, entry.version) == (job.installed, job.version)
    ]
    if not places:
        return job.become(JobState.FORGOTTEN, job.changed, "the record no longer says how the trial ended")
    for entry in entries[places[-1] + 1 :]:
        if entry.what in _ENDS and entry.version == job.version:
            return job.become(_ENDS[entry.what], entry.at, entry.text)
        if entry.what is Happened.INSTALLED:
            return job.become(JobState.CALLED_OFF, entry.at, f"{entry.version} was installed in its place")
    return job


# --- the file ---------------------------------------------------------------------------------------


def encode_half(jobs: Jobs) -> bytes:
    """Return the jobs as one half; the oldest that do not fit are left out."""
    kept = list(jobs.jobs)
    while True:
        values = {"serial": jobs.serial, "jobs": [_without_nothing(asdict(job)) for job in kept]}
        half = FORM.seal(json.dumps(values, separators=(",", ":")).encode())
        if half is not None:
            return half
        del kept[0]


def _without_nothing(values: dict[str, Any]) -> dict[str, Any]:
    values["wanted"] = {name: value for name, value in values["wanted"].items() if value not in (None, "")}
    return {name: value for name, value in values.items() if value not in (None, "") and value is not False}


def decode(data: bytes) -> Jobs:
    """Return the newer whole half of the file; nothing whole means that there are no jobs."""
    found = [jobs for half in FORM.split(data) if (jobs := decode_half(half)) is not None]
    return max(found, key=lambda jobs: jobs.serial, default=Jobs())


def decode_half(half: bytes) -> Jobs | None:
    """Return the jobs in ``half``, or None where it is empty, torn or damaged."""
    body = FORM.unseal(half)
    if body is None:
        return None
    try:
        values = json.loads(body)
        # A newer abctl may know more states: the rest is worth keeping.
        jobs = [_parse_job(item) for item in values["jobs"] if item["state"] in tuple(JobState)]
        return Jobs(tuple(jobs)[-JOBS_MAX:], checked_number(values["serial"]))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _parse_job(values: dict[str, Any]) -> Job:
    wanted = values["wanted"]
    return Job(
        id=_text(values["id"]),
        cid=checked_number(values["cid"]),
        asked=Seconds(checked_number(values["asked"])),
        changed=Seconds(checked_number(values["changed"])),
        wanted=Wanted(
            version=_version(wanted.get("version")),
            reboot=wanted["reboot"] is True,
            url=_text(wanted.get("url", "")),
            sha256=_digest(wanted.get("sha256")),
        ),
        key=_text(values.get("key", "")),
        state=JobState(values["state"]),
        is_cancelled=values.get("is_cancelled") is True,
        version=_version(values.get("version")),
        sha256=_digest(values.get("sha256")),
        installed=None if values.get("installed") is None else Seconds(checked_number(values["installed"])),
        text=_text(values.get("text", "")),
        exit_code=None if values.get("exit_code") is None else checked_number(values["exit_code"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("not text")
    return value


def _version(value: Any) -> Version | None:
    return None if value is None else parse_version(_text(value))


def _digest(value: Any) -> Digest | None:
    return None if value is None else parse_digest(_text(value))


def _shorten(text: str) -> str:
    return clean_text(" ".join(text.split()))[:TEXT_MAX]
