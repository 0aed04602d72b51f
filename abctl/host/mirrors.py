"""Several mirrors: which is asked next, when, and when to give up."""

import random
import threading
import time
from collections.abc import Iterator

from abctl.errors import SourceNotFound, SourceProblem
from abctl.host.failed import Failed
from abctl.host.fetching import PAUSE_MAX, Fetching
from abctl.host.mirror import Mirror


class Line:
    """The mirrors, best first; readers in several threads share what they learn about them."""

    def __init__(self, mirrors: list[Mirror]) -> None:
        self._mirrors = mirrors
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Mirror]:
        with self._lock:
            return iter(tuple(self._mirrors))

    def send_to_end(self, mirror: Mirror) -> None:
        with self._lock:
            self._mirrors.remove(mirror)
            self._mirrors.append(mirror)


class Patience:
    """Says which mirror to try next and when, for one transfer, and when to give up.

    Waits double with each try of a mirror, at random up to their length, so that many hosts do not come
    back all at once. A byte of progress makes everything as at the start.
    """

    def __init__(self, line: Line, fetching: Fetching) -> None:
        self._line = line
        self._fetching = fetching
        self._tries = max(fetching.tries, len(tuple(line)))
        self._failures: dict[Mirror, int] = {}
        self._ready_at: dict[Mirror, float] = {}
        self._last: dict[Mirror, Failed] = {}
        self._count = 0

    def progress(self) -> None:
        if self._count:
            self._count = 0
            self._failures.clear()

    def note(self, mirror: Mirror, failed: Failed, *, came_far: bool) -> None:
        """Note that a try failed; where bytes ``came_far`` enough to help, the next one may be at once."""
        self._line.send_to_end(mirror)
        self._count += 1
        self._last[mirror] = failed
        failures = self._failures[mirror] = self._failures.get(mirror, 0) + 1
        longest = min(PAUSE_MAX, self._fetching.first_pause * 2 ** (failures - 1))
        pause = max(failed.pause, 0.0 if came_far else random.uniform(0, longest))
        self._ready_at[mirror] = time.monotonic() + pause

    def choose(self) -> tuple[Mirror, float] | None:
        """Return the next mirror and for how many seconds to wait before, or None to give up.

        One that need not be waited for comes first.
        """
        left = [mirror for mirror in self._line if self._may_help(mirror)]
        if not left or self._count >= self._tries:
            return None
        now = time.monotonic()
        waits = [max(0.0, self._ready_at.get(mirror, now) - now) for mirror in left]
        return left[waits.index(min(waits))], min(waits)

    def _may_help(self, mirror: Mirror) -> bool:
        return mirror not in self._last or self._last[mirror].may_pass

    def explain(self, name: str) -> SourceProblem:
        """Return what each mirror said last, as the error of a transfer that is given up."""
        last = list(self._last.values())
        if len(last) == 1:
            tries = f" ({self._count} tries)" if self._count > 1 else ""
            problem = last[0].problem(f"{last[0].said}{tries}: {last[0].advice}")
        else:
            said = "; ".join(failed.said for failed in last)
            kinds = [failed.problem for failed in last if failed.problem is not SourceNotFound]
            kind = kinds[-1] if kinds else SourceNotFound
            problem = kind(f"no mirror gives {name}: {said}: check the mirrors, then try again")
        problem.__cause__ = last[-1].__cause__
        return problem
