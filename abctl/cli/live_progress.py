"""A live progress display on a terminal. Imported only where there is one: rich is slow to load."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Display
from rich.table import Column
from rich.text import Text

from abctl.cli.pace import (
    Key,
    Pace,
    say_amount,
    say_doing,
    say_duration,
    say_left,
    say_percent,
    say_rate,
    say_remark,
)
from abctl.update.progress import OnProgress, Progress, Remark

if TYPE_CHECKING:
    from abctl.cli.progress import Lasting

_PER_SECOND = 8  # pictures


class _Words(ProgressColumn):
    """What ``say`` tells of a step's pace."""

    def __init__(self, say: Callable[[Pace], str], width: int) -> None:
        super().__init__(Column(width=width, no_wrap=True, justify="right"))
        self._say_pace = say

    def render(self, task: Task) -> Text:
        return Text(self._say_pace(task.fields["pace"]))


def _say_time(pace: Pace) -> str:
    return say_duration(pace.took) if pace.is_finished else say_left(pace, time.monotonic())


@contextmanager
def show_live(stream: "Lasting") -> Iterator[OnProgress]:
    """Yield a callback that draws a bar for each step of each image."""
    columns = (
        TextColumn("{task.description:<17}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        _Words(say_percent, 5),
        _Words(say_amount, 20),
        _Words(lambda pace: say_rate(pace, time.monotonic()), 11),
        _Words(_say_time, 12),
    )
    console = Console(file=cast(TextIO, stream), force_terminal=True)
    with Display(*columns, console=console, expand=True, refresh_per_second=_PER_SECOND) as display:
        yield _Live(display)


class _Live:
    """Keeps the bars up to date, no more often than they are drawn."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._paces: dict[Key, Pace] = {}
        self._tasks: dict[Key, TaskID] = {}
        self._shown: dict[Key, float] = {}

    def __call__(self, said: Progress | Remark) -> None:
        if isinstance(said, Remark):
            self._display.console.print(f"abctl: {say_remark(said.text)}", markup=False, highlight=False)
            return
        key, now = (said.step, said.part), time.monotonic()
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = Pace(said, now)
            name = say_doing(said.step, said.part)
            self._tasks[key] = self._display.add_task(name, total=pace.total, pace=pace)
            self._shown[key] = now - 1
        elif not pace.is_finished or said.done < said.total:
            pace.follow(said, now)
        if pace.is_finished or now - self._shown[key] >= 1 / _PER_SECOND:
            self._shown[key] = now
            self._display.update(self._tasks[key], completed=pace.done, total=pace.total)
