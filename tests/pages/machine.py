"""The picture of the state machine: nodes and routes are placed by hand, what is drawn comes from the code.

An arrow that the code has and nobody gave a route is an error, and so is a route without an arrow.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from html import escape

from tests.pages.graph import Arrow, Node
from tests.svg import BLUE, GREEN, RED, draw_head

HEIGHT = 580
_BOX = (156, 54)
_PLACES = {
    Node.GOOD: (90, 80),
    Node.EMPTY: (350, 80),
    Node.ARMED: (600, 80),
    Node.UNTESTED: (350, 320),
    Node.RUNNING: (600, 280),
    Node.BAD: (90, 490),
    Node.USED_UP: (600, 490),
}
_TEXTS = {
    Node.GOOD: ("Two good slot sets", "there is a way back"),
    Node.EMPTY: ("The other is empty", "new, or being written"),
    Node.ARMED: ("On trial", "waits for its boot"),
    Node.UNTESTED: ("The other is untested", "whole, not confirmed"),
    Node.RUNNING: ("The trial runs", "nobody confirmed yet"),
    Node.BAD: ("The other is bad", "its version is refused"),
    Node.USED_UP: ("Attempts used up", "GRUB passes it over"),
}


@dataclass(frozen=True, slots=True)
class Route:
    """How an arrow goes: ``bend`` away from the straight line to its left, its label at ``at`` of the way."""

    bend: float = 0
    at: float = 0.5
    shift: tuple[float, float] = (0, 0)  # of its ends, so that two arrows lie side by side


_ROUTES = {
    (Node.GOOD, Node.EMPTY): Route(),
    (Node.EMPTY, Node.ARMED): Route(),
    (Node.ARMED, Node.RUNNING): Route(shift=(-34, 0)),
    (Node.RUNNING, Node.ARMED): Route(shift=(26, 0)),
    (Node.ARMED, Node.USED_UP): Route(bend=130, shift=(52, 0)),
    (Node.RUNNING, Node.USED_UP): Route(shift=(26, 0)),
    (Node.USED_UP, Node.RUNNING): Route(shift=(-34, 0)),
    (Node.RUNNING, Node.GOOD): Route(bend=-20, at=0.7),
    (Node.RUNNING, Node.BAD): Route(bend=80, at=0.45),
    (Node.USED_UP, Node.BAD): Route(),
    (Node.USED_UP, Node.UNTESTED): Route(at=0.6),
    (Node.ARMED, Node.UNTESTED): Route(at=0.6, shift=(20, 0)),
    (Node.ARMED, Node.BAD): Route(bend=-150, at=0.72),
    (Node.UNTESTED, Node.EMPTY): Route(at=0.35, shift=(36, 0)),
    (Node.UNTESTED, Node.BAD): Route(bend=22, at=0.5),
    (Node.BAD, Node.UNTESTED): Route(bend=22, at=0.5),
    (Node.BAD, Node.EMPTY): Route(bend=-40, at=0.78),
    (Node.GOOD, Node.BAD): Route(),
    (Node.GOOD, Node.UNTESTED): Route(at=0.35),
}
Point = tuple[float, float]


def draw_machine(arrows: Collection[Arrow]) -> str:
    """Return the picture; raise ValueError where arrows and routes do not go together."""
    words: dict[tuple[Node, Node], list[str]] = {}
    for arrow in sorted(arrows, key=lambda arrow: (arrow.start, arrow.end, arrow.word)):
        if Node.WEAK not in (arrow.start, arrow.end):
            words.setdefault((arrow.start, arrow.end), []).append(arrow.word)
    odd = {f"{start.name} -> {end.name}" for start, end in words.keys() ^ _ROUTES.keys()}
    if odd:
        raise ValueError(f"arrows without a route, or routes without an arrow: {', '.join(sorted(odd))}")
    drawn = [_draw_arrow(*pair, said) for pair, said in words.items()]
    return "\n".join(
        [
            draw_head("What may become of a host whose primary is good", HEIGHT),
            _HEADS,
            *(line for line, _ in drawn),
            *(_draw_node(node) for node in _PLACES),
            *(label for _, label in drawn),
            *_draw_legend(),
            "</svg>",
            "",
        ]
    )


_COLOURS = {"said": BLUE, "program": GREEN, "power": RED}
_HEADS = (
    "<defs>"
    + "".join(
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
        f'orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="{colour}"/></marker>'
        for name, colour in _COLOURS.items()
    )
    + "</defs>"
)
_PROGRAMS = ("installed", "confirm")


def _kind_of(word: str) -> str:
    if word.startswith("power on"):
        return "power"
    return "program" if word in _PROGRAMS else "said"


def _draw_arrow(start: Node, end: Node, words: list[str]) -> tuple[str, str]:
    """Return the line and its label."""
    route = _ROUTES[start, end]
    here, there = (_shift(_PLACES[node], route.shift) for node in (start, end))
    length = math.dist(here, there)
    across = ((there[1] - here[1]) / length, (here[0] - there[0]) / length)
    middle = (
        (here[0] + there[0]) / 2 + route.bend * across[0],
        (here[1] + there[1]) / 2 + route.bend * across[1],
    )
    first, last = _leave(here, middle), _leave(there, middle)
    lines = list(_shorten(words))
    kind = max((kind for kind, _ in lines), key=list(_COLOURS).index)
    points = "M{:.0f} {:.0f} Q{:.0f} {:.0f} {:.0f} {:.0f}".format(*first, *middle, *last)
    line = f'<path d="{points}" {_stroke(kind)} marker-end="url(#{kind})"/>'
    x, y = (_on_curve(route.at, *ends) for ends in zip(first, middle, last, strict=True))
    return line, "\n".join(_write(x, y, lines))


def _shift(point: Point, by: Point) -> Point:
    return point[0] + by[0], point[1] + by[1]


def _on_curve(at: float, first: float, middle: float, last: float) -> float:
    return (1 - at) ** 2 * first + 2 * at * (1 - at) * middle + at**2 * last


def _stroke(kind: str) -> str:
    dash = ' stroke-dasharray="6 4"' if kind == "power" else ""
    return f'fill="none" stroke="{_COLOURS[kind]}" stroke-width="1.5"{dash}'


def _shorten(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each line of a label with its kind; words that begin alike are put together."""
    marks = [word for word in words if word.startswith("mark")]
    powers = [word for word in words if word.startswith("power on")]
    yield from ((_kind_of(word), word) for word in words if word not in (*marks, *powers))
    if marks:
        yield "said", "mark it bad" if len(marks) == 1 else "mark one bad"
    if "power on" in powers:
        yield "power", "power on"
    elif powers:
        first, _, rest = powers[0].partition(", ")
        yield "power", f"{first},"
        yield from (("power", part) for part in rest.replace("not come", "not\ncome").split("\n"))


def _write(x: float, y: float, lines: list[tuple[str, str]]) -> Iterator[str]:
    """Yield centred lines with a white rim, so that they can stand over arrows."""
    rim = 'stroke="#fff" stroke-width="5" paint-order="stroke" stroke-linejoin="round"'
    for number, (kind, text) in enumerate(lines):
        place = f'x="{x:.0f}" y="{y + 4 + 14 * (number - (len(lines) - 1) / 2):.0f}"'
        fill = f'fill="{_COLOURS[kind]}"'
        yield f'<text {place} text-anchor="middle" font-size="12" {fill} {rim}>{escape(text)}</text>'


def _leave(centre: Point, towards: Point) -> Point:
    """Return where a line from the centre of a box crosses its edge."""
    dx, dy = towards[0] - centre[0], towards[1] - centre[1]
    scale = min(
        (_BOX[0] / 2 + 2) / abs(dx) if dx else math.inf, (_BOX[1] / 2 + 2) / abs(dy) if dy else math.inf
    )
    return centre[0] + dx * scale, centre[1] + dy * scale


def _draw_node(node: Node) -> str:
    (x, y), (width, height), (title, text) = _PLACES[node], _BOX, _TEXTS[node]
    colour = {Node.BAD: RED, Node.GOOD: GREEN}.get(node, "#444")
    return (
        f'<rect x="{x - width / 2}" y="{y - height / 2}" width="{width}" height="{height}" rx="6" '
        f'fill="#f4f6f7" stroke="{colour}" stroke-width="1.5"/>\n'
        f'<text x="{x}" y="{y - 3}" text-anchor="middle" font-weight="bold" font-size="12">{title}</text>\n'
        f'<text x="{x}" y="{y + 15}" text-anchor="middle" font-size="12" fill="#555">{text}</text>'
    )


def _draw_legend() -> Iterator[str]:
    entries = (
        ("said", "an admin says so"),
        ("program", "a program says so"),
        ("power", "GRUB, at a power-on"),
    )
    for number, (kind, text) in enumerate(entries):
        x, y = 20 + 190 * number, HEIGHT - 20
        yield f'<path d="M{x} {y - 4} h30" {_stroke(kind)} marker-end="url(#{kind})"/>'
        yield f'<text x="{x + 38}" y="{y}" fill="#555">{text}</text>'
