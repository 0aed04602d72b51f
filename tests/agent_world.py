"""An agent in this process: the real server on real sockets, and a host that holds state behind it."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from abctl.agent.answers import BootStateAnswer, NextBootAnswer, SlotSetAnswer
from abctl.agent.desk import Desk
from abctl.agent.jobs import Jobs
from abctl.agent.policy import Gate
from abctl.agent.server import Limits, Listener, Server
from abctl.core.agent_rules import AgentRules
from abctl.core.bootstate import SlotState, Why
from abctl.core.record import Record
from abctl.core.slot import SlotName
from abctl.core.units import Seconds
from abctl.errors import ToolFailed
from abctl.host.vsock import listen_unix

PATIENCE = 30.0  # seconds after which a client gives up


@dataclass
class World:
    """The host, its jobs and its guest's HSM; implements the protocols of ``agent.desk``."""

    rules: AgentRules = field(default_factory=lambda: AgentRules(rate=1e6, burst=10**6))
    jobs: Jobs = field(default_factory=Jobs)
    entries: Record = field(default_factory=Record)
    now: int = 1_800_000_000
    hostos: str | Exception = "1.0.0"
    has_hsm: bool = False
    node_id: str = ""
    running: set[str] = field(default_factory=set)
    stopped: list[str] = field(default_factory=list)
    said: dict[str, bytes] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    hang: threading.Event | None = None
    made: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    # HostView

    def version(self) -> str:
        if isinstance(self.hostos, Exception):
            raise self.hostos
        return self.hostos

    def boot_state(self) -> BootStateAnswer:
        held = SlotSetAnswer(version="1.0.0", state=SlotState.GOOD)
        return BootStateAnswer(
            booted=SlotName.A,
            primary=SlotName.A,
            trial=None,
            slot_sets={SlotName.A: held, SlotName.B: SlotSetAnswer(version=None, state=SlotState.EMPTY)},
            next_boot=NextBootAnswer(slot_set=SlotName.A, why=Why.PRIMARY),
        )

    def record(self) -> Record:
        return self.entries

    # JobStore

    def read(self) -> Jobs:
        return self.jobs

    def change(self, change: Callable[[Jobs], Jobs]) -> Jobs:
        with self.lock:
            self.jobs = change(self.jobs)
            return self.jobs

    # JobRunner

    def start(self, job_id: str) -> None:
        self.running.add(job_id)

    def stop(self, job_id: str) -> None:
        self.stopped.append(job_id)

    def is_alive(self, job_id: str) -> bool:
        return job_id in self.running

    def read_progress(self, job_id: str, offset: int) -> bytes:
        return self.said.get(job_id, b"")[offset:]

    # Guest and Names

    def attach_hsm(self) -> None:
        if self.hang:
            self.hang.wait(PATIENCE)
        if self.has_hsm:
            raise ToolFailed("the guest has the HSM already")
        self.has_hsm = True

    def detach_hsm(self) -> None:
        self.has_hsm = False

    def set_node_id(self, node_id: str) -> None:
        self.node_id = node_id

    def make_id(self) -> str:
        self.made += 1
        return f"{self.made:016x}"

    def desk(self) -> Desk:
        return Desk(
            host=self,
            store=self,
            runner=self,
            guest=self,
            names=self,
            now=lambda: Seconds(self.now),
            make_id=self.make_id,
            abctl_version="0.1.0",
            jobs_per_hour=self.rules.jobs_per_hour,
        )


@dataclass(frozen=True)
class Agent:
    """A running server: guest 3 and guest 4 have a socket each, and so has somebody the kernel refuses."""

    folder: Path
    world: World

    def connect(self, cid: int = 3) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(PATIENCE)
        connection.connect(str(self.folder / f"guest-{cid}"))
        return connection

    def send(self, data: bytes, cid: int = 3) -> Any:
        """Send bytes as they are, and return the answer."""
        with self.connect(cid) as connection:
            connection.sendall(data)
            return read_answer(connection)

    def ask(self, message: Any, cid: int = 3, sender: int | None = None) -> Any:
        return self.send(make_request(message, cid if sender is None else sender), cid)


def make_request(message: Any, sender: int = 3) -> bytes:
    return json.dumps({"sender_cid": sender, "message": message}).encode()


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while part := connection.recv(65536):
        data += part
    return data


def read_answer(connection: socket.socket) -> Any:
    return json.loads(read_all(connection))


def _vouch_for(cid: int) -> Callable[[object], int | None]:
    return lambda _: cid if cid != 5 else None


@contextmanager
def run_agent(folder: Path, world: World, limits: Limits | None = None) -> Iterator[Agent]:
    """Run the server in a thread of this process until the block ends."""
    folder.mkdir(exist_ok=True)
    sockets = [(cid, listen_unix(folder / f"guest-{cid}")) for cid in (2, 3, 4, 5)]
    # Guest 5 is somebody whom the kernel does not vouch for.
    listeners = [Listener(f"guest {cid}", listener, _vouch_for(cid)) for cid, listener in sockets]
    server = Server(listeners, Gate(world.rules), world.desk(), world.shown.append, limits or Limits())
    loop = asyncio.new_event_loop()
    serving = loop.create_task(server.run())
    thread = threading.Thread(target=_run, args=(loop, serving), name="agent")
    thread.start()
    try:
        yield Agent(folder, world)
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join()
        for _, listener in sockets:
            listener.close()
        failed = None if serving.cancelled() else serving.exception()
        assert failed is None, failed


def _run(loop: asyncio.AbstractEventLoop, serving: "asyncio.Task[None]") -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(asyncio.wait([serving]))
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
