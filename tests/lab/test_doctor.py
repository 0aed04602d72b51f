"""explain and doctor on a host that runs: all is well, then damage is done to it, named, and mended."""

from collections.abc import Mapping
from typing import Any

import pytest

from abctl.core.slot import Part, Slot, SlotName
from tests.lab.conftest import Lab
from tests.lab.damage import edit_slot
from tests.lab.machine import Machine
from tests.lab.variants import AGENT, FIREWALL

pytestmark = pytest.mark.timeout(2400)

# By the name of the check that has to find it: what is done as root, and what the doctor says of it.
_DAMAGE = {
    "firewall": ("nft add rule inet abctl input tcp dport 23 accept", "warning", "differ"),
    "config-space": ("dd if=/dev/zero of=/boot/config/fill bs=64k 2>/dev/null; test -s /boot/config/fill",
                     "warning", "full"),
    "boot-env": ("rm /boot/grub/env1/grubenv", "fault", "is missing"),
    "own-units": ("systemctl mask --runtime abctl-deadline.timer", "fault", "is masked until the next boot"),
}  # fmt: skip


def test_doctor_finds_what_was_damaged_on_a_running_host(lab: Lab) -> None:
    disk = lab.make_disk()
    edit_slot(disk, Slot(SlotName.A, Part.ROOT), FIREWALL, AGENT)
    host = lab.host(disk=disk)
    host.boot()
    host.settle()
    _assert_agent_runs_without_a_guest(host)
    assert _find_wrong(_examine(host)) == {}
    assert host.abctl("explain --json").check().json["verdict"] == "ok"

    for command, _, _ in _DAMAGE.values():
        host.run(command).check()
    wrong = _find_wrong(_examine(host, 3))
    assert {name: finding["verdict"] for name, finding in wrong.items() if name != "state"} == {
        name: verdict for name, (_, verdict, _) in _DAMAGE.items()
    }
    for name, (_, _, words) in _DAMAGE.items():
        assert words in wrong[name]["sentence"]

    host.run(wrong["own-units"]["command"]).check()
    host.run("rm /boot/config/fill; systemctl reload abctl-firewall").check()
    found = _examine(host, options="--repair")
    assert found["boot-env"]["repaired"]
    assert _find_wrong(found) == {}
    # Looking at its own disk must not show LVM the same volume group twice.
    assert "duplicate" not in host.run("journalctl -b -o cat").out
    host.measure()


def _assert_agent_runs_without_a_guest(host: Machine) -> None:
    """The socket has the kernel load its module; an admin is answered, others of the host are not."""
    host.wait_for(lambda: host.run("systemctl is-active abctl-agent").code == 0, 120, "the agent is up")
    assert "\nvsock " in f"\n{host.run('lsmod').out}"
    told = host.abctl("agent ask --socket /run/abctl/agent.sock boot-state").check().json
    assert told["Ok"]["abctl-1"]["boot-state"]["booted"] == "A"
    host.run("modprobe vsock_loopback").check()
    done = host.abctl("agent ask --cid 1 --sender 3 version")
    assert (done.code, "only root may ask here" in done.err) == (68, True), str(done)


def _examine(host: Machine, code: int = 0, options: str = "") -> dict[str, Any]:
    done = host.abctl(f"doctor --json {options}")
    assert done.code == code, str(done)
    return {finding["name"]: finding for finding in done.json["findings"]}


def _find_wrong(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: finding for name, finding in found.items() if finding["verdict"] != "ok"}
