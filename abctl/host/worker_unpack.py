"""In a confined process that can open nothing: unpack what comes on a stream, and send it back."""

import socket
import threading
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from typing import Any

from abctl.core.release import Compression
from abctl.host.frames import Outgoing
from abctl.host.serve import serve_reader
from abctl.ports import Reader

# By name: no adapter may import the data path, and here it is only run.
_DECOMPRESS = ("abctl.update.decompress", "decompress")


class _Packed:
    """What comes on a stream."""

    length = None

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def readinto(self, buffer: memoryview) -> int:
        return self._stream.recv_into(buffer)


def start(_settings: dict[str, Any], _control: socket.socket) -> Callable[[Any, socket.socket | None], None]:
    module, name = _DECOMPRESS
    decompress: Callable[[Reader, Compression, str], Reader] = getattr(import_module(module), name)

    def unpack(compression: str, name: str, stream: socket.socket) -> None:
        with stream:
            plain = decompress(_Packed(stream), Compression(compression), name)
            serve_reader(Outgoing(stream), nullcontext(plain))

    def take(message: list[str], stream: socket.socket | None) -> None:
        threading.Thread(target=unpack, args=(*message, stream), daemon=True).start()

    return take
