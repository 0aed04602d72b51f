"""A bar of boxes to scale, with labels: pure geometry and characters, nothing of disks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from abctl.cli.style import Style
from abctl.core.slot import SlotName
from abctl.core.units import format_size


@dataclass(frozen=True, slots=True)
class Frame:
    """The characters of a bar."""

    line: str
    side: str
    top: str  # left, between, right
    bottom: str
    narrow: str  # fills a box that is too narrow for its name
    free: str
    hook: str  # from a box to its label on the right
    hook_left: str
    bracket: str  # left, between, right


UNICODE = Frame("─", "│", "┌┬┐", "└┴┘", "▒", "░", "└", "┘", "╭┬╮")
ASCII = Frame("-", "|", "+++", "+++", "#", ".", "`", "'", ".+.")


@dataclass(frozen=True, slots=True)
class Span:
    """One range of a bar; size in bytes. ``short`` is a name that will do where there is less room."""

    name: str
    size: int
    slot_set: SlotName | None = None
    short: str = ""
    free: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """A span as drawn: ``left`` is the cell of its left edge, ``width`` its cells inside."""

    span: Span
    left: int
    width: int

    @property
    def right(self) -> int:
        """The cell of its right edge, which is the next box's left one."""
        return self.left + self.width + 1

    @property
    def inside(self) -> str:
        """The name that fits into the box, or nothing."""
        names = (self.span.name, self.span.short)
        return next((name for name in names if name and len(name) <= self.width), "")


def apportion(sizes: Sequence[int], cells: int) -> list[int]:
    """Return how many of ``cells`` each size gets: to scale, but at least one each.

    The sum is ``cells``, as long as there is a cell for each.
    """
    total = sum(sizes) or 1
    shares = [max(1, size * cells // total) for size in sizes]
    while (short := cells - sum(shares)) and (short > 0 or max(shares, default=1) > 1):
        step = 1 if short > 0 else -1
        # The cell goes to, or is taken from, where that brings the drawing closest to the scale.
        gains = [
            step * (size * cells / total - share) if share + step > 0 else float("-inf")
            for size, share in zip(sizes, shares, strict=True)
        ]
        shares[gains.index(max(gains))] += step
    return shares


def draw_bar(spans: Sequence[Span], titles: Mapping[SlotName, Sequence[str]], style: Style) -> list[str]:
    """Return a bar with one box for each span, at most ``style.width`` cells wide.

    ``titles`` are what may stand over the boxes of a slot set; the first that fits is taken.
    """
    if not spans:
        return []
    frame = UNICODE if style.unicode else ASCII
    boxes, labels = _fit(spans, style.width - 1)
    lines = [
        _draw_brackets(boxes, titles, style, frame),
        _draw_edge(boxes, frame.line, frame.top),
        _draw_row(boxes, lambda box: box.inside, style, frame),
        _draw_row(boxes, lambda box: format_size(box.span.size) if box.inside else "", style, frame),
        _draw_edge(boxes, frame.line, frame.bottom),
        *_draw_labels(labels, frame),
    ]
    return [f" {line}".rstrip() for line in lines if line.strip()]


def _fit(spans: Sequence[Span], width: int) -> tuple[list[Box], "list[Label]"]:
    """Return boxes and labels that take at most ``width`` cells; a narrower bar leaves room for labels."""
    least = 2 * len(spans) + 1
    for cells in range(max(width, least), least - 1, -1):
        boxes = _make_boxes(spans, cells)
        labels = place_labels([(b.left + 1, _outside(b)) for b in boxes if not b.inside], max(width, cells))
        if labels is not None:
            return boxes, labels
    return _make_boxes(spans, max(width, least)), []


def _make_boxes(spans: Sequence[Span], cells: int) -> list[Box]:
    boxes, left = [], 0
    for span, share in zip(spans, apportion([s.size for s in spans], cells - len(spans) - 1), strict=True):
        boxes.append(Box(span, left, share))
        left += share + 1
    return boxes


def _outside(box: Box) -> str:
    return f"{box.span.name} {format_size(box.span.size)}"


def _draw_edge(boxes: Sequence[Box], line: str, corners: str) -> str:
    return corners[0] + corners[1].join(line * box.width for box in boxes) + corners[2]


def _draw_row(boxes: Sequence[Box], text_of: Callable[[Box], str], style: Style, frame: Frame) -> str:
    row = frame.side
    for box in boxes:
        text = text_of(box)
        fill = " " if box.inside else frame.free if box.span.free else frame.narrow
        inside = text.center(box.width) if text and len(text) <= box.width else fill * box.width
        row += _paint(box.span, inside, style) + frame.side
    return row


def _paint(span: Span, text: str, style: Style) -> str:
    if span.free:
        return style.dim(text)
    return style.slot_set(span.slot_set, text) if span.slot_set else text


def _draw_brackets(
    boxes: Sequence[Box], titles: Mapping[SlotName, Sequence[str]], style: Style, frame: Frame
) -> str:
    """Return a line with a bracket over each run of boxes of one slot set; neighbours share an edge."""
    line, end = "", 0
    for name, run in groupby(boxes, key=lambda box: box.span.slot_set):
        members = list(run)
        if name is None:
            continue
        left, right = members[0].left, members[-1].right
        inside = right - left - 1
        title = next((text for text in titles.get(name, ()) if len(text) + 4 <= inside), str(name))
        line = line[:-1] + frame.bracket[1] if left < end else line + " " * (left - end) + frame.bracket[0]
        line += style.slot_set(name, f" {title} ".center(inside, frame.line)) + frame.bracket[2]
        end = right + 1
    return line


# --- labels -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Label:
    """A text below the bar, joined to a box by a line down from ``column``; ``row`` counts from the bar."""

    column: int
    text: str
    row: int = 0
    to_left: bool = False

    @property
    def start(self) -> int:
        return self.column - len(self.text) - 1 if self.to_left else self.column

    @property
    def end(self) -> int:
        """The last cell it takes."""
        return self.column if self.to_left else self.column + len(self.text) + 1


def place_labels(places: Sequence[tuple[int, str]], width: int) -> list[Label] | None:
    """Return labels for texts at columns, in order, so that neither texts nor lines ever touch.

    A text stands to the right of its line where there is room, else to the left. None where it does
    not fit into ``width`` cells at all.
    """
    labels = [Label(column, text) for column, text in places]
    turned = {index for index, label in enumerate(labels) if label.end >= width}
    while True:
        labels = [Label(column, text, to_left=index in turned) for index, (column, text) in enumerate(places)]
        more = {
            index for index, label in enumerate(labels) if any(_is_crossed(label, other) for other in labels)
        }
        if not more:
            break
        turned |= more
    rows = _find_rows(labels)
    if rows is None or any(label.start < 0 or label.end >= width for label in labels):
        return None
    return [replace(label, row=row) for label, row in zip(labels, rows, strict=True)]


def _is_crossed(label: Label, other: Label) -> bool:
    """Whether the text of each would run through the other's line, so that neither can be the upper one."""
    return other.to_left and _runs_past(label, other) and label.column >= other.start - 1


def _runs_past(label: Label, other: Label) -> bool:
    return not label.to_left and label.column < other.column <= label.end + 1


def _must_be_under(label: Label, other: Label) -> bool:
    if not label.to_left:
        return _runs_past(label, other)
    is_left = other.column < label.column
    return is_left and other.end >= label.start - 1 and not _runs_past(other, label)


def _find_rows(labels: Sequence[Label]) -> list[int] | None:
    """Return the highest rows that keep all labels apart; None where there are none."""
    rows = [0] * len(labels)
    for _ in range(len(labels) + 1):
        before = rows
        rows = [_row_under(label, labels, before) for label in labels]
        if rows == before:
            return rows
    return None


def _row_under(label: Label, labels: Sequence[Label], rows: Sequence[int]) -> int:
    above = [row for other, row in zip(labels, rows, strict=True) if _must_be_under(label, other)]
    return max(above, default=-1) + 1


def _draw_labels(labels: Sequence[Label], frame: Frame) -> list[str]:
    lines = []
    for row in range(max((label.row for label in labels), default=-1) + 1):
        line = ""
        for label in sorted(labels, key=lambda item: item.column):
            if label.row > row:
                line = line.ljust(label.column) + frame.side
            elif label.row == row:
                text = f"{label.text} {frame.hook_left}" if label.to_left else f"{frame.hook} {label.text}"
                line = line.ljust(label.start) + text
        lines.append(line)
    return lines
