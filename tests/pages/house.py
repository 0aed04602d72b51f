"""The picture of the house: the layers as import-linter holds them, each room with what it is for."""

import tomllib
from collections.abc import Iterator
from html import escape

from tests.generated import ROOT
from tests.svg import BLUE, GREEN, WIDTH, draw_head

_ROOMS = {
    "cli": ("commands; the only code", "that prints and wires"),
    "host": ("one outside thing", "a file"),
    "update": ("the data path", "into a slot set"),
    "build": ("images, releases,", "repositories"),
    "agent": ("what guests", "may ask"),
    "vm": ("the guest", "of a host"),
    "firewall": ("which packets", "come and go"),
    "identity": ("name, addresses,", "users, keys"),
    "ports": ("what the core needs of the world,", "as protocols"),
    "core": ("pure: no I/O, no clock;", "everything that decides is here"),
    "errors": ("one tree; each class has an exit code", "and says what to do"),
}
_TOP, _GAP, _LEFT = 40, 30, 12


def read_layers() -> list[list[str]]:
    """Return the rooms of each layer from the top, as pyproject.toml has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[room.strip().removeprefix("abctl.") for room in layer.split("|")] for layer in layers]


def draw_house() -> str:
    """Return the picture; raise KeyError for a room of which nobody said what it is for."""
    layers = read_layers()
    top, parts = float(_TOP), list[str]()
    for layer in layers:
        parts += _draw_layer(layer, top, is_last=layer is layers[-1])
        top += _height_of(layer) + _GAP
    head = draw_head("The rooms of abctl: each imports only from those below it", top)
    return "\n".join([head, _ARROW, *parts, "</svg>", ""])


def _height_of(layer: list[str]) -> float:
    return 46 if len(layer) == 1 else 62


_ARROW = (
    '<defs><marker id="down" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
    f'orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="{BLUE}"/></marker></defs>'
)


def _draw_layer(rooms: list[str], top: float, *, is_last: bool) -> Iterator[str]:
    height = _height_of(rooms)
    width = (WIDTH - 2 * _LEFT - 8 * (len(rooms) - 1)) / len(rooms)
    for number, room in enumerate(rooms):
        left = _LEFT + number * (width + 8)
        middle = left + width / 2
        colour = GREEN if room == "core" else "#444"
        yield (
            f'<rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{height:.0f}" rx="6" '
            f'fill="#f4f6f7" stroke="{colour}" stroke-width="1.5"/>'
        )
        yield _write(room, middle, top + 19, 'font-weight="bold"')
        lines = _ROOMS[room] if len(rooms) > 1 else (" ".join(_ROOMS[room]),)
        for row, text in enumerate(lines):
            yield _write(text, middle, top + 37 + 15 * row, 'font-size="10.5" fill="#555"')
        if not is_last:
            line = f"M{middle:.0f} {top + height + 3:.0f} v{_GAP - 6}"
            yield f'<path d="{line}" stroke="{BLUE}" stroke-width="1.5" marker-end="url(#down)"/>'


def _write(text: str, x: float, y: float, style: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle" {style}>{escape(text)}</text>'
