"""What came out of each cut, as lines of JSON; how they add up: pure but for the file."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.lab.writelog import Fate


class Kind(StrEnum):
    """How far a cut was followed."""

    BOOTED = "booted"  # the disk that it left was powered on
    LOOKED = "looked"  # looked at from outside only
    KILLED = "killed"  # QEMU itself was killed during an upgrade, and the disk powered on


@dataclass(frozen=True, slots=True)
class Result:
    """One cut. ``outcome`` is how it ended, or how it has to where it was only looked at.

    ``disk`` is the same for two cuts that left the same disk. ``position`` and ``durable`` count entries
    of the log; ``fates`` counts what became of the writes between them. ``boots`` are those that GRUB
    started until it was at rest; ``verdict`` is that of `abctl status`. ``went_on`` says whether the
    upgrade was then done again, None where that was not tried. ``is_over``: the confirmation was there
    already; ``lost_entry``: only its line in the history was not. ``is_repeated``: it was followed again.
    """

    kind: Kind
    recording: str
    index: int
    phase: str
    outcome: str
    problems: tuple[str, ...] = ()
    position: int = 0
    durable: int = 0
    fates: dict[str, int] | None = None
    disk: str = ""
    boots: tuple[str, ...] = ()
    verdict: str = ""
    headline: str = ""
    went_on: bool | None = None
    is_over: bool = False
    lost_entry: bool = False
    is_repeated: bool = False
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """What to repeat it by."""
        return f"{self.recording} {self.index}"


def count_fates(fates: Iterable[Fate]) -> dict[str, int]:
    counted = Counter(fates)
    return {fate.value: counted[fate] for fate in Fate}


def append(path: Path, results: Iterable[Result]) -> None:
    """Add results to a file, each in one write, so that a stop leaves whole lines."""
    # Half a line that a stop left must not take the next one with it.
    is_cut = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" if is_cut else "")
        for result in results:
            file.write(json.dumps(asdict(result)) + "\n")
            file.flush()


def load(path: Path) -> list[Result]:
    """Return the results of a file, of a cut that was repeated the last; half a line is left out."""
    if not path.exists():
        return []
    found: dict[tuple[Kind, str], Result] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        result = parse_result(values)
        found[result.kind, result.name] = result
    return list(found.values())


def parse_result(values: dict[str, Any]) -> Result:
    """Return what a line of JSON says; what it leaves out is as by default."""
    changed: dict[str, Any] = {"kind": Kind(values["kind"])}
    for name in ("problems", "boots"):
        changed[name] = tuple(values.get(name, ()))
    return Result(**{**values, **changed})


def next_indexes(results: Iterable[Result], recording: str, count: int) -> list[int]:
    """Return the next ``count`` indexes of a recording that are not among ``results``."""
    done = {item.index for item in results if item.recording == recording}
    fresh = (index for index in itertools.count() if index not in done)
    return list(itertools.islice(fresh, count))


@dataclass(frozen=True, slots=True)
class Row:
    """The cuts of one phase of one recording."""

    recording: str
    phase: str
    cuts: int
    outcomes: dict[str, int]
    failed: int


def make_rows(results: Iterable[Result]) -> list[Row]:
    """Return a row for each recording and phase, in the order in which they came first."""
    grouped: dict[tuple[str, str], list[Result]] = {}
    for item in results:
        grouped.setdefault((item.recording, item.phase), []).append(item)
    return [
        Row(
            recording,
            phase,
            len(items),
            dict(Counter(item.outcome for item in items)),
            sum(1 for item in items if item.problems),
        )
        for (recording, phase), items in grouped.items()
    ]


def sum_fates(results: Iterable[Result]) -> dict[str, int]:
    """Return what became of all the writes that were not flushed."""
    total: Counter[str] = Counter()
    for item in results:
        total.update(item.fates or {})
    return dict(total)
