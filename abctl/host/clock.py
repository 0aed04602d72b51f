"""The machine's clock."""

import time

from abctl.core.units import Seconds


def now() -> Seconds:
    return Seconds(int(time.time()))
