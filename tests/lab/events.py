"""What happened to a machine and when: read off its console, for events.json and the picture."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from abctl.core.command_line import GrubsWord, parse_command_line
from tests.lab.console import Line


class Phase(StrEnum):
    """What a machine is at; each begins with the event of its name."""

    OFF = "off"
    FIRMWARE = "firmware"
    GRUB = "grub"
    KERNEL = "kernel"
    INITRAMFS = "initramfs"
    USERLAND = "userland"


_PHASES = {
    Phase.GRUB: re.compile(r"Welcome to GRUB|GNU GRUB|Booting `"),
    Phase.KERNEL: re.compile(r"Linux version \d"),
    Phase.INITRAMFS: re.compile(r"Loading, please wait|Begin: (Loading|Running)"),
    Phase.USERLAND: re.compile(r"systemd\[1\]: systemd \S+ running in system mode|^Welcome to (?!GRUB).*!$"),
}
_MARKS = {
    "panic": re.compile(r"Kernel panic - not syncing"),
    "reboots in 10 s": re.compile(r"Rebooting in \d+ seconds|Rebooting automatically due to panic"),
}
# The kernel says it twice, and an emulated serial line may lose a character of either.
_COMMAND_LINE = re.compile(r"ommand line: (.*)")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened ``at`` so many seconds after the first power-on."""

    at: float
    what: str
    text: str = ""


@dataclass(slots=True)
class Boot:
    """One start of the machine; ``word`` is what GRUB told the kernel, if one ran."""

    began: float
    ended: float | None = None
    how: str = ""  # it ended
    word: GrubsWord | None = None
    phases: dict[Phase, float] = field(default_factory=dict)
    marks: list[Event] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)  # seconds, by unit; "all" is the whole guest

    @property
    def name(self) -> str:
        """For example ``B trial``; ``-`` where no kernel started."""
        if self.word is None or self.word.slot_set is None:
            return "-"
        return f"{self.word.slot_set} {self.word.why or '?'}"


class Story:
    """Takes lines of a console and what the driver did, and makes boots of them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.boots: list[Boot] = []

    def note(self, at: float, what: str, text: str = "") -> None:
        event = Event(at, what, text)
        self.events.append(event)
        if self.boots:
            self.boots[-1].marks.append(event)

    def begin(self, at: float, what: str) -> None:
        """A machine starts: by a power-on, or by the reset that ended the boot before."""
        self.end(at, what)
        self.boots.append(Boot(at, phases={Phase.FIRMWARE: at}))
        self.events.append(Event(at, what))

    def end(self, at: float, how: str) -> None:
        if self.boots and self.boots[-1].ended is None:
            self.boots[-1].ended, self.boots[-1].how = at, how

    def off(self, at: float, how: str) -> None:
        """The machine goes off."""
        self.end(at, how)
        self.events.append(Event(at, how))

    def read(self, line: Line) -> None:
        """Take one line of the console."""
        if not self.boots:
            return
        boot = self.boots[-1]
        for phase, pattern in _PHASES.items():
            if phase not in boot.phases and pattern.search(line.text):
                boot.phases[phase] = line.at
                self.events.append(Event(line.at, phase))
        if (boot.word is None or boot.word.why is None) and (found := _COMMAND_LINE.search(line.text)):
            is_first = boot.word is None
            boot.word = parse_command_line(found[1])
            if is_first:
                self.events.append(Event(line.at, "kernel started", found[1]))
        for what, pattern in _MARKS.items():
            if pattern.search(line.text):
                self.note(line.at, what)

    @property
    def names(self) -> list[str]:
        """What GRUB booted, one after the other; boots that GRUB did not get to are left out."""
        return [boot.name for boot in self.boots if boot.word is not None]

    def write(self, path: Path, name: str) -> None:
        """Write events.json."""
        values = {
            "scenario": name,
            "boots": [_values_of(boot) for boot in self.boots],
            "events": [
                {"at": round(item.at, 3), "what": item.what, "text": item.text} for item in self.events
            ],
        }
        path.write_text(json.dumps(values, indent=1) + "\n")


def _values_of(boot: Boot) -> dict[str, object]:
    return {
        "booted": boot.name,
        "began": round(boot.began, 3),
        "ended": None if boot.ended is None else round(boot.ended, 3),
        "how": boot.how,
        "phases": {phase: round(at, 3) for phase, at in boot.phases.items()},
        "marks": [{"at": round(item.at, 3), "what": item.what, "text": item.text} for item in boot.marks],
        "cpu": {unit: round(seconds, 3) for unit, seconds in boot.cpu.items()},
    }


def find_mark(boot: Boot, names: Iterable[str]) -> float | None:
    """Return when the first of the marks was noted, in seconds after the boot began."""
    wanted = set(names)
    return next((mark.at - boot.began for mark in boot.marks if mark.what in wanted), None)
