"""``Rollout`` and ``Vantage.place_for`` for many hosts at once; test_rollout.py holds them to production."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from abctl.core.bootstate import BootEnv
from abctl.core.consider import Vantage
from abctl.core.events import Host
from abctl.core.slot import SlotName
from abctl.core.terms import Rollout
from abctl.core.units import Seconds, Version

Floats = NDArray[np.float64]
LAYOUT = "hostos"


def name_host(number: int) -> str:
    """Return a host's id; it looks like a machine-id."""
    return f"{number:032x}"


@cache
def find_places(hosts: int, version: Version) -> Floats:
    """Return the place of each host for ``version``: a real SHA-256 for each, by production."""
    nothing = Host(BootEnv(SlotName.A))
    places = (
        Vantage(nothing, LAYOUT, Seconds(0), name_host(number)).place_for(version) for number in range(hosts)
    )
    found = np.fromiter(places, np.float64, hosts)
    found.flags.writeable = False
    return found


def shares_at(rollout: Rollout, times: Floats) -> Floats:
    """Return ``rollout.share_at`` for each of ``times``."""
    if rollout.aborted is not None:
        return np.zeros(len(times))
    if rollout.paused_at is not None:
        times = np.minimum(times, rollout.paused_at)
    passed = times - rollout.start
    after, share = _as_arrays(rollout)
    first = np.searchsorted(after[1:], passed, side="right")
    second = np.minimum(first + 1, len(after) - 1)
    width = np.where(second > first, after[second] - after[first], 1.0)
    part = (passed - after[first]) / width
    growing = share[first] + part * (share[second] - share[first])
    grown = np.where(first == len(after) - 1, share[-1], growing)
    return np.where(passed < after[0], 0.0, grown)


def times_for(rollout: Rollout, places: Floats) -> Floats:
    """Return ``rollout.time_for`` for each of ``places``; NaN where that is None."""
    after, share = _as_arrays(rollout)
    wave = np.minimum(np.searchsorted(share, places, side="right"), len(after) - 1)
    share_before = np.where(wave > 0, share[wave - 1], 0.0)
    after_before = np.where(wave > 0, after[wave - 1], after[0])
    width = np.where(share[wave] > share_before, share[wave] - share_before, 1.0)
    part = (np.minimum(places, share[wave]) - share_before) / width
    times = rollout.start + after_before + part * (after[wave] - after_before)
    most = rollout.share_at(np.inf)
    return np.where(places >= most, np.nan, times)


def _as_arrays(rollout: Rollout) -> tuple[Floats, Floats]:
    after = np.array([wave.after for wave in rollout.waves], np.float64)
    return after, np.array([wave.share for wave in rollout.waves], np.float64)
