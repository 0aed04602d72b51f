"""A real guest in QEMU asks over a real AF_VSOCK socket, and its host upgrades itself.

The guest's kernel has the virtio driver. The device is in user space (tests/vsock), and leads to the Unix
socket on which the agent, a real process, takes whoever comes for that guest. The host is a disk image.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from abctl.agent.protocol import PORT
from abctl.core.slot import SlotName
from tests.hostile_repository import Host, make_guest_repository, make_host
from tests.repositories import Clock
from tests.test_agent_cli import Agent, run_agent
from tests.vsock.device import VsockDevice
from tests.vsock.guest import Guest, Said, make_initramfs, run_guest

pytestmark = pytest.mark.machine

CID = 3
# A hostile program of the guest: sends pieces over AF_VSOCK, and prints the answer.
_SEND = """
import socket, sys
connection = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
connection.settimeout(20)
connection.connect((2, {port}))
for piece in {pieces}:
    connection.sendall(piece)
data = b""
while part := connection.recv(4096):
    data += part
print(data.decode())
"""


# The host's side of AF_VSOCK, over the kernel's loopback: who comes from this very machine is no guest.
_LISTEN = """
import socket
from abctl.host.vsock import connect_vsock, find_guest, listen_vsock
with listen_vsock(19091) as listening, connect_vsock(1, 19091, 20) as outward:
    connection, peer = listening.accept()
    print(peer[0], find_guest(connection))
try:
    listen_vsock(19091), listen_vsock(19091)
except Exception as error:
    print(error)
"""


@dataclass
class Scene:
    """A guest, the device that it asks through, and the host."""

    guest: Guest
    device: VsockDevice
    host: Host
    agent: Agent
    folder: Path

    def send(self, pieces: str) -> Any:
        """Send what this Python expression gives, over one connection, and return the answer."""
        said = self.guest.python(_SEND.format(port=PORT, pieces=pieces))
        assert said.code == 0, said.out
        return json.loads(said.out)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    repo = make_guest_repository(folder / "repo", "2.0.0", clock=Clock(int(time.time())))
    host = make_host(folder / "host", repo.root, [f"file://{repo.folder}/"], repo.clock)
    ports = {PORT: folder / "agent" / f"guest-{CID}"}
    # The agent gets what the guest says in pieces of 16 bytes.
    with (
        run_agent(host, folder / "agent") as agent,
        VsockDevice(folder / "device", CID, ports, piece=16) as device,
        run_guest(make_initramfs(folder), device.path) as guest,
    ):
        yield Scene(guest, device, host, agent, folder)


def answer(said: Said) -> Any:
    assert said.code == 0, said.out
    return json.loads(said.out.splitlines()[-1])["Ok"]["abctl-1"]


def test_the_guest_finds_its_own_cid_and_is_answered(scene: Scene) -> None:
    """The request is made with the CID that the guest's kernel says; the device and the agent agree."""
    assert answer(scene.guest.ask("version"))["version"]["hostos"] == "1.0.0"
    said = scene.guest.ask("GetHostOSVersion")
    assert (said.code, json.loads(said.out)) == (0, {"Ok": {"HostOSVersion": "1.0.0"}})


def test_a_guest_that_says_it_is_another_one_is_refused(scene: Scene) -> None:
    said = scene.guest.ask("--sender", "4", "GetHostOSVersion")
    assert said.code == 68
    assert "The actual sender CID did not match the sender CID in the request object" in said.out


def test_over_vsock_a_process_of_the_same_machine_is_no_guest(scene: Scene) -> None:
    said = scene.guest.python(_LISTEN)
    assert said.out.splitlines() == [
        "1 None",
        "nobody can listen on VSOCK port 19091: Address already in use",
    ]


def test_a_port_on_which_nobody_listens_is_refused(scene: Scene) -> None:
    said = scene.guest.ask("--port", "5000", "version")
    assert said.code == 41
    assert "no agent answers on port 5000 of CID 2" in said.out


def test_what_a_hostile_guest_sends_is_refused_and_the_next_request_is_answered(scene: Scene) -> None:
    whole = b'{"sender_cid":3,"message":"GetHostOSVersion"}'
    upgrade = {"url": "https://evil.example/i", "target-hash": "4f" * 32}
    unsigned = json.dumps({"sender_cid": CID, "message": {"upgrade": upgrade}}).encode()
    version = {"Ok": {"HostOSVersion": "1.0.0"}}
    assert scene.send(f"[bytes([byte]) for byte in {whole!r}]") == version
    assert "no JSON object" in scene.send("[b'GET / HTTP/1.0']")["Err"]
    assert "more than 4096 bytes" in scene.send("[b'{' + b' ' * 9_000]")["Err"]
    assert "was not complete within 5 s" in scene.send(f"[{whole[:-1]!r}]")["Err"]
    assert "installs only what is signed" in scene.send(f"[{unsigned!r}]")["Err"]
    assert scene.send(f"[{whole!r}]") == version


def test_the_guest_upgrades_its_host_and_learns_after_the_reboot_that_it_stayed(scene: Scene) -> None:
    said = scene.guest.ask("upgrade", "version=2.0.0", "key=first", "--follow")
    job = answer(said)["job"]
    assert (job["state"], job["version"], job["cid"]) == ("installed", "2.0.0", CID)
    assert '"step": "write"' in said.out
    state = answer(scene.guest.ask("boot-state"))["boot-state"]
    assert (state["booted"], state["trial"]["slot_set"]) == ("A", "B")

    # The host reboots into the trial, which is confirmed; the guest is another one then, with the same disk.
    scene.host.confirm()
    scene.agent.process.terminate()
    scene.agent.process.wait()
    with run_agent(scene.host, scene.folder / "agent", SlotName.B):
        found = answer(scene.guest.ask("status", f"job={job['id']}"))["job"]
        assert found["state"] == "confirmed"
        assert answer(scene.guest.ask("upgrade", "version=2.0.0", "key=first"))["job"]["id"] == job["id"]
        assert answer(scene.guest.ask("version"))["version"]["hostos"] == "2.0.0"
    assert scene.device.connections >= 12
