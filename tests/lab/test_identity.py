"""A host has its name, addresses, users, keys and firewall from its first boot on, in either slot set."""

import json
import socket

import pytest

from abctl.core.bootstate import Why
from abctl.core.slot import Part, Slot, SlotName
from tests.lab.claims import assert_whole
from tests.lab.conftest import Lab
from tests.lab.damage import edit_slot, install_trial
from tests.lab.machine import Machine
from tests.lab.qemu import Hardware
from tests.lab.variants import FIREWALL, FIREWALLED, PANICS

pytestmark = pytest.mark.timeout(2400)

_SSH, _METRICS = 22, 9100  # the policy admits the first from private addresses, the second over IPv6 only
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f admin@desk"
_SETTINGS = {
    "version": 1,
    "deployment": "testnet",
    "management_mac": "70:b5:e8:e8:25:de",
    "ipv6_prefix": "2602:ffe4:801:17::/64",
    "field_of_tomorrow": "kept",
}
_PATIENCE = 8.0  # seconds for an answer; what is dropped never comes


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
    _assert_is_itself(host, machine_id, ports)
    host.shut_down()

    install_trial(disk, lab.stock.release(FIREWALLED))
    assert host.boot().slot_set == "B"
    host.wait_confirmed("B", 600)
    _assert_is_itself(host, machine_id, ports)
    assert_whole(host, "B", FIREWALLED.version)
    host.shut_down()

    install_trial(disk, lab.stock.release(PANICS), attempts=1, booted="B")
    host.power_on()
    host.wait_booted("B", Why.FALLBACK, 900)
    assert_whole(host, "B", FIREWALLED.version)
    _assert_is_itself(host, machine_id, ports)
    assert json.loads(host.run("cat /boot/config/abctl/settings.json").out)["field_of_tomorrow"] == "kept"


def _give_settings(host: Machine) -> None:
    """Do what whoever prepares a host's config volume does."""
    host.run("mkdir -p /boot/config/abctl /boot/config/ssh_authorized_keys").check()
    host.run(f"echo '{json.dumps(_SETTINGS)}' >/boot/config/abctl/settings.json").check()
    host.run(f"printf '%s\\nno key at all\\n' '{_KEY}' >/boot/config/ssh_authorized_keys/admin").check()
    host.abctl("identity apply").check()
    # Its own prefix is a set of the policy that was loaded before it was known.
    host.run("systemctl reload abctl-firewall").check()


def _assert_is_itself(host: Machine, machine_id: str, ports: dict[int, int]) -> None:
    assert host.run("hostname").out.strip() == "host-70b5e8e825de"
    assert host.run("cat /etc/hostname").out.strip() == "host-70b5e8e825de"
    assert host.run("cat /etc/machine-id").out == machine_id
    assert "link/ether 6a:00:f8:87:a4:8a" in host.run("ip link show br6").out
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
    _assert_only_admitted_packets_arrive(host, ports)


def _assert_only_admitted_packets_arrive(host: Machine, ports: dict[int, int]) -> None:
    for number in ports:
        host.run(f"systemd-run --collect --unit=answer-{number} python3 -m http.server {number}").check()
        host.wait_for(lambda: _listens(host, number), 60, f"port {number} listens")  # noqa: B023 - at once
    assert _ask(ports[_SSH]), "nothing came through where the policy admits it"
    assert not _ask(ports[_METRICS]), "a packet came through that no rule admits"
    for number in ports:
        host.run(f"systemctl stop answer-{number}").check()


def _listens(host: Machine, number: int) -> bool:
    return host.run(f"ss -Hltn sport = :{number}").out != ""


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
