"""Packets of a VSOCK device: a header of 44 bytes, and data after it where the operation is RW."""

import struct
from dataclasses import dataclass
from enum import IntEnum

HOST_CID = 2
STREAM = 1  # the type of socket
_HEADER = struct.Struct("<QQIIIHHIII")
HEADER_SIZE = _HEADER.size


class Op(IntEnum):
    """What a packet does to its connection."""

    REQUEST = 1
    RESPONSE = 2
    RST = 3
    SHUTDOWN = 4
    RW = 5
    CREDIT_UPDATE = 6
    CREDIT_REQUEST = 7


# Flags of SHUTDOWN: the sender receives, or sends, no more.
NO_RECEIVE, NO_SEND = 1, 2


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet; ``buffer`` bytes fit at the sender, which has taken ``forwarded`` bytes out in all."""

    source: tuple[int, int]  # CID and port
    target: tuple[int, int]
    op: Op
    flags: int = 0
    buffer: int = 0
    forwarded: int = 0
    data: bytes = b""

    def encode(self) -> bytes:
        head = _HEADER.pack(
            self.source[0],
            self.target[0],
            self.source[1],
            self.target[1],
            len(self.data),
            STREAM,
            self.op,
            self.flags,
            self.buffer,
            self.forwarded % 2**32,
        )
        return head + self.data


def decode(data: bytes) -> Packet | None:
    """Return the packet in a chain of buffers; None where it is of no known kind."""
    if len(data) < HEADER_SIZE:
        return None
    source_cid, target_cid, source, target, length, kind, op, flags, buffer, forwarded = _HEADER.unpack_from(
        data
    )
    if kind != STREAM or op not in tuple(Op):
        return None
    return Packet(
        (source_cid, source),
        (target_cid, target),
        Op(op),
        flags,
        buffer,
        forwarded,
        data[HEADER_SIZE : HEADER_SIZE + length],
    )
