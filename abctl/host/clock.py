"""The machine's clock."""

import time

from abctl.core.units import Seconds


def now() -> Seconds:
    return Seconds(int(time.time()))


def since_boot() -> float:
    """Return the seconds since the kernel started; nobody sets this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
