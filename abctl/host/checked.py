"""Have what nobody vouches for yet parsed by a process without rights and without a network."""

import select
import socket
import struct
from collections.abc import Callable

from abctl.core.units import MIB
from abctl.errors import BadRelease, SourceProblem, TransferStalled
from abctl.host.child import Child, Role
from abctl.host.frames import SILENCE_MAX, Outgoing, Peer
from abctl.host.remote import RemoteReader, ignore_all, is_plain
from abctl.host.serve import send_bytes, serve_reader
from abctl.ports import Source

Task = Callable[[Source, bytes], bytes]
"""What runs there: it gets at files through the source alone, and may raise BadRelease and SourceProblem."""

# By name, for this process needs not load them.
TASKS = {"refresh": "abctl.update.refresh:refresh_task"}
ARGUMENT_MAX = RESULT_MAX = 8 * MIB
_ROLE = Role("check", "the checking process", errors=(BadRelease, SourceProblem), died=SourceProblem)
_WANTED = struct.Struct("!qq")  # start and length, -1 for all that is left; then the name


def run_check(task: str, argument: bytes, source: Source) -> bytes:
    """Return what the function that ``TASKS`` names makes of ``source`` and ``argument``, elsewhere.

    Argument and result are at most 8 MiB. ``source`` is read here, and only files with plain names are.
    Raise the BadRelease or SourceProblem that the function raises, and SourceProblem where its process does
    something else.
    """
    settings = {"task": TASKS[task], "place": source.place, "is_local": source.is_local}
    child = Child(_ROLE, settings)
    try:
        with child.call("run") as stream:
            send_bytes(Outgoing(stream), argument)
            _serve(child, stream, source)
            return read_all(stream, child.peer, RESULT_MAX)
    finally:
        child.close()


def _serve(child: Child, stream: socket.socket, source: Source) -> None:
    """Give the files that the process asks for, until it begins to answer."""
    poll = select.poll()
    for channel in (child.control, stream):
        poll.register(channel, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll(SILENCE_MAX * 1000)}
        if not ready:
            raise TransferStalled(f"{child.peer.name} was silent for {SILENCE_MAX} s: run the command again")
        if stream.fileno() in ready:
            return
        message = child.receive()
        if not message:
            raise child.explain_end()
        name, start, length = _parse_wanted(message, child.peer)
        with child.call("file") as out:
            serve_reader(Outgoing(out), source.open(name, start, length), lambda: source.has_ranges)


def ask_for(control: socket.socket, name: str, start: int, length: int | None) -> None:
    """Ask the process that has the source for a file."""
    control.send(_WANTED.pack(start, -1 if length is None else length) + name.encode())


def _parse_wanted(message: bytes, peer: Peer) -> tuple[str, int, int | None]:
    name = message[_WANTED.size :].decode("ascii", "replace")
    if len(message) < _WANTED.size or not is_plain(name):
        raise peer.misbehaved("a name of a file that is none")
    start, length = _WANTED.unpack_from(message)
    if start < 0 or length < -1:
        raise peer.misbehaved("a range of a file that is none")
    return name, start, None if length == -1 else length


def read_all(stream: socket.socket, peer: Peer, limit: int) -> bytes:
    """Return all that comes; raise SourceProblem where it is more than ``limit`` bytes."""
    reader = RemoteReader(stream, peer, None, ignore_all())
    reader.start()
    data, piece = bytearray(), memoryview(bytearray(MIB))
    while count := reader.readinto(piece):
        data += piece[:count]
        if len(data) > limit:
            raise peer.misbehaved(f"more than {limit} bytes")
    return bytes(data)
