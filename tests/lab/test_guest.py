"""A host with a guest, by a real libvirtd under a real systemd: its upgrades take the guest along.

The guest is tiny, and emulated in an emulated machine: it takes minutes for what takes a host seconds.
"""

import json
import re

import pytest

from abctl.core.bootstate import Why
from tests.lab.claims import assert_fell_back, assert_whole
from tests.lab.conftest import Lab
from tests.lab.damage import leave_attempts
from tests.lab.hypervisor import GUEST_FAILS, HARDWARE, HYPERVISOR
from tests.lab.machine import Machine
from tests.lab.prepare import Stock, get_stock
from tests.lab.variants import FIRST, GOOD

pytestmark = pytest.mark.timeout(3600)

_PATIENCE = 900.0  # seconds for the guest to get healthy
_SERIAL_LOG = "log/libvirt/qemu/guestos-serial.log"  # in /var


@pytest.fixture(scope="module")
def stock() -> Stock:
    return get_stock(HYPERVISOR)


def test_an_upgrade_takes_the_guest_along_and_a_bad_one_is_left_for_its_sake(lab: Lab) -> None:
    host = lab.host(server=lab.serve(GOOD, GUEST_FAILS), hardware=HARDWARE)
    host.boot()
    _wait_checked(host)
    assert_whole(host, "A", FIRST)
    _assert_guest_is_healthy(host)

    _upgrade(host, GOOD.version)
    host.start_command("systemctl reboot")
    word = host.wait_up()
    assert (word.slot_set, word.why) == ("B", Why.TRIAL)
    _assert_guest_ended_first(host, "A")
    host.wait_confirmed("B", _PATIENCE)
    assert_whole(host, "B", GOOD.version)
    _assert_guest_is_healthy(host)

    _upgrade(host, GUEST_FAILS.version)
    host.shut_down()
    leave_attempts(host.disk, 1)
    assert host.boot().slot_set == "A"
    _assert_guest_ended_first(host, "B")
    host.wait_booted("B", Why.FALLBACK, _PATIENCE)
    _wait_checked(host)
    assert_fell_back(
        host, GUEST_FAILS.version, ["grub", "grub", "checks"], "guest-ready", "it said that its boot failed",
        slot_set="B", to=GOOD.version,
    )  # fmt: skip
    _assert_guest_is_healthy(host, "attention")


def _wait_checked(host: Machine) -> None:
    """Wait until the health service has nothing to wait for any more."""

    def is_checked() -> bool:
        return '"stand": "checked"' in host.run("cat /run/abctl/health.json").out

    host.wait_for(is_checked, _PATIENCE, "the boot was checked", poll=5)


def _assert_guest_is_healthy(host: Machine, verdict: str = "ok") -> None:
    guest = host.abctl("guest status --json").check().json
    assert (guest["phase"], guest["watched"], guest["failed"]) == ("ready", True, 0), guest
    health = json.loads(host.run("cat /run/abctl/health.json").check().out)
    (check,) = (item for item in health["results"] if item["name"] == "guest-ready")
    assert (check["required"], check["verdict"]) == (True, "passed"), check
    assert host.status()["verdict"] == verdict


def _upgrade(host: Machine, version: str) -> None:
    report = host.abctl(f"upgrade {version} --no-reboot --quiet --json").check().json
    assert report["version"] == version


def _assert_guest_ended_first(host: Machine, slot_set: str) -> None:
    """When the host went down in ``slot_set``, the guest was asked, and was off before anything it needs."""
    host.run(f"mkdir -p /run/was && mount -o ro /dev/hostlvm/{slot_set}_var /run/was").check()
    said = host.run(f"cat /run/was/{_SERIAL_LOG}; umount /run/was").out
    assert "the power button was pressed" in said
    assert "reboot: Power down" in said
    log = (host.folder / "console.log").read_text(encoding="utf-8", errors="replace")
    stopped = re.findall(r"systemd\[1\]: Stopped (abctl-guest|libvirt-guests|libvirtd|virtlogd)\.", log)
    assert stopped[-4:] == ["abctl-guest", "libvirt-guests", "libvirtd", "virtlogd"], stopped
    assert "Starting shutdown on guest" not in log, "libvirt pressed its power button too"
    assert "did not power off" not in log
