"""Which time counts where a host's clock may be wrong: what was signed at a time proves that it has come."""

from datetime import UTC, datetime

from abctl.core.units import Seconds

BUILT_AT = Seconds(1_795_564_800)  # 2026-11-25 UTC: no clock that is right is before this abctl
_TOLERANCE = 300  # seconds that a publisher's clock may be ahead of a host's


def time_that_counts(system: Seconds, signed: Seconds) -> Seconds:
    """Return the latest of the system's clock, the last signed time that was seen, and the build."""
    return Seconds(max(system, signed, BUILT_AT))


def judge_clock(system: Seconds, signed: Seconds) -> str | None:
    """Return a sentence where the system's clock is certainly wrong."""
    floor = max(signed, BUILT_AT)
    if system + _TOLERANCE >= floor:
        return None
    why = "metadata was signed" if signed > BUILT_AT else "this abctl was built"
    return (
        f"this host's clock says {say_time(system)}, but {why} at {say_time(floor)}: the clock is behind; "
        "set it, or let it be set by NTP"
    )


def say_time(at: float) -> str:
    """Return a time for people: ``2026-11-25 20:11 UTC``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def format_time(at: Seconds) -> str:
    """Return RFC 3339 in UTC, for programs: ``2026-11-22T20:11:05Z``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
