"""What the publisher signs: read strictly, refused in one sentence, and what a rollout lets through when."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical

from abctl.core.consider import choose, consider
from abctl.core.rollout_spec import parse_rollout
from abctl.core.terms import (
    FIELD,
    WAVES_MAX,
    Policy,
    Rollout,
    Terms,
    Wave,
    parse_issued,
    parse_policy,
    parse_terms,
)
from abctl.core.units import Seconds, Version
from abctl.errors import BadMetadata
from tests.test_consider import vantage
from tests.test_rollout import rollouts

PATH = "2.0.0/manifest.json"
WAVES = [{"after": 0, "share": "0.01"}, {"after": 100, "share": "0.01"}, {"after": 200, "share": "1"}]
SIGNED: dict[str, Any] = {
    "version": "2.0.0",
    "layouts": ["hostos"],
    "published": 1000,
    "download": 5,
    "needs": "1.5",
    "rollout": {"start": 1000, "waves": WAVES},
}
TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def rollout(*waves: tuple[int, float], start: int = 1000, **more: Any) -> Rollout:
    each = tuple(Wave(after=after, share=share) for after, share in waves)
    return Rollout(start=Seconds(start), waves=each, **more)


# --- reading ----------------------------------------------------------------------------------------


def test_terms_are_read_as_they_were_signed() -> None:
    terms = parse_terms(SIGNED, PATH)
    assert (terms.version, terms.needs, terms.layouts, terms.download) == ("2.0.0", "1.5", ("hostos",), 5)
    assert terms.rollout == rollout((0, 0.01), (100, 0.01), (200, 1))
    assert terms.path == PATH


def test_unknown_fields_are_passed_over() -> None:
    assert parse_terms({**SIGNED, "later": {"x": 1}}, PATH) == parse_terms(SIGNED, PATH)


def test_what_is_written_can_be_signed_and_read_again() -> None:
    terms = parse_terms(SIGNED, PATH)
    written = terms.model_dump(mode="json", exclude_none=True)
    assert encode_canonical(written)  # it refuses fractions
    assert parse_terms(json.loads(json.dumps(written)), PATH) == terms


@given(rollouts())
def test_any_rollout_can_be_signed_and_read_again(found: Rollout) -> None:
    written = found.model_dump(mode="json", exclude_none=True)
    encode_canonical(written)
    again = Rollout.model_validate(written)
    for wave, other in zip(found.waves, again.waves, strict=True):
        assert wave.after == other.after
        assert wave.share == pytest.approx(other.share, abs=1e-9)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": None}, "version: "),
        ({"version": "../2"}, "version: "),
        ({"version": "2\n"}, "version: "),
        ({"layouts": []}, "layouts: "),
        ({"layouts": ["a b"]}, "layouts.0: "),
        ({"published": -1}, "published: "),
        ({"published": "now"}, "published: "),
        ({"published": True}, "published: "),
        ({"download": 1.5}, "download: "),
        ({"needs": ""}, "needs: "),
        ({"rollout": {}}, "rollout.start: "),
        ({"rollout": {"start": 0, "waves": []}}, "rollout.waves: "),
        ({"rollout": {"start": 0, "waves": [{"after": 0, "share": "1.5"}]}}, "rollout.waves.0.share: "),
        ({"rollout": {"start": 0, "waves": [{"after": 0, "share": "-0"}]}}, "rollout.waves.0.share: "),
        ({"rollout": {"start": 0, "waves": [{"after": 0, "share": "half"}]}}, "rollout.waves.0.share: "),
        ({"rollout": {"start": 0, "waves": [{"after": 0, "share": math.nan}]}}, "rollout.waves.0.share: "),
        ({"rollout": {"start": 0, "waves": [{"after": 0.5, "share": "1"}]}}, "rollout.waves.0.after: "),
        ({"rollout": {"start": 0, "waves": [WAVES[2], WAVES[0]]}}, "rollout: each wave must come after"),
        ({"rollout": {"start": 0, "waves": [WAVES[0], WAVES[0]]}}, "rollout: each wave must come after"),
        (
            {"rollout": {"start": 250_000_000_000, "waves": [{"after": 250_000_000_000, "share": "1"}]}},
            "rollout: the last wave must come before the year 10000",
        ),
        ({"rollout": {"start": 0, "waves": WAVES, "aborted": "x" * 201}}, "rollout.aborted: "),
        ({"rollout": {"start": 0, "waves": WAVES, "paused_at": "now"}}, "rollout.paused_at: "),
    ],
)
def test_terms_that_are_not_sound_are_refused_with_the_place(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadMetadata) as caught:
        parse_terms({**SIGNED, **changes}, PATH)
    assert f"the terms of {PATH} are not sound: {said}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("custom", [None, [], "terms", 1])
def test_terms_that_are_none_are_refused(custom: object) -> None:
    with pytest.raises(BadMetadata, match="have them published again"):
        parse_terms(custom, PATH)


def test_terms_of_another_release_are_refused() -> None:
    with pytest.raises(BadMetadata, match=r"the terms of 2\.0\.1/manifest\.json are those of 2\.0\.0"):
        parse_terms(SIGNED, "2.0.1/manifest.json")


@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_a_format_of_the_future_asks_for_a_newer_abctl(number: object) -> None:
    with pytest.raises(BadMetadata, match="which this abctl cannot read: upgrade it"):
        parse_terms({"format": number}, PATH)
    with pytest.raises(BadMetadata, match="which this abctl cannot read: upgrade it"):
        parse_policy({FIELD: {"format": number}})


@given(JSON)
def test_whatever_stands_there_is_terms_or_bad_metadata(found: object) -> None:
    for read in (lambda: parse_terms(found, PATH), lambda: parse_policy({FIELD: found})):
        try:
            assert isinstance(read(), Terms | Policy)
        except BadMetadata as error:
            said = str(error)
        else:
            continue
        assert 0 < len(said) < 500
        assert "\n" not in said


@given(st.sampled_from(sorted(SIGNED)), JSON)
def test_terms_with_one_field_spoilt_never_break_the_decision(field: str, found: object) -> None:
    try:
        terms = parse_terms({**SIGNED, field: found}, PATH)
    except BadMetadata:
        return
    considered = consider([terms], Policy(), vantage("1.9"))
    assert choose(considered) in (None, *considered)


# --- the policy -------------------------------------------------------------------------------------


def test_without_a_policy_nothing_is_recalled_and_there_is_no_floor() -> None:
    assert parse_policy({}) == Policy()
    assert Policy().recall_of(Version("1")) is None


def test_a_policy_knows_what_was_recalled_and_why() -> None:
    recalled = [{"version": "1.2", "reason": "loses data", "at": 5}]
    policy = parse_policy({FIELD: {"floor": "1.1", "recalled": recalled, "issued": 7, "later": 1}})
    assert policy.floor == "1.1"
    recall = policy.recall_of(Version("1.2"))
    assert recall is not None
    assert recall.reason == "loses data"
    assert policy.recall_of(Version("1.3")) is None
    assert policy.recall_of(None) is None


@pytest.mark.parametrize("policy", [{"floor": "a b"}, {"recalled": [{"version": "1"}]}, {"recalled": 1}, []])
def test_a_policy_that_is_not_sound_is_refused(policy: object) -> None:
    with pytest.raises(BadMetadata, match="targets: the fields of the policy are not sound: "):
        parse_policy({FIELD: policy})


@pytest.mark.parametrize(
    ("fields", "issued"),
    [({}, 0), ({FIELD: {}}, 0), ({FIELD: 1}, 0), ({FIELD: {"issued": "x"}}, 0), ({FIELD: {"issued": -1}}, 0)],
)
def test_metadata_that_does_not_say_when_it_was_signed_counts_as_old(fields: Any, issued: int) -> None:
    assert parse_issued(fields) == issued
    assert parse_issued({FIELD: {"issued": 77}}) == 77


# --- rollouts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "share"),
    [(0, 0), (1009, 0), (1010, 0.1), (1020, 0.1), (1030, 0.1), (1040, 0.3), (1050, 0.5), (9999, 0.5)],
)
def test_the_share_grows_evenly_from_wave_to_wave(now: int, share: float) -> None:
    assert rollout((10, 0.1), (30, 0.1), (50, 0.5)).share_at(now) == pytest.approx(share)


@pytest.mark.parametrize(
    ("place", "when"), [(0, 1010), (0.0999, 1010), (0.1, 1030), (0.3, 1040), (0.5, None), (0.99, None)]
)
def test_a_host_comes_when_the_share_reaches_its_place(place: float, when: float | None) -> None:
    assert rollout((10, 0.1), (30, 0.1), (50, 0.5)).time_for(place) == (when and pytest.approx(when))


@given(rollouts(), st.floats(0, 1, exclude_max=True), st.floats(0, 900))
def test_share_and_turn_say_the_same(found: Rollout, place: float, now: float) -> None:
    when = found.time_for(place)
    assert (when is not None) == (place < found.share_at(math.inf))
    if when is None:
        assert place >= found.share_at(now)
    elif place < found.share_at(now):
        assert when <= now + 1e-6
    else:
        assert when >= now - 1e-6 or place == pytest.approx(found.share_at(now), abs=1e-9)


@given(rollouts(), st.floats(0, 900), st.floats(0, 900))
def test_the_share_never_shrinks_and_is_one(found: Rollout, one: float, other: float) -> None:
    early, late = sorted((one, other))
    assert 0 <= found.share_at(early) <= found.share_at(late) + 1e-12 <= 1 + 1e-9


@given(rollouts(), st.integers(0, 900), st.floats(0, 900))
def test_a_pause_holds_the_share(found: Rollout, paused_at: int, now: float) -> None:
    going = found.model_copy(update={"paused_at": None})
    paused = found.model_copy(update={"paused_at": paused_at})
    assert paused.share_at(now) == going.share_at(min(now, paused_at))


@given(rollouts(), st.integers(0, 900), st.integers(0, 900), st.integers(0, 900))
def test_after_a_pause_it_goes_on_where_it_stopped(
    found: Rollout, paused_at: int, lasted: int, on: int
) -> None:
    going = found.model_copy(update={"paused_at": None})
    paused = found.model_copy(update={"paused_at": paused_at})
    resumed = paused.resume(Seconds(paused_at + lasted))
    assert resumed.paused_at is None
    assert resumed.share_at(paused_at + lasted + on) == going.share_at(paused_at + on)


def test_what_was_not_paused_goes_on_as_planned() -> None:
    going = rollout((0, 0.1), (50, 0.5))
    assert going.resume(Seconds(5000)) == going


@given(rollouts(), st.floats(0, 1, exclude_max=True), st.floats(0, 900))
def test_an_abort_stops_everything(found: Rollout, place: float, now: float) -> None:
    aborted = found.model_copy(update={"aborted": ""})
    assert aborted.share_at(now) == 0
    assert aborted.time_for(place) is None


def test_a_pause_at_the_very_turn_of_a_host_comes_before_it() -> None:
    paused = rollout((0, 0.1), (100, 0.1), (200, 0.5), paused_at=Seconds(1100))
    assert paused.share_at(2000) == 0.1
    assert paused.time_for(0.1) is None
    assert rollout((0, 0.1), paused_at=Seconds(1000)).time_for(0.05) == 1000


def test_a_rollout_is_written_in_as_many_waves_as_can_be_signed_and_no_more() -> None:
    waves = [f"{number}%@{number}d" for number in range(1, WAVES_MAX + 2)]
    assert len(parse_rollout(",".join(waves[:-1]))) == WAVES_MAX
    with pytest.raises(ValueError, match=f"no more than {WAVES_MAX} waves"):
        parse_rollout(",".join(waves))
