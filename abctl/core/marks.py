"""The marks that a trial's initramfs and scripts leave on the config volume: lines that sh writes in place.

Each line has 64 bytes: ``GENERATION ATTEMPTS_LEFT WHAT``, filled with spaces. That a kernel came up stands in
the line with the number of attempts left, and what ended the boot eight lines below. A mark counts only for
the trial that was armed under its generation.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from abctl.core.bootstate import GENERATION_MAX, MAX_ATTEMPTS
from abctl.core.units import KIB

PATH = "abctl/marks"  # on the config volume
FILE_SIZE = 4 * KIB
LINE_SIZE = 64  # bytes, the newline included
_ENDS = 8  # the first line that tells how a boot ended
_MARK = re.compile(rb"([0-9]{1,10}) ([0-9]) ([a-z]+) *\n")


class What(StrEnum):
    """What a mark says of a boot."""

    KERNEL = "kernel"  # it came up
    DEADLINE = "deadline"  # the others: what rebooted it
    FAILED = "failed"
    EMERGENCY = "emergency"


@dataclass(frozen=True, slots=True)
class Mark:
    """In a boot of the trial of ``generation``, with ``attempts_left``, this happened."""

    generation: int
    attempts_left: int
    what: What = What.KERNEL

    @property
    def line(self) -> int:
        return self.attempts_left + (0 if self.what is What.KERNEL else _ENDS)

    @property
    def number(self) -> int:
        """Which boot of the trial it was, 1 for the first."""
        return MAX_ATTEMPTS - self.attempts_left


def parse_marks(data: bytes) -> tuple[Mark, ...]:
    """Return the whole marks in the file, the earliest boot first; a line that is no mark is passed over."""
    found = (
        _parse_line(data[line * LINE_SIZE : (line + 1) * LINE_SIZE], line)
        for left in reversed(range(MAX_ATTEMPTS))
        for line in (left, left + _ENDS)
    )
    return tuple(mark for mark in found if mark)


def _parse_line(data: bytes, line: int) -> Mark | None:
    match = _MARK.fullmatch(data)
    if not match or match[3].decode() not in tuple(What) or int(match[1]) > GENERATION_MAX:
        return None
    mark = Mark(int(match[1]), int(match[2]), What(match[3].decode()))
    return mark if mark.line == line else None


def encode_marks(marks: Iterable[Mark]) -> bytes:
    """Return the file with these marks."""
    lines = [b"".ljust(LINE_SIZE - 1) + b"\n"] * (FILE_SIZE // LINE_SIZE)
    for mark in marks:
        text = f"{mark.generation} {mark.attempts_left} {mark.what}"
        lines[mark.line] = text.encode().ljust(LINE_SIZE - 1) + b"\n"
    return b"".join(lines)


def empty_file() -> bytes:
    """Return the file of a new disk."""
    return encode_marks(())
