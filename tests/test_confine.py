"""What a process can still do once it has given up its rights: real processes, really as root."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from abctl.core.slot import Part, Slot, SlotName
from abctl.errors import SourceProblem
from abctl.host import checked
from abctl.host.child import Child, Role
from abctl.host.disk import DiskSlots, open_disk
from abctl.host.seccomp import Need
from abctl.host.source import FolderSource
from abctl.host.worker import ROLES
from tests.confined import find_processes, wait_for
from tests.disks import copy_image
from tests.hostile_server import Behaviour, HostileServer
from tests.releases import Release, make_release

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")

REFUSED = {
    "read a secret": "EACCES",
    "read what everybody may": "done",
    "write a file": "EPERM",
    "make a folder": "EPERM",
    "make a link": "EPERM",
    "remove a file": "EPERM",
    "keep a file in memory": "EPERM",
    "run a program": "EPERM",
    "fork": "EPERM",
    "start a thread": "done",
    "connect": "done",
    "open a raw socket": "EAFNOSUPPORT",
    "listen": "EPERM",
    "send anywhere": "EPERM",
    "kill its parent": "EPERM",
    "become root": "EPERM",
    "mount": "EPERM",
    "leave its namespace": "EPERM",
    "trace another": "EPERM",
    "outlive its parent": "EPERM",
    "open more files": "EPERM",
}
WITHOUT_NETWORK = {"connect": "EPERM", "open a raw socket": "EPERM"}
WITHOUT_FILES = {"read a secret": "EPERM", "read what everybody may": "EPERM"}
EXPECTED = {
    "fetch": REFUSED,
    "check": {**REFUSED, **WITHOUT_NETWORK},
    "unpack": {**REFUSED, **WITHOUT_NETWORK, **WITHOUT_FILES},
}


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def run_probes(need: Need, port: int, **options: Any) -> dict[str, Any]:
    """Return what a process reports and tries that needs no more than this."""
    command = [sys.executable, "-m", "tests.probes", str(need.value), str(port)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, **options)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@NEEDS_ROOT
@pytest.mark.parametrize("role", EXPECTED)
def test_each_role_can_do_no_more_than_it_needs(role: str, port: int) -> None:
    assert set(ROLES) == set(EXPECTED)
    found = run_probes(ROLES[role][1], port, extra_groups=[0, 6])  # root and disk
    assert found["tried"] == EXPECTED[role]
    assert (found["report"], found["groups"]) == ("runs as user 65534, fully confined", [])


@NEEDS_ROOT
def test_what_checks_has_no_right_that_the_kernel_knows_of(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(checked.TASKS, "probe", "tests.probes:probe")
    found = json.loads(checked.run_check("probe", str(port).encode(), FolderSource(tmp_path)))
    status = found["status"]
    assert set(status["Uid"] + status["Gid"]) == {"65534"}
    assert status["Groups"] == []
    assert {status[f"Cap{kind}"][0].strip("0") for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {""}
    assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])
    assert found["tried"] == EXPECTED["check"]


@NEEDS_ROOT
def test_another_user_keeps_its_user_and_gives_up_the_rest(port: int) -> None:
    found = run_probes(Need.NETWORK | Need.READ_FILES, port, user="daemon", group="daemon")
    assert found["tried"] == REFUSED
    assert found["report"] == "runs as user 1, fully confined"


@NEEDS_ROOT
def test_the_user_that_is_made_for_it_is_taken() -> None:
    script = """
from abctl.host import confine
from abctl.host.disk import DiskSlots, open_disk
from abctl.host.seccomp import Need
confine.USER = "games"
print(confine.confine(Need.NETWORK, None))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "runs as user 5, fully confined\n"


@NEEDS_ROOT
def test_without_libseccomp_it_goes_on_and_says_so() -> None:
    script = """
import json, sys
from abctl.host import seccomp
from abctl.host.confine import confine
from tests.probes import try_all
seccomp._LIBRARY = "libseccomp.so.0"
print(json.dumps([str(confine(seccomp.Need.NOTHING, None)), try_all(0, sys.argv[1:])]))
"""
    rights = ["read a secret", "become root", "mount", "leave its namespace", "kill its parent"]
    command = [sys.executable, "-c", script, *rights]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    report, tried = json.loads(done.stdout)
    assert report == "runs as user 65534, without: seccomp"
    assert set(tried.values()) == {"EACCES", "EPERM"}


def test_a_process_does_not_outlive_a_parent_that_is_killed() -> None:
    script = """
import sys, time
from abctl.host.remote import FetchWorker
worker = FetchWorker()
worker.child.confinement()
print(worker.child.pid, flush=True)
time.sleep(60)
"""
    with ended([sys.executable, "-c", script]) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


def test_the_secrets_of_the_environment_stay_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABCTL_TEST_SECRET", "t0ken")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid")
    child = Child(Role("unpack", "it", (SourceProblem,), SourceProblem), {})
    try:
        child.confinement()
        environment = Path(f"/proc/{child.pid}/environ").read_bytes().split(b"\0")
        command = Path(f"/proc/{child.pid}/cmdline").read_bytes()
        links = [link.readlink() for link in Path(f"/proc/{child.pid}/fd").iterdir()]
    finally:
        child.close()
    assert b"HTTPS_PROXY=http://proxy.invalid" in environment
    assert not any(b"t0ken" in item for item in (*environment, command))
    assert [str(link) for link in links if str(link) != "/dev/null"] == [
        link for link in map(str, links) if link.startswith("socket:")
    ]
    assert len(links) == 4


# --- nothing is imported or read that may be out of reach by then -----------------------------------


def test_all_that_fetching_imports_is_there_before_the_rights_are_gone() -> None:
    script = """
import sys
from contextlib import suppress
from pathlib import Path
import abctl.host.worker, abctl.host.worker_fetch as worker
take = worker.start({"trusted": "/etc/ssl/certs/ca-certificates.crt", "rate": 1 << 30, "proxy": None,
    "connect_timeout": 1, "stall_timeout": 0.2, "tries": 2, "first_pause": 0, "retry_after_max": 1}, None)
before = set(sys.modules)
from tests.hostile_server import Behaviour, serve_hostile
from abctl.host.http import HttpSource
from abctl.host.fetching import Fetching
here = set(sys.modules)
fetching = Fetching(stall_timeout=0.1, tries=2, first_pause=0)
buffer = memoryview(bytearray(100))
with serve_hostile() as server:
    urls = [server.offer(f"/{kind}/x", b"/y" * 500, kind, every=9) for kind in Behaviour]
    others = ["http://b\\u00fccher.invalid/x", "http://a:b@localhost:1/x", urls[0].replace("http", "https")]
    for url in urls + others:
        for start in (0, 5):
            with suppress(Exception), HttpSource(url, fetching).open("x", start) as reader:
                for _ in range(15):
                    reader.readinto(buffer)
print(sorted(set(sys.modules) - here))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


# --- the command itself -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return make_release(tmp_path_factory.mktemp("two") / "2", "2", layout="guestos-small")


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory, two: Release) -> Path:
    image = tmp_path_factory.mktemp("disk") / "host.img"
    abctl("disk", "create", image, "--layout", "guestos-small", "--release", two.directory, "--sha256",
          two.manifest_sha256)  # fmt: skip
    return image


def abctl(*arguments: object) -> None:
    subprocess.run([command(), *map(str, arguments)], check=True, capture_output=True)


def command() -> str:
    return str(Path(sys.executable).with_name("abctl"))


@contextmanager
def ended(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command, and kill it where the block does not end it."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@NEEDS_ROOT
def test_the_process_that_talks_to_a_server_is_not_root(
    disk: Path, two: Release, server: HostileServer, tmp_path: Path
) -> None:
    url = server.offer_folder("/2", two.directory)
    server.spoil("/2/root.img.zst", Behaviour.STALL)
    image = copy_image(disk, tmp_path / "host.img")
    arguments = ["--disk", image, "--booted", "A", "upgrade", url, "--sha256", two.manifest_sha256]
    with ended([command(), *map(str, arguments)]) as upgrade:
        wait_for(lambda: find_processes(server.server_address[1]))
        (pid,) = find_processes(server.server_address[1])
        status = Path(f"/proc/{pid}/status").read_text()
        assert server.is_silent.wait(30)
        modules = Path(f"/proc/{upgrade.pid}/maps").read_text()
        upgrade.send_signal(signal.SIGINT)
        assert upgrade.wait(10) == 130
    assert pid != upgrade.pid
    found = {line.partition(":")[0]: line.partition(":")[2].split() for line in status.splitlines()}
    assert "0" not in found["Uid"] + found["Gid"]
    assert found["CapEff"][0].strip("0") == found["CapBnd"][0].strip("0") == ""
    assert (found["NoNewPrivs"], found["Seccomp"]) == (["1"], ["2"])
    assert "_ssl." not in modules  # which comes with all that fetches
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


@NEEDS_ROOT
def test_what_was_fetched_and_unpacked_elsewhere_is_installed(
    disk: Path, two: Release, server: HostileServer, tmp_path: Path
) -> None:
    url = server.offer_folder("/2", two.directory)
    image = copy_image(disk, tmp_path / "host.img")
    abctl("--disk", image, "--booted", "A", "upgrade", url, "--sha256", two.manifest_sha256, "--no-reboot")
    slots = DiskSlots(open_disk(image))
    for part in (Part.BOOT, Part.ROOT):
        data = []
        for name in SlotName:
            with slots.open_for_reading(Slot(name, part)) as volume:
                data.append(volume.read(0, volume.size))
        assert data[0] == data[1]
