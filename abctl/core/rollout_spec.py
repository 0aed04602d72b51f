"""Rollouts, durations and times as a publisher writes them: ``1%,10%@1d,100%@3d``, ``12h``, ``now``."""

import re
from datetime import UTC, datetime
from itertools import pairwise

from abctl.core.terms import WAVES_MAX, Wave
from abctl.core.units import Seconds

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_DURATION = re.compile(r"(\d{1,9})([smhdw])")
_WAVE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%(?:@(.+))?")
_WHOLE = 100  # percent
_DURATION_MAX = 100 * 366 * 86_400
TIME_MAX = 9_000_000_000  # in the year 2255; with any duration it is still before the year 10000


def parse_duration(text: str) -> int:
    """Return seconds from ``90s``, ``30m``, ``12h``, ``3d`` or ``2w``; raise ValueError."""
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise ValueError(f"not a duration such as 30m, 12h, 3d or 2w: {text[:40]!r}")
    seconds = int(found[1]) * _UNITS[found[2]]
    if seconds > _DURATION_MAX:
        raise ValueError(f"longer than 100 years: {text[:40]!r}")
    return seconds


def format_duration(seconds: int) -> str:
    """Return ``3d`` or ``36h``: the largest unit that leaves no rest."""
    unit = next(name for name in reversed(_UNITS) if seconds % _UNITS[name] == 0)
    return f"{seconds // _UNITS[unit]}{unit}" if seconds else "0s"


def parse_rollout(text: str) -> tuple[Wave, ...]:
    """Return the waves of ``1%,10%@1d,100%@3d``: shares of all hosts, and how long after the start.

    Raise ValueError.
    """
    waves = tuple(_parse_wave(item.strip()) for item in text.split(","))
    if len(waves) > WAVES_MAX:
        raise ValueError(f"a rollout has no more than {WAVES_MAX} waves")
    for first, second in pairwise(waves):
        if second.after <= first.after or second.share < first.share:
            raise ValueError(f"each wave must come after the one before and be no smaller: {text[:80]!r}")
    return waves


def _parse_wave(text: str) -> Wave:
    found = _WAVE.fullmatch(text)
    share = round(float(found[1]) / _WHOLE, 9) if found else 2
    if not found or share > 1:
        raise ValueError(f"not a wave such as 10%@1d: {text[:40]!r}")
    return Wave(after=parse_duration(found[2]) if found[2] else 0, share=share)


def format_rollout(waves: tuple[Wave, ...]) -> str:
    """Return the waves as they are written."""
    return ",".join(
        f"{wave.share * _WHOLE:.6g}%" + (f"@{format_duration(wave.after)}" if wave.after else "")
        for wave in waves
    )


def parse_time(text: str, now: Seconds) -> Seconds:
    """Return the time in ``2027-01-15T08:00:00Z`` (RFC 3339), or ``now``; raise ValueError."""
    if text.strip().lower() == "now":
        return now
    try:
        time = datetime.fromisoformat(text.strip())
        if time.tzinfo is None:
            raise ValueError("no time zone")
        seconds = int(time.astimezone(UTC).timestamp())
        if not 0 <= seconds <= TIME_MAX:
            raise ValueError("too far away")
        return Seconds(seconds)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"not a time such as 2027-01-15T08:00:00Z, or now: {text[:40]!r}") from error
