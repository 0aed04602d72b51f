"""What a server answers, byte for byte: status lines, headers, chunks, ranges, redirects."""

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

from hypothesis import strategies as st

from abctl.core.units import KIB
from abctl.host.entity import parse_content_range, parse_retry_after
from abctl.host.fetching import Fetching
from abctl.host.http import HttpSource
from abctl.update.stream import fill
from tests.fuzz.target import Target

_NEXT = b"\n=====\n"  # between the answers to one request and to the next
_BODY = bytes(range(256)) * 12
_READ_MAX = 64 * KIB
_FETCHING = Fetching(
    connect_timeout=2.0, stall_timeout=0.5, tries=2, first_pause=0.001, retry_after_max=0.001
)


class RawServer:
    """Answers each connection with the next of some bytes, whatever is asked, and closes it."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._answers: list[bytes] = []
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/2.0.0/"
        threading.Thread(target=self._serve, daemon=True).start()

    def answer(self, data: bytes) -> None:
        self._answers = data.split(_NEXT)

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                try:
                    self._talk(connection)
                except OSError:  # the client had enough
                    continue

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(2)
        asked = b""
        while b"\r\n\r\n" not in asked:
            data = connection.recv(4096)
            if not data:
                return
            asked += data
        answers = self._answers
        connection.sendall(answers.pop(0) if len(answers) > 1 else answers[0])
        connection.shutdown(socket.SHUT_WR)


@cache
def _server() -> RawServer:
    return RawServer()


@contextmanager
def _only_loopback() -> Iterator[None]:
    """Let nobody be led to other machines by a redirect."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if address[0] != "127.0.0.1":
            raise OSError(errno.ENETUNREACH, "not while fuzzing")
        connect(self, address)

    find = socket.getaddrinfo

    def numeric(host: Any, *more: Any, **named: Any) -> Any:
        if host != "127.0.0.1":
            raise socket.gaierror(socket.EAI_NONAME, "not while fuzzing")
        return find(host, *more, **named)

    socket.socket.connect, socket.getaddrinfo = guarded, numeric  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        socket.socket.connect, socket.getaddrinfo = connect, find  # type: ignore[method-assign]


def _answer(status: str = "200 OK", body: bytes = _BODY, **headers: object) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def _chunked(body: bytes) -> bytes:
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    return b"".join(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nA: b\r\n\r\n"


def _answers() -> list[bytes]:
    size = len(_BODY)
    whole = _answer(Content_Length=size, ETag='"e1"', Accept_Ranges="bytes")
    cut = _answer(body=_BODY[:1000], Content_Length=size, ETag='"e1"')
    rest = _answer("206 Partial Content", _BODY[1000:], Content_Range=f"bytes 1000-{size - 1}/{size}",
                   Content_Length=size - 1000, ETag='"e1"')  # fmt: skip
    part = _answer("206 Partial Content", _BODY[100:300], Content_Range=f"bytes 100-299/{size}",
                   Content_Length=200)  # fmt: skip
    return [
        whole,
        part,
        cut + _NEXT + rest,
        cut + _NEXT + whole,
        _answer(body=_chunked(_BODY), Transfer_Encoding="chunked"),
        _answer(),
        _answer("302 Found", b"", Location="other/root.img.zst", Content_Length=0) + _NEXT + whole,
        _answer("503 Busy", b"", Retry_After=120, Content_Length=0) + _NEXT + whole,
        _answer("503 Busy", b"", Retry_After="Wed, 21 Oct 2015 07:28:00 GMT") + _NEXT + whole,
        _answer("416 No", b"", Content_Range=f"bytes */{size}", Content_Length=0),
        _answer("302 Found", b"", Location="http://\x1b[31mred/"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + whole,
        _answer(Content_Length=size, Content_Encoding="gzip", Last_Modified="Wed, 21 Oct 2015 07:28:00 GMT"),
    ]


def _check_answer(data: bytes, start: int, length: int | None) -> None:
    """No more bytes come out than were asked for."""
    server = _server()
    server.answer(data)
    buffer = memoryview(bytearray(_READ_MAX))
    with (
        _only_loopback(),
        HttpSource(server.url, _FETCHING).open("root.img.zst", start, length) as reader,
    ):
        count = fill(reader, buffer)
    assert length is None or count <= length


_NUMBERS = st.sampled_from(
    ["0", "1", "200", "3072", "-1", "9" * 30, "x", "", "3072, 3072", "0x10", "1e3", " 7"]
)
_DATES = st.sampled_from(["Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Oct 2015 99:28:00 GMT", "0", "\udcff"])
_RANGES = st.tuples(_NUMBERS, _NUMBERS, _NUMBERS).map(lambda item: f"bytes {item[0]}-{item[1]}/{item[2]}")
_VALUES: dict[str, st.SearchStrategy[str]] = {
    "Content-Length": _NUMBERS,
    "Content-Range": _RANGES | _NUMBERS | st.just(f"bytes 100-299/{len(_BODY)}"),
    "ETag": st.sampled_from(['"e1"', '"e2"', 'W/"e1"', "", '"' * 300, "\udcff"]),
    "Last-Modified": _DATES,
    "Retry-After": _NUMBERS | _DATES,
    "Transfer-Encoding": st.sampled_from(["chunked", "gzip", "identity", "chunked, chunked"]),
    "Content-Encoding": st.sampled_from(["gzip", "br", "zstd", "identity"]),
    "Location": st.sampled_from(
        [
            "x",
            "",
            "//",
            "http://[",
            "ftp://127.0.0.1/",
            "?" * 99,
            "http://127.0.0.1:99999/",
            "\x7f",
            "http://",
        ]
    ),
    "": st.text(max_size=9),
    "\udcff": st.text(max_size=9),
}
_STATUS = st.sampled_from(
    ["200 OK", "206 Part", "301 Moved", "302", "304 X", "404 \udce9", "416 X", "429 X", "503 X", "999", "x",
     "204 None"]
)  # fmt: skip
_BODIES = st.sampled_from(
    [b"", _BODY, _BODY[100:300], _chunked(_BODY), b"ffffffffffffffff\r\n", b"-5\r\nx", b"5;" + b"x" * 70_000]
)


@st.composite
def _made_answer(draw: st.DrawFn) -> bytes:
    """Headers that contradict each other."""
    answers = []
    for _ in range(draw(st.integers(1, 3))):
        names = draw(st.lists(st.sampled_from(sorted(_VALUES)), max_size=5))
        lines = [f"HTTP/1.1 {draw(_STATUS)}", *(f"{name}: {draw(_VALUES[name])}" for name in names)]
        head = "\r\n".join(lines).encode("utf-8", "surrogateescape")
        answers.append(head + b"\r\n\r\n" + draw(_BODIES))
    return _NEXT.join(answers)


def _check_fields(data: bytes) -> None:
    text = data.decode("latin-1")
    found = parse_content_range(text)
    assert found is None or 0 <= found.start <= found.end
    assert parse_retry_after(text, datetime(2026, 1, 1, tzinfo=UTC)) >= 0


def _fields() -> list[bytes]:
    return [b"bytes 0-99/100", b"bytes */100", b"bytes 5-7/*", b"120", b"Wed, 21 Oct 2015 07:28:00 GMT",
            b"Wednesday, 21-Oct-15 07:28:00 -2359"]  # fmt: skip


TARGETS = (
    Target("http", _answers, partial(_check_answer, start=0, length=None), _made_answer(), cost=4),
    Target("http-range", _answers, partial(_check_answer, start=100, length=200), _made_answer(), cost=4),
    Target("http-fields", _fields, _check_fields),
)
