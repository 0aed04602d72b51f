"""A limit on bandwidth, as a token bucket."""

import threading
import time
from collections.abc import Callable

_BURST = 0.25  # seconds' worth that may come at once
_PIECE_MIN = 1024  # bytes


class RateLimit:
    """Lets ``bytes_per_second`` through; all transfers that share it share the rate."""

    def __init__(self, bytes_per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with a full bucket; ``clock`` gives seconds, and never goes back."""
        if bytes_per_second < 1:
            raise ValueError(f"not a rate in bytes per second: {bytes_per_second}")
        self._rate = bytes_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._full_at = clock()  # when the bucket will be full again

    @property
    def bytes_per_second(self) -> int:
        return self._rate

    @property
    def piece(self) -> int:
        """How many bytes to read at once, so that they keep coming evenly."""
        return max(_PIECE_MIN, int(self._rate * _BURST))

    def take(self, count: int) -> float:
        """Book ``count`` bytes that came, and return for how many seconds to wait now."""
        with self._lock:
            now = self._clock()
            self._full_at = max(self._full_at, now) + count / self._rate
            return max(0.0, self._full_at - now - _BURST)
