"""abctl agent as processes: a disk image stands for the host, and real upgrades run in it."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from abctl.core.slot import Part, SlotName
from tests.cover import unmeasured
from tests.hostile_repository import Host, make_guest_repository, make_host
from tests.hostile_server import Answer, Behaviour, HostileServer
from tests.repositories import Clock, Publisher
from tests.test_cli import ABCTL, SCHEMAS, Said, run

pytestmark = pytest.mark.slow

AGENT_REFUSED = 68


@dataclass
class Agent:
    """A running agent for a disk, and the socket of guest 3."""

    host: Host
    folder: Path
    process: subprocess.Popen[bytes]

    def ask(self, *words: str, cid: int = 3) -> Said:
        where: list[str | Path] = ["--socket", self.folder / f"guest-{cid}", "--sender", str(cid)]
        return run(ABCTL, "agent", "ask", *where, *words)

    def get(self, *words: str, cid: int = 3) -> Any:
        """Return what is in the answer, which has to be as its schema says."""
        said = self.ask(*words, cid=cid)
        assert said.code == 0, said.err
        answer = json.loads(said.out.splitlines()[-1])
        jsonschema.validate(answer, json.loads((SCHEMAS / "agent-answer.schema.json").read_text()))
        ((value,),) = (answer["Ok"]["abctl-1"].values(),)
        return value

    def wait(self, job: str) -> Any:
        """Follow a job to its end, and return how it stands then."""
        return self.get("progress", f"job={job}")


@contextmanager
def run_agent(host: Host, folder: Path, booted: SlotName = SlotName.A) -> Iterator[Agent]:
    folder.mkdir(exist_ok=True)
    command = [
        ABCTL,
        "--disk",
        host.image,
        "--booted",
        str(booted),
        "--config",
        host.config,
        "agent",
        "serve",
    ]
    sockets = [word for cid in (3, 4) for word in ("--guest-socket", f"{cid}={folder / f'guest-{cid}'}")]
    options: list[str | Path] = [
        "--no-vsock",
        "--socket",
        folder / "guest-2",
        *sockets,
        "--state",
        folder / "jobs",
    ]
    process = subprocess.Popen([*map(str, command), *map(str, options)], stderr=subprocess.PIPE)
    try:
        assert process.stderr
        said = process.stderr.readline()
        assert b"answering on" in said, said
        yield Agent(host, folder, process)
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 0


@pytest.fixture
def repo(tmp_path: Path) -> Publisher:
    return make_guest_repository(tmp_path / "repo", "1.5.0", "2.0.0", clock=Clock(int(time.time())))


@pytest.fixture
def host(repo: Publisher, tmp_path: Path) -> Host:
    return make_host(tmp_path / "host", repo.root, [f"file://{repo.folder}/"], repo.clock)


@pytest.fixture
def agent(host: Host, tmp_path: Path) -> Iterator[Agent]:
    with run_agent(host, tmp_path / "agent") as agent:
        yield agent


def test_a_guest_upgrades_its_host_and_learns_later_that_it_was_confirmed(
    agent: Agent, host: Host, repo: Publisher, tmp_path: Path
) -> None:
    said = agent.ask("upgrade", "--follow")
    assert said.code == 0, said.err
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert {"start", "finished", "end"} <= {line.get("event") for line in lines}
    job = lines[-1]["Ok"]["abctl-1"]["job"]
    assert (job["state"], job["version"], job["cid"]) == ("installed", "2.0.0", 3)
    image = (repo.folder / "targets/2.0.0/root.img").read_bytes()
    assert host.slot(SlotName.B, Part.ROOT)[: len(image)] == image
    state = agent.get("boot-state")
    assert state["trial"] == {"slot_set": "B", "attempts_left": 3}
    assert state["next_boot"] == {"slot_set": "B", "why": "trial"}
    assert agent.get("upgrade")["id"] == job["id"]  # still the same

    host.confirm()
    with run_agent(host, tmp_path / "later", SlotName.B) as later:
        found = later.get("status", f"job={job['id']}")
        assert found["state"] == "confirmed"
        assert later.get("version")["hostos"] == "2.0.0"
        assert later.get("history", "last=1")["entries"][0]["what"] == "confirmed"
    listed = host.abctl("agent", "jobs", "--json").json("agent-jobs")["jobs"]
    assert [(item["id"], item["state"]) for item in listed] == [(job["id"], "confirmed")]
    assert "2.0.0 was confirmed" in host.abctl("agent", "jobs").out


def test_what_an_upgrade_is_refused_for_is_what_the_guest_reads(agent: Agent) -> None:
    job = agent.get("upgrade", "version=7.0.0")
    found = agent.wait(job["id"])
    assert (found["state"], found["exit_code"]) == ("failed", 40)
    assert "no release 7.0.0" in found["text"]


def test_a_url_and_a_hash_are_refused_unless_the_configuration_says_otherwise(
    agent: Agent, host: Host, repo: Publisher, tmp_path: Path, server: HostileServer
) -> None:
    digest = _digest(repo.folder / "targets/2.0.0/manifest.json")
    for file in (repo.folder / "targets/2.0.0").iterdir():
        server.answers[f"/{file.name}"] = Answer(file.read_bytes())
    words = ("upgrade", f"url={server.url}/manifest.json", f"target-hash={digest}")
    said = agent.ask(*words)
    assert (said.code, "installs only what is signed" in said.err) == (AGENT_REFUSED, True)
    with (host.config / "config.toml").open("a") as config:
        config.write('[unsigned]\nallow = "anyone"\n')
    with run_agent(host, tmp_path / "other") as other:
        said = other.ask(*words)
        assert json.loads(said.out) == {"Ok": "NoPayload"}
        ((job,),) = (other.get("jobs")["jobs"],)
        found = other.wait(job["id"])
        assert found["state"] == "installed", found
        assert (found["sha256"], found["version"]) == (digest, "2.0.0")
    assert "guest 3 gave its SHA-256" in " ".join(host.abctl("history").out.split())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_job_is_cancelled_while_it_fetches_and_the_host_is_as_it_was(
    host: Host, repo: Publisher, tmp_path: Path, server: HostileServer
) -> None:
    _serve_slowly(server, repo)
    host.configure(f'[repository]\nmirrors = ["{server.url}/"]\n')
    with run_agent(host, tmp_path / "agent") as agent:
        job = agent.get("upgrade", "version=2.0.0")["id"]
        _wait_for_state(agent, job, "running")
        again = agent.ask("upgrade", "version=1.5.0", cid=4)
        assert "another upgrade of this host is under way" in again.err
        agent.get("cancel", f"job={job}")
        found = agent.wait(job)
        assert (found["state"], found["text"]) == ("cancelled", "cancelled: what runs is as it was")
        assert agent.get("boot-state")["trial"] is None


def _serve_slowly(server: HostileServer, repo: Publisher) -> None:
    """Serve the repository, so that no image comes to its end in the time of a test."""
    for file in repo.folder.rglob("*"):
        if file.is_file():
            behaviour = Behaviour.TRICKLE if file.suffix == ".img" else Behaviour.OK
            server.answers[f"/{file.relative_to(repo.folder)}"] = Answer(
                file.read_bytes(), behaviour, every=1
            )


def _wait_for_state(agent: Agent, job: str, state: str) -> None:
    until = time.monotonic() + 60
    while agent.get("status", f"job={job}")["state"] != state:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_job_whose_process_is_killed_has_failed_and_goes_on_when_asked_again(
    host: Host, repo: Publisher, tmp_path: Path, server: HostileServer
) -> None:
    _serve_slowly(server, repo)
    host.configure(f'[repository]\nmirrors = ["{server.url}/"]\n')
    with run_agent(host, tmp_path / "agent") as agent:
        job = agent.get("upgrade")["id"]
        _wait_for_state(agent, job, "running")
        os.kill(_find_process(agent, job), signal.SIGKILL)
        found = agent.wait(job)
        assert found["state"] == "failed"
        assert "its process ended without a word" in found["text"]
        host.configure(f'[repository]\nmirrors = ["file://{repo.folder}/"]\n')
        again = agent.get("upgrade")["id"]
        assert again != job
        assert agent.wait(again)["state"] == "installed"


def _find_process(agent: Agent, job: str) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if job.encode() in words and parent == str(agent.process.pid):
            return int(folder.name)
    raise AssertionError("the job has no process")


# --- what a user reads ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("reboot",), 2, "there is no message 'reboot'; there are: GetHostOSVersion"),
        (("notify", "count=x"), 2, "count is a number, not 'x'"),
        (("upgrade", "reboot=maybe"), 2, "reboot is true or false, not 'maybe'"),
        (("version", "x=1"), 2, "version has no fields"),
        (("notify", "hello"), 2, "'hello' is no field: write it as NAME=VALUE"),
        (('{"notify"',), 2, "the message is not JSON"),
        (("version",), 41, "no agent answers on"),
    ],
)
def test_what_cannot_be_asked_is_told(words: tuple[str, ...], code: int, said: str, tmp_path: Path) -> None:
    found = run(ABCTL, "agent", "ask", "--socket", tmp_path / "none", *words)
    assert (found.code, found.out) == (code, "")
    assert said in found.err


def test_the_client_needs_nothing_that_a_guest_may_lack(tmp_path: Path) -> None:
    """click is all that it loads of others' packages."""
    program = (
        "import sys; from abctl.cli import cli\n"
        f"words = ['agent', 'ask', '--socket', {str(tmp_path / 'none')!r}, 'version']\n"
        "try: cli.main(words, standalone_mode=False)\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=unmeasured()
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1].replace("'", '"')))
    assert done.stdout.startswith("ServerFailed")
    assert {name for name in loaded if not name.startswith("_")} <= {"abctl", "click", "sitecustomize"}


def test_an_agent_that_nobody_wants_ends_well(host: Host, tmp_path: Path) -> None:
    with (host.config / "config.toml").open("a") as file:
        file.write("[agent]\nenabled = false\n")
    said = host.process("agent", "serve", "--no-vsock", "--socket", str(tmp_path / "socket"))
    assert said.code == 0
    assert "nobody is answered" in said.err


def test_a_place_that_cannot_be_listened_on_is_named(host: Host, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    said = host.process("agent", "serve", "--no-vsock", "--socket", str(tmp_path / "taken"))
    assert said.code == 17
    assert f"nobody can listen on {tmp_path / 'taken'}" in said.err
    said = host.process("agent", "serve", "--no-vsock")
    assert (said.code, "there is nothing to listen on" in said.err) == (19, True)


def test_a_job_that_is_not_there_is_not_run(host: Host, tmp_path: Path) -> None:
    said = host.process("agent", "run-job", "0" * 16, "--state", str(tmp_path / "jobs"))
    assert said.code == 29
    progress = (tmp_path / "jobs" / f"{'0' * 16}.jsonl").read_text().splitlines()
    assert "there is no job" in json.loads(progress[-1])["error"]
