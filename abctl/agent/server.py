"""The server: any number of listeners, one request a connection, nobody waits for anybody else.

One guest must not be able to stop it, slow others down, or make it grow: connections are counted, each has
five seconds to say what it wants, work that may block is done in few threads, and what goes wrong with
one connection ends there.
"""

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from abctl.agent.answers import Answer, NoPayload, Refusal, describe_job, encode
from abctl.agent.desk import NO_JOB, Desk
from abctl.agent.messages import AskProgress, AttachHsm, DetachHsm, Message, Notify
from abctl.agent.notices import PAUSE, WAITING_MAX, plan_notice
from abctl.agent.policy import Gate
from abctl.agent.protocol import MESSAGE_MAX, Bad, Decoder, NeedMore, Request
from abctl.core.agent_rules import Command

log = logging.getLogger(__name__)

_BREATH = 0.1  # seconds before the next try where no connection can be accepted
_POLL = 0.2  # seconds between two looks at the progress of a job
_LAST_WORDS = 64 * 1024  # bytes that are read of a peer that goes on after its request
_TURNED_AWAY_MAX = 32  # peers that are told why at the same time
_NOTICES_EACH = 4  # of one guest may wait
_LOGGED = frozenset(
    {Command.UPGRADE, Command.CANCEL, Command.ATTACH_HSM, Command.DETACH_HSM, Command.SET_NODE_ID}
)


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket that does not block; ``identify`` asks the kernel for the CID of who connected.

    None from it means somebody who may not ask at all.
    """

    name: str
    listening: socket.socket
    identify: Callable[[socket.socket], int | None]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much there is of everything; times in seconds."""

    connections: int = 256
    connections_each: int = 64  # of one guest
    streams_each: int = 4  # of progress, of one guest
    request: float = 5.0  # until a request is whole
    answer: float = 5.0  # from there until its answer
    stream: float = 3600.0  # a guest that wants more asks again
    linger: float = 1.0  # for a peer to close after its answer
    penalty: float = 0.5  # what a request too many has to wait, so that they cost the host little


class Server:
    """Serves until it is cancelled."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        gate: Gate,
        desk: Desk,
        show_notice: Callable[[str], None],
        limits: Limits = Limits(),
    ) -> None:
        self._listeners = listeners
        self._gate = gate
        self._desk = desk
        self._show_notice = show_notice
        self._limits = limits
        self._connections: Counter[int] = Counter()
        self._streams: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turned_away: set[asyncio.Task[None]] = set()
        self._notices = _Notices(show_notice)
        # A libvirt that hangs must not keep others from their answers, so it has a thread of its own.
        self._pools = {
            is_guest: ThreadPoolExecutor(count, f"abctl-agent-{'guest' if is_guest else 'host'}")
            for is_guest, count in ((True, 1), (False, 2))
        }

    async def run(self) -> None:
        """Serve all listeners; an error that is no peer's ends it."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._notices.run())
                for listener in self._listeners:
                    group.create_task(self._accept(listener))
        finally:
            tasks = self._tasks | self._turned_away
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for pool in self._pools.values():
                pool.shutdown(wait=False, cancel_futures=True)

    async def _accept(self, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        complained = False
        while True:
            try:
                connection, _ = await loop.sock_accept(listener.listening)
            except OSError as error:  # no file descriptor is left, or the peer is gone already
                if not complained:
                    log.warning("%s: a connection cannot be accepted: %s", listener.name, error.strerror)
                complained = True
                await asyncio.sleep(_BREATH)
                continue
            complained = False
            self._take(listener, connection)

    def _take(self, listener: Listener, connection: socket.socket) -> None:
        """Serve a connection beside the others, or turn it away."""
        try:
            cid = listener.identify(connection)
        except OSError:  # it is gone
            connection.close()
            return
        if cid is None:
            self._turn_away(connection, "only root may ask here")
        elif len(self._tasks) >= self._limits.connections:
            self._turn_away(connection, "this host has too many connections: ask again later")
        elif self._connections[cid] >= self._limits.connections_each:
            self._turn_away(connection, "you have too many connections: ask again when some have ended")
        else:
            self._connections[cid] += 1
            task = asyncio.create_task(self._serve(connection, cid))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _turn_away(self, connection: socket.socket, why: str) -> None:
        """Say why beside the others, as long as that costs little; nobody else has to be told."""
        if len(self._turned_away) >= _TURNED_AWAY_MAX:
            connection.close()
            return
        task = asyncio.create_task(self._say_no(connection, why))
        self._turned_away.add(task)
        task.add_done_callback(self._turned_away.discard)

    async def _say_no(self, connection: socket.socket, why: str) -> None:
        with connection, suppress(OSError, TimeoutError):
            await self._send(connection, Refusal(why))
            await self._finish(connection)

    async def _serve(self, connection: socket.socket, cid: int) -> None:
        try:
            with connection:
                await self._converse(connection, cid)
        except (OSError, TimeoutError) as error:  # the peer is gone, or does not read
            log.debug("CID %d: %s", cid, error)
        except Exception:
            log.exception("a request of CID %d found a fault in abctl", cid)
        finally:
            _count_down(self._connections, cid)

    async def _converse(self, connection: socket.socket, cid: int) -> None:
        request = await self._receive(connection)
        if request is None:
            return
        wait = self._gate.count(cid, time.monotonic())
        if wait:
            await asyncio.sleep(min(wait, self._limits.penalty))
            await self._send(connection, Refusal(f"too many requests: ask again in {wait:.1f} s"))
        elif isinstance(request, Request) and isinstance(request.message, AskProgress):
            await self._stream(connection, cid, request, request.message.job)
        else:
            await self._send(connection, await self._answer(cid, request))
        await self._finish(connection)

    async def _receive(self, connection: socket.socket) -> Request | Bad | None:
        """Return what a peer asks for; None where it says nothing."""
        loop, decoder = asyncio.get_running_loop(), Decoder()
        try:
            async with asyncio.timeout(self._limits.request):
                while True:
                    data = await loop.sock_recv(connection, MESSAGE_MAX + 1)
                    if not data:
                        return None if decoder.is_empty else decoder.end()
                    found = decoder.feed(data)
                    if not isinstance(found, NeedMore):
                        return found
        except TimeoutError:
            return Bad(f"the request was not complete within {self._limits.request:g} s")

    async def _answer(self, cid: int, request: Request | Bad) -> Answer:
        if isinstance(request, Bad):
            return Refusal(request.why)
        message = request.message
        refusal = self._gate.judge(cid, request.sender_cid, message)
        if refusal is not None:
            return Refusal(refusal)
        if message.command in _LOGGED:
            log.info("CID %d asks: %s", cid, type(message).__name__)
        if isinstance(message, Notify):
            return self._notices.put(cid, message)
        return await self._ask_desk(cid, message)

    async def _ask_desk(self, cid: int, message: Message) -> Answer:
        pool = self._pools[isinstance(message, AttachHsm | DetachHsm)]
        work = asyncio.get_running_loop().run_in_executor(pool, self._desk.answer, cid, message)
        try:
            async with asyncio.timeout(self._limits.answer):
                return await work
        except TimeoutError:
            return Refusal(f"the host did not answer within {self._limits.answer:g} s: ask again later")
        except Exception:
            log.exception("%s of CID %d found a fault in abctl", type(message).__name__, cid)
            return Refusal("this is a fault in abctl: the journal of the host says more")

    async def _send(self, connection: socket.socket, answer: Answer, end: bytes = b"") -> None:
        await self._send_bytes(connection, encode(answer) + end)

    async def _send_bytes(self, connection: socket.socket, data: bytes) -> None:
        async with asyncio.timeout(self._limits.answer):
            await asyncio.get_running_loop().sock_sendall(connection, data)

    async def _finish(self, connection: socket.socket) -> None:
        """Say that this was all, and let the peer close first: else the kernel may throw the answer away."""
        connection.shutdown(socket.SHUT_WR)
        loop, read = asyncio.get_running_loop(), 0
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.linger):
                while read < _LAST_WORDS and (data := await loop.sock_recv(connection, MESSAGE_MAX)):
                    read += len(data)

    # --- progress ---

    async def _stream(self, connection: socket.socket, cid: int, request: Request, job_id: str) -> None:
        """Send how a job stands, then what its process says as it says it, and how the job stands then."""
        refusal = self._gate.judge(cid, request.sender_cid, request.message)
        if refusal is None and self._streams[cid] >= self._limits.streams_each:
            refusal = "you follow too many jobs already"
        if refusal is not None:
            await self._send(connection, Refusal(refusal))
            return
        self._streams[cid] += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.stream):
                    await self._follow(connection, cid, job_id)
        finally:
            _count_down(self._streams, cid)

    async def _follow(self, connection: socket.socket, cid: int, job_id: str) -> None:
        loop, offset, shown = asyncio.get_running_loop(), 0, False
        pool = self._pools[False]
        while True:
            # Looked at before the file is: what is said before the end is then read.
            job = await loop.run_in_executor(pool, self._desk.find_job, cid, job_id)
            if job is None:
                await self._send(connection, Refusal(NO_JOB), b"\n")
                return
            if not shown:
                shown = True
                await self._send(connection, describe_job(job), b"\n")
            said = await loop.run_in_executor(pool, self._desk.runner.read_progress, job_id, offset)
            whole = said[: said.rfind(b"\n") + 1]
            offset += len(whole)
            if whole:
                await self._send_bytes(connection, whole)
            elif job.is_open:
                await asyncio.sleep(_POLL)
            else:
                await self._send(connection, describe_job(job), b"\n")
                return


class _Notices:
    """Shows texts of guests in the background, one after the other."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._waiting: asyncio.Queue[tuple[int, Sequence[str]]] = asyncio.Queue(WAITING_MAX)
        self._counts: Counter[int] = Counter()

    def put(self, cid: int, message: Notify) -> Answer:
        """Keep a text to be shown; it is refused where too many wait."""
        lines = plan_notice(cid, message.count, message.message)
        if self._waiting.full() or self._counts[cid] >= _NOTICES_EACH:
            return Refusal("too many notices wait to be shown: ask again later")
        self._counts[cid] += 1
        self._waiting.put_nowait((cid, lines))
        return NoPayload()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            cid, lines = await self._waiting.get()
            for number, line in enumerate(lines):
                if number:
                    await asyncio.sleep(PAUSE)
                await loop.run_in_executor(None, self._show, line)
            _count_down(self._counts, cid)


def _count_down(counts: Counter[int], cid: int) -> None:
    counts[cid] -= 1
    if counts[cid] <= 0:
        del counts[cid]
