"""What a host remembers of a repository survives a cut at any point; garbage is as if there were nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abctl.core.trust_state import FORM, ROOTS_MAX, TrustState, decode, encode_half
from abctl.core.units import Seconds, Version
from abctl.errors import WriteFailed
from abctl.update.memory import ConfigTrust
from tests.hostile_repository import Attacker, Host, make_guest_repository, make_host

pytestmark = pytest.mark.slow

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
states = st.builds(
    TrustState,
    host_id=texts,
    roots=st.lists(texts, max_size=4).map(tuple),
    metadata=st.dictionaries(st.sampled_from(["timestamp", "snapshot", "targets", "archive"]), texts),
    checked_at=st.none() | st.integers(0, 2**40).map(Seconds),
    recalled=st.dictionaries(st.sampled_from(["1.0.0", "2.0.0"]).map(Version), texts),
)


class Medium:
    """The trust file; a write ends after so many bytes where a cut is set."""

    def __init__(self) -> None:
        self.data = bytearray(FORM.blank())
        self.offsets: list[int] = []
        self.cut: int | None = None

    def read(self) -> bytes:
        return bytes(self.data)

    def overwrite(self, offset: int, data: bytes) -> None:
        self.offsets.append(offset)
        done = len(data) if self.cut is None else min(self.cut, len(data))
        self.data[offset : offset + done] = data[:done]
        if done < len(data):
            raise WriteFailed("the power went")


def same(one: TrustState, other: TrustState) -> bool:
    return replace(one, serial=0) == replace(other, serial=0)


def store(medium: Medium, *kept: TrustState) -> ConfigTrust:
    trust = ConfigTrust(medium)
    for state in kept:
        trust.write(replace(state, serial=trust.read().serial))
    return trust


@pytest.mark.slow
@settings(max_examples=40)
@given(st.lists(states, min_size=1, max_size=4))
def test_what_was_written_last_is_read(kept: list[TrustState]) -> None:
    assert same(store(Medium(), *kept).read(), kept[-1])


def test_the_two_halves_take_turns() -> None:
    medium = Medium()
    store(medium, *[TrustState(host_id=str(number)) for number in range(5)])
    first, second = medium.offsets[:2]
    assert {first, second} == {0, FORM.half_size}
    assert medium.offsets == [first, second, first, second, first]


@pytest.mark.slow
@settings(max_examples=60)
@given(states, states, st.integers(0, FORM.half_size), st.booleans())
def test_a_cut_costs_at_most_the_last_write(
    before: TrustState, after: TrustState, cut: int, odd: bool
) -> None:
    medium = Medium()
    trust = store(medium, *[before] * (2 if odd else 1))
    written = len(encode_half(replace(after, serial=trust.read().serial + 1)).rstrip(b" "))
    medium.cut = cut % (written + 1)
    try:
        trust.write(replace(after, serial=trust.read().serial))
    except WriteFailed:
        assert same(trust.read(), before) or medium.cut >= written - 1
    assert same(trust.read(), before) or same(trust.read(), after)


@pytest.mark.parametrize("half", [0, 1])
def test_a_tear_in_any_range_of_either_half_costs_that_half_alone(half: int) -> None:
    older, newer = (
        TrustState(host_id=name, roots=("root " * 400,), metadata={"timestamp": name * 300})
        for name in ("older", "newer")
    )
    medium = Medium()
    trust = store(medium, *([TrustState()] if half else []), older, newer)
    whole = medium.read()
    place = FORM.place_for(trust.read().serial)
    assert place == (half * FORM.half_size)
    for start in range(0, 6 * 512, 100):
        for length in (1, 512, FORM.half_size - start):
            medium.data[:] = whole
            end = min(place + start + length, place + FORM.half_size)
            medium.data[place + start : end] = bytes(end - place - start)
            found = trust.read()
            assert same(found, older) or (same(found, newer) and not whole[place + start : end].strip())
    medium.data[:] = whole
    medium.data[FORM.half_size - place : 2 * FORM.half_size - place] = bytes(FORM.half_size)
    assert same(trust.read(), newer)


def test_the_half_that_is_torn_is_the_one_that_is_written_next() -> None:
    medium = Medium()
    older, newer, newest = (TrustState(host_id=name) for name in ("older", "newer", "newest"))
    trust = store(medium, older, newer)
    medium.cut = 100
    with pytest.raises(WriteFailed):
        trust.write(replace(newest, serial=trust.read().serial))
    medium.cut = None
    assert same(trust.read(), newer)
    trust.write(replace(newest, serial=trust.read().serial))
    assert same(trust.read(), newest)
    assert medium.offsets[-1] == medium.offsets[-2]


# --- too large --------------------------------------------------------------------------------------


def test_a_state_that_is_too_large_leaves_out_what_can_be_fetched_again() -> None:
    metadata = {"timestamp": "t" * 1000, "snapshot": "s" * 1000, "targets": "x" * FORM.half_size}
    state = TrustState(host_id="me", roots=("r" * 60_000,) * 3, metadata=metadata, serial=7)
    half = encode_half(state)
    assert len(half) == FORM.half_size
    found = decode(half)
    assert found.metadata == {"timestamp": "t" * 1000, "snapshot": "s" * 1000}
    assert (found.host_id, found.roots, found.serial) == ("me", state.roots, 7)


def test_the_newest_roots_are_kept_longest() -> None:
    roots = tuple(f"{number:<60000}" for number in range(20))
    found = decode(encode_half(TrustState(roots=roots, metadata={"timestamp": "t"})))
    assert found.roots == roots[-len(found.roots) :]
    assert len(found.roots) >= 8
    assert found.metadata == {"timestamp": "t"}
    many = tuple(map(str, range(100)))
    assert decode(encode_half(TrustState(roots=many))).roots == many[-ROOTS_MAX:]


# --- garbage ----------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
fields = st.sampled_from(["serial", "host_id", "checked_at", "roots", "metadata", "recalled"])


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_garbage_is_as_if_there_were_nothing(first: bytes, second: bytes) -> None:
    assert decode(first.ljust(FORM.half_size) + second) == TrustState()


@given(json_values)
def test_a_whole_half_that_holds_something_else_is_as_if_there_were_nothing(value: object) -> None:
    half = FORM.seal(json.dumps(value).encode())
    assert half is not None
    assert decode(half) == TrustState()


@given(fields, json_values)
def test_a_field_of_another_type_never_raises(field: str, value: object) -> None:
    values = {
        "serial": 1,
        "host_id": "me",
        "checked_at": 5,
        "roots": ["root"],
        "metadata": {"timestamp": "{}"},
        "recalled": {"1.0.0": "hums"},
    }
    half = FORM.seal(json.dumps({**values, field: value}).encode())
    assert half is not None
    found = decode(half)
    assert decode(encode_half(found)) == found


@pytest.mark.parametrize(
    "state",
    [
        TrustState(roots=("\ud800",)),
        TrustState(metadata={"timestamp": "\ud800"}),
        TrustState(host_id="\ud800"),
        TrustState(recalled={Version("1.0.0"): "\ud800"}),
    ],
)
def test_text_that_has_no_bytes_is_as_if_there_were_nothing(state: TrustState) -> None:
    assert decode(encode_half(state)) == TrustState()


def test_deep_garbage_never_raises() -> None:
    half = FORM.seal(b"[" * 100_000)
    assert half is not None
    assert decode(half) == TrustState()


# --- on a disk --------------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path) -> Host:
    repo = make_guest_repository(tmp_path / "repo", "2.0.0")
    attacker = Attacker(repo, tmp_path / "attacker")
    host = make_host(tmp_path / "host", repo.root, [attacker.file_url], repo.clock)
    assert host.abctl("check").code == 0
    old = attacker.record()
    repo.publish("3.0.0")
    attacker.relay()
    assert host.abctl("check").code == 0
    attacker.replay(old)
    return host


def test_a_torn_trust_file_is_mended_by_the_next_check_and_still_knows_what_was_seen(host: Host) -> None:
    """The newer half is torn; the older one still knows that this mirror is honest with what it had then."""
    newer = host.trust
    assert host.abctl("check").code == 37
    host.trust_file.overwrite(FORM.place_for(newer.serial), bytes(4096))
    assert (host.trust.serial, host.trust.host_id) == (newer.serial - 1, newer.host_id)
    assert host.abctl("check").code == 0
    assert host.abctl("status").code == 0


@pytest.mark.parametrize("garbage", [bytes(FORM.file_size), b"\xff" * FORM.file_size, b"{}" * FORM.half_size])
def test_a_trust_file_of_garbage_is_as_on_a_new_host(host: Host, garbage: bytes) -> None:
    host.forget(garbage)
    assert host.trust == TrustState()
    assert host.abctl("status").code == 0
    assert host.abctl("check").code == 0
    assert host.trust.metadata.keys() == {"timestamp", "snapshot", "targets"}


@pytest.mark.parametrize(
    "state",
    [
        TrustState(roots=("", "{}", "\x00"), metadata={"timestamp": "{}", "snapshot": "", "targets": "[]"}),
        TrustState(metadata={"timestamp": '{"signed": 0.5}', "snapshot": "null"}),
        TrustState(recalled={Version("1.0.0"): "\u202e"}, checked_at=Seconds(2**60)),
    ],
)
def test_metadata_that_is_none_in_a_sound_trust_file_is_fetched_again(host: Host, state: TrustState) -> None:
    ConfigTrust(host.trust_file).write(replace(state, serial=host.trust.serial))
    assert host.abctl("status").code == 0
    said = host.abctl("check")
    assert said.code == 0, said.err
    assert host.trust.metadata.keys() == {"timestamp", "snapshot", "targets"}
