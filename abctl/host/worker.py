"""Where a confined process starts: it takes what it needs, gives up all rights, and serves one role.

    python -I -m abctl.host.worker ROLE FD

FD is a socket. The first message on it are the settings, from the process that started this one and is to be
believed. The answer is what took effect, or why nothing did. After that this process reads what nobody
vouches for; it ends when the other end of FD is closed.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from abctl.errors import AbctlError, ToolFailed
from abctl.host.child import FAILED, MESSAGE_MAX, READY
from abctl.host.confine import confine
from abctl.host.seccomp import Need

Settings = dict[str, Any]
Take = Callable[[Any, socket.socket | None], None]
"""Takes a message, and the stream that came with it; returns at once."""

_CPU_MAX = 120  # seconds for a check, which takes one or two
# Each imports all that it will ever need: later the installation may be out of reach.
ROLES: dict[str, tuple[str, Need, int | None]] = {
    "fetch": ("worker_fetch", Need.NETWORK | Need.READ_FILES, None),
    "check": ("worker_check", Need.READ_FILES, _CPU_MAX),
    "unpack": ("worker_unpack", Need.NOTHING, None),
}


def main(role: str, control: socket.socket) -> None:
    """Play ``role`` until the other side closes ``control``."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the other side decides when this is over
    try:
        take = _prepare(role, control)
    except AbctlError as error:
        control.send(FAILED + f"{type(error).__name__}\0{error}".encode()[: MESSAGE_MAX - 1])
        return
    while True:
        message, fds, _, _ = socket.recv_fds(control, MESSAGE_MAX, 1)
        if not message:
            return
        take(json.loads(message), socket.socket(fileno=fds[0]) if fds else None)


def _prepare(role: str, control: socket.socket) -> Take:
    module, need, cpu_seconds = ROLES[role]
    settings: Settings = json.loads(control.recv(MESSAGE_MAX))
    start: Callable[[Settings, socket.socket], Take] = import_module(f"abctl.host.{module}").start
    take = start(settings, control)
    try:
        done = confine(need, settings["parent"], cpu_seconds)
    except OSError as error:
        raise ToolFailed(f"the rights of root cannot be given up for what is not trusted: {error}") from error
    control.send(READY + done.encode())
    return take


if __name__ == "__main__":
    main(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
    os._exit(0)  # whatever the threads are at
