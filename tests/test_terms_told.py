"""What stands signed beside the digests: as it is written, up to which limit it is read, and what is told."""

from dataclasses import replace
from typing import Any

import pytest

from abctl.core.consider import Reason, choose, consider
from abctl.core.terms import Policy, Rollout, Terms, Wave, parse_policy, parse_terms
from abctl.core.units import Seconds, Version
from abctl.errors import BadMetadata
from tests.test_consider import release, sentence, vantage, waves
from tests.told import told

PATH = "2.0.0/manifest.json"
END = 253_402_300_800  # the year 10000
TERMS: dict[str, Any] = {"version": "2.0.0", "layouts": ["hostos"], "published": 5, "download": 0}


def terms(**changes: Any) -> Terms:
    return parse_terms({**TERMS, **changes}, PATH)


def rollout(*pairs: tuple[int, str], start: int = 0, **more: Any) -> dict[str, Any]:
    return {"start": start, "waves": [{"after": after, "share": share} for after, share in pairs], **more}


# --- as it is written -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0"),
        (1, "1"),
        (0.05, "0.05"),
        (0.1, "0.1"),
        (0.5, "0.5"),
        (1 / 3, "0.333333333"),
        (1e-9, "0.000000001"),
        (4e-10, "0"),
    ],
)
def test_a_share_is_signed_as_text_of_nine_digits_without_zeros_at_its_end(share: float, text: str) -> None:
    assert Wave(after=0, share=share).model_dump(mode="json") == {"after": 0, "share": text}
    assert Wave.model_validate({"after": 0, "share": text}).share == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize(
    "text", ["", "2", "01", ".5", "0.", "0.1234567891", "1.5", "-0.1", "1e-2", " 1", "0,5"]
)
def test_a_share_in_another_form_is_none(text: str) -> None:
    assert told(BadMetadata, lambda: terms(rollout=rollout((0, text)))).startswith(
        "targets: the terms of 2.0.0/manifest.json are not sound: rollout.waves.0.share: Input should be "
    )


def test_terms_without_a_word_are_for_all_hosts_at_once() -> None:
    bare = terms()
    assert (bare.format, bare.needs, bare.rollout, bare.sizes) == (1, None, None, None)
    assert bare.model_dump(mode="json", exclude_none=True) == {"format": 1, **TERMS}
    assert Policy().model_dump(mode="json", exclude_none=True) == {"format": 1, "recalled": []}


# --- up to the limit --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"published": END - 1},
        {"layouts": ["x"] * 16},
        {"version": "2.0.0", "needs": "v" * 64},
        {"sizes": {"boot": 1, "root": 1}},
        {"rollout": rollout((END - 1, "1"))},
        {"rollout": rollout((0, "0"), (1, "0"))},
        {"rollout": rollout((1, "1"), start=END - 2)},
        {"rollout": rollout(*((after, "1") for after in range(32)))},
        {"rollout": rollout((0, "1"), aborted="x" * 200, paused_at=0)},
    ],
)
def test_what_is_just_allowed_is_read(changes: dict[str, Any]) -> None:
    terms(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"published": END}, f"published: Input should be less than {END}"),
        ({"layouts": ["x"] * 17}, "layouts: Tuple should have at most 16 items after validation, not 17"),
        ({"needs": "v" * 65}, "needs: String should match pattern '^[A-Za-z0-9][A-Za-z0-9.+~_-]{0,63}$'"),
        ({"sizes": {"boot": 0, "root": 1}}, "sizes.boot: Input should be greater than 0"),
        ({"sizes": {"boot": 1, "root": 0}}, "sizes.root: Input should be greater than 0"),
        ({"download": -1}, "download: Input should be greater than or equal to 0"),
        (
            {"rollout": rollout((0, "0"), (0, "1"))},
            "rollout: each wave must come after the one before and be no smaller",
        ),
        (
            {"rollout": rollout((0, "1"), (1, "0"))},
            "rollout: each wave must come after the one before and be no smaller",
        ),
        (
            {"rollout": rollout((1, "1"), start=END - 1)},
            "rollout: the last wave must come before the year 10000",
        ),
        (
            {"rollout": rollout(*((after, "1") for after in range(33)))},
            "rollout.waves: Tuple should have at most 32 items after validation, not 33",
        ),
        (
            {"rollout": rollout((0, "1"), aborted="x" * 201)},
            "rollout.aborted: String should have at most 200 characters",
        ),
    ],
)
def test_what_is_beyond_it_is_told_with_the_place(changes: dict[str, Any], said: str) -> None:
    assert told(BadMetadata, lambda: terms(**changes)) == (
        f"targets: the terms of {PATH} are not sound: {said}: have them published again"
    )


@pytest.mark.parametrize(
    ("found", "path", "said"),
    [
        (
            TERMS,
            "2.0.1/manifest.json",
            "targets: the terms of 2.0.1/manifest.json are those of 2.0.0: the repository was put together "
            "wrongly; have it published again",
        ),
        (
            {**TERMS, "format": 2},
            PATH,
            f"targets: the terms of {PATH} have format 2, which this abctl cannot read: upgrade it",
        ),
        (
            {"format": "x" * 60},
            PATH,
            f"targets: the terms of {PATH} have format '{'x' * 39}, which this abctl cannot read: upgrade it",
        ),
    ],
)
def test_terms_that_are_not_for_this_host_are_told(found: object, path: str, said: str) -> None:
    assert told(BadMetadata, parse_terms, found, path) == said


def test_a_policy_of_more_than_a_thousand_recalls_is_told() -> None:
    recall = {"version": "1.0", "reason": "it\thums", "at": 5}
    policy = parse_policy({"abctl": {"recalled": [recall] * 1_000}})
    assert (len(policy.recalled), policy.recalled[0].reason) == (1_000, "it?hums")
    assert told(BadMetadata, parse_policy, {"abctl": {"recalled": [recall] * 1_001}}) == (
        "targets: the fields of the policy are not sound: recalled: Tuple should have at most 1000 items "
        "after validation, not 1001: have them published again"
    )
    assert told(BadMetadata, parse_policy, {"abctl": {"format": 2}}) == (
        "targets: the fields of the policy have format 2, which this abctl cannot read: upgrade it"
    )


# --- when a host may take it ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "resumed_start"), [(1_050, 1_000), (1_100, 1_000), (1_101, 1_001), (1_600, 1_500)]
)
def test_a_pause_moves_the_waves_by_as_long_as_it_was(now: int, resumed_start: int) -> None:
    each = (Wave(after=10, share=0.1), Wave(after=200, share=1))
    paused = Rollout(start=Seconds(1_000), waves=each, paused_at=Seconds(1_100))
    assert paused.resume(Seconds(now)) == Rollout(start=Seconds(resumed_start), waves=each)
    aborted = Rollout(start=Seconds(1_000), waves=each, aborted="it hums")
    assert aborted.resume(Seconds(now)) == aborted


@pytest.mark.parametrize(
    ("place", "said"),
    [
        # A thousand seconds after the start the share is halfway between both waves.
        (0.0, ""),
        (0.499, ""),
        (0.5, "this host's turn comes at 1970-01-01 02:46 UTC (its place is 50.0%)"),
        (0.7494, "this host's turn comes at 1970-01-01 02:54 UTC (its place is 74.9%)"),
        (0.75, "its rollout ends before this host's turn (this host's place is 75.0%)"),
    ],
)
def test_a_host_is_told_when_its_turn_comes(place: float, said: str) -> None:
    terms_of_two_waves = release("2.0", rollout=waves((500, 0.25), (1_500, 0.75)))
    assert sentence(terms_of_two_waves, vantage("1.0", place=place)) == said


def test_of_two_releases_that_are_taken_alike_the_newer_comes_first_whatever_is_overridden() -> None:
    offered = [release("1.5"), release("2.0", layouts=("other",))]
    found = consider(offered, Policy(), vantage("1.0"), frozenset({Reason.LAYOUT}))
    chosen = choose(found)
    assert chosen is not None
    assert chosen.terms.version == "2.0"
    assert [(item.reason, item.is_overridden) for item in chosen.objections] == [("layout", True)]
    assert (chosen.standing, [str(item.reason) for item in chosen.overridden]) == ((), ["layout"])
    assert choose(()) is None


def test_a_host_without_a_place_has_one_by_its_id_and_the_version() -> None:
    host = vantage("1.0", host_id="rack7-host12", place=None)
    assert host.place_for(Version("2.0.0")) == 0.5100263801914352
    assert replace(host, place=0.0).place_for(Version("2.0.0")) == 0.0
