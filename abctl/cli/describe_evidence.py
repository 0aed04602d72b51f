"""Make the reports of how far the boots of a trial got. Nothing here looks at a host."""

from collections.abc import Iterable

from abctl.cli.report import EvidenceReport, HealthCheckReport, TrialBootReport, TrialStoryReport
from abctl.cli.sentences import find_outcome_entry
from abctl.core.bootenv import Outcome
from abctl.core.clock import format_time
from abctl.core.evidence import Attempt, Evidence, TrialEvidence
from abctl.core.explain import say_all, say_attempt
from abctl.core.health import CheckResult
from abctl.core.machine import Host
from abctl.core.units import Seconds

_NOT_KEPT = (Outcome.FELL_BACK, Outcome.STAYED_UP, Outcome.ROLLED_BACK)
_FEW = 4  # lines of a log that status shows


def describe_evidence(
    evidence: Evidence, current: TrialEvidence | None, *, disk: str | None
) -> EvidenceReport:
    """Return all that is kept; ``current`` is a trial that is on, or that ended and is not recorded yet."""
    trials = (evidence if current is None else evidence.with_trial(current)).trials
    return EvidenceReport(disk=disk, trials=tuple(describe_trial(trial) for trial in trials))


def find_last_trial(host: Host, evidence: Evidence, current: TrialEvidence | None) -> TrialEvidence | None:
    """Return the trial that an admin asks about: the one that is on, or the last one if it was not kept."""
    if current is not None or host.env.outcome not in _NOT_KEPT:
        return current if current and current.attempts else None
    entry = find_outcome_entry(host)
    last = evidence.trials[-1] if evidence.trials else None
    is_it = last and entry and (entry.slot_set, entry.version) == (last.slot_set, last.version)
    return last if is_it else None


def describe_trial(trial: TrialEvidence, *, few: bool = False) -> TrialStoryReport:
    """Return one trial; with ``few`` only the last lines of the last boot that left any."""
    telling = next((attempt for attempt in reversed(trial.attempts) if attempt.tail), None)
    times = [attempt.at for attempt in trial.attempts if attempt.at is not None]
    return TrialStoryReport(
        slot_set=trial.slot_set,
        version=trial.version,
        at=_time(max(times, default=None)),
        sentence=say_all(trial),
        boots=tuple(
            _describe_boot(attempt, _lines_of(attempt, telling) if few else attempt.tail)
            for attempt in trial.attempts
        ),
    )


def _lines_of(attempt: Attempt, telling: Attempt | None) -> tuple[str, ...]:
    return attempt.tail[-_FEW:] if attempt is telling else ()


def _describe_boot(attempt: Attempt, tail: tuple[str, ...]) -> TrialBootReport:
    return TrialBootReport(
        number=attempt.number,
        stage=attempt.stage,
        at=_time(attempt.at),
        sentence=say_attempt(attempt),
        checks=describe_checks(attempt.checks),
        tail=tail,
    )


def describe_checks(results: Iterable[CheckResult]) -> tuple[HealthCheckReport, ...]:
    return tuple(
        HealthCheckReport(
            name=item.name, required=item.required, verdict=item.verdict, text=item.text, took=item.took
        )
        for item in results
    )


def _time(at: Seconds | None) -> str | None:
    return None if at is None else format_time(at)
