"""Give a file of a source to another process, over a stream."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from abctl.core.units import MIB
from abctl.errors import AbctlError, SourceProblem
from abctl.host.frames import DATA_MAX, Outgoing
from abctl.ports import Reader

_PIECE = min(MIB, DATA_MAX)


def serve_reader(
    out: Outgoing, opened: AbstractContextManager[Reader], has_ranges: Callable[[], bool] = lambda: True
) -> None:
    """Send what the reader gives, or the error that opening or reading it raises.

    ``has_ranges`` is asked again and again; the first time that it says no is told. Nothing is raised where
    the other side has had enough.
    """
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        try:
            with opened as reader:
                _send_all(out, reader, has_ranges)
        except AbctlError as error:
            out.error(error)
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:
            out.error(SourceProblem(f"this is a fault in abctl ({type(error).__name__}: {error})"))
        else:
            out.end()


def _send_all(out: Outgoing, reader: Reader, has_ranges: Callable[[], bool]) -> None:
    buffer = memoryview(bytearray(_PIECE))
    told = False
    count = 0
    while True:
        if not told and not has_ranges():
            out.no_ranges()
            told = True
        if not count:
            out.length(reader.length)
        count = reader.readinto(buffer)
        if not count:
            return
        out.data(buffer[:count])


def send_bytes(out: Outgoing, data: bytes) -> None:
    """Send all of ``data``; nothing is raised where the other side has had enough."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        out.length(len(data))
        for start in range(0, len(data), _PIECE):
            out.data(memoryview(data)[start : start + _PIECE])
        out.end()


@contextmanager
def watching(channel: socket.socket, on_gone: Callable[[], object]) -> Iterator[None]:
    """Call ``on_gone`` in another thread once the other side, which sends nothing, closes the stream."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while not _is_closed(channel):
                pass
        on_gone()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        # What was sent can still be read there; here it ends the wait.
        with contextlib.suppress(OSError):
            channel.shutdown(socket.SHUT_RDWR)
        thread.join()


def _is_closed(channel: socket.socket) -> bool:
    """Wait for the end of the stream; raise OSError."""
    try:
        return not channel.recv(1)
    except BlockingIOError:
        # That nothing comes from there for long is as it should be.
        return False
