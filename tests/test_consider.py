"""Which release a host takes, each reason against one, what an admin may override, and what precedes what."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abctl.core.bootstate import BootEnv, SlotSet, SlotState
from abctl.core.consider import OVERRIDABLE, Reason, Vantage, choose, consider
from abctl.core.events import Host
from abctl.core.record import Record, Refusal
from abctl.core.slot import SlotName
from abctl.core.terms import Policy, Recall, Rollout, Terms, Wave
from abctl.core.units import Seconds, Version
from abctl.core.version_order import is_newer

NOW = Seconds(10_000)
NO_POLICY = Policy()


def vantage(runs: str | None, refused: str | None = None, **changes: Any) -> Vantage:
    """Return a host that runs this version in the middle of all rollouts."""
    version = None if runs is None else Version(runs)
    env = BootEnv(SlotName.A).with_slot_set(SlotName.A, SlotSet(SlotState.GOOD, version))
    record = Record()
    if refused:
        record = record.with_refusal(Refusal(Seconds(1), Version(refused), None, "it fell back"))
    return replace(Vantage(Host(env, record=record), "hostos", NOW, "host", 0.5), **changes)


def release(version: str, needs: str | None = None, **changes: Any) -> Terms:
    fields = {"layouts": ("hostos",), "published": Seconds(0), "download": 1, **changes}
    return Terms(version=Version(version), needs=None if needs is None else Version(needs), **fields)


def waves(*pairs: tuple[int, float], **changes: Any) -> Rollout:
    each = tuple(Wave(after=after, share=share) for after, share in pairs)
    return Rollout(start=Seconds(9_000), waves=each, **changes)


def recall(version: str) -> Policy:
    return Policy(recalled=(Recall(version=Version(version), reason="loses data", at=Seconds(1)),))


def reasons(
    terms: Terms, host: Vantage, policy: Policy = NO_POLICY, others: tuple[Terms, ...] = ()
) -> list[str]:
    found = consider([terms, *others], policy, host)
    return [str(item.reason) for one in found if one.terms == terms for item in one.objections]


def sentence(terms: Terms, host: Vantage, policy: Policy = NO_POLICY, others: tuple[Terms, ...] = ()) -> str:
    found = consider([terms, *others], policy, host)
    return " / ".join(item.sentence for one in found if one.terms == terms for item in one.objections)


def take(
    host: Vantage, *offered: Terms, policy: Policy = NO_POLICY, overrides: tuple[Reason, ...] = ()
) -> str | None:
    chosen = choose(consider(offered, policy, host, frozenset(overrides)))
    return None if chosen is None else chosen.terms.version


EACH_REASON: dict[Reason, tuple[Terms, Vantage, Policy, str]] = {
    Reason.DOWNGRADE: (release("1.9"), vantage("2.0"), Policy(), "it is older than 2.0, which this host has"),
    Reason.FLOOR: (
        release("1.1"),
        vantage("1.0"),
        Policy(floor=Version("1.2")),
        "it is older than 1.2, the oldest that the publisher lets install",
    ),
    Reason.STEPPING_STONE: (
        release("3.0", needs="2.0"),
        vantage("1.0"),
        Policy(),
        "it needs 2.0 or newer first, and this host has 1.0",
    ),
    Reason.LAYOUT: (
        release("2.0", layouts=("guestos", "other")),
        vantage("1.0"),
        Policy(),
        "it is for layout guestos or other, and this disk has hostos",
    ),
    Reason.WAVE: (
        release("2.0", rollout=waves((0, 0.1), (8_000, 0.9))),
        vantage("1.0"),
        Policy(),
        "this host's turn comes at 1970-01-01 03:36 UTC (its place is 50.0%)",
    ),
    Reason.RECALLED: (release("2.0"), vantage("1.0"), recall("2.0"), "it was recalled: loses data"),
    Reason.SAME: (release("2.0"), vantage("2.0"), Policy(), "slot set A has it already"),
    Reason.REFUSED: (
        release("2.0"),
        vantage("1.0", refused="2.0"),
        Policy(),
        "it fell back; 'abctl allow 2.0' takes that back",
    ),
}


def test_there_is_a_case_for_each_reason() -> None:
    assert set(EACH_REASON) == set(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_speaks_against_a_release_and_says_why(reason: Reason) -> None:
    terms, host, policy, said = EACH_REASON[reason]
    assert reasons(terms, host, policy) == [reason]
    assert sentence(terms, host, policy) == said
    assert take(host, terms, policy=policy) is None


@pytest.mark.parametrize("reason", Reason)
def test_an_admin_may_override_all_but_what_was_refused(reason: Reason) -> None:
    terms, host, policy, _ = EACH_REASON[reason]
    others = tuple(other for other in Reason if other is not reason)
    assert take(host, terms, policy=policy, overrides=others) is None
    if reason in OVERRIDABLE:
        assert take(host, terms, policy=policy, overrides=(reason,)) == terms.version
        (one,) = consider([terms], policy, host, frozenset({reason}))
        assert [item.reason for item in one.overridden] == [reason]
        assert one.standing == ()
    else:
        assert reason is Reason.REFUSED


def test_a_release_that_nothing_speaks_against_is_taken() -> None:
    assert take(vantage("1.0"), release("2.0")) == "2.0"
    assert take(vantage("1.0")) is None


def test_of_several_the_newest_is_taken_whatever_their_order() -> None:
    offered = (release("1.9"), release("1.10"), release("1.2"))
    assert take(vantage("1.0"), *offered) == "1.10"
    assert [one.terms.version for one in consider(offered, Policy(), vantage("1"))] == ["1.10", "1.9", "1.2"]


def test_the_next_newest_is_taken_where_something_speaks_against_the_newest() -> None:
    offered = (release("2.0"), release("1.9"), release("1.8"))
    assert take(vantage("1.0"), *offered, policy=recall("2.0")) == "1.9"
    assert take(vantage("1.0", refused="2.0"), *offered) == "1.9"
    assert take(vantage("1.0"), release("2.0", layouts=("x",)), release("1.9")) == "1.9"


def test_everything_that_speaks_against_a_release_is_said() -> None:
    late = release("1.0", needs="3.0", layouts=("x",), rollout=waves((0, 0.1)))
    policy = replace_policy(recall("1.0"), floor=Version("1.5"))
    assert reasons(late, vantage("2.0", refused="1.0"), policy) == [
        "downgrade", "floor", "recalled", "layout", "stepping-stone", "refused", "wave",
    ]  # fmt: skip


def replace_policy(policy: Policy, **changes: Any) -> Policy:
    return policy.model_copy(update=changes)


def test_overriding_one_reason_leaves_the_others() -> None:
    host, terms = vantage("2.0"), release("1.0", layouts=("x",))
    assert take(host, terms, overrides=(Reason.DOWNGRADE,)) is None
    assert take(host, terms, overrides=(Reason.DOWNGRADE, Reason.LAYOUT)) == "1.0"


def test_two_versions_that_rank_alike_never_replace_each_other() -> None:
    offered = (release("2.0"), release("2.0.0"))
    assert take(vantage("2.0"), *offered) is None
    assert take(vantage("2.0.0"), *offered) is None
    assert sentence(offered[1], vantage("2.0")) == "it is no newer than 2.0, which this host has"


def test_the_version_of_the_primary_counts_not_that_of_a_trial() -> None:
    host = vantage("1.0")
    env = host.host.env.with_slot_set(SlotName.B, SlotSet(SlotState.UNTESTED, Version("3.0")))
    assert take(replace(host, host=replace(host.host, env=env)), release("2.0")) == "2.0"


def test_a_bad_slot_set_refuses_its_version_without_a_record() -> None:
    host = vantage("1.0")
    env = host.host.env.with_slot_set(SlotName.B, SlotSet(SlotState.BAD, Version("2.0")))
    assert reasons(release("2.0"), replace(host, host=replace(host.host, env=env))) == ["refused"]


# --- the floor and recalled releases ----------------------------------------------------------------


def test_the_floor_itself_may_be_installed() -> None:
    assert take(vantage("1.0"), release("1.2"), policy=Policy(floor=Version("1.2"))) == "1.2"


def test_a_host_below_the_floor_is_helped_up() -> None:
    assert take(vantage("1.0"), release("1.1"), release("1.3"), policy=Policy(floor=Version("1.2"))) == "1.3"


def test_only_the_recalled_version_is_held_back() -> None:
    assert take(vantage("1.0"), release("2.0"), release("2.0.1"), policy=recall("2.0.1")) == "2.0"


# --- stepping stones --------------------------------------------------------------------------------

CHAIN = (
    release("4.0", needs="3.0"),
    release("3.0", needs="2.0"),
    release("2.0", needs="1.5"),
    release("1.5"),
)


def test_a_chain_of_stepping_stones_is_walked_to_its_end() -> None:
    steps, runs = [], "1.0"
    while (taken := take(vantage(runs), *CHAIN)) is not None:
        steps.append(taken)
        runs = taken
    assert steps == ["1.5", "2.0", "3.0", "4.0"]


def test_the_stone_that_leads_there_is_named() -> None:
    stone = CHAIN[2]
    assert sentence(stone, vantage("1.0"), others=CHAIN[3:]).endswith("this host has 1.0; 1.5 leads there")
    far = sentence(CHAIN[0], vantage("1.0"), others=CHAIN[1:])
    assert far == "it needs 3.0 or newer first, and this host has 1.0"


@pytest.mark.parametrize("policy", [recall("1.5"), Policy()], ids=["recalled", "for other disks"])
def test_a_stone_that_no_host_like_this_can_take_is_not_named(policy: Policy) -> None:
    stone = CHAIN[3] if policy.recalled else release("1.5", layouts=("x",))
    assert "leads there" not in sentence(CHAIN[2], vantage("1.0"), policy, (stone,))


def test_a_host_of_unknown_version_takes_only_what_needs_nothing() -> None:
    assert take(vantage(None), *CHAIN) == "1.5"
    said = sentence(CHAIN[2], vantage(None), others=CHAIN[3:])
    assert said == "it needs 1.5 or newer first, and it is not known what this host has; 1.5 leads there"


VERSIONS = st.sampled_from([f"{major}.{minor}" for major in range(1, 4) for minor in range(4)])


@given(st.lists(st.tuples(VERSIONS, st.none() | VERSIONS), max_size=6), VERSIONS)
def test_a_host_always_comes_to_rest_and_never_goes_back(
    offered: list[tuple[str, str | None]], runs: str
) -> None:
    every = [release(version, needs) for version, needs in dict(offered).items()]
    for _ in range(len(every) + 1):
        taken = take(vantage(runs), *every)
        if taken is None:
            return
        assert is_newer(Version(taken), Version(runs))
        needs = dict(offered)[taken]
        assert needs is None or not is_newer(Version(needs), Version(runs))
        runs = taken
    pytest.fail("it never comes to rest")


# --- rollouts ---------------------------------------------------------------------------------------


def late(rollout: Rollout, place: float = 0.5) -> str | None:
    terms = release("2.0", rollout=rollout)
    return sentence(terms, vantage("1.0", place=place)) or None


def test_a_host_takes_its_turn() -> None:
    growing = waves((0, 0.0), (2_000, 1.0))  # at half
    assert late(growing, 0.499) is None
    assert late(growing, 0.5) is not None
    assert late(waves((0, 1.0)), 0.999) is None


def test_a_host_waits_for_the_start() -> None:
    assert late(waves((2_000, 1.0))) == "this host's turn comes at 1970-01-01 03:03 UTC (its place is 50.0%)"


def test_a_paused_rollout_holds_its_share() -> None:
    paused = waves((0, 0.0), (1_000, 1.0), paused_at=Seconds(9_400))
    assert late(paused, 0.39) is None
    assert late(paused, 0.5) == "its rollout is paused (this host's place is 50.0%)"


def test_a_rollout_that_ends_before_a_host_says_so() -> None:
    assert late(waves((0, 0.3))) == "its rollout ends before this host's turn (this host's place is 50.0%)"


def test_an_aborted_rollout_holds_back_even_the_first() -> None:
    assert late(waves((0, 1.0), aborted="it fails"), 0.0) == "its rollout was aborted: it fails"


def test_a_resumed_rollout_goes_on() -> None:
    paused = waves((0, 0.0), (1_000, 1.0), paused_at=Seconds(9_200))
    resumed = paused.resume(Seconds(9_900))
    assert late(resumed, 0.29) is None
    assert late(resumed, 0.31) == "this host's turn comes at 1970-01-01 02:46 UTC (its place is 31.0%)"


def test_the_older_release_is_taken_while_the_turn_for_the_newer_has_not_come() -> None:
    newer = release("2.0", rollout=waves((0, 0.1)))
    assert take(vantage("1.0"), newer, release("1.9")) == "1.9"
    assert take(vantage("1.0", place=0.05), newer, release("1.9")) == "2.0"


def test_a_place_of_its_own_counts_for_every_version() -> None:
    assert {vantage("1.0", place=0.25).place_for(Version(version)) for version in ("2", "3")} == {0.25}


def test_the_order_of_hosts_changes_with_the_version_and_stays_for_one() -> None:
    first, second = (vantage("1.0", host_id=name, place=None) for name in ("a", "b"))
    places = [host.place_for(Version(version)) for host in (first, second) for version in ("2", "3")]
    assert len(set(places)) == 4
    assert first.place_for(Version("2")) == places[0] == pytest.approx(0.163170617)


@given(st.text(min_size=1, max_size=40), VERSIONS)
def test_a_place_is_from_0_to_below_1(host_id: str, version: str) -> None:
    assert 0 <= vantage("1.0", host_id=host_id, place=None).place_for(Version(version)) < 1
