"""The rest of a host's life: upgrades both ways, GRUB's menu, Secure Boot."""

import pytest

from abctl.core.bootstate import Why
from tests.lab.claims import assert_whole
from tests.lab.conftest import Lab
from tests.lab.fat import set_menu_time
from tests.lab.qemu import Hardware
from tests.lab.variants import BETTER, FIRST, GOOD

pytestmark = pytest.mark.timeout(2400)
_DOWN, _ENTER = b"\x1b[B", b"\r"


def test_upgrade_from_b_to_a(lab: Lab) -> None:
    host = lab.host(GOOD, server=lab.serve())
    host.boot()
    host.wait_confirmed("B")
    host.abctl("upgrade --no-reboot --quiet --json").check()
    host.start_command("systemctl reboot")
    word = host.wait_up()
    assert (word.slot_set, word.why) == ("A", Why.TRIAL)
    host.wait_confirmed("A")
    assert_whole(host, "A", BETTER.version)
    status = host.status()
    assert (status["verdict"], status["primary"]) == ("ok", "A")
    assert status["slot_sets"]["B"]["version"] == GOOD.version


def test_rollback_from_grubs_menu(lab: Lab) -> None:
    """An admin at the console chooses the other slot set by hand, and then says that it shall stay."""
    host = lab.host(GOOD)
    host.boot()
    host.wait_confirmed("B")
    host.shut_down()
    set_menu_time(host.disk, 3)
    start = host.console.count
    host.power_on()
    host.console.wait("Start this host", 300, start=start)
    host.press(_DOWN)
    host.press(_ENTER)
    word = host.wait_up()
    assert (word.slot_set, word.why) == ("A", Why.MENU)
    assert_whole(host, "A", FIRST)
    status = host.status()
    assert (status["booted"], status["booted_why"], status["primary"]) == ("A", "menu", "B")
    host.abctl("rollback").check()
    host.start_command("systemctl reboot")
    word = host.wait_up()
    assert (word.slot_set, word.why) == ("A", Why.PRIMARY)
    host.settle()
    assert host.status()["primary"] == "A"


def test_secure_boot(lab: Lab) -> None:
    """The firmware has Microsoft's keys and checks each step; GRUB still spends attempts."""
    host = lab.host(GOOD, hardware=Hardware(secure_boot=True))
    word = host.boot(900)
    assert (word.slot_set, word.why) == ("B", Why.TRIAL)
    assert "enabled" in host.run("dmesg | grep -i 'secure boot'").out.lower()
    assert "[integrity]" in host.run("cat /sys/kernel/security/lockdown").out
    host.wait_confirmed("B")
    assert_whole(host, "B", GOOD.version)
