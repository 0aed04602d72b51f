"""Progress for programs: a stream of JSON objects, one a line; ``schemas/`` is made from them.

The first line says which form it has, the last one how the command ended. Between them steps begin, go on
and finish, several of them at once. New kinds of events and new fields come with a new version only.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from abctl.cli.failure import explain
from abctl.cli.pace import Key, Pace, Paces, say_remark
from abctl.cli.progress import Ending
from abctl.cli.report import Note, Size
from abctl.core.slot import Part
from abctl.update.progress import Progress, Remark, Step

_EVERY = 0.2  # seconds between lines, begins, ends and remarks aside


@dataclass(frozen=True, slots=True, kw_only=True)
class StartLine:
    """The first line."""

    event: Literal["start"]
    schema: Literal["urn:abctl:schema:progress"]
    version: Annotated[Literal[1], Note("of the form of these lines")]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLine:
    """A step of one image. One that has finished goes on where its total grows, and finishes again."""

    event: Literal["began", "progress", "finished"]
    step: Annotated[
        Step,
        Note(
            "prove: read it before anything is written; survey: compare what the slot holds; fetch: bytes "
            "from the source; write; read_back: compare what the medium holds; and of a build pack, unpack "
            "(an older release), delta, prove: unpack what was made"
        ),
    ]
    part: Part
    done: Size
    total: Annotated[int, Note("bytes; may grow", minimum=0)]
    rate: Annotated[int | None, Note("bytes a second; null where not known yet", minimum=0)]
    left: Annotated[float | None, Note("seconds; null where not known", minimum=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemarkLine:
    """A sentence for people."""

    event: Literal["remark"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndLine:
    """The last line."""

    event: Literal["end"]
    ok: bool
    exit_code: Annotated[int, Note("that of the command", minimum=0, maximum=255)]
    error: Annotated[str | None, Note("what is wrong, with which thing, and what to do; null where ok")]


ProgressLine = Annotated[
    StartLine | StepLine | RemarkLine | EndLine,
    Note("A line of abctl upgrade --progress json, on standard error"),
]


def write_line(line: StartLine | StepLine | RemarkLine | EndLine) -> str:
    return json.dumps(asdict(line))


class JsonProgress:
    """Say progress as JSON lines: all begins, ends and remarks, and five lines a second between them."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._paces = Paces()
        self._began: set[Key] = set()
        self._waiting: dict[Key, Pace] = {}  # not said yet, the one that waits longest first
        self._last = clock()

    def __call__(self, said: Progress | Remark) -> None:
        if isinstance(said, Remark):
            self._say(write_line(RemarkLine(event="remark", text=say_remark(said.text))))
            return
        now = self._clock()
        pace = self._paces.see(said, now)
        if pace is None:
            return
        if pace.key not in self._began:
            self._began.add(pace.key)
            self._say_step("began", pace, now)
        else:
            self._waiting[pace.key] = pace
        if pace.is_finished:
            self._waiting.pop(pace.key, None)
            self._say_step("finished", pace, now)
        elif self._waiting and now - self._last >= _EVERY:
            self._last = now
            self._say_step("progress", self._waiting.pop(next(iter(self._waiting))), now)

    def _say_step(self, event: Literal["began", "progress", "finished"], pace: Pace, now: float) -> None:
        rate, left = pace.rate(now), pace.left(now)
        line = StepLine(
            event=event,
            step=pace.step,
            part=pace.part,
            done=pace.done,
            total=pace.total,
            rate=None if rate is None else int(rate),
            left=None if left is None else round(left, 1),
        )
        self._say(write_line(line))


@contextmanager
def frame_lines(say: Callable[[str], None]) -> Iterator[Ending]:
    """Say the first and the last line around a command, so that nothing else gets on its standard error.

    A failure becomes the last line and the exit code, and a line of the log becomes a remark.
    """
    say(write_line(StartLine(event="start", schema="urn:abctl:schema:progress", version=1)))
    logging.basicConfig(handlers=[_Remarks(say)], force=True, level=logging.getLogger().level)
    ending = Ending()
    try:
        yield ending
    except BrokenPipeError:  # of standard output: the command itself has ended well
        say(write_line(_end_line(None)))
        raise
    except (Exception, KeyboardInterrupt) as error:
        logging.getLogger(__name__).debug("the command failed", exc_info=True)
        line = _end_line(error)
        say(write_line(line))
        raise SystemExit(line.exit_code) from error
    say(write_line(_end_line(ending.error)))


def _end_line(error: BaseException | None) -> EndLine:
    if error is None:
        return EndLine(event="end", ok=True, exit_code=0, error=None)
    sentence, exit_code = explain(error)
    return EndLine(event="end", ok=False, exit_code=exit_code, error=sentence)


class _Remarks(logging.Handler):
    """The log as remarks."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(write_line(RemarkLine(event="remark", text=self.format(record))))
