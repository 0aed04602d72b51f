"""The pure parts of the campaign: which phase a write is of, where the power goes, and how results add up."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from abctl.core.bootenv import encode
from abctl.core.bootstate import BLOCK_SIZE, BootEnv, Outcome, SlotSet, SlotState, Trial, Why
from abctl.core.command_line import GrubsWord
from abctl.core.found import Extent
from abctl.core.health import CheckResult, Verdict
from abctl.core.health_state import HealthState, Stand
from abctl.core.slot import SlotName
from abctl.core.units import MIB, Seconds, Version
from tests.lab.campaign.disks import Matches
from tests.lab.campaign.guest import Gathered
from tests.lab.campaign.judge import Told, find_lacking_entry, judge
from tests.lab.campaign.kept import read_found, sum_up, write_found
from tests.lab.campaign.look import Outcome as End
from tests.lab.campaign.look import expect
from tests.lab.campaign.page import render_page
from tests.lab.campaign.phases import (
    Marks,
    Phase,
    Span,
    choose_place,
    decode_blocks,
    find_blocks,
    find_spans,
    make_wheel,
)
from tests.lab.campaign.places import KEPT_DIGEST, PLANS, REFUSED
from tests.lab.campaign.recording import LogCounter
from tests.lab.campaign.results import Kind, Result, append, load, make_rows, next_indexes
from tests.lab.writelog import Write, read_log
from tests.test_writelog import _make_log, _sectors

A, B = SlotName.A, SlotName.B
_OLD = BootEnv(A, slot_sets={A: SlotSet(SlotState.GOOD, Version("1.0.0")), B: SlotSet(SlotState.EMPTY)})
_SPANS = (Span(Phase.FETCH, 10, 20), Span(Phase.WRITE, 20, 2000), Span(Phase.ARM, 2000, 2003))


def test_a_copy_is_found_also_in_the_middle_of_a_write() -> None:
    entries = [Write(0, 4096, at=512), Write(8192, 512, at=5120), Write(0, 0, at=6144, is_flush=True)]
    assert find_blocks(entries, (1024, 8192)) == [(0, 512 + 1024), (1, 5120)]
    assert find_blocks(entries, (3840,)) == [], "half a copy is none"


def test_what_is_no_copy_is_left_out() -> None:
    blocks = [(3, encode(_OLD)), (5, b"\xa5" * BLOCK_SIZE)]
    assert [(item.index, item.env) for item in decode_blocks(blocks)] == [(3, _OLD)]


def test_phases_follow_each_other_without_a_gap() -> None:
    installing = _OLD.with_slot_set(B, SlotSet(SlotState.EMPTY, Version("2.0.0")))
    armed = BootEnv(A, Trial(B, 3), installing.slot_sets, Outcome.ARMED)
    spent = BootEnv(A, Trial(B, 2), installing.slot_sets, Outcome.ARMED)
    confirmed = BootEnv(B, None, installing.slot_sets, Outcome.CONFIRMED)
    written = [(5, _OLD), (20, installing), (22, installing), (80, armed), (82, armed), (95, spent)]
    seen = decode_blocks((index, encode(env)) for index, env in [*written, (120, confirmed)])
    spans = find_spans(seen, bulk=30, var=70, marks=Marks(start=10, armed=85, rest=125), count=140)
    assert [span.phase for span in spans] == list(Phase)
    assert [span.first for span in spans] == [10, 20, 30, 70, 80, 85, 95, 120, 125]
    assert [span.last for span in spans] == [20, 30, 70, 80, 85, 95, 120, 125, 140]


def test_each_phase_gets_its_share_however_few_its_writes_are() -> None:
    wheel = make_wheel((*_SPANS, Span(Phase.REST, 2003, 2003)))
    assert Counter(span.phase for span in wheel) == {Phase.FETCH: 2, Phase.WRITE: 3, Phase.ARM: 4}
    assert len({span.phase for span in wheel[:3]}) == 3, "also of a few cuts none is left out"


def test_a_cut_lies_in_its_phase_and_reaches_all_of_it() -> None:
    places: dict[Phase, set[int]] = {}
    for index in range(400):
        span, position, _ = choose_place(_SPANS, "seed", index)
        assert span.first < position <= span.last, "the last write that was issued is of the phase"
        places.setdefault(span.phase, set()).add(position)
    assert places[Phase.ARM] == {2001, 2002, 2003}
    assert places[Phase.FETCH] == set(range(11, 21))


def test_the_same_seed_and_index_give_the_same_cut() -> None:
    first, again, other = (choose_place(_SPANS, seed, 4) for seed in ("one", "one", "two"))
    assert first[:2] == again[:2]
    assert [first[2].random() for _ in range(3)] == [again[2].random() for _ in range(3)]
    assert first[2].random() != other[2].random()


def test_entries_of_a_log_are_counted_while_it_grows(tmp_path: Path) -> None:
    kinds = [(0, 1), (1, 0), (2, 3), (4, 2), (0, 2)]  # flags and sectors
    entries = [(flags, 8, _sectors("abc")[: 512 * sectors]) for flags, sectors in kinds]
    log = _make_log(tmp_path / "log", entries)
    whole = log.read_bytes()
    starts = [write.at for write in read_log(log)]
    counter = LogCounter(log)
    for number, at in enumerate(starts):
        log.write_bytes(whole[: at - 512].ljust(len(whole), b"\0"))
        assert counter.count() == number
    log.write_bytes(whole)
    assert counter.count() == len(entries)


def _result(index: int, phase: str = "arm", outcome: str = "confirmed", **others: object) -> Result:
    return Result(**{"kind": Kind.BOOTED, "recording": "a_to_b", "index": index, "phase": phase,
                     "outcome": outcome, "fates": {"kept": 1, "lost": 2, "torn": 0}, "disk": str(index),
                     **others})  # type: ignore[arg-type]  # fmt: skip


def test_results_outlast_a_stop_in_the_middle_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results = [_result(0), _result(2, problems=("it burns",), boots=("A primary", "B trial"))]
    append(path, results)
    with path.open("a") as file:
        file.write('{"kind": "boo')
    assert load(path) == results
    append(path, [_result(3)])
    assert load(path) == [*results, _result(3)], "what follows half a line is not lost"
    again = _result(2, is_repeated=True)
    append(path, [again])
    assert load(path) == [_result(0), again, _result(3)], "a cut that was repeated counts once"


def test_it_goes_on_with_the_cuts_that_are_missing() -> None:
    results = [_result(0), _result(2), _result(1, recording="b_to_a")]
    assert next_indexes(results, "a_to_b", 3) == [1, 3, 4]


def test_the_page_tells_failures_with_what_repeats_them() -> None:
    results = [
        _result(0),
        _result(1, outcome="old", went_on=True),
        _result(7, phase="write", problems=("slot set A was changed\nin detail",), position=33),
        _result(8, kind=Kind.LOOKED),
    ]
    found = sum_up("5eed", "50ce5", results)
    page = render_page([found], {"5eed a_to_b 7": "It is mended."})
    assert "| powered on and followed until at rest | 3 | 2 | 1 |" in page
    assert "| `arm`: from the commit to the end of the command | 2 | 1 | 1 | 0 | 0 |" in page
    assert (
        "`5eed a_to_b 7` (booted, in `write`, entry 33): slot set A was changed\n\n  It is mended.\n" in page
    )
    told = " ".join(page.split())
    assert "9 writes were not flushed yet: 3 kept, 6 lost, 0 torn" in told
    assert "4 different disks" in told
    assert "done again: 1, confirmed on 1." in told
    assert "Nothing." in render_page([sum_up("5eed", "50ce5", results[:2])], {})
    assert [row.cuts for row in make_rows(results[:3])] == [2, 1]


def test_campaigns_of_several_days_add_up(tmp_path: Path) -> None:
    results = [_result(0), _result(3, problems=("lost",)), _result(8, kind=Kind.LOOKED)]
    write_found(tmp_path / "1.jsonl", sum_up("5eed", "50ce5", results))
    write_found(tmp_path / "2.jsonl", sum_up("0ther", "50ce6", results[:1]))
    kept = read_found(tmp_path.glob("*"))
    assert kept == [sum_up("5eed", "50ce5", results), sum_up("0ther", "50ce6", results[:1])]
    page = render_page(kept, {})
    assert "| powered on and followed until at rest | 3 | 2 | 1 |" in page
    assert "| looked at from outside only | 1 | 1 | 0 |" in page
    assert "| `0ther` | `50ce6` | 1 |" in page


# --- what counts as right -------------------------------------------------------------------------------

_UP, _, _BACK = PLANS


def test_a_slot_set_is_whole_again_when_the_last_wrong_byte_is_gone(tmp_path: Path) -> None:
    disk, wanted = tmp_path / "disk", tmp_path / "wanted"
    for path in (disk, wanted):
        path.write_bytes(bytes(4 * MIB))
    matches = Matches(disk, {(B, "2.0.0"): (wanted, (Extent(MIB, MIB), Extent(3 * MIB, MIB)))})
    assert matches.is_whole(B, "2.0.0")
    assert not matches.is_whole(B, "1.0.0"), "it was never compared with that one"

    def write(at: int, byte: bytes) -> bool:
        with disk.open("r+b") as file:
            file.seek(at)
            file.write(byte)
        matches.touch(at, 1)
        return matches.is_whole(B, "2.0.0")

    assert write(2 * MIB, b"x"), "what lies between its volumes does not matter"
    assert not write(4 * MIB - 1, b"x")
    assert not write(MIB, b"x")
    assert not write(MIB, b"\0")
    assert write(4 * MIB - 1, b"\0")


def test_what_stands_in_the_boot_environment_decides_how_it_has_to_end() -> None:
    sets = {A: SlotSet(SlotState.GOOD, Version("1.0.0")), B: SlotSet(SlotState.UNTESTED, Version("2.0.0"))}
    armed = BootEnv(A, Trial(B, 2), sets)
    assert expect(_OLD, Why.PRIMARY, _UP) is End.OLD
    assert expect(armed, Why.TRIAL, _UP) is End.CONFIRMED
    assert expect(armed, Why.TRIAL, _BACK) is End.FELL_BACK
    assert expect(BootEnv(A, Trial(B, 0), sets), Why.FALLBACK, _UP) is End.FELL_BACK
    assert expect(BootEnv(B, None, sets), Why.PRIMARY, _UP) is End.CONFIRMED
    bad = {**sets, B: SlotSet(SlotState.BAD, Version(_BACK.new))}
    assert expect(BootEnv(A, None, bad), Why.PRIMARY, _BACK) is End.FELL_BACK


def _gathered(slot_set: SlotName = B, version: str = "2.0.0", **others: Any) -> Gathered:
    mounts = {
        point: (f"/dev/mapper/hostlvm-{slot_set}_{part}", "ext4", "ro")
        for point, part in (("/", "root"), ("/boot", "boot"), ("/var", "var"))
    }
    mounts |= dict.fromkeys(("/boot/grub", "/boot/efi", "/boot/config"), ("/dev/vda", "vfat", "rw"))
    health = HealthState(Seconds(1), slot_set, False, Stand.CHECKED, "", ())
    values = {"word": GrubsWord(slot_set), "version": version, "mounts": mounts, "failed_units": "",
              "kept_in_config": KEPT_DIGEST, "health": health}  # fmt: skip
    return Gathered(**{**values, **others})


def _told(primary: str = "B", target: str = "good", verdict: str = "ok", **others: Any) -> Told:
    status = {
        "primary": primary, "trial": None, "verdict": verdict, "headline": "it says this", "damage": [],
        "slot_sets": {"B": {"state": target}}, "refused": [{"version": REFUSED}], "advice": [],
        "boot_env": {"in_step": True}, "last_upgrade": {"outcome": "confirmed"},
    }  # fmt: skip
    return Told({**status, **others}, {"entries": [{"what": "confirmed", "version": "2.0.0"}]})


def test_a_host_that_came_back_as_it_should_has_no_problem() -> None:
    assert judge(_UP, End.CONFIRMED, _gathered(), _told()) == []
    advice = [{"command": "abctl upgrade"}]
    begun = _told("A", "empty", "attention", last_upgrade={"outcome": "installing"}, advice=advice)
    assert judge(_UP, End.OLD, _gathered(A, "1.0.0"), begun) == []
    fallen = _told("A", "bad", "attention", last_upgrade={"outcome": "fell_back"},
                   refused=[{"version": REFUSED}, {"version": _BACK.new}])  # fmt: skip
    assert judge(_BACK, End.FELL_BACK, _gathered(A, "1.0.0"), fallen) == []


_FAILED = CheckResult("disk-space", True, Verdict.FAILED, "no room", 0.1)
_MEMORY = {**_gathered().mounts, "/var": ("tmpfs", "tmpfs", "rw")}
_UNHEALTHY = HealthState(Seconds(1), B, False, Stand.CHECKED, "", (_FAILED,))


@pytest.mark.parametrize(
    ("gathered", "word"),
    [
        (_gathered(A, "1.0.0"), "1.0.0 runs in A, and not 2.0.0 in B"),
        (_gathered(mounts=_MEMORY), "tmpfs is on /var"),
        (_gathered(failed_units="smartd.service"), "smartd.service"),
        (_gathered(health=_UNHEALTHY), "disk-space: no room"),
        (_gathered(kept_in_config=""), "is not what it was"),
    ],
)
def test_each_thing_that_is_wrong_with_a_host_is_told(gathered: Gathered, word: str) -> None:
    assert word in " ".join(judge(_UP, End.CONFIRMED, gathered, _told()))


@pytest.mark.parametrize(
    ("told", "word"),
    [
        (_told(primary="A"), "the primary is A"),
        (_told(trial={"slot_set": "B"}), "on trial is"),
        (_told(refused=[]), "refused are []"),
        (_told(refused=[{"version": REFUSED}, {"version": "2.0.0"}]), "refused are ['0.9.9', '2.0.0']"),
        (_told(boot_env={"in_step": False}), "were not mended"),
        (_told(verdict="attention"), "status is not right: attention, it says this"),
    ],
)
def test_each_thing_that_is_told_wrongly_is_told(told: Told, word: str) -> None:
    assert word in " ".join(judge(_UP, End.CONFIRMED, _gathered(), told))


def test_an_installation_that_was_cut_short_has_to_be_advised_again() -> None:
    begun = _told("A", "empty", "attention", last_upgrade={"outcome": "installing"})
    assert "status is not right" in " ".join(judge(_UP, End.OLD, _gathered(A, "1.0.0"), begun))


def test_the_history_has_to_tell_of_the_end() -> None:
    assert find_lacking_entry(_UP, End.CONFIRMED, _told()) == ""
    assert "lacks that 3.0.0 was confirmed" in find_lacking_entry(PLANS[1], End.CONFIRMED, _told())
    assert "lacks that 4.0.3 was fell_back" in find_lacking_entry(_BACK, End.FELL_BACK, _told())
    assert find_lacking_entry(_UP, End.OLD, Told({}, {"entries": []})) == ""
