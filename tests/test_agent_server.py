"""The server and a hostile guest: whatever one does, the others get their answers."""

import json
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abctl.agent.jobs import JobState
from abctl.agent.server import Limits
from abctl.core.agent_rules import AgentRules
from abctl.core.record import Entry, Happened, Record
from abctl.core.slot import SlotName
from abctl.core.units import Digest, Seconds, Version
from abctl.errors import DiskUnusable
from abctl.host.vsock import find_admin, find_guest, listen_unix
from tests.agent_world import Agent, World, make_request, read_all, read_answer, run_agent

OK = {"Ok": "NoPayload"}
SHORT = Limits(request=0.3, answer=0.3, linger=0.2, penalty=0.01)
VERSION = {"Ok": {"HostOSVersion": "1.0.0"}}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def agent(tmp_path: Path, world: World) -> Iterator[Agent]:
    with run_agent(tmp_path / "agent", world) as agent:
        yield agent


def refusal(answer: Any) -> str:
    assert answer.keys() == {"Err"}, answer
    text: str = answer["Err"]
    assert text.isprintable()
    return text


def wait_for(condition: Any, what: str) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.01)


# --- the older system's messages --------------------------------------------------------------------


def test_the_older_system_s_messages_do_what_they_say(agent: Agent, world: World) -> None:
    assert agent.ask("GetVsockProtocol") == {
        "Ok": {"HostOSVsockVersion": {"major": 1, "minor": 0, "patch": 0}}
    }
    assert agent.ask("GetHostOSVersion") == VERSION
    assert agent.ask("attach-hsm") == OK
    assert refusal(agent.ask("attach-hsm")) == "the guest has the HSM already"
    assert agent.ask("detach-hsm") == OK
    assert agent.ask("attach-hsm") == OK
    assert agent.ask({"set-node-id": {"node-id": "4wd4u"}}) == OK
    assert world.node_id == "4wd4u"
    assert agent.ask({"notify": {"count": 1, "message": "hello"}}) == OK
    wait_for(lambda: world.shown == ["guest 3: hello"], "the notice was not shown")


def test_a_version_that_cannot_be_read_is_told_in_the_older_system_s_words(
    agent: Agent, world: World
) -> None:
    world.hostos = DiskUnusable("no such file")
    assert agent.ask("GetHostOSVersion") == {"Err": "Could not read hostOS version"}


def test_an_upgrade_from_a_url_needs_leave_and_is_a_job_then(
    tmp_path: Path, agent: Agent, world: World
) -> None:
    message = {"upgrade": {"url": "https://x.example/i.tar.zst", "target-hash": "4f" * 32}}
    assert "installs only what is signed" in refusal(agent.ask(message))
    assert world.running == set()
    with run_agent(tmp_path / "other", World(AgentRules(unsigned=True))) as other:
        assert other.ask(message) == OK
        (job,) = other.world.jobs.jobs
        assert (job.wanted.url, job.wanted.sha256, job.wanted.reboot) == (
            "https://x.example/i.tar.zst",
            "4f" * 32,
            True,
        )
        assert other.world.running == {job.id}


def test_the_kernel_s_word_counts_and_not_the_guest_s(agent: Agent) -> None:
    said = "The actual sender CID did not match the sender CID in the request object"
    assert agent.ask("attach-hsm", cid=3, sender=4) == {"Err": said}
    assert agent.ask("GetHostOSVersion", cid=4) == VERSION
    assert agent.ask("attach-hsm", cid=3, sender=2) == {"Err": said}


def test_whom_the_kernel_does_not_vouch_for_is_turned_away(agent: Agent) -> None:
    assert refusal(agent.ask("GetHostOSVersion", cid=5)) == "only root may ask here"


# --- jobs -------------------------------------------------------------------------------------------


def start(agent: Agent, cid: int = 3, **fields: Any) -> Any:
    return agent.ask({"abctl-1": {"upgrade": fields}}, cid)["Ok"]["abctl-1"]["job"]


def test_a_guest_starts_an_upgrade_and_learns_after_the_reboot_what_became_of_it(
    tmp_path: Path, agent: Agent, world: World
) -> None:
    job = start(agent, version="2.0.0")
    assert (job["state"], job["wanted"]) == ("requested", "2.0.0")
    assert world.running == {job["id"]}
    assert start(agent, version="2.0.0")["id"] == job["id"]
    assert world.made == 2
    assert len(world.jobs.jobs) == 1

    # The host goes down, falls back, and another agent answers.
    world.running.clear()
    installed = Entry(
        Seconds(world.now + 9), Happened.INSTALLED, SlotName.B, Version("2.0.0"), Digest("4f" * 32)
    )
    fell_back = Entry(
        Seconds(world.now + 99), Happened.FELL_BACK, SlotName.B, Version("2.0.0"), text="no network"
    )
    world.entries = Record(entries=(installed, fell_back))
    with run_agent(tmp_path / "later", world) as later:
        found = later.ask({"abctl-1": {"status": {"job": job["id"]}}})["Ok"]["abctl-1"]["job"]
    assert (found["state"], found["text"], found["sha256"]) == ("fell_back", "no network", "4f" * 32)
    assert world.jobs.jobs[0].state is JobState.FELL_BACK


def test_another_guest_learns_nothing_of_a_job(agent: Agent) -> None:
    job = start(agent)["id"]
    for tag in ("status", "progress", "cancel"):
        assert "no such job" in refusal(agent.ask({"abctl-1": {tag: {"job": job}}}, cid=4))
    assert agent.ask({"abctl-1": "jobs"}, cid=4)["Ok"]["abctl-1"]["jobs"]["jobs"] == []
    assert len(agent.ask({"abctl-1": "jobs"}, cid=2)["Ok"]["abctl-1"]["jobs"]["jobs"]) == 1
    assert "another upgrade of this host is under way" in refusal(
        agent.ask({"abctl-1": {"upgrade": {}}}, cid=4)
    )


def test_a_job_that_runs_is_told_to_end(agent: Agent, world: World) -> None:
    job = start(agent)["id"]
    world.jobs = world.jobs.put(world.jobs.jobs[0].become(JobState.RUNNING, Seconds(world.now)))
    agent.ask({"abctl-1": {"cancel": {"job": job}}})
    assert world.stopped == [job]
    assert world.jobs.jobs[0].is_cancelled
    world.jobs = world.jobs.put(world.jobs.jobs[0].become(JobState.CANCELLED, Seconds(world.now)))
    assert "nothing to cancel" in refusal(agent.ask({"abctl-1": {"cancel": {"job": job}}}))


def test_progress_comes_as_it_is_said_and_ends_with_how_the_job_stands(agent: Agent, world: World) -> None:
    job = start(agent)["id"]
    world.said[job] = b'{"event": "start"}\n{"event": "beg'
    with agent.connect() as connection:
        connection.sendall(make_request({"abctl-1": {"progress": {"job": job}}}))
        lines = connection.makefile("rb")
        assert json.loads(lines.readline())["Ok"]["abctl-1"]["job"]["state"] == "requested"
        assert lines.readline() == b'{"event": "start"}\n'
        world.said[job] += b'an"}\n'
        assert lines.readline() == b'{"event": "began"}\n'
        world.said[job] += b'{"event": "end"}\n'
        world.jobs = world.jobs.put(
            world.jobs.jobs[0].become(JobState.FAILED, Seconds(world.now), "no room", 23)
        )
        assert lines.readline() == b'{"event": "end"}\n'
        last = json.loads(lines.readline())["Ok"]["abctl-1"]["job"]
        assert (last["state"], last["text"], last["exit_code"]) == ("failed", "no room", 23)
        assert lines.read() == b""


def test_a_guest_may_follow_few_jobs_at_once(agent: Agent) -> None:
    job = start(agent)["id"]
    request = make_request({"abctl-1": {"progress": {"job": job}}})
    with ExitStack() as stack:
        for _ in range(Limits().streams_each):
            connection = stack.enter_context(agent.connect())
            connection.sendall(request)
            assert connection.recv(10)
        assert refusal(agent.send(request)) == "you follow too many jobs already"
        assert agent.ask("GetHostOSVersion") == VERSION


def test_what_else_there_is_to_ask(agent: Agent, world: World) -> None:
    said = agent.ask({"abctl-1": "version"})["Ok"]["abctl-1"]["version"]
    assert said == {"hostos": "1.0.0", "abctl": "0.1.0", "protocol": ["1.0.0", "abctl-1"]}
    assert agent.ask({"abctl-1": "boot-state"})["Ok"]["abctl-1"]["boot-state"]["booted"] == "A"
    assert agent.ask({"abctl-1": {"history": {}}})["Ok"]["abctl-1"]["history"] == {"entries": [], "more": 0}


# --- a hostile guest --------------------------------------------------------------------------------


def test_a_request_may_come_in_pieces(agent: Agent) -> None:
    with agent.connect() as connection:
        for byte in make_request("GetHostOSVersion"):
            connection.sendall(bytes([byte]))
        assert read_answer(connection) == VERSION


@given(st.binary(max_size=2000))
def test_whatever_bytes_come_the_server_answers_or_hangs_up_and_goes_on(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    agent = _shared(tmp_path_factory)
    with agent.connect() as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        said = read_all(connection)
    assert said == b"" if not data else json.loads(said)
    assert agent.ask("GetHostOSVersion") == VERSION


_running: dict[str, Agent] = {}


@pytest.fixture(scope="module", autouse=True)
def _agents() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        _running["stack"] = stack  # type: ignore[assignment]
        yield stack
    _running.clear()


def _shared(factory: pytest.TempPathFactory) -> Agent:
    """Return one agent for all examples."""
    if "agent" not in _running:
        stack: Any = _running["stack"]
        _running["agent"] = stack.enter_context(run_agent(factory.mktemp("agent") / "a", World()))
    return _running["agent"]


def test_who_says_half_a_request_and_waits_is_told_so(tmp_path: Path, world: World) -> None:
    with run_agent(tmp_path / "agent", world, SHORT) as agent:
        for part in (b"", b"{", make_request("attach-hsm")[:-1]):
            assert refusal(agent.send(part)) == "the request was not complete within 0.3 s"
        assert not world.has_hsm


def test_who_hangs_up_in_the_middle_is_forgotten(agent: Agent) -> None:
    for part in (b"", b'{"sender_cid":3,', make_request("GetHostOSVersion")):
        agent.connect().close()
        with agent.connect() as connection:
            connection.sendall(part)
    assert agent.ask("GetHostOSVersion") == VERSION


def test_who_never_reads_its_answer_keeps_nobody(agent: Agent) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(agent.connect()).sendall(make_request("GetHostOSVersion"))
        assert agent.ask("GetHostOSVersion") == VERSION


def test_a_megabyte_is_refused_and_its_sender_gets_to_know(agent: Agent) -> None:
    with agent.connect() as connection:
        sender = threading.Thread(target=_send_all, args=(connection, b'{"sender_cid":' + b" " * 2**20))
        sender.start()
        # The server reads a little of the rest, so that its answer is not lost.
        said = connection.recv(4096)
        sender.join()
    assert refusal(json.loads(said)) == "unable to parse: the request has more than 4096 bytes"


def _send_all(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:
        return


def test_a_guest_has_so_many_connections_and_others_have_theirs(agent: Agent) -> None:
    with ExitStack() as stack:
        for _ in range(Limits().connections_each):
            stack.enter_context(agent.connect())
        with agent.connect() as connection:
            assert "you have too many connections" in refusal(read_answer(connection))
        assert agent.ask("GetHostOSVersion", cid=4) == VERSION
    wait_for(lambda: agent.ask("GetHostOSVersion") == VERSION, "the connections were not given back")


def test_all_guests_together_have_so_many_connections(tmp_path: Path, world: World) -> None:
    with run_agent(tmp_path / "agent", world, Limits(connections=3)) as agent, ExitStack() as stack:
        for cid in (3, 3, 4):
            stack.enter_context(agent.connect(cid))
        with agent.connect(4) as connection:
            assert "this host has too many connections" in refusal(read_answer(connection))


def test_a_guest_that_asks_too_often_is_slowed_down_and_others_are_not(tmp_path: Path) -> None:
    world = World(AgentRules(rate=0.001, burst=2))
    with run_agent(tmp_path / "agent", world, SHORT) as agent:
        assert [agent.ask("GetHostOSVersion") for _ in range(2)] == [VERSION] * 2
        assert "too many requests: ask again in" in refusal(agent.ask("GetHostOSVersion"))
        assert "too many requests" in refusal(agent.send(b"no request at all"))
        assert agent.ask("GetHostOSVersion", cid=4) == VERSION


def test_notices_wait_in_the_background_and_a_guest_has_few_of_them(agent: Agent, world: World) -> None:
    notice = {"notify": {"count": 10, "message": "\x1b[2Jfirst"}}
    answers = [agent.ask(notice) for _ in range(6)]
    assert answers[:4] == [OK] * 4
    assert "too many notices" in refusal(answers[5])
    assert agent.ask({"notify": {"count": 1, "message": "hello"}}, cid=4) == OK
    wait_for(lambda: len(world.shown) > 0, "nothing was shown")
    assert world.shown[0] == "guest 3: ?[2Jfirst"


def test_a_libvirt_that_hangs_costs_those_who_ask_for_it_and_nobody_else(
    tmp_path: Path, world: World
) -> None:
    world.hang = threading.Event()
    try:
        with run_agent(tmp_path / "agent", world, SHORT) as agent:
            for _ in range(3):
                assert "did not answer within 0.3 s" in refusal(agent.ask("attach-hsm"))
            assert agent.ask("GetHostOSVersion") == VERSION
            assert start(agent)["state"] == "requested"
    finally:
        world.hang.set()


def test_a_fault_of_ours_is_one_answer_and_not_the_end(agent: Agent, world: World) -> None:
    world.hostos = KeyError("hostos")
    assert "a fault in abctl" in refusal(agent.ask("GetHostOSVersion"))
    assert agent.ask("attach-hsm") == OK


def test_without_file_descriptors_the_server_waits_until_there_are_some(agent: Agent) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    late = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    late.settimeout(20)
    with late:
        highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        fillers = []
        try:
            while True:
                try:
                    fillers.append(os.dup(late.fileno()))
                except OSError:
                    break
            late.connect(str(agent.folder / "guest-3"))
            late.sendall(make_request("GetHostOSVersion"))
            late.settimeout(0.3)
            with pytest.raises(TimeoutError):
                late.recv(1)
        finally:
            for fd in fillers:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        late.settimeout(20)
        assert read_answer(late) == VERSION


def test_many_at_once_all_get_their_answers(agent: Agent) -> None:
    answers: list[Any] = []

    def ask(cid: int) -> None:
        for _ in range(10):
            answers.append(agent.ask("GetHostOSVersion", cid))

    threads = [threading.Thread(target=ask, args=(3 + number % 2,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [VERSION] * 160


# --- sockets ----------------------------------------------------------------------------------------


def test_root_is_an_admin_on_a_unix_socket_that_only_root_can_use(tmp_path: Path) -> None:
    path = tmp_path / "run" / "agent.sock"
    with listen_unix(path) as listener, socket.socket(socket.AF_UNIX) as client:
        assert path.stat().st_mode & 0o777 == 0o600
        client.connect(str(path))
        connection, _ = listener.accept()
        with connection:
            assert find_admin(connection) == (2 if os.getuid() == 0 else None)


def test_a_socket_that_nobody_listens_on_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    listen_unix(path).close()
    with listen_unix(path), pytest.raises(Exception, match=r"nobody can listen on .*in use"):
        listen_unix(path)
    path.unlink()
    path.write_text("a file of somebody else")
    with pytest.raises(Exception, match="nobody can listen on"):
        listen_unix(path)
    assert path.read_text() == "a file of somebody else"


@pytest.mark.parametrize(("cid", "guest"), [(0, None), (1, None), (2, None), (3, 3), (2**32 - 2, 2**32 - 2)])
def test_only_guests_are_guests_on_vsock(cid: int, guest: int | None) -> None:
    class Connection:
        def getpeername(self) -> tuple[int, int]:
            return cid, 1234

    connection: Any = Connection()
    assert find_guest(connection) == guest
