"""The power goes at a chosen moment of an upgrade: the host comes back, complete, and the upgrade goes on."""

import threading
from collections.abc import Callable

import pytest

from abctl.core.bootenv import BootEnv, Copy, decode
from abctl.core.bootstate import SlotState, Why
from abctl.core.slot import SlotName
from abctl.host.disk import DiskGrubPartition, open_disk
from tests.lab.claims import assert_whole
from tests.lab.conftest import Lab
from tests.lab.events import Phase
from tests.lab.machine import Machine
from tests.lab.server import Server
from tests.lab.variants import FIRST, GOOD

pytestmark = pytest.mark.timeout(2400)
_KIB, _MIB = 1024, 1024**2


def cut_at(host: Machine, server: Server, sent: int) -> threading.Event:
    """Cut the power once the server has sent so many bytes."""
    done = threading.Event()

    def look(so_far: int) -> None:
        if so_far >= sent and not done.is_set():
            done.set()
            host.pull_plug()

    server.on_sent = look
    return done


def start_upgrade(host: Machine, options: str = "") -> None:
    host.start_command(f"abctl upgrade {GOOD.version} --no-reboot --quiet {options} 2>/dev/ttyS0")


def upgrade_again(host: Machine) -> None:
    """Upgrade after the cut, boot it and see it confirmed."""
    host.abctl(f"upgrade {GOOD.version} --no-reboot --quiet --json").check()
    host.start_command("systemctl reboot")
    assert host.wait_up().slot_set == "B"
    host.wait_confirmed("B")
    assert_whole(host, "B", GOOD.version)


@pytest.mark.parametrize(("moment", "sent"), [("download", 300 * _KIB), ("write", 8 * _MIB)])
def test_power_cut_while_upgrading(lab: Lab, moment: str, sent: int) -> None:
    """The moment is known by the bytes that the server has sent."""
    server = lab.serve()
    host = lab.host(server=server)
    host.boot()
    host.settle()
    server.rate = 512 * _KIB
    cut = cut_at(host, server, sent)
    # Without the delta, which is small: the cut falls into the fetching of the first chunk, or of later ones.
    start_upgrade(host, "--no-delta")
    assert cut.wait(600), "the upgrade did not fetch that much"
    host.wait_plug()
    host.note("cut", moment)
    server.rate = server.on_sent = None
    word = host.boot()
    assert (word.slot_set, word.why) == ("A", Why.PRIMARY)
    assert_whole(host, "A", FIRST)
    status = host.status()
    assert status["trial"] is None
    assert status["slot_sets"]["B"]["state"] in ("empty", "untested")
    upgrade_again(host)


def test_power_cut_between_commit_and_reboot(lab: Lab) -> None:
    host = lab.host(server=lab.serve())
    host.boot()
    host.settle()
    host.abctl(f"upgrade {GOOD.version} --no-reboot --quiet --json").check()
    host.power_cut()
    word = host.boot()
    assert (word.slot_set, word.why) == ("B", Why.TRIAL)
    host.wait_confirmed("B")
    assert_whole(host, "B", GOOD.version)


def first_copies(host: Machine) -> list[BootEnv]:
    """The copies of the boot environment that are whole, as they are on the medium."""
    files = DiskGrubPartition(open_disk(host.disk)).read()
    found = []
    for copy in (Copy.FIRST, Copy.SECOND):
        try:
            found.append(decode(files[copy] or b""))
        except ValueError:
            continue
    return found


def cut_when(host: Machine, holds: Callable[[], bool], limit: float) -> None:
    host.wait_for(holds, limit, "the moment has come", poll=0.0)
    host.power_cut()


def test_power_cut_during_confirm(lab: Lab) -> None:
    """One copy says already that B is the primary, and the other does not."""
    host = lab.host(GOOD)
    host.boot()
    cut_when(host, lambda: any(env.primary is SlotName.B for env in first_copies(host)), 300)
    word = host.boot()
    assert word.slot_set == "B"
    host.wait_confirmed("B")
    assert_whole(host, "B", GOOD.version)
    assert host.status()["boot_env"]["in_step"]
    assert host.boot_env()[SlotName.B].state is SlotState.GOOD


def test_power_cuts_in_each_attempt_end_in_a_fallback(lab: Lab) -> None:
    host = lab.host(GOOD)
    for _ in range(3):
        host.power_on()
        host.wait_phase(Phase.USERLAND)
        host.power_cut()
    word = host.boot()
    assert (word.slot_set, word.why) == ("A", Why.FALLBACK)
    host.settle()
    status = host.status()
    assert status["slot_sets"]["B"]["state"] == "bad"
    assert_whole(host, "A", FIRST)
    # It was not the release's fault, and an admin says so.
    host.abctl(f"allow {GOOD.version}").check()
    assert host.status()["refused"] == []
