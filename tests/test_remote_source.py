"""A source in a confined process behaves like one in this process, and nothing that it sends is believed.

Most tests are those of HttpSource: here the same sentences hold for a RemoteSource.
"""

import os
import resource
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from abctl.core.units import MIB
from abctl.errors import (
    AbctlError,
    Interrupted,
    ServerFailed,
    SourceNotFound,
    SourceProblem,
    TransferCut,
)
from abctl.host import frames
from abctl.host.cancel import Cancel
from abctl.host.fetching import Fetching
from abctl.host.frames import Kind, Peer, make_pair
from abctl.host.remote import FetchWorker, Listener, RemoteReader, RemoteSource, is_plain
from abctl.host.serve import watching
from abctl.host.source import locate_release
from abctl.host.throttle import RateLimit
from abctl.update.stream import fill
from tests import test_http_ranges, test_mirrors, test_source
from tests.confined import Workers, confined_workers, find_processes, wait_for
from tests.hostile_server import Behaviour, HostileServer
from tests.test_http_ranges import (  # noqa: F401 - they are run here once more
    test_a_file_that_is_too_short_is_not_asked_for_again,
    test_a_part_that_nobody_asked_for_is_not_believed,
    test_a_range_comes_exactly_and_says_its_length,
    test_a_range_past_the_end_is_a_file_that_was_cut_short,
    test_a_server_that_gives_another_range_than_asked_for_is_not_believed,
    test_a_server_with_ranges_sends_no_more_than_that,
    test_range_after_range_comes_over_the_same_connection,
    test_what_comes_is_passed_on_before_the_buffer_is_full,
    test_without_a_length_it_is_the_rest_of_the_file,
)
from tests.test_mirrors import (  # noqa: F401
    second,
    test_a_body_goes_on_at_the_same_byte_of_the_next_mirror,
    test_a_mirror_that_does_not_have_it_is_passed_over,
    test_a_mirror_that_failed_is_asked_last_from_then_on,
    test_a_mirror_with_a_file_of_another_size_is_not_mixed_in,
    test_a_proxy_is_asked_when_one_is_given,
    test_a_range_that_is_cut_goes_on_to_its_own_end,
    test_a_server_without_ranges_that_cuts_at_the_same_place_is_given_up,
    test_a_stalled_transfer_ends_when_it_is_cancelled,
    test_a_transfer_that_is_cut_again_and_again_goes_on_where_it_was,
    test_a_transfer_that_makes_progress_goes_on_at_once,
    test_a_wait_for_a_busy_server_ends_when_it_is_cancelled,
    test_after_a_cancel_nothing_is_asked,
    test_closing_a_reader_ends_what_another_thread_reads,
    test_each_setback_is_told_with_the_time_until_it_goes_on,
    test_mirrors_of_an_archive_may_be_named_by_its_own_url_or_its_folder,
    test_the_first_bytes_of_another_file_are_never_mixed_with_the_last_of_this,
    test_the_proxy_of_the_environment_is_asked,
    test_tries_are_bounded,
    test_when_all_mirrors_fail_each_is_named_with_what_it_said,
)
from tests.test_source import (  # noqa: F401
    certificate,
    serve_tls,
    test_a_body_arrives_whole_however_it_is_sent,
    test_a_certificate_that_nobody_vouches_for_is_refused,
    test_a_redirect_leads_to_http_only,
    test_a_redirect_never_leads_from_https_to_http,
    test_a_server_that_a_trusted_ca_vouches_for_is_read_over_tls,
    test_a_server_that_cannot_be_reached_is_named_with_the_reason,
    test_a_server_without_tls_is_named,
    test_a_stalled_transfer_over_tls_ends_when_it_is_cancelled,
    test_no_password_of_a_url_gets_into_a_message,
    test_the_bytes_of_a_file_arrive_as_they_are,
    test_the_length_is_known_where_the_server_says_it,
)

pytestmark = pytest.mark.slow

BODY = bytes(range(251)) * 1000
SIZE = len(BODY)
HASTY = Fetching(stall_timeout=0.3, tries=3, first_pause=0.01)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with confined_workers() as workers:
        yield workers


@pytest.fixture(autouse=True)
def confined(monkeypatch: pytest.MonkeyPatch, workers: Workers) -> None:
    """Give the tests from elsewhere a RemoteSource for each HttpSource."""
    for module in (test_http_ranges, test_mirrors, test_source):
        monkeypatch.setattr(module, "HttpSource", workers.source)
    monkeypatch.setattr(
        test_mirrors,
        "locate_release",
        lambda text, sha256, fetching: locate_release(text, sha256, fetching, workers.source),
    )


def read(source: RemoteSource, name: str = "root.img", start: int = 0, length: int | None = None) -> bytes:
    with source.open(name, start, length) as reader:
        buffer = memoryview(bytearray(2 * SIZE))
        return bytes(buffer[: fill(reader, buffer)])


# --- what is particular to another process ----------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "length", "expected"),
    [(Behaviour.OK, 1, True), (Behaviour.NO_RANGES, None, True), (Behaviour.NO_RANGES, 1, False)],
)
def test_a_server_without_ranges_is_known_as_one_when_a_file_is_open(
    server: HostileServer, workers: Workers, behaviour: Behaviour, length: int | None, expected: bool
) -> None:
    source = workers.source(server.offer("/root.img", BODY, behaviour), HASTY)
    assert source.has_ranges
    with source.open("root.img", 0, length):
        assert source.has_ranges is expected


def test_a_server_that_loses_its_ranges_meanwhile_is_known_as_one(
    server: HostileServer, workers: Workers
) -> None:
    source = workers.source(server.offer("/root.img", BODY, Behaviour.CUT_FIRST), HASTY)
    assert read(source) == BODY
    assert not source.has_ranges


def test_several_files_are_read_at_once(server: HostileServer, workers: Workers) -> None:
    source = workers.source(server.url + "/", HASTY)
    for number in range(8):
        server.offer(f"/{number}", bytes([number]) * SIZE, Behaviour.SLOW)
    got: dict[int, bytes] = {}
    threads = [
        threading.Thread(target=lambda n=number: got.__setitem__(n, read(source, f"{n}")))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {number: bytes([number]) * SIZE for number in range(8)}


@pytest.mark.parametrize("behaviour", [Behaviour.ENDLESS, Behaviour.STALL])
def test_closing_a_reader_here_closes_the_connection_there(
    server: HostileServer, workers: Workers, behaviour: Behaviour
) -> None:
    source = workers.source(server.offer("/root.img", BODY, behaviour))
    port = server.server_address[1]
    with source.open("root.img") as reader:
        assert reader.readinto(memoryview(bytearray(SIZE)))
        assert find_processes(port)
    wait_for(lambda: not find_processes(port))


@pytest.mark.parametrize(
    "name",
    [
        "../root.img",
        "a/../../b",
        "/etc/passwd",
        "http://evil/x",
        "//evil/x",
        "",
        ".",
        "a//b",
        "a?b",
        "a\n",
        "%2e",
    ],
)
def test_a_name_that_could_lead_elsewhere_is_not_asked_for(
    server: HostileServer, workers: Workers, name: str
) -> None:
    assert not is_plain(name)
    with pytest.raises(SourceNotFound, match="not the name of a file"):
        read(workers.source(server.url + "/a/", HASTY), name)
    assert server.asked == []


def test_an_archive_may_be_named_as_its_url_says(server: HostileServer, workers: Workers) -> None:
    url = server.offer("/a/b%20(c).tar.zst", BODY)
    offer = locate_release(url, None, HASTY, workers.source)
    with offer.source.open(offer.file) as reader:
        assert reader.length == SIZE


def test_the_rate_limit_holds_for_all_sources_of_a_process(server: HostileServer) -> None:
    server.offer("/root.img", BODY)
    with FetchWorker(Fetching(rate_limit=RateLimit(2 * SIZE))) as worker:
        sources = [worker.folder(server.url), worker.folder(f"{server.url}/")]
        began = time.monotonic()
        for source in sources:
            assert read(source) == BODY
        assert time.monotonic() - began > 0.6  # a second's worth, of which a quarter may come at once


def test_a_process_that_is_killed_is_a_transfer_that_was_cut(server: HostileServer) -> None:
    url = server.offer("/root.img", BODY, Behaviour.STALL)
    with FetchWorker() as worker, worker.source(url).open("root.img") as reader:
        timer = threading.Timer(0.1, os.kill, (worker.child.pid, signal.SIGKILL))
        timer.start()
        with pytest.raises(TransferCut, match="the fetching process was killed by SIGKILL"):
            fill(reader, memoryview(bytearray(SIZE)))
        with pytest.raises(TransferCut, match="killed by SIGKILL"):
            read(worker.source(url))


def test_a_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with FetchWorker(Fetching(trusted=tmp_path / "ca.pem")) as worker:
        for _ in range(2):
            with pytest.raises(SourceNotFound, match=r"ca\.pem gives no certificates of CAs"):
                read(worker.folder("https://server.invalid"))


def test_a_ca_file_that_only_root_may_read_is_read_all_the_same(certificate: Path) -> None:  # noqa: F811
    certificate.chmod(0o600)
    with (
        serve_tls(certificate) as url,
        FetchWorker(Fetching(trusted=certificate)) as worker,
        worker.source(url).open("boot.img") as reader,
    ):
        assert reader.length


def test_a_process_ends_with_its_owner(server: HostileServer) -> None:
    url = server.offer("/root.img", BODY, Behaviour.STALL)
    worker = FetchWorker()
    with worker.source(url).open("root.img"):
        worker.close()
    assert not Path(f"/proc/{worker.child.pid}").exists()


@pytest.mark.parametrize("url", ["http://", "ftp://server/", "http://[::1", "http://server:x/", "server"])
def test_what_is_no_url_of_a_server_is_refused_at_once(url: str) -> None:
    with FetchWorker() as worker:
        tries: list[tuple[str, tuple[str, ...]]] = [(url, ()), ("http://server/", (url,))]
        for args in tries:
            with pytest.raises(SourceNotFound, match="not a URL of a server"):
                worker.source(*args)
    with pytest.raises(SourceNotFound, match="not a URL of a server"):
        FetchWorker(Fetching(proxy="http://[::1"))


# --- a process that was taken over ------------------------------------------------------------------


class Hostile:
    """The other end of a stream, under somebody else's control."""

    def __init__(self) -> None:
        self.ours, self.theirs = make_pair()
        self.told: list[str] = []

    def says(self, *parts: bytes) -> "Hostile":
        self.theirs.sendall(b"".join(parts))
        self.theirs.shutdown(socket.SHUT_WR)
        return self

    def read(self, asked: int | None = None, size: int = SIZE) -> bytes:
        peer = Peer("the fetching process", (SourceProblem,), lambda: TransferCut("it broke off"))
        listener = Listener(lambda said, _: self.told.append(said), lambda: self.told.append("no ranges"))
        reader = RemoteReader(self.ours, peer, asked, listener)
        reader.start()
        buffer = memoryview(bytearray(size))
        return bytes(buffer[: fill(reader, buffer)])


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    hostile = Hostile()
    yield hostile
    hostile.ours.close()
    hostile.theirs.close()


def frame(kind: int, payload: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack("!BI", kind, len(payload) if size is None else size) + payload


def begin(length: int = -1) -> bytes:
    return frame(Kind.LENGTH, struct.pack("!q", length))


END = frame(Kind.END)


def test_an_honest_process_is_heard(hostile: Hostile) -> None:
    hostile.says(begin(), frame(Kind.NO_RANGES), frame(Kind.DATA, b"ab"), frame(Kind.DATA, b"c"), END)
    assert hostile.read() == b"abc"
    assert hostile.told == ["no ranges"]


NONSENSE: dict[str, bytes] = {
    "an unknown kind": frame(99),
    "no kind": frame(0),
    "garbage": b"HTTP/1.1 200 OK\r\n\r\n",
    "data before the length": frame(Kind.DATA, b"x"),
    "an end before the length": END,
    "two lengths": begin(3) + begin(3),
    "a length below zero": begin(-2),
    "a length of one byte": frame(Kind.LENGTH, b"x"),
    "a length of a terabyte": frame(Kind.LENGTH, b"", 1 << 31),
    "data of 4 GiB": begin() + frame(Kind.DATA, b"", 0xFFFFFFFF),
    "data of a byte more than may come at once": begin() + frame(Kind.DATA, b"", frames.DATA_MAX + 1),
    "data without data": begin() + frame(Kind.DATA),
    "more than was announced": begin(3) + frame(Kind.DATA, b"abcd"),
    "more than was announced, in two": begin(3) + frame(Kind.DATA, b"abc") + frame(Kind.DATA, b"d"),
    "a sentence of 4 GiB": begin() + frame(Kind.ERROR, b"", 0xFFFFFFFF),
    "an error without a class": begin() + frame(Kind.ERROR, b"it hurts"),
    "an error of no class": begin() + frame(Kind.ERROR, b"AbctlErrors\0it hurts"),
    "an error that is none": begin() + frame(Kind.ERROR, b"__doc__\0x"),
    "an error of another kind": begin() + frame(Kind.ERROR, b"NothingToDo\0all is well"),
    "the mother of all errors": begin() + frame(Kind.ERROR, b"AbctlError\0x"),
    "a setback without seconds": begin() + frame(Kind.SETBACK, b"x"),
    "a setback for ever": begin() + frame(Kind.SETBACK, struct.pack("!d", float("inf"))),
    "a setback that is no number": begin() + frame(Kind.SETBACK, struct.pack("!d", float("nan"))),
    "a setback in the past": begin() + frame(Kind.SETBACK, struct.pack("!d", -1.0)),
    "nothing but setbacks": begin() + 200 * frame(Kind.SETBACK, struct.pack("!d", 0.0) + b"wait"),
    "ranges with something in it": begin() + frame(Kind.NO_RANGES, b"x"),
    "an end with something in it": begin() + frame(Kind.END, b"x"),
}


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_a_process_that_misbehaved(hostile: Hostile, said: bytes) -> None:
    with pytest.raises(SourceProblem, match="the fetching process misbehaved") as raised:
        hostile.says(said, END).read()
    assert type(raised.value) is SourceProblem


@pytest.mark.parametrize("length", [-1, 2, 4])
def test_another_length_than_was_asked_for_is_not_believed(hostile: Hostile, length: int) -> None:
    with pytest.raises(SourceProblem, match="another length than was asked for"):
        hostile.says(begin(length)).read(asked=3)


@pytest.mark.parametrize("said", [b"", b"\x01", begin(), begin(3) + frame(Kind.DATA, b"", 3) + b"ab"])
def test_a_stream_that_breaks_off_is_explained(hostile: Hostile, said: bytes) -> None:
    with pytest.raises(TransferCut, match="it broke off"):
        hostile.says(said).read()


def test_an_end_before_all_has_come_is_a_transfer_that_was_cut(hostile: Hostile) -> None:
    with pytest.raises(TransferCut, match="2 of 3 bytes"):
        hostile.says(begin(3), frame(Kind.DATA, b"ab"), END).read()


def test_nothing_that_moves_a_cursor_comes_out_of_a_sentence(hostile: Hostile) -> None:
    evil = b"\x1b[2J\r\nabctl: all is well\x9b\xff\xe2\x80\xae" + b"x" * 3000
    hostile.says(
        begin(), frame(Kind.SETBACK, struct.pack("!d", 0) + evil), frame(Kind.ERROR, b"ServerFailed\0" + evil)
    )
    with pytest.raises(ServerFailed) as raised:
        hostile.read()
    for said in (*hostile.told, str(raised.value)):
        assert said.isprintable()
        assert "abctl: all is well" in said
        assert len(said) <= 2000


def test_what_is_announced_costs_no_memory(hostile: Hostile) -> None:
    """A terabyte is announced; what is taken is what the caller has room for."""
    hostile.says(begin(1 << 40), frame(Kind.DATA, b"", MIB), b"abc")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TransferCut):
        hostile.read(size=10)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096


def test_a_process_that_says_nothing_is_given_up(hostile: Hostile) -> None:
    timeout = struct.pack("ll", 0, 100_000)
    hostile.ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
    with pytest.raises(SourceProblem, match="was silent for"):
        hostile.read()


def test_a_cancel_ends_the_wait_for_a_process_that_says_nothing(hostile: Hostile) -> None:
    cancel = Cancel()
    peer = Peer("it", (SourceProblem,), lambda: TransferCut("it broke off"))
    source = RemoteSource(lambda *_: hostile.ours, peer, "there", fetching=Fetching(cancel=cancel))
    threading.Timer(0.1, cancel.cancel).start()
    began = time.monotonic()
    with pytest.raises(Interrupted), source.open("x"):
        pass
    assert time.monotonic() - began < 1


def test_no_error_is_lost_that_an_honest_process_may_send(hostile: Hostile) -> None:
    """Each has a class of its own that tells the exit code."""
    kinds: list[type[SourceProblem]] = [SourceProblem, *SourceProblem.__subclasses__()]
    for kind in kinds:
        one = Hostile()
        with one.ours, one.theirs:
            frames.Outgoing(one.theirs).error(kind("server: broken"))
            with pytest.raises(kind, match="server: broken") as raised:
                one.read()
            assert type(raised.value) is kind


def test_a_long_sentence_arrives_cut(hostile: Hostile) -> None:
    frames.Outgoing(hostile.theirs).error(ServerFailed("ü" * 10_000))
    with pytest.raises(AbctlError) as raised:
        hostile.read()
    assert len(str(raised.value)) == 2000


def test_a_worker_goes_on_however_long_nothing_is_said_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads from it sends nothing, and a transfer may take hours."""
    monkeypatch.setattr(frames, "SILENCE_MAX", 1)
    gone = threading.Event()
    mine, other = make_pair()
    with mine, other, watching(mine, gone.set):
        assert not gone.wait(1.5)
        other.close()
        assert gone.wait(5)
