"""The pages about coverage and mutation: what counts, and what is not to be hidden."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cover import add_up, list_gaps, make_page
from tests.mutation import mutant, page
from tests.mutation.mutant import Mutant, Verdict, read_module


def a_file(
    lines: int, missing: list[int], branches: int = 0, untaken: tuple[tuple[int, int], ...] = ()
) -> Any:
    return {
        "missing_lines": missing,
        "missing_branches": [list(pair) for pair in untaken],
        "summary": {
            "num_statements": lines,
            "missing_lines": len(missing),
            "num_branches": branches,
            "missing_branches": len(untaken),
        },
    }


REPORT = {
    "files": {
        "abctl/cli/look.py": a_file(10, [3]),
        "abctl/core/slot.py": a_file(9998, [], 2, ((4, 5),)),
        "abctl/core/plan.py": a_file(100, []),
        "abctl/ports.py": a_file(4, []),
        "abctl/vm/keeper.py": a_file(90, [1, 2], 10, ((7, -1),)),
    }
}


def test_rooms_are_folders_and_one_branch_that_is_missing_is_not_rounded_away() -> None:
    rooms = {room.name: room for room in add_up(REPORT)}
    assert list(rooms) == ["core", "cli", "vm", "itself"]
    assert (rooms["core"].files, rooms["core"].lines) == (2, 10098)
    assert rooms["core"].share == 99.9
    assert not rooms["core"].is_enough
    assert not rooms["cli"].is_enough
    assert rooms["cli"].share == 90
    assert rooms["vm"].is_enough
    assert rooms["itself"].share == 100


def test_what_is_missing_is_named_by_its_line() -> None:
    assert list(list_gaps(REPORT, "core")) == ["abctl/core/slot.py:4 never goes to 5"]
    assert list(list_gaps(REPORT, "vm")) == [
        "abctl/vm/keeper.py:1 is not reached",
        "abctl/vm/keeper.py:2 is not reached",
        "abctl/vm/keeper.py:7 never goes to the end",
    ]
    page = make_page(add_up(REPORT), list_gaps(REPORT, "core"))
    assert "| core | 2 | 10,098 | 2 | 0 | 1 | 99.9 % |" in page
    assert "- `abctl/core/slot.py:4 never goes to 5`" in page
    assert "a part of the tests" not in page
    part = make_page(add_up(REPORT), [], ["test_one", "test_two"])
    assert "Measured with a part of the tests, so these are the least that is covered: `test_one`" in part
    assert "What is missing" not in part


def key(function: str, number: int) -> str:
    return f"abctl.core.halves.x{function}__mutmut_{number}"


def test_each_end_of_a_child_is_what_mutmut_says_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutant, "METAS", tmp_path)
    ends = {1: 1, 2: 0, 3: None, 4: 33, 5: -24, 6: 3}
    meta = {
        "exit_code_by_key": {key("_seal", n): end for n, end in ends.items()},
        "hash_by_function_name": {},
    }
    (tmp_path / "halves.py.meta").write_text(json.dumps(meta))
    assert [item.verdict for item in read_module("halves").mutants] == [
        Verdict.KILLED,
        Verdict.SURVIVED,
        Verdict.NOT_TRIED,
        Verdict.NO_TESTS,
        Verdict.TIMEOUT,
        Verdict.KILLED,
    ]
    assert read_module("none").mutants == ()


@pytest.mark.parametrize(
    ("mangled", "function"),
    [("_seal", "halves.seal"), ("__sum", "halves._sum"), ("ǁHalvesǁseal", "halves.Halves.seal")],
)
def test_a_mutant_names_its_function(mangled: str, function: str) -> None:
    assert Mutant(key(mangled, 1), Verdict.KILLED).function == function


@pytest.mark.parametrize(
    ("killed", "reasons", "is_open"),
    [
        (8, {}, True),
        (8, {"halves.seal": (1, "it is the same")}, True),
        (8, {"halves.seal": (2, "it is the same")}, False),
        (18, {}, False),
    ],
    ids=["nobody says why", "said of fewer", "said", "nine of ten are noticed"],
)
def test_below_the_mark_each_survivor_wants_a_reason(
    monkeypatch: pytest.MonkeyPatch, killed: int, reasons: dict[str, tuple[int, str]], is_open: bool
) -> None:
    monkeypatch.setattr(page, "_lines_of", lambda items: {f"changed {len(items)}"})
    mutants = [Mutant(key("_seal", n), Verdict.SURVIVED) for n in range(2)]
    mutants += [Mutant(key("_open", n), Verdict.KILLED) for n in range(killed)]
    mutants += [Mutant(key("_open", 99), Verdict.NOT_TRIED)]
    text = page.make_page({"halves": mutants, "clock": [mutants[-1]]}, reasons)
    assert ("NOT EXPLAINED" in text) is is_open
    assert (
        f"| halves | {killed + 3} | {killed} | 0 | 2 | 0 | 1 | {100 * killed / (killed + 2):.1f} % |" in text
    )
    assert "changed 2" in text
    assert "Not tried yet, with their numbers of changes: clock (1)." in text
