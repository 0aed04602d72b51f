"""A terminal of 80 columns that a real command writes to, and a picture of what stands on it."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from pathlib import Path

COLUMNS, ROWS = 80, 100
_CELL, _LINE, _SIZE, _PAD = 8.0, 18, 13.3, 14  # pixels
_PAPER, _INK, _BRIGHT = "#1e2530", "#d5dbe3", "#ffffff"
_COLOURS = {31: "#f2837b", 32: "#8fd08a", 33: "#e8c36a", 34: "#7fb2f0", 35: "#d39be0", 36: "#79cfd8"}
_DIM = "#8893a2"
_STEPS = (0, 95, 135, 175, 215, 255)
_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


@dataclass(frozen=True, slots=True)
class Look:
    """How a character looks."""

    colour: str = _INK
    bold: bool = False

    def after(self, codes: str) -> "Look":
        """Return the look after the parameters of an SGR sequence (ECMA-48, 8.3.117)."""
        look, numbers = self, [int(code or 0) for code in codes.split(";")]
        while numbers:
            number = numbers.pop(0)
            if number == 38:
                look = Look(_palette(numbers[1]), look.bold)
                del numbers[:2]
            elif number in (0, 39):
                look = Look()
            elif number == 1:
                look = Look(_BRIGHT if look.colour == _INK else look.colour, bold=True)
            elif number == 2:
                look = Look(_DIM)
            elif number in _COLOURS:
                look = Look(_COLOURS[number], look.bold)
        return look


def _palette(number: int) -> str:
    """Return a colour of the 256 that terminals have."""
    if number >= 232:
        levels = [8 + 10 * (number - 232)] * 3
    elif number >= 16:
        levels = [_STEPS[(number - 16) // step % 6] for step in (36, 6, 1)]
    else:
        return _COLOURS.get(30 + number % 8, _INK)
    return "#" + "".join(f"{level:02x}" for level in levels)


@dataclass
class Screen:
    """Lines of characters with their looks, and a cursor. It knows the sequences that abctl and rich send."""

    rows: list[list[tuple[str, Look]]] = field(default_factory=lambda: [[]])
    row: int = 0
    column: int = 0
    look: Look = Look()

    def write(self, text: str) -> None:
        """Take what a program sends."""
        for token in _TOKEN.finditer(text):
            codes, order, move, words = token.groups()
            if words is not None:
                self._put(words)
            elif move is not None:
                self._move(move)
            else:
                self._obey(order, codes)

    def _put(self, words: str) -> None:
        line = self.rows[self.row]
        line += [(" ", Look())] * (self.column - len(line))
        line[self.column : self.column + len(words)] = [(char, self.look) for char in words]
        self.column += len(words)

    def _move(self, move: str) -> None:
        self.column = 0
        if move == "\n":
            self.row += 1
            self.rows += [[] for _ in range(self.row + 1 - len(self.rows))]

    def _obey(self, order: str, codes: str) -> None:
        if order == "m":
            self.look = self.look.after(codes)
        elif order == "A":
            self.row = max(0, self.row - int(codes or 1))
        elif order == "K":
            self.rows[self.row] = []
        elif codes[:1] != "?":
            raise ValueError(f"this terminal does not know the sequence {codes}{order}")

    @property
    def lines(self) -> list[str]:
        """What stands there, without looks."""
        return ["".join(char for char, _ in row).rstrip() for row in self.rows]


def run_on_terminal(
    command: Sequence[str], folder: Path, environ: dict[str, str], ends: int = 0
) -> Iterator[Screen]:
    """Run a command and yield the screen each time it has changed; the last one is how it was left.

    Raise AssertionError where it does not end with ``ends``.
    """
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
    plain = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")
    }
    with subprocess.Popen(
        command, cwd=folder, stdin=writer, stdout=writer, stderr=writer, env=plain | environ
    ) as process:
        os.close(writer)
        screen, rest = Screen(), b""
        while piece := _read(reader):
            *whole, rest = re.split(rb"(?<=\n)|(?<=m)", rest + piece)
            screen.write(b"".join(whole).decode())
            yield screen
        screen.write(rest.decode())
        os.close(reader)
    assert process.returncode == ends, screen.lines
    yield screen


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, 65536)
    except OSError:  # Linux says so when nobody has the other end open any more
        return b""


def draw_screen(prompts: Sequence[tuple[str, Screen]]) -> str:
    """Return a picture of commands, each with what it left on the terminal.

    Raise AssertionError where a line is longer than the terminal is wide.
    """
    rows: list[list[tuple[str, Look]]] = []
    for command, screen in prompts:
        rows += [[(char, Look(_BRIGHT, bold=True)) for char in line] for line in _wrap(f"$ {command}")]
        assert all(len(line) <= COLUMNS for line in screen.lines), screen.lines
        rows += screen.rows
        while rows and not "".join(char for char, _ in rows[-1]).strip():
            rows.pop()
        rows.append([])
    width, height = COLUMNS * _CELL + 2 * _PAD, (len(rows) - 1) * _LINE + 2 * _PAD
    font = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
        f'font-family="{font}" font-size="{_SIZE}">\n'
        f'<rect width="100%" height="100%" rx="8" fill="{_PAPER}"/>'
    )
    return "\n".join(
        [head, *(text for number, row in enumerate(rows) for text in _draw_row(number, row)), "</svg>", ""]
    )


def _wrap(command: str) -> list[str]:
    """Return a command as one types it on several lines."""
    lines = [""]
    for word in command.split(" "):
        if len(lines[-1]) + len(word) + 3 > COLUMNS:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _draw_row(number: int, row: list[tuple[str, Look]]) -> Iterator[str]:
    y, column = _PAD + number * _LINE + 0.75 * _LINE, 0
    for look, group in groupby(row, key=lambda cell: cell[1]):
        text = "".join(char for char, _ in group)
        # Widths of fonts differ; the text keeps to its cells all the same.
        for part in re.finditer(r"\S+(?: \S+)*", text):
            x, length = _PAD + (column + part.start()) * _CELL, len(part[0]) * _CELL
            weight = ' font-weight="bold"' if look.bold else ""
            yield (
                f'<text x="{x:.0f}" y="{y:.1f}" fill="{look.colour}"{weight} textLength="{length:.0f}" '
                f'lengthAdjust="spacingAndGlyphs">{escape(part[0])}</text>'
            )
        column += len(text)
