"""The service: listeners, rules, and the running host behind them."""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from abctl.agent.desk import Desk
from abctl.agent.policy import Gate
from abctl.agent.server import Listener, Server
from abctl.cli.agent_host import make_desk
from abctl.cli.repository import read_host_config
from abctl.cli.wiring import Target
from abctl.errors import BadConfig
from abctl.host.console import show_on_console
from abctl.host.notify import Notifier
from abctl.host.vsock import find_admin, find_guest, listen_unix, listen_vsock

log = logging.getLogger(__name__)

_ADMIN_SOCKET = Path("/run/abctl/agent.sock")


@dataclass(frozen=True, slots=True)
class Places:
    """Where to listen, and where what jobs say is kept; see the command's options."""

    socket: Path | None
    guest_sockets: tuple[tuple[int, Path], ...]
    port: int
    no_vsock: bool
    state: Path | None


def serve_target(target: Target, places: Places) -> None:
    """Answer until SIGTERM or Ctrl-C; raise AbctlError where nobody can be answered."""
    logging.getLogger("abctl").setLevel(min(logging.INFO, logging.getLogger().getEffectiveLevel()))
    logging.addLevelName(logging.INFO, "info")
    rules = read_host_config(target).config.agent_rules
    if not rules.enabled:
        log.info("[agent] of config.toml says that nobody is answered")
        Notifier().ready()
        return
    desk = make_desk(target, rules, places.state)  # before anybody can connect
    with _listen(target, places) as listeners:
        if not listeners:
            raise BadConfig("there is nothing to listen on: leave out --no-vsock, or give --socket")
        asyncio.run(_serve(Gate(rules), desk, listeners))


@contextmanager
def _listen(target: Target, places: Places) -> Iterator[list[Listener]]:
    with ExitStack() as stack:
        listeners = []
        if not places.no_vsock:
            vsock = stack.enter_context(listen_vsock(places.port))
            listeners.append(Listener(f"VSOCK port {places.port}", vsock, find_guest))
        admin = places.socket or (None if target.disk else _ADMIN_SOCKET)
        if admin:
            socket = stack.enter_context(listen_unix(admin))
            stack.callback(admin.unlink, missing_ok=True)
            listeners.append(Listener(str(admin), socket, find_admin))
        for cid, path in places.guest_sockets:
            socket = stack.enter_context(listen_unix(path))
            stack.callback(path.unlink, missing_ok=True)
            # Who may connect there is said by its owner and mode.
            listeners.append(Listener(f"{path} of CID {cid}", socket, _vouch_for(cid)))
        yield listeners


def _vouch_for(cid: int) -> Callable[[object], int]:
    return lambda _: cid


async def _serve(gate: Gate, desk: Desk, listeners: list[Listener]) -> None:
    notifier = Notifier()
    server = Server(listeners, gate, desk, show_on_console)
    loop, serving = asyncio.get_running_loop(), asyncio.create_task(server.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    notifier.ready()
    notifier.status(f"answers on {', '.join(listener.name for listener in listeners)}")
    log.info("answering on %s", ", ".join(listener.name for listener in listeners))
    while not serving.done():
        # From this loop, so that one that hangs is found out.
        notifier.ping()
        await asyncio.wait([serving], timeout=notifier.pause)
    notifier.stopping()
    if not serving.cancelled():
        serving.result()
