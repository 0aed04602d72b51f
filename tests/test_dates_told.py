"""What is read of remembered metadata, and no more than it says: dates, roles, the newest release."""

import json
from typing import Any

import pytest

from abctl.core.newest import Newest, find_newest
from abctl.core.signed_dates import SignedDates, read_dates, read_issued, say_expired
from abctl.core.slot import Part
from abctl.core.trust_state import TrustState
from abctl.core.units import Bytes, Seconds, Version

BUILT_AT = 1_795_564_800  # 2026-11-25; no time that counts is before it
DAY = 86_400


def signed(expires: str | None = None, issued: object = None, **fields: Any) -> str:
    """Return metadata of a role with this date and time of signing."""
    if expires is not None:
        fields["expires"] = expires
    if issued is not None:
        fields["abctl"] = {"issued": issued}
    return json.dumps({"signed": fields})


def day(number: int) -> str:
    return f"2027-01-{number:02d}T08:00:00Z"


FIRST = 1_798_790_400  # the first of these days


# --- when it was signed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "issued"),
    [
        ({"abctl": {"issued": 77}}, 77),
        ({"abctl": {"issued": 0}}, 0),
        ({"abctl": {"issued": 253_402_300_799}}, 253_402_300_799),
        ({"abctl": {"issued": 253_402_300_800}}, 0),
        ({"abctl": {"issued": -1}}, 0),
        ({"abctl": {"issued": 7.5}}, 0),
        ({"abctl": [77]}, 0),
        ({"issued": 77}, 0),
    ],
)
def test_a_time_of_signing_is_one_of_this_era_or_none(fields: dict[str, Any], issued: int) -> None:
    assert read_issued(fields) == issued


def test_each_role_has_its_date_and_the_last_signing_counts() -> None:
    state = TrustState(
        roots=(signed(day(2), 20, version=2), signed(day(3), 30, version=3), signed(day(9), 10, version=1)),
        metadata={
            "timestamp": signed(day(4), 90),
            "snapshot": signed(day(5)),
            "targets": signed(day(6), 50),
            "archive": signed(day(7), 99),
        },
    )
    dates = read_dates(state)
    assert dates.signed == 90
    assert dates.expires == {
        "root": FIRST + 2 * DAY,
        "timestamp": FIRST + 3 * DAY,
        "snapshot": FIRST + 4 * DAY,
        "targets": FIRST + 5 * DAY,
    }


def test_the_root_that_trust_began_with_counts_until_there_is_a_newer_one() -> None:
    pinned = signed(day(1), 11, version=1)
    assert read_dates(TrustState(), pinned) == SignedDates(Seconds(11), {"root": Seconds(FIRST)})
    newer = TrustState(roots=(signed(day(2), 22, version=2),))
    assert read_dates(newer, pinned) == SignedDates(Seconds(22), {"root": Seconds(FIRST + DAY)})
    older = TrustState(roots=(signed(day(2), 22, version="x"), signed(day(3))))
    assert read_dates(older, pinned).expires == {"root": FIRST}
    first = TrustState(roots=(signed(day(4), version=1),))
    assert read_dates(first, signed(day(5))).expires == {"root": FIRST + 3 * DAY}
    assert read_dates(TrustState()) == SignedDates(Seconds(0), {})


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"signed": []}', signed("soon"), signed(day(1)[:4]), "[" * 10_000, '{"x": {}}'],
)
def test_a_role_without_a_date_costs_itself_only(text: str) -> None:
    state = TrustState(metadata={"timestamp": text, "snapshot": signed(day(1)), "targets": text})
    assert dict(read_dates(state).expires) == {"snapshot": FIRST}


def test_a_date_counts_in_its_own_zone() -> None:
    state = TrustState(metadata={"timestamp": signed("2027-01-01T08:00:00+08:00")})
    assert read_dates(state).expires == {"timestamp": FIRST - 8 * 3_600}


# --- whether it still holds -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "signed_at", "expired"),
    [
        (BUILT_AT + 10, 0, ()),
        (BUILT_AT + 12, 0, ("snapshot",)),
        (BUILT_AT + 20, 0, ("snapshot",)),
        (BUILT_AT + 22, 0, ("root", "snapshot")),
        # A clock that is behind is not believed.
        (0, BUILT_AT + 12, ("snapshot",)),
        (0, 0, ()),
        (BUILT_AT + 99, 0, ("root", "snapshot", "targets")),
    ],
)
def test_what_is_past_its_date_is_named_in_the_order_of_the_roles(
    now: int, signed_at: int, expired: tuple[str, ...]
) -> None:
    expires = {
        "targets": Seconds(BUILT_AT + 30),
        "snapshot": Seconds(BUILT_AT + 11),
        "root": Seconds(BUILT_AT + 21),
    }
    dates = SignedDates(Seconds(signed_at), expires)
    assert dates.expired(Seconds(now)) == expired


def test_what_is_out_of_date_is_said_with_the_first_role_and_its_date() -> None:
    dates = SignedDates(expires={"targets": Seconds(FIRST), "timestamp": Seconds(FIRST + DAY)})
    assert say_expired(dates, Seconds(FIRST - 1)) is None
    assert say_expired(dates, Seconds(FIRST + 1)) == (
        "what this host knows of its repository is out of date: targets metadata expired at "
        "2027-01-01 08:00 UTC"
    )
    assert say_expired(dates, Seconds(FIRST + 2 * DAY)) == (
        "what this host knows of its repository is out of date: timestamp metadata expired at "
        "2027-01-02 08:00 UTC"
    )


# --- the newest release -----------------------------------------------------------------------------


def target(
    version: object, layouts: object = ("hostos",), boot: object = 5, root: object = 6
) -> dict[str, Any]:
    sizes = {"boot": boot, "root": root}
    return {"custom": {"abctl": {"version": version, "layouts": layouts, "sizes": sizes}}}


def remembered(*targets: object) -> TrustState:
    numbered = {f"{number}/manifest.json": found for number, found in enumerate(targets)}
    return TrustState(metadata={"targets": json.dumps({"signed": {"targets": numbered}})})


NEWEST = Newest(Version("1.10"), {Part.BOOT: Bytes(5), Part.ROOT: Bytes(6)})


@pytest.mark.parametrize(
    "others",
    [
        (target("1.9"), target("1.2")),
        (target("2.0", ["guestos"]),),
        (target("2.0", []), target("2.0", None)),
        (target("2.0", boot=None), target("2.0", root="many")),
        (target("2 0"), target(2), target(None)),
        ({"custom": {}}, {"custom": {"abctl": 7}}, {}, 7, None, [7]),
        ({"custom": {"abctl": {"version": "2.0", "layouts": ["hostos"]}}},),
        ({"custom": {"abctl": {"version": "2.0", "layouts": ["hostos"], "sizes": {"boot": 1}}}},),
    ],
)
def test_the_newest_release_for_this_layout_is_found_among_all_others(others: tuple[object, ...]) -> None:
    mine = target("1.10", ["guestos", "hostos"])
    assert find_newest(remembered(*others, mine), "hostos") == NEWEST
    assert find_newest(remembered(mine, *others), "hostos") == NEWEST
    assert find_newest(remembered(mine), "other") is None


@pytest.mark.parametrize("text", ["", "null", '{"signed": {"targets": [1]}}', '{"signed": {}}', "{" * 9_999])
def test_what_is_no_metadata_of_targets_has_no_release(text: str) -> None:
    assert find_newest(TrustState(metadata={"targets": text}), "hostos") is None
    assert find_newest(TrustState(metadata={"archive": signed()}), "hostos") is None
