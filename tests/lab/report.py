"""The table at the end of a run: for each boot, when it came how far, and what abctl took of it."""

from collections.abc import Iterable, Mapping
from typing import Any

_HEAD = ("scenario", "boot", "kernel", "userland", "shell", "confirmed", "CPU", "of abctl", "on a host")
_OTHERS = ("all", "work in the guest", "work on a host")  # CPU seconds that are not those of a unit


def render_table(runs: Iterable[Mapping[str, Any]]) -> str:
    """Return lines of text: seconds since power-on or reset; CPU seconds of a boot and of abctl in it.

    The last column is what abctl's units would take without emulation, by the same work done in both.
    """
    rows = [_HEAD, *(row for run in runs for row in _rows_of(run))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _rows_of(run: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    for boot in run["boots"]:
        marks = {mark["what"]: mark["at"] for mark in reversed(boot["marks"])}
        times = (
            boot["phases"].get("kernel"),
            boot["phases"].get("userland"),
            marks.get("shell"),
            marks.get("confirmed"),
        )
        since = (_say(None if at is None else at - boot["began"]) for at in times)
        yield (run["scenario"], boot["booted"], *since, *_say_cpu(boot["cpu"]))


def _say_cpu(cpu: Mapping[str, float]) -> tuple[str, str, str]:
    if "all" not in cpu:
        return "", "", ""
    ours = sum(seconds for unit, seconds in cpu.items() if unit not in _OTHERS)
    slower = cpu["work in the guest"] / cpu["work on a host"]
    return _say(cpu["all"]), _say(ours), f"{ours / slower:.2f}"


def _say(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"
