"""Ranges of a file, from a folder and from servers that know ranges, do not, or lie about them."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from abctl.errors import ServerFailed, TransferCut
from abctl.host.fetching import Fetching
from abctl.host.http import HttpSource
from abctl.host.source import FolderSource
from abctl.ports import Source
from abctl.update.stream import fill
from tests.hostile_server import Behaviour, HostileServer

BODY = bytes(range(251)) * 1000
SIZE = len(BODY)
HASTY = Fetching(stall_timeout=0.5, tries=2, first_pause=0.01)


def fetch(source: Source, start: int = 0, length: int | None = None) -> tuple[bytes, int | None]:
    """Return what comes, and how much was announced."""
    with source.open("root.img", start, length) as reader:
        buffer = memoryview(bytearray(2 * SIZE))
        return bytes(buffer[: fill(reader, buffer)]), reader.length


Make = Callable[[Path, HostileServer], Source]


def in_folder(tmp_path: Path, server: HostileServer) -> Source:
    (tmp_path / "root.img").write_bytes(BODY)
    return FolderSource(tmp_path)


def on_server(behaviour: Behaviour) -> Make:
    return lambda _, server: HttpSource(server.offer("/root.img", BODY, behaviour), HASTY)


SOURCES: dict[str, Make] = {
    "folder": in_folder,
    "ranges": on_server(Behaviour.OK),
    "no ranges": on_server(Behaviour.NO_RANGES),
    "chunked": on_server(Behaviour.CHUNKED),
    "no length": on_server(Behaviour.NO_LENGTH),
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize(
    ("start", "length"), [(0, 1), (0, SIZE), (1, 70_000), (SIZE - 1, 1), (SIZE, 0), (100_000, SIZE - 100_000)]
)
def test_a_range_comes_exactly_and_says_its_length(
    tmp_path: Path, server: HostileServer, make: Make, start: int, length: int
) -> None:
    assert fetch(make(tmp_path, server), start, length) == (BODY[start : start + length], length)


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("start", [0, 7, SIZE - 1, SIZE])
def test_without_a_length_it_is_the_rest_of_the_file(
    tmp_path: Path, server: HostileServer, make: Make, start: int
) -> None:
    data, length = fetch(make(tmp_path, server), start)
    assert data == BODY[start:]
    assert length in (SIZE - start, None)


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize(("start", "length"), [(0, SIZE + 1), (SIZE - 1, 2), (SIZE + 1, 5), (SIZE + 1, None)])
def test_a_range_past_the_end_is_a_file_that_was_cut_short(
    tmp_path: Path, server: HostileServer, make: Make, start: int, length: int | None
) -> None:
    with pytest.raises(TransferCut, match=r"root\.img"):
        fetch(make(tmp_path, server), start, length)


@pytest.mark.parametrize("behaviour", [Behaviour.OK, Behaviour.NO_RANGES])
def test_a_file_that_is_too_short_is_not_asked_for_again(server: HostileServer, behaviour: Behaviour) -> None:
    url = server.offer("/root.img", BODY, behaviour)
    for start, length in ((SIZE + 1, 5), (SIZE - 1, 2)):
        with pytest.raises(TransferCut, match=f"has only {SIZE} bytes"):
            fetch(HttpSource(url, HASTY), start, length)
    assert len(server.asked) == 2


def test_a_server_with_ranges_sends_no_more_than_that(server: HostileServer) -> None:
    url = server.offer("/root.img", BODY)
    fetch(HttpSource(url), 1000, 50)
    assert (server.ranges, server.sent) == (["bytes=1000-1049"], 50)


@pytest.mark.parametrize("behaviour", [Behaviour.OTHER_RANGE, Behaviour.SHORT_RANGE, Behaviour.BARE_RANGE])
def test_a_server_that_gives_another_range_than_asked_for_is_not_believed(
    server: HostileServer, behaviour: Behaviour
) -> None:
    url = server.offer("/root.img", BODY, behaviour)
    with pytest.raises(ServerFailed, match=r"another part of root\.img than was asked for"):
        fetch(HttpSource(url, HASTY), 1000, 50)
    assert len(server.asked) == 1


def test_a_part_that_nobody_asked_for_is_not_believed(server: HostileServer) -> None:
    url = server.offer("/root.img", BODY, Behaviour.OTHER_RANGE)
    with pytest.raises(ServerFailed, match="another part"):
        fetch(HttpSource(url, HASTY))


def test_what_comes_is_passed_on_before_the_buffer_is_full(server: HostileServer) -> None:
    url = server.offer("/root.img", BODY, Behaviour.STALL_FIRST)
    with HttpSource(url).open("root.img") as reader:
        buffer = memoryview(bytearray(2 * SIZE))
        done = 0
        while done < SIZE // 2:
            done += reader.readinto(buffer[done:])
    assert buffer[:done] == BODY[: SIZE // 2]


def test_range_after_range_comes_over_the_same_connection() -> None:
    connections: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            connections.append(self)
            super().setup()

        def do_GET(self) -> None:
            start, end = (int(number) for number in self.headers["Range"][6:].split("-"))
            self.send_response(206)
            self.send_header("Content-Length", str(end + 1 - start))
            self.send_header("Content-Range", f"bytes {start}-{end}/{SIZE}")
            self.end_headers()
            self.wfile.write(BODY[start : end + 1])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            source = HttpSource(f"http://127.0.0.1:{server.server_address[1]}/", HASTY)
            for start in range(0, 10_000, 1000):
                assert fetch(source, start, 500) == (BODY[start : start + 500], 500)
        finally:
            server.shutdown()
            thread.join()
    assert len(connections) == 1
