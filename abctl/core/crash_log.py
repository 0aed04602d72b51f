"""The kernel's last words, as pstore keeps them over a reboot: in parts of some KiB, the last lines first."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from abctl.core.evidence import clean_tail

_HEAD = re.compile(r"(Panic|Oops|Emergency|Restart|Shutdown|Halt|Poweroff|Unknown)#(\d{1,6}) Part(\d{1,6})")
_LEVEL = re.compile(r"^<\d{1,3}>")
_CRASHES = ("Panic", "Oops")


@dataclass(frozen=True, slots=True)
class CrashPart:
    """One file: ``at`` is when it was written, in seconds."""

    at: float
    data: bytes


@dataclass(frozen=True, slots=True)
class CrashLog:
    """The last lines of one crash, cleaned and bounded."""

    at: float
    lines: tuple[str, ...]


def join_crash_logs(parts: Iterable[CrashPart]) -> tuple[CrashLog, ...]:
    """Return the last lines of each panic or oops, oldest first; what is no such part is passed over.

    Part 1 holds the end of the log; a number that does not go on begins another crash. A panic tells more
    than the oops that led to it.
    """
    crashes: list[_Crash] = []
    for at, (kind, count, part), lines in sorted(_heads_of(parts), key=lambda item: (item[0], item[1])):
        last = crashes[-1] if crashes else None
        if last is None or (last.kind, last.count) != (kind, count) or part <= last.part:
            crashes.append(_Crash(at, kind, count, part, lines))
        else:
            crashes[-1] = _Crash(at, kind, count, part, lines + last.lines)
    panics = [crash for crash in crashes if crash.kind == "Panic"]
    return tuple(CrashLog(crash.at, tail) for crash in panics or crashes if (tail := clean_tail(crash.lines)))


@dataclass(frozen=True, slots=True)
class _Crash:
    at: float
    kind: str
    count: int
    part: int
    lines: list[str]


def _heads_of(parts: Iterable[CrashPart]) -> Iterable[tuple[float, tuple[str, int, int], list[str]]]:
    for item in parts:
        head, _, text = item.data.decode("utf-8", "replace").partition("\n")
        match = _HEAD.fullmatch(head.strip())
        if match and match[1] in _CRASHES:
            lines = [_LEVEL.sub("", line) for line in text.splitlines()]
            yield item.at, (match[1], int(match[2]), int(match[3])), lines
