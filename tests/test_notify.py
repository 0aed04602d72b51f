"""What systemd is told, by a socket that stands in for its own."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from abctl.host.notify import Notifier

Listen = Callable[[str], Callable[[], list[str]]]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Return what listens at an address, and then what returns the messages that came since."""
    sockets: list[socket.socket] = []

    def open_socket(address: str) -> Callable[[], list[str]]:
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sockets.append(receiver)
        receiver.bind(address)
        receiver.setblocking(False)

        def receive() -> list[str]:
            messages = []
            while True:
                try:
                    messages.append(receiver.recv(4096).decode())
                except BlockingIOError:
                    return messages

        return receive

    yield open_socket
    for item in sockets:
        item.close()


def test_systemd_is_told_by_a_socket_in_the_file_system(tmp_path: Path, listen: Listen) -> None:
    receive = listen(str(tmp_path / "notify"))
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    notifier.ready()
    notifier.status("on trial:\nnot yet")
    notifier.status("on trial:\nnot yet")
    notifier.stopping()
    assert receive() == ["READY=1", "STATUS=on trial: not yet", "STOPPING=1"]


def test_systemd_is_told_by_an_abstract_socket(listen: Listen) -> None:
    name = f"abctl-test-{os.getpid()}"
    receive = listen(f"\0{name}")
    Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
    assert receive() == ["READY=1"]


def test_the_watchdog_is_pinged_at_half_of_its_time(tmp_path: Path, listen: Listen) -> None:
    receive = listen(str(tmp_path / "notify"))
    now = 1000.0
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000"}
    notifier = Notifier(environment, clock=lambda: now)
    for _ in range(100):  # of 0.5 s
        notifier.ping()
        now += 0.5
    assert receive() == ["WATCHDOG=1"] * 5
    assert notifier.pause == 1.0


def test_a_short_watchdog_is_waited_for_in_short_pauses() -> None:
    assert Notifier({"WATCHDOG_USEC": "500000"}).pause == 0.25


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
def test_without_a_watchdog_nothing_is_pinged(
    tmp_path: Path, listen: Listen, environment: dict[str, str]
) -> None:
    receive = listen(str(tmp_path / "notify"))
    Notifier({**environment, "NOTIFY_SOCKET": str(tmp_path / "notify")}).ping()
    assert receive() == []


@pytest.mark.parametrize("address", ["", "/no/such/socket", "@nobody-listens", "relative", "/" + "x" * 200])
def test_where_nobody_listens_nothing_fails(address: str) -> None:
    Notifier({"NOTIFY_SOCKET": address}).ready()


def test_a_full_socket_holds_nothing_up(tmp_path: Path, listen: Listen) -> None:
    listen(str(tmp_path / "notify"))
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    for number in range(2000):
        notifier.status(str(number))
