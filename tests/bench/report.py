"""Write docs/performance.md and its pictures from the results of a run."""

from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.plots import plot_growth
from tests.svg import plot_bars

PAGE = Path("docs/performance.md")
PICTURES = Path("docs/performance")
TEXT = Path(__file__).with_name("performance.in.md")
_MIB = 2**20
_NAMES = {
    "full": "abctl, full",
    "bare": "abctl, full, not read back",
    "tls": "abctl, full, HTTPS",
    "delta": "abctl, delta",
    "again": "abctl, of what is there",
    "slow": "abctl, full, 100 Mbit/s",
    "slow delta": "abctl, delta, 100 Mbit/s",
}

Middles = dict[str, dict[str, float]]


def write_report(results: dict[str, Any]) -> str:
    """Fill the text beside this module with the tables, draw the plots, and return the goals' ratios."""
    middles = find_medians(results["costs"])
    PICTURES.mkdir(exist_ok=True)
    shown = [name for name in middles if not name.startswith("floor") and "Mbit" not in name]
    for unit in ("wall", "cpu"):
        bars = [(name, middles[name][unit]) for name in sorted(shown, key=lambda name: middles[name][unit])]
        (PICTURES / f"{unit}.svg").write_text(plot_bars(f"{unit} seconds, median", bars))
    if results["growth"]:
        points = [(row["size"] / 1024, row["wall"]) for row in results["growth"]]
        (PICTURES / "growth.svg").write_text(plot_growth(points))
    text = TEXT.read_text()
    for mark, filling in (
        ("machine", _describe_machine(results)),
        ("table", _make_table(middles)),
        ("goals", _make_goals(middles, results)),
        ("growth", _make_growth(results["growth"])),
        ("runs", f"medians of {max(int(row['runs']) for row in middles.values())} runs"),
    ):
        text = text.replace(f"@{mark}@", filling)
    PAGE.write_text(text)
    return _make_goals(middles, results)


def find_medians(costs: list[dict[str, Any]]) -> Middles:
    """Return the median of each figure, by tool, in the order in which tools first ran."""
    middles: Middles = {}
    for name in dict.fromkeys(cost["tool"] for cost in costs):
        rows = [cost for cost in costs if cost["tool"] == name]
        units = ("wall", "cpu", "rss", "downloaded", "written", "temporary")
        middles[name] = {unit: median(float(row[unit]) for row in rows) for unit in units}
        middles[name]["runs"] = len(rows)
        middles[name]["is pipeline"] = rows[0]["kind"] == "pipeline"
        middles[name]["is updater"] = rows[0]["kind"] == "updater"
    return middles


def _describe_machine(results: dict[str, Any]) -> str:
    machine, data = results["machine"], results["data"]
    sha = "with" if machine["sha_ni"] else "without"
    peers = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"{machine['cpus']} CPUs {sha} SHA instructions, {machine['memory_gib']} GiB of memory, Linux "
        f"{machine['kernel']}, Python {machine['python']}. Root has 4 GiB with {data['root'] // _MIB} MiB of "
        f"data, Boot 1 GiB with {data['boot'] // _MIB} MiB. v2 is an update of v1: {results['changes']}. "
        f"Peers: {peers}."
    )


def _make_table(middles: Middles) -> str:
    lines = [
        "| tool | wall s | CPU s | peak RSS MiB | downloaded MiB | written MiB | temporary MiB | runs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in middles.items():
        sizes = [f"{row[unit] / _MIB:.1f}" for unit in ("rss", "downloaded", "written", "temporary")]
        cells = (name, f"{row['wall']:.2f}", f"{row['cpu']:.2f}", *sizes, f"{row['runs']:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _make_goals(middles: Middles, results: dict[str, Any]) -> str:
    lines = ["| goal | measured | |", "|---|---|---|"]
    for what, measured, most in _list_goals(middles, results):
        verdict = "met" if measured <= most else "**missed**"
        lines.append(f"| {what}: at most {most:g} | {measured:.3g} | {verdict} |")
    return "\n".join(lines)


def _list_goals(middles: Middles, results: dict[str, Any]) -> list[tuple[str, float, float]]:
    at = {short: middles[name] for short, name in _NAMES.items() if name in middles}
    pipelines = [row for row in middles.values() if row["is pipeline"]]
    updaters = [row for row in middles.values() if row["is updater"]]
    goals: list[tuple[str, float, float]] = []
    data = sum(results["data"].values())
    for short, label in (("full", "full, read back"), ("bare", "full, not read back")):
        for unit, rows, name, most in (
            ("wall", pipelines, "fastest pipeline", 0.5),
            ("wall", updaters, "fastest updater", 0.35),
            ("cpu", pipelines, "fastest pipeline", 0.6),
            ("cpu", updaters, "fastest updater", 0.4),
        ):
            if short in at and rows:
                peer = min(rows, key=lambda row: row["wall"])
                goals.append((f"{label}: {unit} against the {name}", at[short][unit] / peer[unit], most))
    if "full" in at:
        goals.append(("full: peak RSS in MiB", at["full"]["rss"] / _MIB, 64))
        goals.append(("full: temporary MiB", at["full"]["temporary"] / _MIB, 0.1))
        goals.append(("full: written against the data that is not zeros", at["full"]["written"] / data, 1.02))
    if {"full", "bare"} <= at.keys():
        goals.append(("reading back: wall against without", at["full"]["wall"] / at["bare"]["wall"], 1.5))
    return goals + _list_delta_goals(at, middles, data)


def _list_delta_goals(at: Middles, middles: Middles, data: float) -> list[tuple[str, float, float]]:
    goals: list[tuple[str, float, float]] = []
    if {"full", "delta"} <= at.keys():
        goals.append(("delta: bytes against full", _ratio(at, "delta", "full", "downloaded"), 0.09))
        goals.append(("delta: peak RSS in MiB", at["delta"]["rss"] / _MIB, 128))
        goals.append(("delta: wall against full", at["delta"]["wall"] / at["full"]["wall"], 1))
        seeds = [row for name, row in middles.items() if "casync" in name]
        if seeds:
            ratio = at["delta"]["downloaded"] / min(row["downloaded"] for row in seeds)
            goals.append(("delta: bytes against casync with seed", ratio, 0.4))
    if {"slow", "slow delta"} <= at.keys():
        goals.append(
            ("delta at 100 Mbit/s: wall against full", at["slow delta"]["wall"] / at["slow"]["wall"], 0.1)
        )
    if "again" in at:
        goals.append(("of what is there: written against the data", at["again"]["written"] / data, 0.02))
        goals.append(("of what is there: downloaded MiB", at["again"]["downloaded"] / _MIB, 1))
    return goals


def _ratio(at: Middles, first: str, second: str, unit: str) -> float:
    return at[first][unit] / at[second][unit]


def _make_growth(growth: list[dict[str, float]]) -> str:
    lines = ["| image MiB | wall s | CPU s | s for each GiB | peak RSS MiB |", "|---|---|---|---|---|"]
    for row in growth:
        each = row["wall"] / row["size"] * 1024
        lines.append(
            f"| {row['size']} | {row['wall']:.2f} | {row['cpu']:.2f} | {each:.2f} | {row['rss'] / _MIB:.0f} |"
        )
    return "\n".join(lines)
