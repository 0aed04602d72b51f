"""Have packed bytes that nobody vouches for yet unpacked by a process without rights."""

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from abctl.core.release import Compression
from abctl.core.units import KIB
from abctl.errors import BadArchive, SourceProblem
from abctl.host.child import Child, Role
from abctl.host.frames import SILENCE_MAX
from abctl.host.remote import RemoteReader, ignore_all
from abctl.ports import Reader

_ROLE = Role("unpack", "the unpacking process", errors=(BadArchive, SourceProblem), died=BadArchive)
_INPUT_SIZE = 256 * KIB


class UnpackWorker:
    """A process that unpacks one stream after the other; it starts with the first."""

    def __init__(self) -> None:
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @contextmanager
    def unpack(self, reader: Reader, compression: Compression, name: str) -> Iterator[Reader]:
        """Yield a reader of the unpacked bytes; they raise BadArchive where the packed ones are damaged."""
        if compression is Compression.NONE:
            yield reader
            return
        try:
            self._child = self._child or Child(_ROLE, {})
            with self._child.call([compression, name]) as stream:
                plain = RemoteReader(stream, self._child.peer, None, ignore_all())
                plain.start()
                yield _Pumped(reader, stream, plain)
        except BaseException:
            # Whatever it met, nobody else shall meet it in the same process.
            self.close()
            raise

    def close(self) -> None:
        if self._child:
            self._child.close()
            self._child = None


class _Pumped:
    """Gives packed bytes to the other side of ``stream``, and what it makes of them to whoever reads."""

    length = None

    def __init__(self, packed: Reader, stream: socket.socket, plain: RemoteReader) -> None:
        self._packed = packed
        self._stream = stream
        self._plain = plain
        self._buffer = memoryview(bytearray(_INPUT_SIZE))
        self._input = self._buffer[:0]  # read, but not yet sent
        self._poll = select.poll()
        self._poll.register(stream, select.POLLIN | select.POLLOUT)

    def readinto(self, buffer: memoryview) -> int:
        """Fill the start of ``buffer``; raise also what reading the packed bytes raises."""
        while not self._plain.has_some and self._wants_input():
            self._feed()
        return self._plain.readinto(buffer)

    def _wants_input(self) -> bool:
        """Wait until the other side has something or takes something; True where it only takes."""
        ready = self._poll.poll(SILENCE_MAX * 1000)
        if not ready:
            raise BadArchive(f"{_ROLE.name} was silent for {SILENCE_MAX} s: run the command again")
        return ready[0][1] == select.POLLOUT

    def _feed(self) -> None:
        if not self._input:
            self._input = self._buffer[: self._packed.readinto(self._buffer)]
        try:
            if self._input:
                self._input = self._input[self._stream.send(self._input, socket.MSG_DONTWAIT) :]
                return
            self._stream.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError:
            pass  # it has had enough, and says why
        self._poll.modify(self._stream, select.POLLIN)


unpack_confined = UnpackWorker().unpack
"""Unpacks in a process that starts with the first stream and ends with this program."""
