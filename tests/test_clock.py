"""A host whose clock is wrong says so, takes nothing that is stale, and is well once it is set right."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abctl.core.clock import BUILT_AT, judge_clock, time_that_counts
from abctl.core.units import Seconds
from abctl.errors import Expired, Replayed
from tests.hostile_repository import Attacker, Host, make_guest_repository, make_host
from tests.repositories import DAY, Clock, Publisher
from tests.test_cli import assert_fails

times = st.integers(0, 4_000_000_000).map(Seconds)


@given(times, times)
def test_the_time_that_counts_is_none_that_is_proven_to_be_over(system: Seconds, signed: Seconds) -> None:
    now = time_that_counts(system, signed)
    assert now in (system, signed, BUILT_AT)
    assert now >= max(system, signed, BUILT_AT)


@given(times, times)
def test_a_clock_is_called_wrong_only_where_it_must_be(system: Seconds, signed: Seconds) -> None:
    said = judge_clock(system, signed)
    assert bool(said) is (system + 300 < max(signed, BUILT_AT))
    if said:
        assert "the clock is behind" in said
        assert said.isprintable()


def test_a_clock_that_is_a_few_seconds_behind_is_not_worth_a_word() -> None:
    assert judge_clock(BUILT_AT, Seconds(BUILT_AT + 200)) is None


@pytest.fixture
def repo(tmp_path: Path) -> Publisher:
    return make_guest_repository(tmp_path / "repo", "2.0.0")


@pytest.fixture
def attacker(repo: Publisher, tmp_path: Path) -> Attacker:
    return Attacker(repo, tmp_path / "attacker")


@pytest.fixture
def host(repo: Publisher, attacker: Attacker, tmp_path: Path) -> Host:
    """Its clock is its own, and right at first."""
    return make_host(tmp_path / "host", repo.root, [attacker.file_url], Clock(repo.clock.now))


def say_clock(host: Host) -> str | None:
    """Check with success, and return what is said of the clock."""
    said = host.abctl("check", "--json")
    assert said.code == 0, said.err
    report = said.json("offers")
    clock: str | None = report["clock"]
    assert ("Clock " in host.abctl("check").out) is bool(clock)
    return clock


# --- behind -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", [0, 946_684_800, BUILT_AT - DAY, 1_800_000_000 - 3600])
def test_a_host_whose_clock_is_behind_says_so_and_upgrades_all_the_same(host: Host, system: int) -> None:
    host.clock.now = system
    said = say_clock(host)
    assert said is not None
    assert "2027-01-15 08:00 UTC: the clock is behind; set it" in said
    upgraded = host.abctl("upgrade")
    assert upgraded.code == 0, upgraded.err
    assert "the clock is behind; set it" in upgraded.err
    host.clock.now = 1_800_000_000
    assert say_clock(host) is None


def test_a_host_whose_clock_is_behind_takes_nothing_older_than_it_has_seen(
    host: Host, attacker: Attacker, repo: Publisher
) -> None:
    old = attacker.record()
    repo.clock.tick(days=10)
    repo.publish("3.0.0")
    attacker.relay()
    host.clock.now = 0
    assert say_clock(host)
    attacker.replay(old)
    assert_fails(host.abctl("check"), Replayed.exit_code, "(role timestamp)")


def test_what_was_signed_last_makes_up_for_a_clock_that_stands_still(
    host: Host, attacker: Attacker, repo: Publisher
) -> None:
    """A new root tells a host with a dead clock that what it was shown is long over."""
    host.clock.now = 0
    assert say_clock(host)
    repo.clock.tick(days=20)
    repo.rotate("root")
    new_root = (repo.metadata / "2.root.json").read_bytes()
    attacker.write("2.root.json", new_root)
    words = ("timestamp.json", "expired at 2027-01-18 08:00 UTC", "it is 2027-02-04 08:00 UTC")
    assert_fails(host.abctl("check"), Expired.exit_code, *words, "the clock is behind; set it")


def test_metadata_from_before_this_abctl_is_expired_by_any_clock(tmp_path: Path) -> None:
    repo = make_guest_repository(tmp_path / "old", "2.0.0", clock=Clock(BUILT_AT - 30 * DAY))
    host = make_host(tmp_path / "host", repo.root, [f"file://{repo.folder}/"], Clock(0))
    for system in (0, BUILT_AT - 30 * DAY):
        host.clock.now = system
        said = host.abctl("check")
        assert_fails(said, Expired.exit_code, "timestamp.json", "it is 2026-11-25", "the clock is behind")


# --- ahead ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [4, 400, 20_000])
def test_a_host_whose_clock_is_ahead_says_what_time_it_believes_and_is_well_once_it_is_set(
    host: Host, days: int
) -> None:
    assert say_clock(host) is None
    before = host.body()
    host.clock.tick(days=days)
    for command in ("check", "upgrade"):
        said = host.abctl(command)
        assert_fails(said, Expired.exit_code, "if its clock is wrong, set it", "by what this host knows")
    assert host.body() == before
    host.clock.tick(days=-days)
    assert say_clock(host) is None
    assert host.abctl("upgrade").code == 0


def test_a_host_that_saw_nothing_yet_and_is_ahead_is_well_once_it_is_set(host: Host) -> None:
    host.clock.tick(days=1000)
    assert_fails(host.abctl("check"), Expired.exit_code, "1.root.json", "(role root)")
    host.clock.tick(days=-1000)
    assert say_clock(host) is None


def test_a_host_that_is_a_little_ahead_is_not_locked_out_by_what_it_noted_then(host: Host) -> None:
    host.clock.tick(days=2)
    assert say_clock(host) is None
    assert host.trust.checked_at == 1_800_000_000 + 2 * DAY
    host.clock.tick(days=-2)
    assert say_clock(host) is None
    assert host.trust.checked_at == 1_800_000_000
    assert host.abctl("upgrade").code == 0


# --- stepping ---------------------------------------------------------------------------------------


def test_a_clock_that_steps_back_and_on_again_never_makes_what_was_stale_fresh(
    host: Host, attacker: Attacker, repo: Publisher
) -> None:
    repo.clock.tick(days=2)
    repo.renew()
    attacker.relay()
    host.clock.tick(days=2)
    assert say_clock(host) is None
    frozen = attacker.record()
    for days, is_fresh in ((2.9, True), (0.2, False), (-3.1, True), (-40, True), (80, False)):
        host.clock.tick(days=days)
        attacker.replay(frozen)
        said = host.abctl("check")
        assert (said.code == 0) is is_fresh, said.err
        assert said.code in (0, Expired.exit_code)
    repo.clock.now = host.clock.now
    repo.renew(targets=False)
    attacker.relay()
    assert say_clock(host) is None


def test_a_publisher_whose_clock_was_ahead_makes_hosts_well_by_signing_again(
    host: Host, attacker: Attacker, repo: Publisher
) -> None:
    assert say_clock(host) is None
    for days in (1, 100):
        repo.clock.tick(days=days)
        repo.renew()
        attacker.relay()
        assert "the clock is behind" in (say_clock(host) or "")
        repo.clock.tick(days=-days)
        repo.renew()
        attacker.relay()
        host.abctl("check")  # still by the time that was signed before
        assert say_clock(host) is None
