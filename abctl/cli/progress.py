"""Show how far an installation is: a live display, plain lines, JSON lines, or nothing."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TextIO, TypeVar

import click

from abctl.cli.pace import Paces, say_doing, say_finished, say_percent, say_remark, say_running
from abctl.errors import AbctlError
from abctl.update.progress import OnProgress, Progress, Remark, ignore_progress

F = TypeVar("F", bound=Callable[..., Any])

_EVERY = 2.0  # seconds between plain lines, so that a log stays readable


class Form(StrEnum):
    """In which form progress is shown."""

    AUTO = "auto"  # live on a terminal, plain elsewhere, none beside a report in JSON
    LIVE = "live"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


def choose_form(
    asked: Form, stream: TextIO | None, *, as_json: bool, environ: Mapping[str, str] = os.environ
) -> Form:
    """Return the form for ``stream``, which is None where it is closed, where ``asked`` leaves it open."""
    if stream is None:
        return Form.NONE
    if asked is not Form.AUTO:
        return asked
    if as_json:
        return Form.NONE
    return Form.LIVE if stream.isatty() and environ.get("TERM", "dumb") != "dumb" else Form.PLAIN


def progress_options(command: F) -> F:
    """Add --progress and --quiet, which become the one argument ``progress``."""
    quiet = click.option(
        "--quiet", is_flag=True, expose_value=False, callback=_be_quiet, help="The same as --progress none."
    )
    form = click.option(
        "--progress",
        type=click.Choice(Form, case_sensitive=False),
        default=Form.AUTO,
        is_eager=True,
        help="How to show progress: live on a terminal, plain lines, json lines for programs, or none "
        "(default: live on a terminal, none beside --json, plain elsewhere).",
    )
    return form(quiet(command))


def _be_quiet(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.params["progress"] = Form.NONE


@contextmanager
def show_progress(stream: TextIO, form: Form) -> Iterator[OnProgress]:
    """Yield a callback that shows progress on ``stream``; it never fails, whoever reads there or not.

    ``form`` is not AUTO.
    """
    lasting = Lasting(stream)
    match form:
        case Form.LIVE:
            from abctl.cli.live_progress import show_live  # noqa: PLC0415

            with show_live(lasting) as callback:
                yield callback
        case Form.PLAIN:
            yield PlainProgress(lasting.say)
        case Form.JSON:
            from abctl.cli.progress_json import JsonProgress  # noqa: PLC0415

            yield JsonProgress(lasting.say)
        case _:
            yield ignore_progress


class Ending:
    """How a command ends: ``error`` is why it was refused, where nothing is raised for that."""

    error: AbctlError | None = None


@contextmanager
def frame_progress(stream: TextIO, form: Form) -> Iterator[Ending]:
    """Surround all that a command does; in JSON the first and the last line say how it begins and ends."""
    if form is Form.JSON:
        from abctl.cli.progress_json import frame_lines  # noqa: PLC0415

        with frame_lines(Lasting(stream).say) as ending:
            yield ending
    else:
        yield Ending()


class Lasting:
    """A stream that goes on when nobody reads it any more: an installation must not end with its watcher."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def say(self, line: str) -> None:
        """Write a line at once."""
        self.write(f"{line}\n")
        self.flush()

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError:
            return


class PlainProgress:
    """Say progress as lines: one every two seconds, and one for each finished step."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._paces = Paces()
        self._last = clock()

    def __call__(self, said: Progress | Remark) -> None:
        if isinstance(said, Remark):
            self._say(f"abctl: {say_remark(said.text)}")
            return
        now = self._clock()
        pace = self._paces.see(said, now)
        if pace is None:
            return
        if pace.is_finished:
            self._say(f"abctl: {say_finished(pace)}")
        elif now - self._last >= _EVERY:
            self._last = now
            self._say_running(now)

    def _say_running(self, now: float) -> None:
        """Say all about the step that takes longest, and how far the others are."""
        running = self._paces.running
        longest = max(running, key=lambda pace: pace.left(now) or 0.0)
        others = [
            f"{say_doing(pace.step, pace.part)} {say_percent(pace)}"
            for pace in running
            if pace is not longest
        ]
        self._say(f"abctl: {'; '.join([say_running(longest, now), *others])}")
