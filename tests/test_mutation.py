"""What is kept of the small changes to the core: another machine goes on from it."""

import json
from collections import defaultdict
from itertools import chain
from pathlib import Path

import pytest

from tests.mutation import decided, mutant
from tests.mutation.decided import keep, make_meta, read_mutants, restore
from tests.mutation.mutant import Verdict
from tests.mutation.page import make_page


@pytest.fixture
def metas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(mutant, "METAS", tmp_path / "metas")
    monkeypatch.setattr(decided, "list_modules", lambda: ["grub", "slot"])
    (tmp_path / "metas").mkdir()
    return tmp_path / "metas"


def write_meta(metas: Path, digest: str, ends: list[int | None]) -> None:
    meta = make_meta("grub", {"x_read": [digest, "-" * len(ends)], "xǁBootǁname": ["d2", "-"]})
    keys = [f"abctl.core.grub.x_read__mutmut_{number}" for number in range(1, len(ends) + 1)]
    meta["exit_code_by_key"] = {
        **dict(zip(keys, ends, strict=True)),
        "abctl.core.grub.xǁBootǁname__mutmut_1": 1,
    }
    (metas / "grub.py.meta").write_text(json.dumps(meta))


def letters(path: Path) -> dict[str, str]:
    """Return what is written down, by function."""
    found: dict[str, str] = defaultdict(str)
    for item in chain.from_iterable(read_mutants(path).values()):
        found[item.function] += item.verdict.value
    return found


def test_what_is_decided_reaches_another_machine(metas: Path, tmp_path: Path) -> None:
    write_meta(metas, "d1", [1, 0, None, 36, 33])
    path = tmp_path / "decided.json"
    keep(path)
    assert letters(path) == {"grub.read": "ks-tn", "grub.Boot.name": "k"}
    (metas / "grub.py.meta").unlink()
    restore(path)
    assert [item.verdict for item in mutant.read_module("grub").mutants] == [
        *(Verdict.KILLED, Verdict.NOT_TRIED, Verdict.NOT_TRIED, Verdict.TIMEOUT, Verdict.NOT_TRIED),
        Verdict.KILLED,
    ]
    keep(path)
    assert letters(path)["grub.read"] == "ks-tn", "what was not tried once more stands"


def test_what_survived_is_tried_once_more_here_too(metas: Path, tmp_path: Path) -> None:
    write_meta(metas, "d1", [1, 0])
    restore(tmp_path / "decided.json")
    verdicts = [item.verdict for item in mutant.read_module("grub").mutants]
    assert verdicts == [Verdict.KILLED, Verdict.NOT_TRIED, Verdict.KILLED]


def test_a_function_that_changed_is_not_decided(metas: Path, tmp_path: Path) -> None:
    path = tmp_path / "decided.json"
    write_meta(metas, "d1", [0, 0])
    keep(path)
    write_meta(metas, "other", [None, 1, None])
    keep(path)
    assert letters(path)["grub.read"] == "-k-"


def test_the_page_counts_what_was_tried(metas: Path, tmp_path: Path) -> None:
    path = tmp_path / "decided.json"
    write_meta(metas, "d1", [1, None, 36])
    keep(path)
    page = make_page(read_mutants(path), {})
    assert "| grub | 4 | 3 | 1 | 0 | 0 | 1 | 100.0 % |" in page
    assert "NOT EXPLAINED" not in page
