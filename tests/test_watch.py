"""Whole trials against a host whose clock, checks and failures the test decides."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from abctl.core.evidence import Stage
from abctl.core.health import CheckResult, HealthPolicy, judge
from abctl.core.health_state import Stand
from abctl.errors import AbctlError, Busy, NothingToConfirm, StateUnwritable, ToolFailed, WriteFailed
from abctl.update.watch import TrialWatch, watch_boot

POLICY = HealthPolicy()
Course = Callable[[float], str | None]  # what is wrong at a time, if anything


def from_second(healthy: float, problem: str = "not yet") -> Course:
    return lambda at: None if at >= healthy else problem


@dataclass
class Host:
    """A host on trial; implements update.watch.Surroundings. Times are seconds since the boot."""

    course: Course = lambda _: None
    now: float = 20.0
    check_takes: float = 0.1
    complete_at: float = 0.0
    trial_ends_at: float = float("inf")
    primary_is_good: bool = True
    cannot_confirm: AbctlError | None = None
    cannot_confirm_until: float = float("inf")
    cannot_note: AbctlError | None = None
    cannot_give_up: AbctlError | None = None
    cannot_disarm: AbctlError | None = None
    confirmed_at: float | None = None
    rebooted_at: float | None = None
    is_armed: bool = True
    stays_up: str | None = None
    told: list[tuple[Stand, str]] = field(default_factory=list)
    notes: list[tuple[float, str, tuple[CheckResult, ...]]] = field(default_factory=list)
    rounds: int = 0

    def since_boot(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds

    def is_on_trial(self) -> bool:
        return self.confirmed_at is None and self.now < self.trial_ends_at

    def run_checks(self, seconds: float) -> tuple[CheckResult, ...]:
        self.rounds += 1
        self.now += min(self.check_takes, seconds)
        problem = self.course(self.now)
        if self.check_takes >= POLICY.check_timeout:
            problem = "it did not end within 30 s, and was ended"
        return judge("net", problem, required=True), judge("fan", "no fan", required=False)

    def is_boot_complete(self) -> bool:
        return self.now >= self.complete_at

    def tell(self, stand: Stand, why: str, results: tuple[CheckResult, ...]) -> None:
        self.told.append((stand, why))

    def note(self, stage: Stage, *, ended: str = "", checks: tuple[CheckResult, ...] = ()) -> None:
        assert stage is Stage.CHECKS
        if self.cannot_note:
            raise self.cannot_note
        self.notes.append((self.now, ended, checks))

    def confirm(self) -> None:
        if self.cannot_confirm and self.now < self.cannot_confirm_until:
            raise self.cannot_confirm
        self.confirmed_at = self.now

    def give_up(self, reason: str) -> bool:
        if self.cannot_give_up:
            raise self.cannot_give_up
        if not self.primary_is_good:
            self.stays_up = reason
        return self.primary_is_good

    def must_reboot(self) -> bool:
        return self.primary_is_good

    def disarm(self) -> None:
        if self.cannot_disarm:
            raise self.cannot_disarm
        self.is_armed = False

    def reboot(self) -> None:
        self.rebooted_at = self.now


def watch(host: Host, policy: HealthPolicy = POLICY) -> Stand:
    return TrialWatch(host, policy).run()


# --- it gets healthy --------------------------------------------------------------------------------


def test_a_healthy_trial_is_confirmed_after_thirty_seconds_and_nothing_reboots_it_any_more() -> None:
    host = Host()
    assert watch(host) is Stand.CONFIRMED
    assert host.confirmed_at is not None
    assert 50 <= host.confirmed_at < 56
    assert not host.is_armed
    assert host.rebooted_at is None
    assert host.told[-1] == (Stand.CONFIRMED, "all required checks passed")


def test_a_trial_that_gets_healthy_later_is_confirmed_then() -> None:
    host = Host(from_second(300))
    assert watch(host) is Stand.CONFIRMED
    assert host.confirmed_at is not None
    assert 330 <= host.confirmed_at < 340


def test_a_trial_whose_service_is_started_late_may_still_be_confirmed() -> None:
    host = Host(now=560)
    assert watch(host) is Stand.CONFIRMED


# --- it does not ------------------------------------------------------------------------------------


def test_an_unhealthy_trial_is_left_at_the_deadline_and_the_evidence_says_why() -> None:
    host = Host(lambda _: "no link")
    assert watch(host) is Stand.GAVE_UP
    assert host.confirmed_at is None
    assert host.rebooted_at is not None
    assert 600 <= host.rebooted_at < 602
    at, ended, checks = host.notes[-1]
    assert at <= host.rebooted_at
    assert ended == "required check net failed: no link"
    assert [check.name for check in checks] == ["net", "fan"]
    assert host.told[-1][0] is Stand.GAVE_UP


def test_a_flapping_trial_is_never_confirmed() -> None:
    host = Host(lambda at: "flaps" if int(at) % 20 < 6 else None)
    assert watch(host) is Stand.GAVE_UP
    assert host.confirmed_at is None
    assert "flaps" in host.notes[-1][1]


def test_a_check_that_hangs_each_time_does_not_put_off_the_end() -> None:
    host = Host(check_takes=30)
    assert watch(host) is Stand.GAVE_UP
    assert host.rebooted_at is not None
    assert host.rebooted_at <= 600 + 1
    assert "did not end within 30 s" in host.notes[-1][1]


def test_a_trial_that_nothing_better_replaces_stays_up_and_nothing_reboots_it_any_more() -> None:
    host = Host(lambda _: "no link", primary_is_good=False)
    assert watch(host) is Stand.STAYED_UP
    assert host.rebooted_at is None
    assert not host.is_armed
    assert host.stays_up == "required check net failed: no link"
    assert host.told[-1] == (Stand.STAYED_UP, host.stays_up)


# --- what fails on the way --------------------------------------------------------------------------

FULL = WriteFailed("the config volume is full")


@pytest.mark.parametrize("course", [from_second(0), lambda _: "no link"])
def test_evidence_that_cannot_be_written_changes_nothing_of_the_end(course: Course) -> None:
    sound, full = Host(course), Host(course, cannot_note=FULL)
    assert watch(sound) is watch(full)
    assert (sound.confirmed_at, sound.rebooted_at) == (full.confirmed_at, full.rebooted_at)


def test_a_confirmation_that_cannot_be_written_is_tried_until_it_can() -> None:
    host = Host(cannot_confirm=Busy("another abctl"), cannot_confirm_until=200)
    assert watch(host) is Stand.CONFIRMED
    assert host.confirmed_at is not None
    assert 200 <= host.confirmed_at < 206
    assert (Stand.WATCHING, "not confirmed yet: another abctl") in host.told


def test_a_confirmation_that_can_never_be_written_gives_the_trial_up() -> None:
    host = Host(cannot_confirm=StateUnwritable("the grub partition is read-only"))
    assert watch(host) is Stand.GAVE_UP
    assert host.rebooted_at is not None
    assert 600 <= host.rebooted_at < 602
    assert host.notes[-1][1] == "it is healthy, but cannot be confirmed: the grub partition is read-only"


def test_where_giving_up_cannot_be_recorded_the_host_reboots_all_the_same() -> None:
    host = Host(lambda _: "no link", cannot_give_up=Busy("another abctl"))
    assert watch(host) is Stand.GAVE_UP
    assert host.rebooted_at is not None
    assert host.rebooted_at < 600 + 70


def test_where_it_cannot_be_recorded_and_nothing_is_better_the_host_stays_up() -> None:
    host = Host(lambda _: "no link", primary_is_good=False, cannot_give_up=StateUnwritable("read-only"))
    assert watch(host) is Stand.STAYED_UP
    assert host.rebooted_at is None


def test_a_timer_that_cannot_be_stopped_does_not_undo_the_confirmation() -> None:
    host = Host(cannot_disarm=ToolFailed("systemctl"))
    assert watch(host) is Stand.CONFIRMED


# --- an admin was quicker ---------------------------------------------------------------------------


def test_a_trial_that_an_admin_ended_is_left_alone() -> None:
    host = Host(lambda _: "no link", trial_ends_at=100)
    assert watch(host) is Stand.CHECKED
    assert host.rebooted_at is None
    assert not host.is_armed
    assert host.now < 110


def test_a_trial_that_an_admin_ended_at_the_last_moment_is_left_alone() -> None:
    host = Host(cannot_confirm=NothingToConfirm("slot set B is not on trial"))
    assert watch(host) is Stand.CHECKED
    assert (host.rebooted_at, host.is_armed) == (None, False)


def test_a_trial_that_an_admin_ends_during_the_last_round_is_not_rebooted() -> None:
    host = Host(lambda _: "no link", now=599, check_takes=5, trial_ends_at=599.5)
    assert watch(host) is Stand.CHECKED
    assert (host.rebooted_at, host.is_armed) == (None, False)


# --- what is kept -----------------------------------------------------------------------------------


def test_evidence_is_written_when_something_changed_and_not_each_round() -> None:
    host = Host(from_second(100))
    watch(host)
    assert len(host.notes) == 2
    assert host.rounds > 20


def test_evidence_is_written_each_five_seconds_at_most() -> None:
    host = Host(lambda at: f"at {at}" if at < 100 else None)
    watch(host, HealthPolicy(interval=1))
    times = [at for at, _, _ in host.notes]
    assert min(after - before for before, after in pairwise(times)) >= 5


# --- a boot that is no trial ------------------------------------------------------------------------


def test_an_ordinary_boot_that_is_healthy_is_checked_once_when_it_is_complete() -> None:
    host = Host(complete_at=42)
    assert watch_boot(host, POLICY) is Stand.CHECKED
    assert host.rounds == 1
    assert 42 <= host.now < 60
    assert host.told[-1] == (Stand.CHECKED, "all required checks passed")
    assert host.rebooted_at is None


def test_an_ordinary_boot_is_checked_again_until_its_guest_is_healthy() -> None:
    host = Host(from_second(200, "the guest is starting"), complete_at=42)
    assert watch_boot(host, POLICY) is Stand.CHECKED
    assert 200 <= host.now < 210
    assert host.told[-2:] == [
        (Stand.WATCHING, "required check net failed: the guest is starting"),
        (Stand.CHECKED, "all required checks passed"),
    ]


def test_an_ordinary_boot_that_never_gets_healthy_is_left_at_the_deadline() -> None:
    host = Host(lambda _: "no link", complete_at=42)
    assert watch_boot(host, POLICY) is Stand.CHECKED
    assert POLICY.deadline <= host.now < POLICY.deadline + POLICY.interval
    assert host.told[-1] == (Stand.CHECKED, "required check net failed: no link")
    assert host.rebooted_at is None


def test_an_ordinary_boot_that_is_never_complete_is_checked_at_the_deadline() -> None:
    host = Host(lambda _: "no link", complete_at=float("inf"))
    assert watch_boot(host, POLICY) is Stand.CHECKED
    assert (host.rounds, host.rebooted_at) == (1, None)
    assert host.told[-1] == (Stand.CHECKED, "required check net failed: no link")
