"""The life of the guest, in a time of its own: starts, words, ends, holds, and libvirt going away."""

import json
from dataclasses import replace

import pytest

from abctl.core.guest import Domain, Power, Tag
from abctl.core.guest_state import TEXT_MAX, Phase, decode, encode, judge_guest
from abctl.core.health import Verdict
from abctl.core.slot import SlotName
from abctl.errors import ForeignDomain, GuestNotReady, GuestUnfit, ToolFailed
from abctl.vm.keeper import Keeper
from tests.fake_guest import (
    CRASHING,
    FAILING,
    FAILURE,
    SILENT,
    SUCCESS,
    FakeGuestHost,
    Over,
    Play,
    trial,
    until,
)


def keep(host: FakeGuestHost, seconds: float) -> Keeper:
    """Let the service run so long, and be interrupted then."""
    keeper = Keeper(host)
    until(host, seconds)
    with pytest.raises(Over):
        keeper.run()
    return keeper


# --- ready ------------------------------------------------------------------------------------------


def test_a_guest_is_ready_when_it_says_so_and_not_before() -> None:
    host = FakeGuestHost()
    keep(host, 20)
    assert host.seen == ["starting", "ready"]
    ready = next(state for state in host.states if state.phase is Phase.READY)
    assert 5 <= ready.beat - host.starts[0] <= 7
    assert (ready.run, ready.why) == ("run-0", "it said that it is healthy")


def test_the_time_that_libvirt_takes_for_a_start_is_not_the_guests() -> None:
    host = FakeGuestHost(Play(says=((50.0, SUCCESS),)))
    create = host.create

    def create_slowly(xml: str) -> None:
        host.time += 50
        create(xml)

    host.create = create_slowly  # type: ignore[method-assign]
    keep(host, 120)
    assert (len(host.starts), host.state.phase) == (1, Phase.READY)


def test_the_word_may_come_in_pieces_and_among_anything() -> None:
    noise = bytes(range(256)) * 40
    host = FakeGuestHost(Play(says=((1.0, noise + SUCCESS[:7]), (3.0, SUCCESS[7:]), (4.0, FAILURE))))
    keep(host, 10)
    assert host.state.phase is Phase.READY


def test_a_silent_guest_is_started_again_and_then_left_for_somebody_to_look_at() -> None:
    host = FakeGuestHost(SILENT)
    keep(host, 1000)
    assert len(host.starts) == host.description.life.tries == 3
    assert host.state.phase is Phase.NOT_READY
    assert host.state.why == "it did not say within 60 s that it is healthy; it said last: Loading Linux..."
    assert host.running is not None


def test_a_guest_that_says_it_failed_is_not_waited_for() -> None:
    host = FakeGuestHost(FAILING, Play())
    keep(host, 60)
    assert host.starts[1] - host.starts[0] < 20
    assert host.seen == ["starting", "stopping", "waiting", "starting", "ready"]
    assert any("it said that its boot failed" in state.why for state in host.states)


def test_a_guest_that_gets_healthy_late_is_ready_all_the_same() -> None:
    late = Play(says=((100.0, SUCCESS),))
    host = FakeGuestHost(SILENT, SILENT, late)
    keep(host, 400)
    assert (len(host.starts), host.state.phase) == (3, Phase.READY)


# --- ends -------------------------------------------------------------------------------------------


def test_a_guest_that_crashes_is_started_again_after_pauses_that_grow() -> None:
    host = FakeGuestHost(CRASHING)
    keep(host, 2000)
    gaps = [later - earlier for earlier, later in zip(host.starts, host.starts[1:], strict=False)]
    pauses = [gap - 4 for gap in gaps]
    assert pauses[:4] == pytest.approx([1, 2, 4, 8], abs=1.1)
    assert max(pauses) == pytest.approx(120, abs=2)
    assert host.state.failed == len(host.starts)


def test_a_guest_that_ran_for_long_is_started_again_at_once() -> None:
    host = FakeGuestHost(CRASHING, CRASHING, CRASHING, replace(Play(), ends=700.0), Play())
    keep(host, 1000)
    assert host.starts[4] - host.starts[3] == pytest.approx(701, abs=2)
    assert host.state.phase is Phase.READY


def test_what_the_guest_said_last_is_the_reason() -> None:
    panic = Play(says=((1.0, b"\x1b[31mKernel panic - not syncing\x1b[0m: VFS\x07\r\n"),), ends=2.0)
    host = FakeGuestHost(panic)
    keep(host, 4)
    assert any("it said last: Kernel panic - not syncing: VFS?" in state.why for state in host.states)
    assert all(state.why.isprintable() for state in host.states)


def test_a_machine_that_lacks_something_is_asked_again_and_says_what() -> None:
    host = FakeGuestHost()
    host.unfit = GuestUnfit("this machine cannot run guestos: there is no bridge br6")

    def mend() -> None:
        host.unfit = None

    host.after(30, mend)
    keep(host, 100)
    assert host.seen == ["waiting", "starting", "ready"]
    assert "no bridge br6" in host.states[0].why


# --- stopping ---------------------------------------------------------------------------------------


def test_a_guest_that_hears_the_power_button_is_not_ended_by_force() -> None:
    host = FakeGuestHost()
    keeper = keep(host, 20)
    assert keeper.stop("the host goes down") is False
    assert (host.running, host.destroyed, host.presses) == (None, 0, 1)


def test_a_guest_that_ignores_the_power_button_is_ended_when_its_time_is_up() -> None:
    host = FakeGuestHost(replace(Play(), deaf=True))
    keeper = keep(host, 20)
    begun = host.time
    assert keeper.stop() is True
    assert host.time - begun == pytest.approx(30, abs=1.5)
    assert (host.running, host.destroyed) == (None, 1)
    assert host.presses >= 2


def test_a_held_guest_stays_stopped_until_it_is_let_go() -> None:
    host = FakeGuestHost()

    def hold() -> None:
        host.held = "an admin stopped it"

    def let_go() -> None:
        host.held = None

    host.after(20, hold)
    host.after(200, let_go)
    keep(host, 250)
    assert host.seen == ["starting", "ready", "stopping", "held", "starting", "ready"]
    assert len(host.starts) == 2
    held = next(state for state in host.states if state.phase is Phase.HELD)
    assert held.why == "an admin stopped it"
    assert 200 <= host.starts[1] - 1000 <= 202


def test_while_libvirt_prepares_a_start_the_guest_is_not_said_to_be_held() -> None:
    host = FakeGuestHost()
    host.held = "it gets another release"
    create, said = host.create, list[Phase]()

    def watch(xml: str) -> None:
        said.append(host.state.phase)
        create(xml)

    def let_go() -> None:
        host.held = None

    host.create = watch  # type: ignore[method-assign]
    host.after(5, let_go)
    keep(host, 20)
    assert said == [Phase.STARTING]


def test_who_holds_a_guest_that_is_held_already_hears_of_it_at_once() -> None:
    host = FakeGuestHost()
    host.held = "it gets another release"

    def hold_once_more() -> None:
        host.holds += 1

    host.after(3, hold_once_more)
    keep(host, 6)
    assert [state.phase for state in host.states] == [Phase.HELD, Phase.HELD]
    assert 1003 <= host.state.beat <= 1004


def test_a_guest_that_is_let_go_while_it_powers_off_is_started_again_at_once() -> None:
    host = FakeGuestHost(replace(Play(), power_off_takes=10.0))

    def hold() -> None:
        host.held = "it gets another release"

    def let_go() -> None:
        host.held = None

    host.after(20, hold)
    host.after(25, let_go)
    keep(host, 40)
    assert len(host.starts) == 2
    assert host.starts[1] - 1000 <= 33


def test_a_hold_is_obeyed_at_once_also_where_a_start_has_failed_meanwhile() -> None:
    host = FakeGuestHost()
    tries: list[float] = []

    def fail(xml: str) -> None:
        tries.append(host.time)
        if len(tries) == 8:  # the pause after it is two minutes
            host.held = "an admin stopped it"
        raise ToolFailed("libvirt cannot start it")

    host.create = fail  # type: ignore[method-assign]
    keep(host, 200)
    held = next(state for state in host.states if state.phase is Phase.HELD)
    assert held.beat - tries[7] < 2


def test_a_guest_whose_upgrade_was_killed_is_started_again_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    host = FakeGuestHost()
    host.held = "it gets another release"

    def kill() -> None:
        host.held, host.upgrade_is_lost = None, True

    host.after(20, kill)
    keep(host, 40)
    assert host.seen == ["held", "waiting", "starting", "ready"]
    assert "its upgrade was killed; it is started again" in [state.why for state in host.states]
    assert "an upgrade of the guest was killed, and keeps it stopped no longer" in caplog.text


# --- libvirt, and other domains ---------------------------------------------------------------------


def test_a_guest_outlasts_a_restart_of_libvirt_and_is_not_started_twice() -> None:
    host = FakeGuestHost()

    def go() -> None:
        host.gone = True

    def come() -> None:
        host.gone = False

    host.after(20, go)
    host.after(50, come)
    keep(host, 100)
    assert host.seen == ["starting", "ready", "unknown", "ready"]
    assert len(host.starts) == 1


def test_a_service_that_was_restarted_takes_the_guest_over_as_it_was() -> None:
    host = FakeGuestHost()
    keep(host, 20)
    keep(host, 500)
    assert (len(host.starts), host.state.phase, host.state.run) == (1, Phase.READY, "run-0")


def test_a_guest_that_another_process_started_is_never_ended_for_its_silence() -> None:
    host = FakeGuestHost(SILENT)
    Keeper(host).start()
    host.states.clear()
    keep(host, 1000)
    assert (len(host.starts), host.destroyed, host.presses) == (1, 0, 0)
    assert host.state.phase is Phase.NOT_READY


def stranger(name: str, uuid: str, power: Power = Power.RUNNING, tag: Tag | None = None) -> Domain:
    return Domain(name, uuid, power, tag, is_persistent=True)


@pytest.mark.parametrize("power", [Power.RUNNING, Power.OFF])
def test_a_domain_that_abctl_did_not_make_is_left_alone(power: Power) -> None:
    host = FakeGuestHost()
    host.stranger = stranger("guestos", host.description.uuid, power)
    with pytest.raises(ForeignDomain, match="abctl did not make"):
        Keeper(host).start()
    assert host.stranger is not None
    assert host.destroyed == 0


def test_a_guest_with_another_uuid_or_name_is_left_alone() -> None:
    host = FakeGuestHost()
    host.stranger = stranger("guestos", "0" * 35 + "1", tag=Tag("run-9", "x"))
    with pytest.raises(ForeignDomain, match="is to be guestos with"):
        Keeper(host).start()
    host.stranger = stranger("other", host.description.uuid, tag=Tag("run-9", "x"))
    with pytest.raises(ForeignDomain, match="a domain other"):
        Keeper(host).start()


def test_a_definition_of_ours_that_was_left_over_is_replaced() -> None:
    host = FakeGuestHost()
    host.stranger = stranger("guestos", host.description.uuid, Power.OFF, Tag("run-9", "x"))
    assert Keeper(host).start() is True
    assert host.stranger is None


def test_a_guest_that_stands_still_is_said_to_and_not_judged() -> None:
    host = FakeGuestHost(SILENT)

    def pause() -> None:
        assert host.running is not None
        host.running.power = Power.PAUSED

    host.after(5, pause)
    keep(host, 200)
    assert host.seen == ["starting", "paused"]


# --- the guest's trials -----------------------------------------------------------------------------


def test_a_trial_that_reports_healthy_is_noted_and_any_other_start_is_not() -> None:
    host = FakeGuestHost()
    host.booting = trial()
    keep(host, 20)
    assert host.healthy == [trial()]
    assert (host.state.slot_set, host.state.version, host.state.on_trial) == (SlotName.B, "2.0.0", True)
    host = FakeGuestHost()
    host.booting = replace(trial(), on_trial=False)
    keep(host, 20)
    assert host.healthy == []


def test_a_trial_that_is_not_healthy_is_started_again_until_grub_falls_back() -> None:
    host = FakeGuestHost(SILENT, SILENT, SILENT, Play())
    host.booting = trial()
    looks: list[None] = []

    def look(_: object) -> object:
        looks.append(None)
        return trial() if len(looks) <= 3 else replace(trial(SlotName.A), on_trial=False, version="1.0.0")

    host.look = look  # type: ignore[method-assign, assignment]
    state = Keeper(host, tries=1).start_and_wait()
    assert (len(host.starts), state.phase, state.slot_set) == (4, Phase.READY, SlotName.A)
    assert host.healthy == []


def test_who_waits_for_a_guest_that_does_not_get_healthy_is_told_and_it_is_left_running() -> None:
    host = FakeGuestHost(SILENT)
    with pytest.raises(GuestNotReady, match="did not say within 60 s"):
        Keeper(host, tries=1).start_and_wait()
    assert host.running is not None
    host = FakeGuestHost(CRASHING)
    with pytest.raises(GuestNotReady, match="does not run: it ended before it was healthy"):
        Keeper(host, tries=1).start_and_wait()


# --- what others read -------------------------------------------------------------------------------


def test_the_state_survives_its_file_and_a_damaged_one_is_none() -> None:
    host = FakeGuestHost()
    host.booting = trial()
    keep(host, 20)
    data = encode(host.state)
    assert decode(data) == host.state
    # All but the newline at its end has to be there.
    assert all(decode(data[:at]) is None for at in range(len(data) - 1))
    values = json.loads(data)
    for wrong in (
        {"phase": "dancing"},
        {"at": "now"},
        {"at": True},
        {"beat": "fast"},
        {"slot_set": "C"},
        {"run": 7},
        {"run": "a\nb"},
        {"version": "x" * (TEXT_MAX + 1)},
        {"on_trial": 1},
        {"generation": -1},
    ):
        assert decode(json.dumps({**values, **wrong}).encode()) is None
    nothing = decode(json.dumps({**values, "run": None, "version": None, "since": None}).encode())
    assert nothing == replace(host.state, run=None, version=None, since=None)


@pytest.mark.parametrize(
    ("phase", "age", "verdict", "text"),
    [
        (Phase.READY, 5, Verdict.PASSED, "the guest reports that it is healthy, in slot set B"),
        (Phase.HELD, 5, Verdict.PASSED, "the guest does not run: because"),
        (Phase.STARTING, 5, Verdict.FAILED, "the guest is not healthy: because"),
        (Phase.WAITING, 5, Verdict.FAILED, "the guest is not healthy: because"),
        (Phase.READY, 500, Verdict.FAILED, "nothing has watched over the guest for 500 s"),
        (Phase.STOPPED, 5, Verdict.FAILED, "nothing has watched over the guest for 5 s"),
    ],
)
def test_the_health_check_believes_a_fresh_word_only(
    phase: Phase, age: float, verdict: Verdict, text: str
) -> None:
    host = FakeGuestHost()
    host.booting = trial()
    keep(host, 20)
    state = replace(host.state, phase=phase, why="because")
    result = judge_guest(state, since_boot=state.beat + age)
    assert (result.verdict, result.required) == (verdict, True)
    assert result.text.startswith(text)


def test_without_any_word_the_guest_counts_as_not_healthy() -> None:
    assert judge_guest(None, since_boot=100).is_failure


def test_a_trial_that_grub_never_ends_does_not_go_on_for_ever() -> None:
    host = FakeGuestHost(FAILING)
    host.booting = trial()
    with pytest.raises(GuestNotReady, match="it said that its boot failed"):
        Keeper(host, tries=1).start_and_wait()
    assert len(host.starts) == 4
