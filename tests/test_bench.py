"""The report of a benchmark says what was measured, and which goals were missed."""

from typing import Any

from tests.bench.report import find_medians, write_report


def _costs(tool: str, kind: str, *walls: float, **others: float) -> list[dict[str, Any]]:
    figures = {"cpu": 2.0, "rss": 2**25, "downloaded": 2**28, "written": 2**30, "temporary": 0, **others}
    return [{"tool": tool, "kind": kind, "wall": wall, **figures} for wall in walls]


def test_of_several_runs_the_middle_one_counts() -> None:
    middles = find_medians(_costs("abctl, full", "abctl", 9.0, 2.0, 3.0))
    assert middles["abctl, full"]["wall"] == 3.0


def test_the_page_says_which_goals_were_met_and_which_missed(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("tests.bench.report.PAGE", tmp_path / "performance.md")
    monkeypatch.setattr("tests.bench.report.PICTURES", tmp_path / "pictures")
    costs = [
        *_costs("abctl, full", "abctl", 2.0, cpu=3.0),
        *_costs("pipeline: curl, openssl, zstd, dd", "pipeline", 5.0, cpu=4.0),
        *_costs("bmaptool", "updater", 8.0, cpu=10.0),
    ]
    machine = {"cpus": 2, "sha_ni": True, "memory_gib": 24, "kernel": "6.1", "python": "3.11"}
    results = {
        "machine": machine,
        "versions": {"rauc": "1.8"},
        "changes": "384 packages",
        "data": {"root": 2**30, "boot": 2**26},
        "sizes": {},
        "costs": costs,
        "growth": [{"size": 256, "wall": 1.0, "cpu": 1.0, "rss": 2**25}],
    }
    write_report(results)
    page = (tmp_path / "performance.md").read_text()
    assert "| full, read back: wall against the fastest pipeline: at most 0.5 | 0.4 | met |" in page
    assert "| full, read back: cpu against the fastest pipeline: at most 0.6 | 0.75 | **missed** |" in page
    assert "| abctl, full | 2.00 | 3.00 |" in page
    assert "@" not in page
    assert "bmaptool" in (tmp_path / "pictures/wall.svg").read_text()
