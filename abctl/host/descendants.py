"""A program with a time limit, of which nothing is left afterwards, not even in the background.

While one runs, this process takes the place of init for whatever loses its parent, so that a daemon
with a session of its own stays within reach.
"""

import ctypes
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from abctl.core.units import KIB

TAIL_SIZE = 2 * KIB
_READ_SIZE = 64 * KIB
_LEFT_OVER_MAX = 256 * KIB  # what may stand in the pipe when the program has ended
_END_MAX = 5.0  # seconds to end all of them
_TICK = 1.0  # seconds
_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: ``code`` is below zero for a signal, and None where its time was up.

    ``output`` are the last 2 KiB of what it and its descendants printed; ``ended`` of those were still
    running and were ended, ``left`` could not be.
    """

    code: int | None
    output: bytes
    ended: int
    left: int


def run_limited(
    path: Path, environment: Mapping[str, str], *, limit: float, tick: Callable[[], None] = lambda: None
) -> Ended:
    """Run the program ``path`` for at most ``limit`` seconds; raise OSError where it cannot be started.

    ``tick`` is called each second or so meanwhile.
    """
    with _adopting() as others:
        reading, writing = os.pipe()
        try:
            try:
                pid = _spawn(path, environment, writing)
            finally:
                os.close(writing)
            try:
                code, output = _watch(pid, reading, time.monotonic() + limit, tick)
            finally:
                ended, left = end_descendants(others)
        finally:
            os.close(reading)
    return Ended(code, output, ended, left)


def _spawn(path: Path, environment: Mapping[str, str], output: int) -> int:
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    ]
    # What Python ignores is not to be ignored there.
    defaults = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM)
    return os.posix_spawn(
        path, [str(path)], environment, file_actions=actions, setsid=True, setsigmask=(), setsigdef=defaults
    )


def _watch(pid: int, reading: int, until: float, tick: Callable[[], None]) -> tuple[int | None, bytes]:
    """Return the exit code and the end of the output; descendants do not keep it from coming back."""
    os.set_blocking(reading, False)
    process = os.pidfd_open(pid)
    tail = bytearray()
    try:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.register(reading, select.POLLIN)
        while (left := until - time.monotonic()) > 0:
            ready = dict(poll.poll(min(left, _TICK) * 1000))
            tick()
            if process in ready:
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                for _ in range(_LEFT_OVER_MAX // _READ_SIZE):
                    if not _read_tail(reading, tail):
                        break
                return code, bytes(tail)
            if reading in ready and not _read_tail(reading, tail):
                poll.unregister(reading)
        return None, bytes(tail)
    finally:
        os.close(process)


def _read_tail(reading: int, tail: bytearray) -> bool:
    """Keep the end of what can be read at once; False where there is nothing."""
    try:
        data = os.read(reading, _READ_SIZE)
    except BlockingIOError:
        return False
    tail += data[-TAIL_SIZE:]
    del tail[:-TAIL_SIZE]
    return bool(data)


# --- their end --------------------------------------------------------------------------------------


@contextmanager
def _adopting() -> Iterator[frozenset[int]]:
    """Take in all that loses its parent meanwhile; yield the children that were there before."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = ctypes.c_int()
    libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"descendants cannot be adopted: {os.strerror(number)}")
    try:
        yield frozenset(_children_of(os.getpid(), _read_parents())) if _has_children() else frozenset()
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


def end_descendants(others: frozenset[int]) -> tuple[int, int]:
    """End all descendants of this process save those of ``others``.

    Return how many had to be, and how many are still there. They are all stopped before the first is
    ended, for one that runs may start more than are ended.
    """
    until = time.monotonic() + _END_MAX
    met: set[int] = set()
    while _has_children():
        living, dead = _find_descendants(others)
        if not living and not dead:
            break
        if time.monotonic() > until:
            return len(met), len(living)
        stopped = _stop_all(living, others, until)
        for pid in stopped:
            _send(pid, signal.SIGKILL)
        met |= stopped
        _reap(dead | stopped)
        if stopped:
            time.sleep(0.002)  # the kernel needs a moment to end them
    return len(met), 0


def _stop_all(living: set[int], others: frozenset[int], until: float) -> set[int]:
    """Stop them and all that they start meanwhile."""
    stopped: set[int] = set()
    while (new := living - stopped) and time.monotonic() < until:
        for pid in new:
            _send(pid, signal.SIGSTOP)
        stopped |= new
        living, _ = _find_descendants(others)
    return stopped


def _find_descendants(others: frozenset[int]) -> tuple[set[int], set[int]]:
    """Return the descendants that run, and those that have ended and were not taken note of."""
    parents = _read_parents()
    found: set[int] = set()
    wanted = _children_of(os.getpid(), parents) - others
    while wanted:
        found |= wanted
        wanted = {pid for pid, (parent, _) in parents.items() if parent in wanted} - found
    dead = {pid for pid in found if parents[pid][1] in "ZX"}
    return found - dead, dead


def _children_of(pid: int, parents: Mapping[int, tuple[int, str]]) -> set[int]:
    return {child for child, (parent, _) in parents.items() if parent == pid}


def _read_parents() -> dict[int, tuple[int, str]]:
    """Return the parent and the state of each process."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
                parents[int(folder.name)] = (int(fields[1]), fields[0].decode())
    return parents


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _reap(pids: set[int]) -> None:
    for pid in pids:
        with suppress(ChildProcessError):  # of another parent; ours when that one has ended
            os.waitpid(pid, os.WNOHANG)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
