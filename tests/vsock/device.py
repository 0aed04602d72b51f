"""The device: each connection of the guest to a port of the host becomes one to a Unix socket, and back.

Where the machine is a host itself, those who call it are its guests: each with a CID of its own.
"""

import itertools
import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.vsock.packets import HOST_CID, NO_RECEIVE, NO_SEND, Op, Packet, decode
from tests.vsock.vhost_user import Frontend

_BUFFER = 64 * 1024  # bytes that a connection keeps of what the guest sent
_PIECE = 2048  # bytes of one packet to the guest, whose buffers are larger, header and all
_FIRST_PORT = 1024  # of callers
_WAITING_MAX = 128  # callers that may wait


@dataclass(slots=True, eq=False)
class _Connection:
    """One connection: what waits for the socket, and the credit of both sides."""

    host_port: int
    guest_port: int
    socket: socket.socket
    to_socket: bytearray = field(default_factory=bytearray)
    forwarded: int = 0  # bytes that went on to the socket
    told: int = 0  # of these, as the guest knows
    sent: int = 0  # bytes that went to the guest
    room: int = 0  # what the guest's buffer holds in all
    taken: int = 0  # what the guest has taken out of it
    guest_done: bool = False
    socket_done: bool = False
    host_cid: int = HOST_CID  # of the end that is not the guest

    @property
    def credit(self) -> int:
        return self.room - (self.sent - self.taken) % 2**32


def _listen_on(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(_WAITING_MAX)
    return listener


class VsockDevice:
    """Serves one QEMU after the other on the socket ``path``; ``ports`` say where their connections lead.

    Whoever connects to one of the sockets ``callers`` calls the machine, from this CID on this port.
    ``piece`` is in how many bytes at a time the host gets what the guest sends: 1 is the worst network.
    """

    def __init__(
        self,
        path: Path,
        cid: int,
        ports: Mapping[int, Path] = {},
        *,
        callers: Mapping[Path, tuple[int, int]] = {},
        piece: int = _BUFFER,
    ) -> None:
        self.path = path
        self.cid = cid
        self.connections = 0
        self._ports = ports
        self._piece = piece
        self._callers = {_listen_on(place): caller for place, caller in callers.items()}
        self._numbers = itertools.count(_FIRST_PORT)
        self._open: dict[tuple[int, int], _Connection] = {}
        self._to_guest: deque[Packet] = deque()
        self._frontend: Frontend | None = None
        self._watched: set[int] = set()
        self._selector = selectors.DefaultSelector()
        self._listener = _listen_on(path)
        self._stop, self._stopping = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="vsock-device")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stop.close()
        self._thread.join()
        self._stopping.close()
        for listener in (self._listener, *self._callers):
            Path(listener.getsockname()).unlink(missing_ok=True)
            listener.close()
        self._selector.close()

    # --- events ---

    def _run(self) -> None:
        self._watch(self._stopping, lambda: False)
        self._watch(self._listener, self._meet)
        for listener, caller in self._callers.items():
            self._watch(listener, partial(self._call, listener, *caller))
        while all(key.data() is not False for key, _ in self._selector.select()):
            self._flush()
        self._part()

    def _watch(self, file: socket.socket | int | Frontend, act: Callable[[], object]) -> None:
        self._selector.register(file, selectors.EVENT_READ, act)

    def _meet(self) -> None:
        connection, _ = self._listener.accept()
        self._frontend = Frontend(connection, self.cid)
        self._watch(self._frontend, partial(self._listen, self._frontend))

    def _listen(self, frontend: Frontend) -> None:
        """Do what QEMU says; where it is gone, the next one may come."""
        if not frontend.answer():
            self._part()
            return
        for queue in frontend.queues:
            if queue.kick >= 0 and queue.kick not in self._watched:
                self._watched.add(queue.kick)
                self._watch(queue.kick, partial(self._woken, frontend, queue.kick))

    def _part(self) -> None:
        """Forget the machine, and all connections with it."""
        for connection in tuple(self._open.values()):
            self._close(connection)
        self._to_guest.clear()
        if self._frontend is not None:
            self._selector.unregister(self._frontend)
            for kick in self._watched:
                self._selector.unregister(kick)
            self._watched.clear()
            self._frontend.close()
            self._frontend = None

    def _woken(self, frontend: Frontend, fd: int) -> None:
        os.read(fd, 8)
        while (chain := frontend.queues[1].take()) is not None:
            packet = decode(chain.read())
            frontend.queues[1].give_back(chain, 0)
            if packet is not None:
                self._take(packet)

    # --- what the guest says ---

    def _take(self, packet: Packet) -> None:
        key = (packet.target[1], packet.source[1])
        connection = self._open.get(key)
        host_cid = connection.host_cid if connection else HOST_CID
        if packet.source[0] != self.cid or packet.target[0] != host_cid:
            return  # the guest's kernel would not do that; a device that believes it would lie to the host
        if packet.op is Op.REQUEST:
            self._connect(packet, key)
        elif connection is None:
            if packet.op is not Op.RST:
                self._say(packet, Op.RST)
        else:
            connection.room, connection.taken = packet.buffer, packet.forwarded
            self._take_part(packet, connection)
            self._pump(connection)

    def _connect(self, packet: Packet, key: tuple[int, int]) -> None:
        path = self._ports.get(key[0])
        outward = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if path is None:
                raise ConnectionRefusedError
            outward.connect(str(path))
        except OSError:
            outward.close()
            self._say(packet, Op.RST)
            return
        outward.setblocking(False)
        connection = _Connection(*key, outward, room=packet.buffer, taken=packet.forwarded)
        self._open[key] = connection
        self.connections += 1
        self._watch(outward, lambda: self._read(connection))
        self._tell(connection, Op.RESPONSE)

    def _call(self, listener: socket.socket, cid: int, port: int) -> None:
        """Connect a caller to the machine; it is heard when the machine has taken the call."""
        inward, _ = listener.accept()
        if self._frontend is None:
            inward.close()
            return
        inward.setblocking(False)
        connection = _Connection(next(self._numbers), port, inward, host_cid=cid)
        self._open[connection.host_port, port] = connection
        self._tell(connection, Op.REQUEST)

    def _take_part(self, packet: Packet, connection: _Connection) -> None:
        match packet.op:
            case Op.RESPONSE:
                self.connections += 1
                self._watch(connection.socket, lambda: self._read(connection))
            case Op.RW:
                connection.to_socket += packet.data
            case Op.CREDIT_REQUEST:
                self._tell(connection, Op.CREDIT_UPDATE)
            case Op.SHUTDOWN if packet.flags & NO_SEND and not packet.flags & NO_RECEIVE:
                connection.guest_done = True
            case Op.SHUTDOWN | Op.RST:
                self._write(connection)
                if packet.op is Op.SHUTDOWN:
                    self._tell(connection, Op.RST)
                self._close(connection)

    # --- what the sockets say ---

    def _pump(self, connection: _Connection) -> None:
        """Pass on what waits in either direction, as far as it goes."""
        if connection.socket.fileno() >= 0:
            self._write(connection)
            if connection.credit > 0 and not connection.socket_done:
                self._read(connection)

    def _write(self, connection: _Connection) -> None:
        while connection.to_socket:
            try:
                count = connection.socket.send(connection.to_socket[: self._piece])
            except BlockingIOError:
                return
            except OSError:
                connection.to_socket.clear()
                return
            del connection.to_socket[:count]
            connection.forwarded += count
            if connection.forwarded - connection.told >= _BUFFER // 4:
                self._tell(connection, Op.CREDIT_UPDATE)
        if connection.guest_done:
            try:
                connection.socket.shutdown(socket.SHUT_WR)
            except OSError:
                return

    def _read(self, connection: _Connection) -> None:
        size = min(_PIECE, connection.credit)
        if size <= 0 or connection.socket_done or connection.socket.fileno() < 0:
            return
        try:
            data = connection.socket.recv(size)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            connection.sent += len(data)
            self._tell(connection, Op.RW, data=data)
            return
        connection.socket_done = True
        self._unwatch(connection)
        self._tell(connection, Op.SHUTDOWN, NO_SEND | (NO_RECEIVE if connection.guest_done else 0))

    def _close(self, connection: _Connection) -> None:
        self._unwatch(connection)
        connection.socket.close()
        self._open.pop((connection.host_port, connection.guest_port), None)

    def _unwatch(self, connection: _Connection) -> None:
        with suppress(KeyError):  # a call that was not taken, or a socket that has ended
            self._selector.unregister(connection.socket)

    # --- to the guest ---

    def _tell(self, connection: _Connection, op: Op, flags: int = 0, data: bytes = b"") -> None:
        connection.told = connection.forwarded
        source, target = (connection.host_cid, connection.host_port), (self.cid, connection.guest_port)
        self._to_guest.append(Packet(source, target, op, flags, _BUFFER, connection.forwarded, data))

    def _say(self, packet: Packet, op: Op) -> None:
        """Answer where there is no connection."""
        self._to_guest.append(Packet(packet.target, packet.source, op))

    def _flush(self) -> None:
        queue = self._frontend.queues[0] if self._frontend else None
        while queue and self._to_guest and (chain := queue.take()) is not None:
            data = self._to_guest.popleft().encode()
            assert chain.write(data) == len(data), "the guest's buffers are smaller than Linux makes them"
            queue.give_back(chain, len(data))
