"""Draw a disk to scale: a bar for its partitions, one for its volume group, and what is in them as tables."""

from collections.abc import Iterator, Sequence

from abctl.cli.bar import Span, draw_bar
from abctl.cli.report_disk import DiskReport, SlotReport, VolumeGroupReport
from abctl.cli.style import Style, sentence, table, wrap
from abctl.core.bootenv import SlotState
from abctl.core.layout import Role
from abctl.core.slot import SlotName
from abctl.core.units import MIB, format_size

_SMALLEST_GAP = 4 * MIB  # what alignment leaves between partitions is not worth a place in the picture


def draw_disk(report: DiskReport, style: Style) -> str:
    """Return the picture of a disk, at most ``style.width`` cells wide."""
    titles = {name: _slot_set_titles(report, name) for name in SlotName}
    lines = [
        *_title(report.disk, f"{format_size(report.size)}, layout {report.layout}", style),
        "",
        *draw_bar(_partition_spans(report), titles, style),
        *_partition_table(report, style),
    ]
    group = report.volume_group
    if group:
        size, free = format_size(group.size), format_size(group.free)
        lines += [
            "",
            *_title(group.name, f"volume group in partition {group.partition}, {size}, {free} free", style),
            "",
            *draw_bar(_volume_spans(group), titles, style),
            *_volume_table(report, group, style),
        ]
    lines += ["", *_say_slot_sets(report, style)]
    for remark in report.remarks:
        lines += ["", *wrap(f"Remark: {sentence(remark)}", min(style.width, 100))]
    return "\n".join(lines)


def _title(name: str, text: str, style: Style) -> list[str]:
    first, *rest = wrap(f"{name}: {text}", style.width)
    return [first.replace(name, style.bold(name), 1), *rest]


def _slot_set_titles(report: DiskReport, name: SlotName) -> tuple[str, ...]:
    """Return what may stand over a slot set, the longest first."""
    first = next(slot for slot in report.slots if slot.slot_set is name)
    version, state = first.version or "", first.state or ""
    runs = "runs" if report.booted is name else ""
    forms = (
        f"{name} {version} {state} {runs}",
        f"{name} {version} {state}",
        f"{name} {version or state}",
        f"{name}",
    )
    return tuple(" ".join(form.split()) for form in forms)


def _partition_spans(report: DiskReport) -> list[Span]:
    spans: list[Span] = []
    position = 0
    for partition in sorted(report.partitions, key=lambda item: item.offset):
        _add_gap(spans, partition.offset - position)
        spans.append(_span(partition.name or f"#{partition.number}", partition.size, partition.slot))
        position = partition.offset + partition.size
    _add_gap(spans, report.size - position)
    return spans


def _span(name: str, size: int, slot: str | None) -> Span:
    if slot is None:
        return Span(name, size)
    slot_set, _, part = slot.partition("_")
    return Span(name, size, SlotName(slot_set), short=part)


def _volume_spans(group: VolumeGroupReport) -> list[Span]:
    """Return the pieces of the volumes in the order of the disk; a volume in two pieces is there twice."""
    pieces = sorted(
        ((place.offset, place.size, volume) for volume in group.volumes for place in volume.places),
        key=lambda piece: piece[0],
    )
    spans = [_span(volume.name, size, volume.slot) for _, size, volume in pieces]
    if group.free:
        spans.append(Span("free", group.free, free=True))
    return spans


def _add_gap(spans: list[Span], size: int) -> None:
    if size >= _SMALLEST_GAP:
        spans.append(Span("free", size, free=True))


# --- tables -----------------------------------------------------------------------------------------


def _partition_table(report: DiskReport, style: Style) -> Iterator[str]:
    rows: list[_Row] = []
    for item in sorted(report.partitions, key=lambda partition: partition.number):
        place = (format_size(item.size), format_size(item.offset))
        rows.append(
            (f"{item.number:>2} {item.name}", *place, _find_slot(report, item.slot), _say_role(item.role))
        )
    yield from _table("partition", report, rows, style)


def _volume_table(report: DiskReport, group: VolumeGroupReport, style: Style) -> Iterator[str]:
    rows: list[_Row] = []
    for item in group.volumes:
        place = (format_size(item.size), format_size(item.places[0].offset) if item.places else "-")
        pieces = f"in {len(item.places)} pieces" if len(item.places) > 1 else ""
        note = item.problem or pieces or _say_role(item.role)
        rows.append((item.name, *place, _find_slot(report, item.slot), note))
    rows += [(slot.name, "missing", "-", slot, "") for slot in report.slots if slot.size is None]
    yield from _table("volume", report, rows, style)


def _find_slot(report: DiskReport, name: str | None) -> SlotReport | None:
    return next((slot for slot in report.slots if slot.name == name), None)


def _say_role(role: Role | None) -> str:
    return str(role or "").replace("-", " ")


_Row = tuple[str, str, str, SlotReport | None, str]  # name, size, start, slot, note


def _table(what: str, report: DiskReport, rows: Sequence[_Row], style: Style) -> Iterator[str]:
    has_slots = any(row[3] for row in rows)
    head = (" ", what, "size", "starts at", *(("state", "holds") if has_slots else ("holds", "")))
    cells = [head]
    for name, size, start, slot, note in rows:
        mark = ">" if slot and slot.slot_set is report.booted else ""
        state = (slot.state or "?") if slot else ""
        holds = " ".join(part for part in (slot.version if slot else "", note) if part)
        cells.append((mark, name, size, start, *((state, holds) if has_slots else (holds, ""))))
    first, *lines = table(cells, right=frozenset({2, 3}))
    yield ""
    yield style.dim(first)
    for row, line in zip(rows, lines, strict=True):
        yield _paint_state(line, row[3].state if row[3] else None, style)


def _paint_state(line: str, state: SlotState | None, style: Style) -> str:
    paint = {SlotState.GOOD: style.good, SlotState.BAD: style.bad, SlotState.UNTESTED: style.warn}
    if state is None or state not in paint:
        return line
    before, _, after = line.rpartition(f"  {state}")
    return f"{before}  {paint[state](state)}{after}"


def _say_slot_sets(report: DiskReport, style: Style) -> list[str]:
    primary = (
        f"Slot set {report.primary} is the primary"
        if report.primary
        else "No copy of the boot environment can be read"
    )
    runs = f"; {report.booted} runs (>)" if report.booted else ""
    return wrap(f"{primary}{runs}.", style.width)
