"""Guests ask their host over AF_VSOCK: its kernel says who they are, its systemd runs agent and jobs.

The host's VSOCK device is in user space (tests/vsock); guests are processes of the test, each with a CID.
"""

import json
import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from abctl.agent.protocol import PORT
from abctl.core.slot import Part, Slot, SlotName
from tests.lab.claims import assert_whole
from tests.lab.conftest import Lab
from tests.lab.damage import edit_slot
from tests.lab.machine import Machine
from tests.lab.places import ABCTL
from tests.lab.qemu import Hardware
from tests.lab.variants import AGENT, FIRST, GUEST_RULES, NO_KERNEL, WITH_AGENT

pytestmark = pytest.mark.timeout(3000)

_PATIENCE = 60.0  # seconds for an answer, which takes a host five at most
_LATER, _TRIES = "ask again later", 10
_UNIT = "abctl-agent.service"
# DAC_OVERRIDE, DAC_READ_SEARCH, KILL, SETGID, SETUID, SETPCAP, SYS_PTRACE: see capabilities(7)
_JOBS_RIGHTS = sum(1 << number for number in (1, 2, 5, 6, 7, 8, 19))
_ASK_VERSION = b'{"sender_cid":3,"message":"GetHostOSVersion"}'
_VERSION = {"Ok": {"HostOSVersion": FIRST}}
_NO_PAYLOAD = {"Ok": "NoPayload"}
_UNSIGNED = (
    b'{"sender_cid":3,"message":{"upgrade":{"url":"https://dl.example/update-img.tar.zst","target-hash":"'
    + b"4f" * 32 + b'"}}}'
)  # fmt: skip
_NOTICE = (
    b'{"sender_cid":3,"message":{"notify":{"count":1,"message":"\\u001b[2J\\u001b]0;root\\u0007 hello"}}}'
)
_NODE_ID = b'{"sender_cid":3,"message":{"set-node-id":{"node-id":"4wd4u-xnkrd"}}}'
# What a hostile guest says, and what it reads.
_HOSTILE = (
    (b"GET / HTTP/1.0\r\n\r\n", "no JSON object"),
    (b"{" + b" " * 9000, "more than 4096 bytes"),
    (b'{"sender_cid":3,"message":' + b"[" * 100, "nested more than 8 levels"),
    (b'{"sender_cid":3,"message":"GetHostOSVersion","message":"attach-hsm"}', "given twice"),
    (b'{"sender_cid":3,"message":"\xff"}', "not UTF-8"),
    (b'{"sender_cid":3,"message":"reboot; rm -rf /"}', "unknown message"),
    (b'{"sender_cid":4,"message":"GetHostOSVersion"}', "did not match the sender CID"),
    (_UNSIGNED, "installs only what is signed"),
)


@dataclass(frozen=True, slots=True)
class Guest:
    """A process that the host's kernel takes for the guest with this CID."""

    cid: int
    path: Path

    def call(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_PATIENCE)
        connection.connect(str(self.path))
        return connection

    def send(self, request: bytes) -> Any:
        """Send these bytes as they are, and return the answer; a slow host may say 'ask again later'."""
        for _ in range(_TRIES):
            with self.call() as connection:
                connection.sendall(request)
                answer = read_answer(connection)
            if _LATER not in answer.get("Err", ""):
                break
        return answer

    def command(self, *words: str) -> list[str | Path]:
        return [ABCTL, "agent", "ask", "--socket", self.path, "--sender", str(self.cid), *words]

    def ask(self, *words: str) -> Any:
        """Ask by the real client, and return the answer."""
        for _ in range(_TRIES):
            done = subprocess.run(
                self.command(*words), capture_output=True, text=True, check=False, timeout=_PATIENCE
            )
            if _LATER not in done.stderr:
                break
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["Ok"]["abctl-1"]


def read_answer(connection: socket.socket) -> Any:
    data = b""
    while part := connection.recv(4096):
        data += part
    return json.loads(data)


def test_a_guest_upgrades_its_host_and_learns_how_it_went(lab: Lab) -> None:
    disk = lab.make_disk()
    edit_slot(disk, Slot(SlotName.A, Part.ROOT), AGENT, GUEST_RULES)
    device, paths = lab.join_guests((3, 4), PORT)
    host = lab.host(disk=disk, server=lab.serve(WITH_AGENT, NO_KERNEL), hardware=Hardware(vsock=device))
    guest, other = (Guest(cid, path) for cid, path in paths.items())
    host.boot()
    host.settle()
    _assert_answers_an_older_guest(host, guest)
    _assert_bears_a_hostile_guest(host, guest, other)

    job = _upgrade(host, guest, "version=2.2.0", "key=first")
    host.wait_confirmed("B")
    assert_whole(host, "B", WITH_AGENT.version)
    assert host.run("hostname").out.strip() == "host-525400123456-4wd4u"
    _assert_stopped_in_order(host)
    told = guest.ask("status", f"job={job}")["job"]
    assert (told["state"], told["version"], told["cid"]) == ("confirmed", "2.2.0", guest.cid)
    assert guest.ask("upgrade", "version=2.2.0", "key=first")["job"]["id"] == job, (
        "it is the same job for ever"
    )

    bad = _upgrade(host, guest, f"version={NO_KERNEL.version}")
    assert host.story.names == ["A primary", "B trial", "B no_kernel"]
    host.settle()
    told = guest.ask("status", f"job={bad}")["job"]
    assert (told["state"], told["version"]) == ("fell_back", NO_KERNEL.version)
    assert "kernel" in told["text"]
    assert [item["id"] for item in guest.ask("jobs")["jobs"]["jobs"]] == [bad, job]
    assert other.ask("jobs")["jobs"]["jobs"] == [], "a guest sees its own jobs only"
    assert_whole(host, "B", WITH_AGENT.version)


def _assert_answers_an_older_guest(host: Machine, guest: Guest) -> None:
    assert guest.send(_ASK_VERSION) == _VERSION
    protocol = {"Ok": {"HostOSVsockVersion": {"major": 1, "minor": 0, "patch": 0}}}
    assert guest.send(b'{"sender_cid":3,"message":"GetVsockProtocol"}') == protocol
    assert "Err" in guest.send(b'{"sender_cid":3,"message":"attach-hsm"}'), "there is no libvirt here"

    assert guest.send(_NOTICE) == _NO_PAYLOAD
    clean = "guest 3: ?[2J?]0;root? hello"
    host.wait_for(lambda: clean in host.run("cat /dev/vcs1").out, 60, "the notice is on the first console")
    assert clean in host.run(f"journalctl -b -u {_UNIT} -o cat").out

    boot_id = host.run("cat /proc/sys/kernel/random/boot_id").out
    assert guest.send(_NODE_ID) == _NO_PAYLOAD
    name = "host-525400123456-4wd4u"
    host.wait_for(lambda: host.run("hostname").out.strip() == name, 60, "the host has its new name")
    assert host.run("cat /etc/hostname").out.strip() == name
    assert host.run("cat /proc/sys/kernel/random/boot_id").out == boot_id


def _assert_bears_a_hostile_guest(host: Machine, guest: Guest, other: Guest) -> None:
    _assert_confined(host, _UNIT, capabilities=0, writable=("/boot/config",), readable=("/", "/boot/grub"))
    assert other.send(b'{"sender_cid":4,"message":"GetHostOSVersion"}') == _VERSION
    refusal = other.send(b'{"sender_cid":4,"message":{"abctl-1":{"upgrade":{}}}}')["Err"]
    assert "upgrade is not allowed to CID 4" in refusal

    _be_hostile(guest)
    before = _read_agent(host)
    for _ in range(5):
        _be_hostile(guest)
    after = _read_agent(host)
    assert after["MainPID"] == before["MainPID"]
    assert after["NRestarts"] == "0"
    assert after["VmRSS"] - before["VmRSS"] < 2048, "KiB that it has grown by"
    assert guest.send(_ASK_VERSION) == _VERSION


def _be_hostile(guest: Guest) -> None:
    """Be all that a hostile guest can be, and read what is said to it."""
    silent = [guest.call() for _ in range(20)]
    for connection in silent:
        connection.sendall(_ASK_VERSION[:-1])
    for request, words in _HOSTILE:
        assert words in guest.send(request)["Err"], request[:80]
    for connection in silent:
        with connection:
            assert "was not complete within 5 s" in read_answer(connection)["Err"]


def _read_agent(host: Machine) -> dict[str, Any]:
    shown = host.run(f"systemctl show -p MainPID -p NRestarts {_UNIT}").check().out
    values: dict[str, Any] = dict(line.split("=", 1) for line in shown.splitlines())
    values["VmRSS"] = int(_read_process(host, values["MainPID"])["VmRSS"].split()[0])
    return values


def _read_process(host: Machine, pid: str) -> dict[str, str]:
    lines = host.run(f"cat /proc/{pid}/status").check().out.splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _assert_confined(
    host: Machine, unit: str, *, capabilities: int, writable: tuple[str, ...], readable: tuple[str, ...]
) -> None:
    """The kernel holds the unit's process to what the unit says."""
    pid = host.run(f"systemctl show -P MainPID {unit}").check().out.strip()
    process = _read_process(host, pid)
    assert int(process["CapBnd"], 16) == int(process["CapEff"], 16) == capabilities, process
    assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2")
    mounts = [line.split() for line in host.run(f"cat /proc/{pid}/mountinfo").check().out.splitlines()]
    options = {fields[4]: fields[5].split(",") for fields in mounts}
    assert [point for point in writable if "rw" not in options[point]] == []
    assert [point for point in readable if "ro" not in options[point]] == []


def _upgrade(host: Machine, guest: Guest, *words: str) -> str:
    """Ask for an upgrade, follow it until the host goes down, wait until it is up again; return the job."""
    job = str(guest.ask("upgrade", *words)["job"]["id"])
    with subprocess.Popen(
        guest.command("progress", f"job={job}"), stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout
        client.stdout.readline()  # how the job stands; then what its process says
        assert json.loads(client.stdout.readline())["event"] == "start"
        _assert_confined(
            host, f"abctl-job@{job}.service", capabilities=_JOBS_RIGHTS,
            writable=("/boot/grub", "/boot/config"), readable=("/", "/boot"),
        )  # fmt: skip
        said = client.stdout.read()
    assert '"step": "write"' in said
    word = host.wait_up(900)
    assert word.slot_set == "B"
    return job


def _assert_stopped_in_order(host: Machine) -> None:
    """In the shutdown for the upgrade nothing was killed, and the agent ended while its volume was there."""
    log = (host.folder / "console.log").read_text(encoding="utf-8", errors="replace")
    places = {
        name: [found.start() for found in re.finditer(pattern, log)]
        for name, pattern in (("agent", r"Stopped \S*abctl-agent"), ("volume", r"Unmounted \S*boot-config"))
    }
    assert places["agent"], "the agent was not stopped"
    assert places["agent"][0] < places["volume"][0]
    assert "Killing process" not in log
