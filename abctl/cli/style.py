"""Text for a terminal: colour where it is wanted, and labelled paragraphs that fit a width."""

import os
import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from abctl.core.slot import SlotName

_NO_BREAK = "\N{NO-BREAK SPACE}"
_ONE_WORD = re.compile(r"(?<=\d) (?=(?:s|B|[KMGT]iB|UTC)\b|\d\d:\d\d)")

LABEL_WIDTH = 11
WIDTH = 80


@dataclass(frozen=True, slots=True)
class Style:
    """How to draw: with colours or without, with Unicode or only ASCII, and how many cells wide."""

    colour: bool = False
    unicode: bool = True
    width: int = WIDTH

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str] = os.environ) -> "Style":
        """Return what ``stream`` can show; NO_COLOR and TERM=dumb turn colours off."""
        on_terminal = stream.isatty()
        plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
        encoding = (stream.encoding or "ascii").lower().replace("-", "")
        # Sentences get hard to read on wider lines; a drawing may ask for more.
        width = min(140, shutil.get_terminal_size((WIDTH, 24)).columns) if on_terminal else WIDTH
        return cls(on_terminal and not plain, encoding.startswith("utf"), width)

    def good(self, text: str) -> str:
        return self._paint("1;32", text)

    def warn(self, text: str) -> str:
        return self._paint("1;33", text)

    def bad(self, text: str) -> str:
        return self._paint("1;31", text)

    def bold(self, text: str) -> str:
        return self._paint("1", text)

    def dim(self, text: str) -> str:
        return self._paint("2", text)

    def slot_set(self, name: SlotName, text: str) -> str:
        return self._paint("36" if name is SlotName.A else "35", text)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text


def sentence(text: str) -> str:
    """Return ``text`` as a sentence of its own: a capital first, save of a file's name, a full stop last."""
    word = text.partition(" ")[0].rstrip(".,:;")
    first = text[:1] if "/" in word or "." in word else text[:1].upper()
    return first + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def paragraph(label: str, text: str, style: Style, paint_width: int | None = None) -> list[str]:
    """Return ``text`` wrapped behind ``label``; ``paint_width`` is the label's width without colour codes."""
    room = max(20, min(style.width, 100) - LABEL_WIDTH)
    lines = wrap(text, room)
    head = label + " " * (LABEL_WIDTH - (len(label) if paint_width is None else paint_width))
    return [head + lines[0], *(" " * LABEL_WIDTH + line for line in lines[1:])]


def wrap(text: str, room: int) -> list[str]:
    """Return ``text`` in lines of at most ``room`` cells; a path or a command is never broken.

    A number stays with its unit, and a date with its time.
    """
    joined = _ONE_WORD.sub(_NO_BREAK, text)
    lines = textwrap.wrap(joined, room, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_NO_BREAK, " ") for line in lines] or [""]


def table(rows: Iterable[Sequence[str]], right: frozenset[int] = frozenset(), gap: int = 2) -> list[str]:
    """Return rows with aligned columns; the columns in ``right`` are aligned to the right."""
    cells = [list(row) for row in rows]
    if not cells:
        return []
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return [
        (" " * gap)
        .join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        .rstrip()
        for row in cells
    ]
