"""In a confined process without a network: run one function over a source that the other side reads."""

import queue
import socket
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

from abctl.errors import AbctlError, TransferCut
from abctl.host.checked import ARGUMENT_MAX, Task, ask_for, read_all
from abctl.host.frames import DATA_MAX, Outgoing, Peer
from abctl.host.remote import RemoteSource
from abctl.host.serve import serve_reader


class Checker:
    """Runs ``task`` once; ``control`` is where it asks for files, and their streams come as messages."""

    def __init__(self, task: Task, control: socket.socket, place: str, *, is_local: bool) -> None:
        self._task = task
        self._control = control
        self._streams: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self._source = RemoteSource(self._call, _PARENT, place, is_local=is_local)

    def take(self, message: str, stream: socket.socket | None) -> None:
        """Begin, or pass on the stream of a file that was asked for."""
        assert stream is not None
        if message == "file":
            self._streams.put(stream)
        else:
            threading.Thread(target=self._run, args=(stream,), daemon=True).start()

    def _call(self, name: str, start: int, length: int | None) -> socket.socket:
        ask_for(self._control, name, start, length)
        return self._streams.get()

    def _run(self, stream: socket.socket) -> None:
        argument = read_all(stream, _PARENT, ARGUMENT_MAX)
        with stream:
            serve_reader(Outgoing(stream), _Result(lambda: self._task(self._source, argument)))


class _Result:
    """What a task returns, as something to be read."""

    def __init__(self, run: Callable[[], bytes]) -> None:
        self._run = run
        self._data = memoryview(b"")
        self.length: int | None = None

    def __enter__(self) -> "_Result":
        self._data = memoryview(self._run())
        self.length = len(self._data)
        return self

    def __exit__(self, *_: object) -> None:
        self._data = memoryview(b"")

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._data), DATA_MAX)
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


def _explain_end() -> AbctlError:
    return TransferCut("the file ended too early")


_PARENT = Peer("the process that reads files", (AbctlError,), _explain_end)


def start(settings: dict[str, Any], control: socket.socket) -> Callable[[Any, socket.socket | None], None]:
    """Load the function, which is named ``module:function``."""
    module, _, name = settings["task"].partition(":")
    task: Task = getattr(import_module(module), name)
    return Checker(task, control, settings["place"], is_local=settings["is_local"]).take
