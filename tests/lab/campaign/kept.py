"""What is kept of each campaign beside the page, so that those of other days and machines add up."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from tests.lab.campaign.results import Kind, Result, parse_result


@dataclass(frozen=True, slots=True)
class Found:
    """What was found with one set of recordings, whose ``sources`` and ``seed`` say which.

    ``results`` are of the cuts that were powered on, and whatever was not right; ``looked`` counts those
    that were right and only looked at, ``looked_disks`` the disks among them that nothing else had left.
    """

    seed: str
    sources: str
    results: tuple[Result, ...]
    looked: int
    looked_disks: int


def sum_up(seed: str, sources: str, results: Sequence[Result]) -> Found:
    """Return what is kept of ``results``."""
    followed = {item.name for item in results if item.kind is Kind.BOOTED}
    disks = {item.disk for item in results if item.kind is Kind.BOOTED}
    looked = [item for item in results if item.kind is Kind.LOOKED and item.name not in followed]
    kept = (item for item in results if item.kind is not Kind.LOOKED or item.problems)
    right = [item for item in looked if not item.problems]
    return Found(seed, sources, tuple(kept), len(right), len({item.disk for item in right} - disks))


def write_found(path: Path, found: Found) -> None:
    """Write a line for the set, and one for each of its results without what is as by default."""
    head = {
        "seed": found.seed,
        "sources": found.sources,
        "looked": found.looked,
        "looked_disks": found.looked_disks,
    }
    lines = [head, *(_without_defaults(item) for item in found.results)]
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def read_found(paths: Iterable[Path]) -> list[Found]:
    return [_read(path) for path in sorted(paths)]


def _read(path: Path) -> Found:
    head, *lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    results = tuple(parse_result(line) for line in lines)
    return Found(head["seed"], head["sources"], results, head["looked"], head["looked_disks"])


def _without_defaults(item: Result) -> dict[str, Any]:
    values = {field.name: (getattr(item, field.name), field.default) for field in fields(item)}
    return {name: value for name, (value, usual) in values.items() if usual is MISSING or value != usual}
