"""Bring what is trusted of a repository up to date: once where nothing can be harmed, and once to believe it.

A process without privileges talks to the mirrors and checks everything; it gives back only the files that it
fetched. The same checks over these files then decide here, so that it need not be believed.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from abctl.core.problems import clean_text
from abctl.core.trust_state import TrustState
from abctl.core.units import Seconds, Version
from abctl.errors import AbctlError, BadMetadata, ServerFailed, SourceNotFound, SourceProblem
from abctl.ports import Reader, Source
from abctl.update.trust import Offering, TrustClient

# Runs the task of this name with an argument and a source, wherever that may be.
RunTask = Callable[[str, bytes, Source], bytes]
TASK = "refresh"
_SAID_MAX = 1000  # characters of what the other process says


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a mirror offers, and what to remember; ``setbacks`` says why others were passed over."""

    mirror: int
    offering: Offering
    state: TrustState
    setbacks: tuple[str, ...]


class Anchor:
    """Where trust begins: the pinned root metadata, the system's clock, and how to run a task."""

    def __init__(self, pinned: bytes, clock: Seconds, run_task: RunTask) -> None:
        self._pinned = pinned
        self._clock = clock
        self._run_task = run_task

    def refresh(
        self,
        mirrors: Sequence[Source],
        state: TrustState,
        remember: Callable[[TrustState], None],
        wanted: Version | None = None,
    ) -> Refreshed:
        """Return what the first mirror that holds offers; ``remember`` is given what was accepted on the way.

        Raise what the last one said where none does.
        """
        setbacks: list[str] = []
        errors: list[AbctlError] = []
        for number, mirror in enumerate(mirrors):
            client = TrustClient(self._pinned, state, self._clock)
            try:
                offering = self._refresh_from(mirror, client, state, wanted)
            except AbctlError as error:
                errors.append(error)
                setbacks.append(str(error))
            state = client.state
            remember(state)
            if len(errors) == number:
                return Refreshed(number, offering, state, tuple(setbacks))
        raise _sum_up(errors)

    def _refresh_from(
        self, mirror: Source, client: TrustClient, state: TrustState, wanted: Version | None
    ) -> Offering:
        argument = encode_argument(self._pinned, state, self._clock, wanted)
        files, said = _parse_answer(self._run_task(TASK, argument, mirror))
        replayed = _Files(files, mirror)
        if said is None:
            return client.refresh(replayed, wanted)
        try:
            client.refresh(replayed, wanted)
        except SourceProblem:
            # It lacks what the other could not fetch either; that one knows why.
            raise said from None
        raise said


def _sum_up(errors: list[AbctlError]) -> AbctlError:
    """Return one error for all mirrors: the most telling class, and what each said."""
    if len(errors) == 1:
        return errors[0]
    telling = [error for error in errors if not isinstance(error, SourceProblem)] or errors
    said = "; ".join(str(error) for error in errors)
    return type(telling[0])(f"no mirror can be used: {said}")


# --- what runs without privileges -------------------------------------------------------------------


def refresh_task(source: Source, argument: bytes) -> bytes:
    """Refresh from ``source``, and return all files that were fetched, and the error if there was one."""
    pinned, state, clock, wanted = _decode_argument(argument)
    recorder = _Recorder(source)
    said: dict[str, str] | None = None
    try:
        TrustClient(pinned, state, clock).refresh(recorder, wanted)
    except AbctlError as error:
        said = {"class": type(error).__name__, "text": str(error)}
    return json.dumps({"files": recorder.files, "error": said}).encode()


def encode_argument(pinned: bytes, state: TrustState, clock: Seconds, wanted: Version | None) -> bytes:
    values = {
        "pinned": pinned.decode("utf-8", "replace"),
        "roots": state.roots,
        "metadata": dict(state.metadata),
        "clock": clock,
        "wanted": wanted,
    }
    return json.dumps(values).encode()


def _decode_argument(argument: bytes) -> tuple[bytes, TrustState, Seconds, Version | None]:
    values = json.loads(argument)
    state = TrustState(roots=tuple(values["roots"]), metadata=values["metadata"])
    return values["pinned"].encode(), state, Seconds(values["clock"]), values["wanted"]


class _Recorder:
    """A source that keeps what it gave; implements ports.Source."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.files: dict[str, str] = {}

    @property
    def is_local(self) -> bool:
        return self._source.is_local

    @property
    def has_ranges(self) -> bool:
        return self._source.has_ranges

    @property
    def place(self) -> str:
        return self._source.place

    @contextmanager
    def open(self, name: str, start: int = 0, length: int | None = None) -> Iterator[Reader]:
        with self._source.open(name, start, length) as reader:
            kept = _Kept(reader)
            yield kept
            # One that came in part only is no file: whoever looks again must not take it for a broken one.
            self.files[name] = bytes(kept.data).decode("latin-1")


class _Kept:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.data = bytearray()

    @property
    def length(self) -> int | None:
        return self._reader.length

    def readinto(self, buffer: memoryview) -> int:
        count = self._reader.readinto(buffer)
        self.data += buffer[:count]
        return count


# --- what believes it -------------------------------------------------------------------------------


def _parse_answer(answer: bytes) -> tuple[dict[str, bytes], AbctlError | None]:
    """Return the files, and the error; the other process may be under somebody else's control."""
    try:
        values = json.loads(answer)
        files = {str(name): data.encode("latin-1") for name, data in values["files"].items()}
        error = values["error"]
        return files, None if error is None else _make_error(str(error["class"]), str(error["text"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ServerFailed("the process that reads metadata gave nonsense back: try again") from error


def _make_error(name: str, text: str) -> AbctlError:
    kinds = {kind.__name__: kind for kind in _list_below(AbctlError)}
    return kinds.get(name, BadMetadata)(clean_text(text)[:_SAID_MAX])


def _list_below(kind: type[AbctlError]) -> Iterator[type[AbctlError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _list_below(child)


class _Files:
    """A source of files in memory, which says that they are from another; implements ports.Source."""

    is_local = True
    has_ranges = True

    def __init__(self, files: dict[str, bytes], original: Source) -> None:
        self._files = files
        self._original = original

    @property
    def place(self) -> str:
        return self._original.place

    @contextmanager
    def open(self, name: str, start: int = 0, length: int | None = None) -> Iterator["_Bytes"]:
        if name not in self._files:
            raise SourceNotFound(f"{self.place} has no {name}: check the address of the repository")
        data = self._files[name][start:]
        yield _Bytes(data if length is None else data[:length])


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.length = len(data)

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._data))
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        return count
