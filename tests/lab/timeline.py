"""The picture of a scenario: a bar for each boot, coloured by phase, with what happened in it."""

from html import escape

from tests.lab.events import Boot, Phase, Story
from tests.svg import BLUE, GREEN, GREY, RED, TOP, WIDTH, draw_head

_COLOURS = {
    Phase.FIRMWARE: "#d9dee2",
    Phase.GRUB: "#e2b93b",
    Phase.KERNEL: BLUE,
    Phase.INITRAMFS: "#8aaede",
    Phase.USERLAND: GREEN,
}
_LEFT, _RIGHT, _ROW, _BAR = 130, 16, 66, 18
_CHARACTER = 6.2  # about what one takes at 11 px
_LINES = 3  # of marks below a bar


def draw_timeline(name: str, story: Story, length: float) -> str:
    """Return an SVG of all boots, one below the other; each begins at the left, times are in seconds."""
    longest = max((_end_of(boot, length) - boot.began for boot in story.boots), default=1.0) or 1.0
    scale = (WIDTH - _LEFT - _RIGHT) / longest
    height = TOP + _ROW * len(story.boots) + 50
    rows = [draw_head(f"{name}: {len(story.boots)} boots in {length:.0f} s", height)]
    for number, boot in enumerate(story.boots):
        rows += _draw_boot(boot, TOP + _ROW * number, scale, length)
    return "\n".join(
        [*rows, *_draw_axis(longest, scale, height - 44), *_draw_legend(height - 12), "</svg>", ""]
    )


def _end_of(boot: Boot, length: float) -> float:
    return length if boot.ended is None else boot.ended


def _draw_boot(boot: Boot, y: float, scale: float, length: float) -> list[str]:
    rows = [
        f'<text x="8" y="{y + 14}">{escape(boot.name)}</text>',
        f'<text x="8" y="{y + 29}" font-size="11" fill="#666">at {boot.began:.0f} s</text>',
    ]
    starts = sorted(boot.phases.items(), key=lambda item: item[1])
    ends = [*(at for _, at in starts[1:]), _end_of(boot, length)]
    for (phase, start), end in zip(starts, ends, strict=True):
        x, width = _LEFT + (start - boot.began) * scale, max(0.5, (end - start) * scale)
        rows.append(
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{_COLOURS[phase]}"/>'
        )
    marks = [(mark.at - boot.began, f"{mark.what} {mark.text}".strip()) for mark in boot.marks]
    if boot.how:
        marks.append((_end_of(boot, length) - boot.began, boot.how))
    return [*rows, *_draw_marks(marks, y, scale)]


def _draw_marks(marks: list[tuple[float, str]], y: float, scale: float) -> list[str]:
    """Draw words below the bar, each in the first line that has room for it."""
    rows: list[str] = []
    taken = [0.0] * _LINES
    for at, text in marks:
        x = _LEFT + at * scale
        width = len(text) * _CHARACTER
        left = min(x, WIDTH - _RIGHT - width)
        line = next((number for number in range(_LINES) if taken[number] <= left), _LINES - 1)
        taken[line] = left + width + 8
        colour = RED if text.startswith(("power cut", "panic", "reset", "watchdog")) else "#333"
        rows.append(f'<path d="M{x:.1f} {y - 2} v{_BAR + 4}" stroke="{colour}"/>')
        rows.append(
            f'<text x="{left:.1f}" y="{y + _BAR + 12 + 12 * line}" font-size="11" fill="{colour}">'
            f"{escape(text)}</text>"
        )
    return rows


def _draw_axis(longest: float, scale: float, y: float) -> list[str]:
    step = next(step for step in (5, 10, 20, 30, 60, 120, 300, 600, 3600) if longest / step <= 12)
    rows = []
    for number in range(int(longest / step) + 1):
        x = _LEFT + number * step * scale
        rows.append(f'<path d="M{x:.1f} {TOP - 4} V{y:.1f}" stroke="{GREY}" stroke-opacity="0.3"/>')
        rows.append(
            f'<text x="{x:.1f}" y="{y + 14:.1f}" font-size="11" text-anchor="middle">{number * step} s</text>'
        )
    return rows


def _draw_legend(y: float) -> list[str]:
    rows, x = [], float(_LEFT)
    for phase, colour in _COLOURS.items():
        rows.append(f'<rect x="{x:.0f}" y="{y - 9}" width="12" height="10" fill="{colour}"/>')
        rows.append(f'<text x="{x + 17:.0f}" y="{y}" font-size="11">{phase}</text>')
        x += 34 + len(phase) * _CHARACTER
    return rows
