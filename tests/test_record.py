"""What is remembered of a host's upgrades: how long, and that nothing damaged is believed."""

import json

import pytest

from abctl.core.record import (
    FILE_SIZE,
    FORM,
    HALF_SIZE,
    REFUSALS_MAX,
    TEXT_MAX,
    Entry,
    Happened,
    Record,
    Refusal,
    decode,
    decode_half,
    empty_file,
    encode_half,
    place_for,
)
from abctl.core.slot import SlotName
from abctl.core.units import Digest, Seconds, Version

B = SlotName.B
AT = Seconds(0)


@pytest.mark.parametrize("letter", ["x", "é", "故", "🔥"])
def test_however_long_the_reasons_of_refusals_are_the_newest_of_all_is_kept(letter: str) -> None:
    record = Record()
    for number in range(REFUSALS_MAX):
        version = Version(f"{number}.0.0")
        record = record.with_refusal(Refusal(AT, version, Digest("a" * 64), letter * TEXT_MAX))
        record = record.with_entry(Entry(AT, Happened.FELL_BACK, B, version, text=letter * TEXT_MAX))
    kept = decode_half(encode_half(record))
    assert kept is not None
    assert [item.version for item in kept.refusals] == [f"{number}.0.0" for number in range(REFUSALS_MAX)]
    assert all(item.reason for item in kept.refusals)
    assert kept.entries[-10:] == record.entries[-10:]


def test_refusals_that_fit_in_no_way_are_dropped_the_oldest_first() -> None:
    versions = [Version(f"{number}.{'0' * 2000}") for number in range(REFUSALS_MAX)]
    refusals = tuple(Refusal(AT, version, Digest("a" * 64), "why") for version in versions)
    kept = decode_half(encode_half(Record(refusals=refusals)))
    assert kept is not None
    left = [item.version for item in kept.refusals]
    assert 0 < len(left) < REFUSALS_MAX
    assert left == versions[-len(left) :]


def test_a_trial_that_was_called_off_and_then_confirmed_or_allowed_starts_with_a_clean_sheet() -> None:
    version = Version("2.0.0")
    called_off = Record().with_entry(Entry(AT, Happened.CALLED_OFF, B, version, text="no room"))
    assert called_off.was_called_off(version, "no room")
    assert not called_off.was_called_off(version, "another reason")
    assert not called_off.was_called_off(Version("3.0.0"), "no room")
    assert not called_off.was_called_off(None, "no room")
    for what in (Happened.ALLOWED, Happened.CONFIRMED):
        later = called_off.with_entry(Entry(AT, what, B, version))
        assert not later.was_called_off(version, "no room")
    assert called_off.with_entry(Entry(AT, Happened.INSTALLED, B, version)).was_called_off(version, "no room")


def test_a_record_that_is_too_long_loses_its_oldest_entries_and_no_refusal() -> None:
    record = Record(serial=7).with_refusal(Refusal(AT, Version("1.0.0"), None, "it is bad"))
    for number in range(2000):
        record = record.with_entry(Entry(Seconds(number), Happened.INSTALLED, B, Version(f"2.{number}.0")))
    half = encode_half(record)
    kept = decode_half(half)
    assert kept is not None
    assert len(half) == len(encode_half(Record()))
    assert (kept.refusals, kept.serial) == (record.refusals, 7)
    assert kept.entries == record.entries[-len(kept.entries) :]
    assert len(kept.entries) > 100


@pytest.mark.parametrize(
    "spoil",
    [
        {"refusals": ["2.0.0"]},
        {"serial": "7"},
        {"serial": -1},
        {"serial": True},
        {"entries": [{"at": "now", "what": "installed"}]},
        {"entries": [{"at": 1.5, "what": "installed"}]},
        {"entries": [{"at": 253_402_300_800, "what": "installed"}]},
        {"entries": [{"at": 1, "what": "installed", "text": 7}]},
        {"entries": [{"at": 1, "what": "installed", "flavour": "salt"}]},
        {"entries": [{"at": 1, "what": "installed", "slot_set": "C"}]},
        {"entries": [{"at": 1}]},
        {"entries": 7},
    ],
    ids=str,
)
def test_values_that_no_record_has_are_as_if_nothing_was_kept(spoil: dict[str, object]) -> None:
    values = {"serial": 1, "refusals": [], "entries": [], **spoil}
    half = FORM.seal(json.dumps(values).encode())
    assert half is not None
    assert decode_half(half) is None


# --- what is looked up ------------------------------------------------------------------------------


def test_a_version_gave_way_as_long_as_nobody_allowed_it_since() -> None:
    two, three = Version("2.0.0"), Version("3.0.0")
    record = Record().with_entry(Entry(AT, Happened.INSTALLED, B, two))
    assert not record.gave_way(two)
    record = record.with_entry(Entry(AT, Happened.GAVE_WAY, B, two))
    record = record.with_entry(Entry(AT, Happened.GAVE_WAY, B, None))
    assert record.gave_way(two)
    assert not record.gave_way(three)
    assert not record.gave_way(None)
    record = record.with_entry(Entry(AT, Happened.ALLOWED, version=three))
    record = record.with_entry(Entry(AT, Happened.INSTALLED, B, two))
    assert record.gave_way(two)
    assert not record.with_entry(Entry(AT, Happened.ALLOWED, version=two)).gave_way(two)


# --- the file ---------------------------------------------------------------------------------------


def test_of_two_halves_the_newer_counts_and_the_other_is_written_next() -> None:
    older, newer = (
        Record(serial=serial).with_entry(Entry(AT, Happened.INSTALLED, B, Version(f"{serial}.0.0")))
        for serial in (4, 5)
    )
    data = bytearray(empty_file())
    for record in (older, newer):
        place = place_for(record)
        data[place : place + HALF_SIZE] = encode_half(record)
    assert place_for(older) != place_for(newer)
    assert decode(bytes(data)) == (newer, True)
    place = place_for(newer)
    data[place + 100 : place + 110] = b"x" * 10
    assert decode(bytes(data)) == (older, True)
    assert decode(bytes(FILE_SIZE)) == (Record(), False)
    assert decode(empty_file()) == (Record(), True)
    assert len(empty_file()) == FILE_SIZE == 2 * HALF_SIZE
