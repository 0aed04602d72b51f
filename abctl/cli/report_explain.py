"""What ``abctl explain`` and ``abctl doctor`` report."""

from dataclasses import dataclass
from typing import Annotated

from abctl.cli.report import Advice, Disk, NextBootReport, Note, Report, Verdict
from abctl.core.doctor import Verdict as CheckVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerReport(Report):
    """What a command would do, or why it would be refused."""

    word: Annotated[str, Note("the command: upgrade, confirm or rollback")]
    command: Annotated[str, Note("exactly what to type")]
    allowed: bool
    exit_code: Annotated[int, Note("that of the refusal, 0 where it is allowed", minimum=0)]
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainReport(Report):
    """abctl explain: what runs and why, what comes next, and what commands would do."""

    disk: Disk
    layout: str
    verdict: Verdict
    headline: str
    runs: Annotated[tuple[str, ...], Note("what runs and how it came to run, a sentence each")]
    next_boot: NextBootReport
    later: Annotated[str, Note("what the power-ons after that come to, where nobody does anything")]
    answers: tuple[AnswerReport, ...]
    warnings: tuple[str, ...]
    advice: Annotated[tuple[Advice, ...], Note("the most important first")]


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingReport(Report):
    """What one check found."""

    name: str
    verdict: CheckVerdict
    sentence: str
    command: Annotated[str | None, Note("exactly what to type to mend it; null where no command does")]
    repaired: Annotated[str | None, Note("what --repair did about it")]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport(Report):
    """abctl doctor: what each check found, after the repairs where there were any."""

    disk: Disk
    verdict: Annotated[CheckVerdict, Note("the worst")]
    findings: tuple[FindingReport, ...]
