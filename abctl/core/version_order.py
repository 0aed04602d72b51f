"""Which of two versions is newer."""

import re

from abctl.core.units import Version

_RELEASE = re.compile(r"\d+(\.\d+)*")
_PIECE = re.compile(r"([.+_~-]*)(\d+|[A-Za-z]+)")
_END = (0,)

Order = tuple[tuple[int, ...], tuple[tuple[int | str, ...], ...]]


def order_of(version: Version) -> Order:
    """Return a key that sorts versions from old to new.

    Dotted numbers count as numbers (1.10 is newer than 1.9, and 2.0 is 2.0.0). What follows ``-`` or ``~``
    comes before the release (2.0.0-rc1, 2.0.0~beta), anything else after it (2.0.0+1, 2.0.0a).
    """
    found = _RELEASE.match(version)
    numbers = [int(number) for number in found[0].split(".")] if found else []
    while numbers and not numbers[-1]:
        numbers.pop()
    rest = version[found.end() :] if found else version
    pieces = tuple(_weigh(separator, text) for separator, text in _PIECE.findall(rest))
    return tuple(numbers), (*pieces, _END)


def _weigh(separator: str, text: str) -> tuple[int | str, ...]:
    """Return a tuple that is below ``_END`` for what comes before a release, above it for the rest."""
    rank = -1 if separator[:1] in ("-", "~") else 1
    return (rank, 0, int(text), "") if text.isdigit() else (rank, 1, 0, text)


def is_newer(version: Version, than: Version) -> bool:
    return order_of(version) > order_of(than)
