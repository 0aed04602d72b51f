"""Watch a trial until it is confirmed or given up. What decides is in ``core.health``."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from abctl.core.evidence import Stage
from abctl.core.health import CheckResult, Confirm, GiveUp, HealthPolicy, Verdict, Wait, Watched, decide
from abctl.core.health_state import Stand
from abctl.errors import AbctlError, NothingToConfirm

log = logging.getLogger(__name__)

_NOTE_EVERY = 5.0  # seconds between two notes of the evidence
_FIRST_PAUSE, _GROWTH, _PAUSE_MAX = 1.0, 1.5, 15.0  # seconds, while the boot is not complete
_SHORTEST_PAUSE = 0.1  # seconds
_GIVE_UP_TRIES, _GIVE_UP_PAUSE = 12, 5.0  # seconds


class Surroundings(Protocol):
    """What the watch needs of the host; times in seconds since the boot."""

    def since_boot(self) -> float: ...

    def wait(self, seconds: float) -> None: ...

    def is_on_trial(self) -> bool:
        """Return whether what runs is on trial still, and not confirmed or called off by an admin."""
        ...

    def run_checks(self, seconds: float) -> tuple[CheckResult, ...]:
        """Run each check once, which takes little more than ``seconds``; never raises AbctlError."""
        ...

    def is_boot_complete(self) -> bool: ...

    def tell(self, stand: Stand, why: str, results: tuple[CheckResult, ...]) -> None:
        """Leave for other commands and for systemd how it stands; never raises AbctlError."""
        ...

    def note(self, stage: Stage, *, ended: str = "", checks: tuple[CheckResult, ...] = ()) -> None:
        """Keep outside the slot sets how far this boot got, and the end of the journal; raise AbctlError."""
        ...

    def confirm(self) -> None:
        """Make the running slot set the primary; raise NothingToConfirm, Busy, StateUnwritable..."""
        ...

    def give_up(self, reason: str) -> bool:
        """Record that the trial failed, and return whether to reboot; raise AbctlError."""
        ...

    def must_reboot(self) -> bool:
        """Return the same by looking only."""
        ...

    def disarm(self) -> None:
        """Stop what would reboot an unconfirmed trial; raise AbctlError."""
        ...

    def reboot(self) -> None: ...


def watch_boot(host: Surroundings, policy: HealthPolicy) -> Stand:
    """Check a boot that is no trial, once it is complete, until all is well or the deadline has come.

    What a check looks at may take its time after the boot, as a guest does.
    """
    _await_boot(host, policy)
    while True:
        # The deadline is that of trials: a check may take its time here.
        results = host.run_checks(policy.deadline)
        failures = [result.sentence for result in results if result.is_failure]
        left = policy.deadline - host.since_boot()
        if not failures or left <= 0:
            host.tell(Stand.CHECKED, failures[0] if failures else "all required checks passed", results)
            return Stand.CHECKED
        host.tell(Stand.WATCHING, failures[0], results)
        host.wait(min(policy.interval, left))


def _await_boot(host: Surroundings, policy: HealthPolicy) -> None:
    pause = _FIRST_PAUSE
    while (left := policy.deadline - host.since_boot()) > 0 and not host.is_boot_complete():
        host.tell(Stand.WATCHING, "the boot is not complete", ())
        host.wait(min(pause, left))
        pause = min(pause * _GROWTH, _PAUSE_MAX)


@dataclass
class TrialWatch:
    """Watches the trial that runs, until it is confirmed, the host reboots, or it stays up all the same."""

    host: Surroundings
    policy: HealthPolicy
    watched: Watched = field(default_factory=Watched)
    cannot_confirm: str = ""
    _noted_at: float | None = None
    _noted: tuple[object, ...] = ()

    def run(self) -> Stand:
        """Return how it ended."""
        while True:
            if not self.host.is_on_trial():
                return self._end_early()
            self._check_once()
            decision = decide(self.watched, since_boot=self.host.since_boot(), policy=self.policy)
            match decision:
                case Confirm():
                    if (stand := self._confirm()) is not None:
                        return stand
                case GiveUp(reason):
                    return self._give_up(reason)
                case Wait(seconds, why):
                    self.host.tell(Stand.WATCHING, why, self.watched.results)
                    self.host.wait(seconds)

    def _check_once(self) -> None:
        started = self.host.since_boot()
        results = self.host.run_checks(max(1.0, self.policy.deadline - started))
        self.watched = self.watched.with_round(
            results, started=started, ended=self.host.since_boot(), policy=self.policy
        )
        self._note_change()

    def _note_change(self) -> None:
        now = self.host.since_boot()
        # What a check that passed says may be another number each time.
        seen = tuple(
            (item.name, item.verdict, "" if item.verdict is Verdict.PASSED else item.text)
            for item in self.watched.results
        )
        is_early = self._noted_at is not None and now - self._noted_at < _NOTE_EVERY
        if seen == self._noted or is_early:
            return
        for result in self.watched.failures:
            log.warning("%s", result.sentence)
        self._noted_at, self._noted = now, seen
        self._try(lambda: self.host.note(Stage.CHECKS, checks=self.watched.results))

    def _confirm(self) -> Stand | None:
        """Return how it ended, or None where it cannot be confirmed yet."""
        try:
            self.host.confirm()
        except NothingToConfirm:
            return self._end_early()
        except AbctlError as error:
            if self.host.since_boot() >= self.policy.deadline:
                return self._give_up(f"it is healthy, but cannot be confirmed: {error}")
            if str(error) != self.cannot_confirm:
                self.cannot_confirm = str(error)
                log.warning("healthy, but not confirmed yet: %s", error)
            self.host.tell(Stand.WATCHING, f"not confirmed yet: {error}", self.watched.results)
            left = self.policy.deadline - self.host.since_boot()
            self.host.wait(min(self.policy.interval, max(_SHORTEST_PAUSE, left)))
            return None
        self._try(self.host.disarm)
        self.host.tell(Stand.CONFIRMED, "all required checks passed", self.watched.results)
        return Stand.CONFIRMED

    def _end_early(self) -> Stand:
        self._try(self.host.disarm)
        results = self.watched.results or self.host.run_checks(self.policy.check_timeout)
        self.host.tell(Stand.CHECKED, "an admin ended the trial", results)
        return Stand.CHECKED

    def _give_up(self, reason: str) -> Stand:
        if not self.host.is_on_trial():
            return self._end_early()
        log.error("the trial is given up: %s", reason)
        self._try(lambda: self.host.note(Stage.CHECKS, ended=reason, checks=self.watched.results))
        if self._decide_reboot(reason):
            self.host.tell(Stand.GAVE_UP, reason, self.watched.results)
            self.host.reboot()
            return Stand.GAVE_UP
        self._try(self.host.disarm)
        self.host.tell(Stand.STAYED_UP, reason, self.watched.results)
        return Stand.STAYED_UP

    def _decide_reboot(self, reason: str) -> bool:
        for _ in range(_GIVE_UP_TRIES):
            try:
                return self.host.give_up(reason)
            except AbctlError as error:
                log.warning("that the trial is given up could not be recorded: %s", error)
                self.host.wait(_GIVE_UP_PAUSE)
        return self.host.must_reboot()

    def _try(self, action: Callable[[], None]) -> None:
        """What fails here must not keep the trial from its end."""
        try:
            action()
        except AbctlError as error:
            log.warning("%s", error)
