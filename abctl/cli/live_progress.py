"""A live progress display on a terminal. Imported only where there is one: rich is slow to load."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Display
from rich.table import Column
from rich.text import Text

from abctl.core.slot import Part
from abctl.core.units import format_size
from abctl.update.progress import OnProgress, Progress, Step

DOING = {Step.PROVE: "checking", Step.WRITE: "writing", Step.READ_BACK: "reading back"}


class _Amount(ProgressColumn):
    """Bytes done of all, in powers of 1024 as everywhere in abctl."""

    def render(self, task: Task) -> Text:
        done, total = format_size(int(task.completed)), format_size(int(task.total or 0))
        return Text(total if task.finished else f"{done} of {total}")


class _Rate(ProgressColumn):
    """Bytes a second."""

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text(f"{format_size(int(rate))}/s" if rate else "")


def _column(width: int) -> Column:
    return Column(width=width, no_wrap=True, justify="right")


@contextmanager
def show_live(stream: TextIO) -> Iterator[OnProgress]:
    """Yield a callback that draws a bar for each step of each image."""
    columns = (
        TextColumn("{task.description:<17}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        TextColumn("{task.percentage:>3.0f} %"),
        _Amount(_column(22)),
        _Rate(_column(12)),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    tasks: dict[tuple[Step, Part], TaskID] = {}
    with Display(*columns, console=Console(file=stream), expand=True, refresh_per_second=8) as display:

        def update(progress: Progress) -> None:
            key = (progress.step, progress.part)
            if key not in tasks:
                name = f"{DOING[progress.step]} {progress.part}"
                tasks[key] = display.add_task(name, total=progress.total)
            display.update(tasks[key], completed=progress.done, total=progress.total)

        yield update
