"""A host has its name, addresses, users, keys and firewall from its first boot on, in either slot set."""

import json
import socket
import time

import pytest

from abctl.core.bootstate import Why
from abctl.core.slot import Part, Slot, SlotName
from tests.lab.claims import assert_whole
from tests.lab.conftest import Lab
from tests.lab.damage import edit_slot, install_trial
from tests.lab.machine import Machine
from tests.lab.qemu import Hardware
from tests.lab.variants import FIREWALL, FIREWALLED, FIRST, WIDER_POLICY

pytestmark = pytest.mark.timeout(2400)

# The first release admits SSH from private addresses, and metrics over IPv6 only; FIREWALLED both.
_SSH, _METRICS = 22, 9100
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f admin@desk"
_SETTINGS = {
    "version": 1,
    "deployment": "testnet",
    "management_mac": "70:b5:e8:e8:25:de",
    "ipv6_prefix": "2602:ffe4:801:17::/64",
    "field_of_tomorrow": "kept",
}
_ADDRESS = "inet6 2602:ffe4:801:17:6800:f8ff:fe87:a48a/64"
_PATIENCE = 8.0  # seconds for an answer; what is dropped never comes
_FOR = 30  # seconds until rules that nobody confirms are taken back


def test_identity_and_firewall_of_either_slot_set(lab: Lab) -> None:
    ports = {number: _find_free_port() for number in (_SSH, _METRICS)}
    disk = lab.make_disk()
    edit_slot(disk, Slot(SlotName.A, Part.ROOT), FIREWALL)
    host = lab.host(
        disk=disk, hardware=Hardware(forwards=tuple((here, there) for there, here in ports.items()))
    )
    host.boot()
    host.settle()
    assert host.run("hostname").out.strip() == "host-525400123456", "the name of its only card"
    machine_id = host.run("cat /etc/machine-id").check().out
    _give_settings(host)
    _listen(host, ports)
    _assert_is_itself(host, machine_id)
    assert _find_open(ports) == {_SSH}
    _assert_new_rules_wait_for_approval(host, ports)
    host.shut_down()

    install_trial(disk, lab.stock.release(FIREWALLED), attempts=1)
    assert host.boot().slot_set == "B"
    assert_whole(host, "B", FIREWALLED.version)
    _listen(host, ports)
    _assert_is_itself(host, machine_id)
    assert _find_open(ports) == {_SSH, _METRICS}
    host.start_command("systemctl reboot")

    word = host.wait_up()
    assert (word.slot_set, word.why) == ("A", Why.FALLBACK)
    assert_whole(host, "A", FIRST)
    _listen(host, ports)
    _assert_is_itself(host, machine_id)
    assert _find_open(ports) == {_SSH}
    assert json.loads(host.run("cat /boot/config/abctl/settings.json").out)["field_of_tomorrow"] == "kept"


def _give_settings(host: Machine) -> None:
    """Do what whoever prepares a host's config volume does."""
    host.run("mkdir -p /boot/config/abctl /boot/config/ssh_authorized_keys").check()
    host.run(f"echo '{json.dumps(_SETTINGS)}' >/boot/config/abctl/settings.json").check()
    host.run(f"printf '%s\\nno key at all\\n' '{_KEY}' >/boot/config/ssh_authorized_keys/admin").check()
    host.abctl("identity apply").check()
    # Its own prefix is a set of the policy that was loaded before it was known.
    host.run("systemctl reload abctl-firewall").check()


def _assert_is_itself(host: Machine, machine_id: str) -> None:
    assert host.run("hostname").out.strip() == "host-70b5e8e825de"
    assert host.run("cat /etc/hostname").out.strip() == "host-70b5e8e825de"
    assert host.run("cat /etc/machine-id").out == machine_id
    assert "link/ether 6a:00:f8:87:a4:8a" in host.run("ip link show br6").out
    host.wait_for(lambda: _ADDRESS in host.run("ip -6 address show br6").out, 60, "br6 has its address")
    users = host.run("getent passwd backup readonly admin node_exporter").check().out.splitlines()
    assert [line.split(":")[5:] for line in users] == [
        ["/var/lib/backup", "/bin/bash"],
        ["/var/lib/readonly", "/bin/bash"],
        ["/var/lib/admin", "/bin/bash"],
        ["/home/node_exporter", "/usr/sbin/nologin"],
    ]
    keys = "/var/lib/admin/.ssh/authorized_keys"
    assert _KEY in host.run(f"cat {keys}").check().out
    assert host.run(f"stat -c '%a %U' {keys}").out.split() == ["600", "admin"]
    host.run("systemctl start abctl-metrics.service").check()
    assert "# HELP" in host.run("cat /run/node_exporter/collector_textfile/abctl.prom").check().out
    assert host.abctl("firewall diff").code == 0, "the kernel has other rules than the policy"


def _assert_new_rules_wait_for_approval(host: Machine, ports: dict[int, int]) -> None:
    """What nobody confirms is taken back by a timer; what is confirmed stays, and so until it is reloaded."""
    host.run(f"cat >/run/wider.toml <<'END'\n{WIDER_POLICY}END").check()
    apply = f"firewall apply --policy /run/wider.toml --for {_FOR}"
    timers = "systemctl list-units --no-legend 'abctl-firewall-revert-*'"
    host.abctl(apply).check()
    assert _find_open(ports) == {_SSH, _METRICS}
    host.wait_for(lambda: _find_open(ports) == {_SSH}, 4 * _FOR, "the rules from before are back")
    assert host.abctl("firewall diff").code == 0

    host.abctl(apply).check()
    host.abctl("firewall confirm").check()
    assert host.run(timers).out == ""
    time.sleep(_FOR)
    assert _find_open(ports) == {_SSH, _METRICS}
    host.run("systemctl reload abctl-firewall").check()
    assert _find_open(ports) == {_SSH}


def _listen(host: Machine, ports: dict[int, int]) -> None:
    for number in ports:
        host.run(f"systemd-run --collect --unit=answer-{number} python3 -m http.server {number}").check()
    for number in ports:
        host.wait_for(lambda: host.run(f"ss -Hltn sport = :{number}").out != "", 60, f"{number} listens")  # noqa: B023 - at once


def _find_open(ports: dict[int, int]) -> set[int]:
    """Return the ports of the host on which somebody answers: packets to them arrive."""
    return {number for number, here in ports.items() if _ask(here)}


def _ask(port: int) -> bytes:
    """Return the start of what a web server behind a port of ours says; nothing where it says nothing."""
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        try:
            return connection.recv(16)
        except (TimeoutError, ConnectionError):
            return b""


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
