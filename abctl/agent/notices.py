"""Texts of guests for the host's console: cleaned, bounded, and never shown by whom they are sent to."""

import unicodedata
from collections.abc import Sequence

COUNT_MAX = 10
PAUSE = 2.0  # seconds between two times of the same text
TEXT_MAX = 1000  # characters
WAITING_MAX = 16  # notices
_MARKS_MAX = 4  # on one letter; no script needs more


def make_notice(cid: int, text: str) -> str:
    """Return one line that a terminal can show: no control or format characters, no turning of direction.

    It says from whom it is, so that nobody takes it for the host's own word.
    """
    shown: list[str] = []
    marks = 0
    for char in unicodedata.normalize("NFC", " ".join(text[: 4 * TEXT_MAX].split())):
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= _MARKS_MAX:
            shown.append(char if char.isprintable() else "?")
    return f"guest {cid}: {''.join(shown)[:TEXT_MAX]}"


def plan_notice(cid: int, count: int, text: str) -> Sequence[str]:
    """Return the lines to show, one every two seconds."""
    return [make_notice(cid, text)] * min(count, COUNT_MAX)
