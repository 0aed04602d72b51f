"""Who keeps the guest stopped, and for how long: admins, upgrades, and upgrades that were cut off."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from abctl.cli.guest_host import LiveGuest, own_guest
from abctl.cli.guest_upgrade import _stopped
from abctl.core.guest_state import GuestState, Hold, Phase
from abctl.errors import NothingToDo
from abctl.host import clock, guest_file
from abctl.vm.keeper import Keeper
from tests.disks import GUEST, copy_of
from tests.fake_guest import FakeGuestHost, Over

_HEARS_HANG_UP = ("env", "--default-signal=HUP")  # whoever runs the tests may have it ignored
_LIMIT = 20.0  # seconds for what takes one or two
_ADMIN, _UPGRADE = "an admin stopped it", "it gets another release"


class Service(FakeGuestHost):
    """The service with a guest that plays a part; its files and its clock are real ones."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.creating, self.may_create = threading.Event(), threading.Event()
        self.may_create.set()
        self.is_over = False
        self.told: list[GuestState] = []
        (root / "run/abctl").mkdir(parents=True)
        (root / "etc").mkdir()
        (root / "etc/guest.toml").write_text(f'[disk]\npath = "{root}/disk.img"\n')
        (root / "etc/config.toml").write_text('[unsigned]\nallow = "admin"\n')

    def run(self) -> None:
        with own_guest(self.root, as_service=True), suppress(Over):
            Keeper(self).run()

    def since_boot(self) -> float:
        return clock.since_boot()

    def wait(self, seconds: float) -> None:
        if self.is_over:
            raise Over
        time.sleep(0.02)
        super().wait(seconds)

    def create(self, xml: str) -> None:
        self.creating.set()
        assert self.may_create.wait(_LIMIT)
        super().create(xml)

    def read_hold(self) -> Hold | None:
        return guest_file.read_hold(self.root)

    def end_lost_upgrade(self) -> bool:
        return guest_file.end_lost_upgrade(self.root)

    def last_state(self) -> GuestState | None:
        return guest_file.read_state(self.root)

    def tell(self, state: GuestState) -> None:
        self.told.append(state)
        guest_file.write_state(state, self.root)

    def abctl(self, *words: str) -> "subprocess.Popen[str]":
        program = (*_HEARS_HANG_UP, sys.executable, "-m", "abctl")
        return subprocess.Popen(
            [*program, "--config", str(self.root / "etc"), "guest", *words],
            env={**os.environ, "ABCTL_ROOT": str(self.root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        wait_for(lambda: says(service, Phase.READY))
        yield service
    finally:
        service.is_over = True
        service.may_create.set()
        thread.join(_LIMIT)


def wait_for(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + _LIMIT
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


def says(service: Service, phase: Phase) -> bool:
    return bool(service.told) and service.told[-1].phase is phase


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Return its exit code, and what it said on stderr."""
    _, said = process.communicate(timeout=_LIMIT)
    return process.returncode, said


def beats(service: Service) -> None:
    """Let the service look a few times."""
    time.sleep(0.3)
    assert not service.is_over


def test_a_stop_is_not_done_while_the_service_still_starts_the_guest(service: Service) -> None:
    guest_file.hold(_UPGRADE, service.root)
    wait_for(lambda: says(service, Phase.HELD))
    service.creating.clear()
    service.may_create.clear()
    guest_file.release(service.root)
    assert service.creating.wait(_LIMIT)
    stop = service.abctl("stop")
    with pytest.raises(subprocess.TimeoutExpired):
        stop.wait(3)
    service.may_create.set()
    assert ended(stop) == (0, "")
    assert service.running is None


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_guest_whose_upgrade_is_cut_off_runs_again(service: Service, how: signal.Signals) -> None:
    copy_of(GUEST, service.root)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(_LIMIT)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/update-img.tar.gz"
        upgrade = service.abctl("upgrade", url, "--sha256", "0" * 64, "--progress", "none")
        connection, _ = silent.accept()
        with connection:
            assert service.running is None
            hold = service.read_hold()
            assert hold is not None
            assert hold.why == _UPGRADE
            upgrade.send_signal(how)
            code, said = ended(upgrade)
    assert code == (-how if how is signal.SIGKILL else 130), said
    wait_for(lambda: says(service, Phase.READY))
    assert len(service.starts) == 2
    assert service.read_hold() is None
    killed = [state for state in service.told if state.why == "its upgrade was killed; it is started again"]
    assert bool(killed) is (how is signal.SIGKILL)


@pytest.mark.slow
def test_a_guest_that_an_admin_has_stopped_stays_so_where_its_upgrade_is_refused(service: Service) -> None:
    copy_of(GUEST, service.root)
    assert ended(service.abctl("stop")) == (0, "")
    code, said = ended(service.abctl("upgrade", str(service.root / "none"), "--sha256", "0" * 64))
    assert code > 1, said
    beats(service)
    assert (service.running, len(service.starts)) == (None, 1)
    hold = service.read_hold()
    assert hold is not None
    assert hold.why == _ADMIN
    guest_file.release(service.root)
    wait_for(lambda: says(service, Phase.READY))


@pytest.mark.slow
def test_a_second_upgrade_is_refused_and_leaves_the_first_one_its_hold(service: Service) -> None:
    copy_of(GUEST, service.root)
    with guest_file.hold_for_upgrade(service.root):
        wait_for(lambda: says(service, Phase.HELD))
        code, said = ended(service.abctl("upgrade", str(service.root / "none"), "--sha256", "0" * 64))
        assert "another 'abctl guest upgrade' works on the guest" in said, code
        beats(service)
        assert (service.running, len(service.starts)) == (None, 1)
    wait_for(lambda: says(service, Phase.READY))


def test_those_who_look_for_a_hold_at_once_do_not_take_each_other_for_one(tmp_path: Path) -> None:
    assert guest_file.read_hold(tmp_path) is None
    with guest_file.hold_for_upgrade(tmp_path):
        path = tmp_path / guest_file.UPGRADE
        assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("an upgrade that was killed")
    found: list[Hold | None] = []

    def look() -> None:
        found.extend(guest_file.read_hold(tmp_path) for _ in range(2000))

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {None}
    assert [guest_file.end_lost_upgrade(tmp_path) for _ in range(2)] == [True, False]


# --- without the service ------------------------------------------------------------------------------


class Alone(FakeGuestHost):
    """A host without the service."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def upgrade(self, error: BaseException | None = None) -> None:
        with _stopped(cast(LiveGuest, self), self.description):
            assert self.running is None
            if error is not None:
                raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), NothingToDo("there is no such release")])
def test_without_the_service_too_a_guest_runs_again_where_its_upgrade_fails(
    tmp_path: Path, error: BaseException
) -> None:
    host = Alone(tmp_path)
    Keeper(host).start()
    with pytest.raises(type(error)):
        host.upgrade(error)
    assert (host.running is not None, len(host.starts)) == (True, 2)


def test_a_guest_that_was_off_stays_off_where_its_upgrade_fails(tmp_path: Path) -> None:
    host = Alone(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        host.upgrade(KeyboardInterrupt())
    assert host.starts == []


def test_ctrl_c_while_the_guest_powers_off_does_not_leave_it_off(tmp_path: Path) -> None:
    host = Alone(tmp_path)
    Keeper(host).start()

    def interrupt() -> None:
        raise KeyboardInterrupt

    host.after(1.5, interrupt)
    with pytest.raises(KeyboardInterrupt):
        host.upgrade()
    host.wait(30)
    assert (host.running is not None, len(host.starts)) == (True, 2)


# --- the terminal goes away ---------------------------------------------------------------------------

_HANG_UP = """
import os, signal
from abctl.cli.failure import Interruption
Interruption.watch()
try:
    os.kill(os.getpid(), signal.SIGHUP)
    print("goes on")
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.SIGHUP)
    print("has cleaned up")
"""


@pytest.mark.parametrize(("trap", "said"), [("", "has cleaned up\n"), ("trap '' HUP; ", "goes on\n")])
def test_a_lost_terminal_ends_a_command_once_and_under_nohup_never(trap: str, said: str) -> None:
    command = [*_HEARS_HANG_UP, "sh", "-c", f'{trap}exec "$0" -c "$1"', sys.executable, _HANG_UP]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (said, "")
