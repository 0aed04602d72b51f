"""What QEMU tells a device in user space: the guest's memory, its queues, and how to wake each other."""

import array
import os
import socket
import struct
from enum import IntEnum

from tests.vsock.queues import Memory, Queue, Region

_HEAD = struct.Struct("<III")  # request, flags, size
_REPLY, _NEEDS_REPLY, _VERSION = 4, 8, 1
_NO_FD = 0x100
_VIRTIO_1, _PROTOCOL_FEATURES = 1 << 32, 1 << 30
_PROTOCOL_CONFIG, _PROTOCOL_REPLY_ACK = 1 << 9, 1 << 3
_FDS_MAX = 8


class _Ask(IntEnum):
    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    SET_MEM_TABLE = 5
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    GET_PROTOCOL_FEATURES = 15
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    GET_CONFIG = 24


class Frontend:
    """The connection to QEMU. Queue 0 is what the guest receives, queue 1 what it sends."""

    def __init__(self, connection: socket.socket, cid: int) -> None:
        self._connection = connection
        self._config = struct.pack("<Q", cid)
        self._memory = Memory([])
        self.queues = [Queue(), Queue()]

    def fileno(self) -> int:
        return self._connection.fileno()

    def close(self) -> None:
        """Give back what QEMU has given: its connection, and the files to wake each other with."""
        self._connection.close()
        for queue in self.queues:
            for fd in (queue.kick, queue.call):
                if fd >= 0:
                    os.close(fd)

    def answer(self) -> bool:
        """Read one message and do what it says; return False where QEMU is gone."""
        head, fds = self._receive_head()
        if len(head) < _HEAD.size:
            return False
        request, flags, size = _HEAD.unpack(head)
        body = self._receive(size)
        reply = self._do(request, body, fds)
        if reply is None and flags & _NEEDS_REPLY:
            reply = struct.pack("<Q", 0)
        if reply is not None:
            self._connection.sendall(_HEAD.pack(request, _VERSION | _REPLY, len(reply)) + reply)
        return True

    def _receive_head(self) -> tuple[bytes, list[int]]:
        space = socket.CMSG_SPACE(_FDS_MAX * 4)
        try:
            head, parts, _, _ = self._connection.recvmsg(_HEAD.size, space, socket.MSG_WAITALL)
        except ConnectionError:
            return b"", []
        fds = array.array("i")
        for _, kind, data in parts:
            if kind == socket.SCM_RIGHTS:
                fds.frombytes(data[: len(data) - len(data) % 4])
        return head, list(fds)

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self._connection.recv(size - len(data))
        return data

    def _do(self, request: int, body: bytes, fds: list[int]) -> bytes | None:
        match request:
            case _Ask.GET_FEATURES:
                return struct.pack("<Q", _VIRTIO_1 | _PROTOCOL_FEATURES)
            case _Ask.GET_PROTOCOL_FEATURES:
                return struct.pack("<Q", _PROTOCOL_CONFIG | _PROTOCOL_REPLY_ACK)
            case _Ask.GET_QUEUE_NUM:
                return struct.pack("<Q", len(self.queues))
            case _Ask.GET_CONFIG:
                offset, size, _ = struct.unpack_from("<III", body)
                return body[:12] + self._config.ljust(256, b"\0")[offset : offset + size]
            case _Ask.SET_MEM_TABLE:
                self._map(body, fds)
            case _Ask.SET_VRING_KICK | _Ask.SET_VRING_CALL:
                self._set_fd(request, body, fds)
            case _:
                return self._do_queue(request, body)
        return None

    def _map(self, body: bytes, fds: list[int]) -> None:
        (count,) = struct.unpack_from("<I", body)
        regions = []
        for number, fd in zip(range(count), fds, strict=True):
            guest, size, user, offset = struct.unpack_from("<QQQQ", body, 8 + 32 * number)
            regions.append(Region.map(guest, size, user, offset, fd))
        self._memory = Memory(regions)

    def _set_fd(self, request: int, body: bytes, fds: list[int]) -> None:
        (word,) = struct.unpack_from("<Q", body)
        queue, fd = self.queues[word & 0xFF], -1 if word & _NO_FD else fds[0]
        name = "kick" if request == _Ask.SET_VRING_KICK else "call"
        if getattr(queue, name) >= 0:
            os.close(getattr(queue, name))
        setattr(queue, name, fd)

    def _do_queue(self, request: int, body: bytes) -> bytes | None:
        if request not in tuple(_Ask) or request <= _Ask.SET_OWNER:
            return None
        number, value = struct.unpack_from("<II", body)
        queue = self.queues[number & 0xFF]
        match request:
            case _Ask.SET_VRING_NUM:
                queue.size = value
            case _Ask.SET_VRING_ADDR:
                _, _, descriptors, used, available, _ = struct.unpack_from("<IIQQQQ", body)
                queue.place(self._memory, descriptors, used, available)
            case _Ask.SET_VRING_BASE:
                queue.next = value
            case _Ask.SET_VRING_ENABLE:
                queue.is_enabled = bool(value)
            case _Ask.GET_VRING_BASE:
                queue.is_enabled = False
                return struct.pack("<II", number, queue.next)
        return None
