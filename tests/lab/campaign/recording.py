"""A recording: the disk that a whole upgrade began with, the one that it left, and the log of its writes."""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from tests.lab.campaign.phases import Phase, Span, choose_place
from tests.lab.campaign.places import PLANS, Plan
from tests.lab.writelog import Cut, Write, cut_at, read_log

_SECTOR = 512
_ENTRY_SIZE = 32
_DISCARD, _MARK = 4, 8


@dataclass(frozen=True)
class Recording:
    """What stands in ``folder``; ``seed`` is that of the whole set of recordings."""

    folder: Path
    seed: str

    @cached_property
    def facts(self) -> "Facts":
        values = json.loads((self.folder / "facts.json").read_text())
        spans = tuple(Span(Phase(item["phase"]), item["first"], item["last"]) for item in values["spans"])
        return Facts(**{**values, "spans": spans})

    @property
    def plan(self) -> Plan:
        return next(plan for plan in PLANS if plan.name == self.folder.name)

    @property
    def base(self) -> Path:
        return self.folder / "base.img"

    @property
    def final(self) -> Path:
        return self.folder / "final.img"

    @property
    def log(self) -> Path:
        return self.folder / "writes.log"

    @property
    def is_there(self) -> bool:
        return (self.folder / "facts.json").exists()

    @cached_property
    def entries(self) -> list[Write]:
        return read_log(self.log)

    def draw(self, index: int) -> "Drawn":
        """Return cut ``index``: always the same of one recording."""
        span, position, chance = choose_place(self.facts.spans, f"{self.seed} {self.plan.name}", index)
        return Drawn(index, span.phase, cut_at(self.entries, position, chance))


@dataclass(frozen=True)
class Facts:
    """What is known of a recording; ``seconds`` of the upgrade from its command to its rest.

    ``sizes`` are the bytes of the images, by slot set and part; ``host_id`` is what the trust state holds.
    """

    spans: tuple[Span, ...]
    sizes: dict[str, int]
    host_id: str
    seconds: float

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A cut of a recording."""

    index: int
    phase: Phase
    cut: Cut


class LogCounter:
    """Counts the entries of a log that is being written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = _SECTOR
        self._count = 0

    def count(self) -> int:
        with self._path.open("rb") as file:
            while (length := self._length_at(file)) is not None:
                self._at += length
                self._count += 1
        return self._count

    def _length_at(self, file: BinaryIO) -> int | None:
        file.seek(self._at)
        head = file.read(_ENTRY_SIZE)
        if len(head) < _ENTRY_SIZE or not any(head):
            return None
        sectors, flags, marked = (int.from_bytes(head[at : at + 8], "little") for at in (8, 16, 24))
        if flags & _MARK:
            return _SECTOR - (-marked // _SECTOR) * _SECTOR
        return _SECTOR + (0 if flags & _DISCARD else sectors * _SECTOR)
