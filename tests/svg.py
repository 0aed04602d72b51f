"""Plain SVG pictures: bars, and lines over two axes; nothing is needed to draw them or to look at them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, ROW, TOP = 760, 250, 26, 36
GREEN, RED, BLUE, GREY = "#1f6f5c", "#b3402a", "#3465a4", "#9aa5ad"
_FONT = 'font-family="sans-serif" font-size="13"'
_PLOT_LEFT, _PLOT_RIGHT, _PLOT_HEIGHT, _LEGEND_ROW = 78, 20, 270, 20
_CHARACTER = 7.0  # about what one takes, to lay out legends

Point = tuple[float, float]


def draw_head(title: str, height: float) -> str:
    """Return the opening of a document with its title."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" {_FONT}>\n'
        '<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text x="8" y="20" font-weight="bold">{escape(title)}</text>'
    )


def plot_bars(title: str, bars: list[tuple[str, float]], strong: str = "abctl") -> str:
    """Return horizontal bars with their values; those whose name begins with ``strong`` stand out."""
    most = max(value for _, value in bars)
    rows = [draw_head(title, TOP + ROW * len(bars) + 10)]
    for number, (name, value) in enumerate(bars):
        y = TOP + ROW * number
        width = (WIDTH - LEFT - 70) * value / most
        colour = GREEN if name.startswith(strong) else GREY
        rows.append(f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        rows.append(f'<rect x="{LEFT}" y="{y + 2}" width="{width:.1f}" height="{ROW - 8}" fill="{colour}"/>')
        rows.append(f'<text x="{LEFT + width + 6:.1f}" y="{y + 15}">{value:.1f}</text>')
    return "\n".join([*rows, "</svg>", ""])


@dataclass(frozen=True, slots=True)
class Axis:
    """From ``least`` to ``most`` with ``ticks``; ``say`` makes the text of a tick."""

    label: str
    least: float
    most: float
    ticks: Sequence[float]
    is_log: bool = False
    say: Callable[[float], str] = "{:,g}".format

    def place(self, value: float) -> float:
        """Return from 0 to 1 where ``value`` is."""
        value = min(max(value, self.least), self.most)
        if self.is_log:
            return math.log(value / self.least) / math.log(self.most / self.least)
        return (value - self.least) / (self.most - self.least)


@dataclass(frozen=True, slots=True)
class Line:
    """A line through ``points``; ``fills_to`` makes it the upper edge of a band instead."""

    name: str
    points: Sequence[Point]
    colour: str
    dash: str = ""
    width: float = 2
    fills_to: Sequence[Point] | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A word at a place of the horizontal axis."""

    at: float
    text: str


def plot_lines(title: str, x: Axis, y: Axis, lines: Sequence[Line], marks: Sequence[Mark] = ()) -> str:
    """Return lines over two axes, with a legend below."""
    plot = _Plot(x, y)
    legend, rows_of_legend = _draw_legend(lines, plot.bottom + 62)
    height = plot.bottom + 62 + _LEGEND_ROW * rows_of_legend
    return "\n".join(
        [
            draw_head(title, height),
            *plot.draw_axes(),
            *(plot.draw_line(line) for line in sorted(lines, key=lambda line: line.fills_to is None)),
            *plot.draw_marks(marks),
            *legend,
            "</svg>",
            "",
        ]
    )


class _Plot:
    def __init__(self, x: Axis, y: Axis) -> None:
        self._x, self._y = x, y
        self._top = TOP + 16
        self.bottom = self._top + _PLOT_HEIGHT
        self._right = WIDTH - _PLOT_RIGHT

    def _place(self, point: Point) -> Point:
        across = _PLOT_LEFT + (self._right - _PLOT_LEFT) * self._x.place(point[0])
        return across, self.bottom - _PLOT_HEIGHT * self._y.place(point[1])

    def _join(self, points: Sequence[Point]) -> str:
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self._place, points))

    def draw_axes(self) -> list[str]:
        rows = []
        for tick in self._y.ticks:
            _, y = self._place((self._x.least, tick))
            rows.append(f'<path d="M{_PLOT_LEFT} {y:.1f} H{self._right}" stroke="#e3e6e8"/>')
            text = f'<text x="{_PLOT_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{self._y.say(tick)}</text>'
            rows.append(text)
        for tick in self._x.ticks:
            x, _ = self._place((tick, self._y.least))
            rows.append(f'<path d="M{x:.1f} {self.bottom} v5" stroke="#444"/>')
            text = f'<text x="{x:.1f}" y="{self.bottom + 20}" text-anchor="middle">{self._x.say(tick)}</text>'
            rows.append(text)
        across = (_PLOT_LEFT + self._right) / 2
        rows.append(
            f'<path d="M{_PLOT_LEFT} {self._top} V{self.bottom} H{self._right}" {_stroke("#444", 1)}/>'
        )
        label = (
            f'<text x="{across}" y="{self.bottom + 40}" text-anchor="middle">{escape(self._x.label)}</text>'
        )
        rows.append(label)
        rows.append(f'<text x="8" y="{self._top - 10}" fill="#444">{escape(self._y.label)}</text>')
        return rows

    def draw_line(self, line: Line) -> str:
        if line.fills_to is not None:
            edge = self._join([*line.points, *reversed(line.fills_to)])
            return f'<polygon points="{edge}" fill="{line.colour}" fill-opacity="0.18"/>'
        dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
        return f'<polyline points="{self._join(line.points)}" {_stroke(line.colour, line.width)}{dash}/>'

    def draw_marks(self, marks: Sequence[Mark]) -> list[str]:
        rows = []
        for mark in marks:
            x, _ = self._place((mark.at, self._y.least))
            line = (
                f'<path d="M{x:.1f} {self._top} V{self.bottom}" {_stroke("#444", 1)} stroke-dasharray="2 3"/>'
            )
            rows.append(line)
            is_far = x > self._right - len(mark.text) * _CHARACTER
            side = f'x="{x - 5:.1f}" text-anchor="end"' if is_far else f'x="{x + 5:.1f}"'
            rows.append(f'<text {side} y="{self._top + 12}" fill="#444">{escape(mark.text)}</text>')
        return rows


def _draw_legend(lines: Sequence[Line], top: float) -> tuple[list[str], int]:
    rows, x, count = [], float(_PLOT_LEFT), 1
    for line in lines:
        width = 34 + len(line.name) * _CHARACTER + 18
        if x > _PLOT_LEFT and x + width > WIDTH:
            x, count = _PLOT_LEFT, count + 1
        y = top + _LEGEND_ROW * (count - 1)
        dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
        if line.fills_to is None:
            rows.append(f'<path d="M{x:.0f} {y} h26" {_stroke(line.colour, line.width)}{dash}/>')
        else:
            box = f'<rect x="{x:.0f}" y="{y - 6}" width="26" height="12" fill="{line.colour}"'
            rows.append(f'{box} fill-opacity="0.18"/>')
        rows.append(f'<text x="{x + 32:.0f}" y="{y + 4}">{escape(line.name)}</text>')
        x += width
    return rows, count


def _stroke(colour: str, width: float) -> str:
    return f'fill="none" stroke="{colour}" stroke-width="{width:g}"'
