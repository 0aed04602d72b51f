"""How many bytes of data go to some devices; the kernel's counters take ranges of zeros for data too."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.trees import run

_TRACING = Path("/sys/kernel/tracing")
_EVENT = "events/block/block_rq_issue"
_BUFFER_KIB = 32 * 1024  # for each CPU; a run makes some ten thousand lines
_LINE = re.compile(r"block_rq_issue: (\d+),(\d+) (\S+) (\d+) ")


class Written:
    """Adds up the writes to block devices that have ``numbers`` (major, minor)."""

    def __init__(self, numbers: set[tuple[int, int]]) -> None:
        self._numbers = numbers

    def start(self) -> None:
        (_TRACING / "trace").write_text("")

    def count(self) -> int:
        """Return the bytes written since ``start``, without what only made a range read as zeros."""
        total = 0
        with (_TRACING / "trace").open() as lines:
            for line in lines:
                if "LOST" in line:
                    raise SystemExit("bench: the kernel's trace lost events: use a larger buffer")
                found = _LINE.search(line)
                if found and (int(found[1]), int(found[2])) in self._numbers and is_data(found[3]):
                    total += int(found[4])
        return total


def is_data(kind: str) -> bool:
    """Return whether the letters that the kernel gives a request are those of a write of data."""
    return "W" in kind and "Z" not in kind and "D" not in kind


@contextmanager
def watch_writes(numbers: set[tuple[int, int]]) -> Iterator[Written]:
    """Trace the requests to these devices until the end of the block; as root."""
    run("mount", "-t", "tracefs", "nodev", str(_TRACING))
    try:
        (_TRACING / "buffer_size_kb").write_text(str(_BUFFER_KIB))
        (_TRACING / _EVENT / "filter").write_text(
            " || ".join(f"dev == {major << 20 | minor}" for major, minor in sorted(numbers))
        )
        (_TRACING / _EVENT / "enable").write_text("1")
        yield Written(numbers)
    finally:
        (_TRACING / _EVENT / "enable").write_text("0")
        (_TRACING / _EVENT / "filter").write_text("0")
        (_TRACING / "trace").write_text("")
        run("umount", str(_TRACING))
