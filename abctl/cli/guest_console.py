"""The guest's serial console on this terminal, and the last lines that it has said."""

import contextlib
import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import click

from abctl.cli.guest_host import LiveGuest
from abctl.core.units import KIB
from abctl.errors import GuestNotRunning
from abctl.host.libvirt import Console
from abctl.host.serial_log import SerialLog
from abctl.vm.serial import clean_lines

_QUIT = b"\x1d"  # Ctrl-]
_LINE_BYTES = KIB  # that are looked at for each line that is asked for


def read_lines(host: LiveGuest, count: int) -> tuple[str, ...]:
    """Return the last lines of the guest's console, cleaned."""
    return clean_lines(SerialLog(Path(host.describe().serial.log)).tail(count * _LINE_BYTES), count)


def connect(host: LiveGuest) -> None:
    """Connect this terminal until Ctrl-] or the guest's end; raise GuestNotRunning."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("the console needs a terminal: 'abctl guest console --log 50' does not")
    description = host.describe()
    domain = host.hypervisor.find(description.name, description.uuid)
    if domain is None or not domain.is_active:
        raise GuestNotRunning(f"{description.name} does not run: start it with 'abctl guest start'")
    click.echo(f"Connected with {domain.name}; Ctrl-] ends it.", err=True)
    with host.hypervisor.open_console(domain) as console, _raw_terminal(sys.stdin.fileno()):
        ended = threading.Event()
        threading.Thread(target=_show, args=(console, ended), daemon=True).start()
        _type(console, ended)


@contextlib.contextmanager
def _raw_terminal(fd: int) -> Iterator[None]:
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _show(console: Console, ended: threading.Event) -> None:
    """Copy what the guest says to the terminal."""
    while data := console.read():
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    ended.set()


def _type(console: Console, ended: threading.Event) -> None:
    """Copy what is typed to the guest."""
    fd = sys.stdin.fileno()
    while not ended.is_set():
        if not select.select([fd], [], [], 0.2)[0]:
            continue
        typed = os.read(fd, 1024)
        before, quit_key, _ = typed.partition(_QUIT)
        if before:
            console.write(before)
        if quit_key or not typed:
            return
