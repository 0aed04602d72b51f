"""An HTTP server on loopback that behaves as told, path by path, and is a proxy for whoever asks it so."""

import gzip
import hashlib
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

_PIECE = 16 * 1024
_SEND_SIZE = 256 * 1024  # so that what nobody took is hardly counted
_WAIT_MAX = 60.0  # seconds; a stalled answer ends with the server
_MODIFIED = "Mon, 02 Nov 2026 08:00:00 GMT"


class Behaviour(StrEnum):
    """What the server does when a path is asked for."""

    OK = "ok"  # with ranges, an ETag and Last-Modified
    NO_RANGES = "no_ranges"
    CHUNKED = "chunked"
    NO_LENGTH = "no_length"
    SLOW = "slow"  # in small pieces, with pauses
    CUT = "cut"  # half of what was promised, then the end
    CUT_CHUNKED = "cut_chunked"
    CUT_NO_LENGTH = "cut_no_length"
    MORE = "more"  # after all that there is, as much again, in chunks
    ENDLESS = "endless"
    STALL = "stall"  # half of it, then silence
    SILENT = "silent"  # not even an answer
    NOT_FOUND = "not_found"
    ERROR = "error"
    LOOP = "loop"  # a redirect to itself
    REDIRECT = "redirect"  # to the text in the body
    ENDLESS_REDIRECT = "endless_redirect"  # the same, with a body that does not end
    GARBAGE = "garbage"  # no HTTP at all
    PACKS = "packs"  # with gzip, for whoever says that this is welcome
    SAYS_PACKED = "says_packed"  # Content-Encoding for a file that is packed by itself
    CUT_EVERY = "cut_every"  # each answer after ``every`` bytes
    CUT_FIRST = "cut_first"  # half of it at first, then all, without ranges
    STALL_FIRST = "stall_first"  # half of it at first and silence, then all
    BUSY_FIRST = "busy_first"  # ``times`` times ``status`` with Retry-After, then all
    CHANGES = "changes"  # half of it at first, then another file of the same size
    GROWS = "grows"  # half of it at first, then more bytes, without a word in the validators
    SHRINKS = "shrinks"  # half of it at first, then a file of ten bytes
    NO_LAST_CHUNK = "no_last_chunk"  # all of it in chunks and the end of the connection, then ranges
    OTHER_RANGE = "other_range"  # says so
    SHORT_RANGE = "short_range"  # a Content-Length that does not go with the Content-Range
    BARE_RANGE = "bare_range"  # 206 without Content-Range
    TRICKLE = "trickle"  # ``every`` bytes fifty times a second


@dataclass(frozen=True, slots=True)
class Answer:
    """``retry_after`` is the header of that name; the others belong to single behaviours."""

    body: bytes
    behaviour: Behaviour = Behaviour.OK
    every: int = 0
    times: int = 1
    status: int = 503
    retry_after: str = "0"


class HostileServer(ThreadingHTTPServer):
    """Offers ``answers``, by path; what is not in there is not found."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.ranges: list[str | None] = []  # of each request
        self.sent = 0
        self.counts: Counter[str] = Counter()
        self.is_silent = threading.Event()  # once an answer stalls, so that nobody has to guess
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def offer(
        self,
        path: str,
        body: bytes | str,
        behaviour: Behaviour = Behaviour.OK,
        *,
        every: int = 0,
        times: int = 1,
        status: int = 503,
        retry_after: str = "0",
    ) -> str:
        """Answer ``path`` from now on like this; return its URL."""
        data = body.encode() if isinstance(body, str) else body
        self.answers[path] = Answer(data, behaviour, every, times, status, retry_after)
        return self.url + path

    def offer_folder(self, path: str, folder: Path) -> str:
        """Offer all files of ``folder``; return the URL of the folder."""
        for file in folder.iterdir():
            self.offer(f"{path}/{file.name}", file.read_bytes())
        return f"{self.url}{path}/"

    def spoil(self, path: str, behaviour: Behaviour) -> None:
        """Go on offering the same bytes, in another way."""
        self.answers[path] = Answer(self.answers[path].body, behaviour)


@contextmanager
def serve_hostile() -> Iterator[HostileServer]:
    """Yield a server that ends with the block."""
    with HostileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def _hostile(self) -> HostileServer:
        return cast(HostileServer, self.server)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path  # a proxy is asked with the whole URL
        self._hostile.asked.append(self.path)
        self._hostile.ranges.append(self.headers["Range"])
        self._hostile.counts[path] += 1
        self._is_first = self._hostile.counts[path] == 1
        self.close_connection = True
        answer = self._answer = self._hostile.answers.get(path, Answer(b"", Behaviour.NOT_FOUND))
        # The other side may have had enough.
        with suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, f"_{answer.behaviour}")(answer.body)

    def _start(self, status: int, **headers: str | int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Connection", "close")
        self.end_headers()

    def _send(self, data: bytes) -> None:
        for start in range(0, len(data), _SEND_SIZE):
            piece = data[start : start + _SEND_SIZE]
            # Counted before: whoever has it may look at once.
            self._hostile.sent += len(piece)
            self.wfile.write(piece)

    def _send_chunk(self, data: bytes) -> None:
        self._send(b"%x\r\n%s\r\n" % (len(data), data))

    def _range(self, size: int, etag: str) -> tuple[int, int] | None:
        """Return start and end of what is asked for; None for all of it."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found is None or self.headers.get("If-Range", etag) not in (etag, _MODIFIED):
            return None
        return int(found[1]), min(size, int(found[2]) + 1) if found[2] else size

    def _offer(self, body: bytes, cut: int | None = None) -> bytes:
        """Begin an honest answer, and return what belongs into it, at most ``cut`` bytes."""
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        says = {"ETag": etag, "Last_Modified": _MODIFIED}
        wanted = self._range(len(body), etag)
        if wanted is None:
            self._start(200, Content_Length=len(body), **says)
            return body[:cut]
        start, end = wanted
        if start >= end:
            self._start(416, Content_Length=0, Content_Range=f"bytes */{len(body)}")
            return b""
        self._start(
            206, Content_Length=end - start, Content_Range=f"bytes {start}-{end - 1}/{len(body)}", **says
        )
        return body[start:end][:cut]

    def _half(self, body: bytes) -> int | None:
        return len(body) // 2 if self._is_first else None

    def _ok(self, body: bytes) -> None:
        self._send(self._offer(body))

    def _no_ranges(self, body: bytes) -> None:
        self._start(200, Content_Length=len(body))
        self._send(body)

    def _cut_every(self, body: bytes) -> None:
        self._send(self._offer(body, self._answer.every))

    def _cut_first(self, body: bytes) -> None:
        self._start(200, Content_Length=len(body))
        self._send(body[: self._half(body)])

    def _stall_first(self, body: bytes) -> None:
        self._send(self._offer(body, self._half(body)))
        if self._is_first:
            self._stay_silent()

    def _busy_first(self, body: bytes) -> None:
        path = urlsplit(self.path).path
        if self._hostile.counts[path] > self._answer.times:
            self._ok(body)
            return
        self._start(self._answer.status, Content_Length=0, Retry_After=self._answer.retry_after)
        self._hostile.is_silent.set()

    def _changes(self, body: bytes) -> None:
        self._send(self._offer(body if self._is_first else body[::-1], self._half(body)))

    def _grows(self, body: bytes) -> None:
        start = int(re.sub(r"\D", "", self.headers.get("Range", "0")))
        if start:
            end = len(body) + 1
            self._start(206, Content_Length=end - start, Content_Range=f"bytes {start}-{end - 1}/{end}")
        else:
            self._start(200, Content_Length=len(body))
        self._send(body[start : self._half(body)])

    def _shrinks(self, body: bytes) -> None:
        self._send(self._offer(body if self._is_first else body[:10], self._half(body)))

    def _no_last_chunk(self, body: bytes) -> None:
        if not self._is_first:
            self._ok(body)
            return
        self._start(200, Transfer_Encoding="chunked")
        self._send_chunk(body)

    def _other_range(self, body: bytes) -> None:
        self._start(206, Content_Length=len(body), Content_Range=f"bytes 0-{len(body) - 1}/{len(body)}")
        self._send(body)

    def _short_range(self, body: bytes) -> None:
        start, end = self._range(len(body), "") or (0, len(body))
        self._start(206, Content_Length=1, Content_Range=f"bytes {start}-{end - 1}/{len(body)}")
        self._send(body[start : start + 1])

    def _bare_range(self, body: bytes) -> None:
        start, end = self._range(len(body), "") or (0, len(body))
        self._start(206, Content_Length=end - start)
        self._send(body[start:end])

    def _trickle(self, body: bytes) -> None:
        data, every = self._offer(body), self._answer.every
        for start in range(0, len(data), every):
            self._send(data[start : start + every])
            self._hostile.over.wait(0.02)

    def _stay_silent(self) -> None:
        self._hostile.is_silent.set()
        self._hostile.over.wait(_WAIT_MAX)

    def _chunked(self, body: bytes) -> None:
        self._start(200, Transfer_Encoding="chunked")
        for start in range(0, len(body), _PIECE):
            self._send_chunk(body[start : start + _PIECE])
        self._send(b"0\r\n\r\n")

    def _no_length(self, body: bytes) -> None:
        self._start(200)
        self._send(body)

    def _slow(self, body: bytes) -> None:
        self._start(200, Content_Length=len(body))
        step = max(1, len(body) // 20)
        for start in range(0, len(body), step):
            self._send(body[start : start + step])
            self._hostile.over.wait(0.02)

    def _cut(self, body: bytes) -> None:
        self._start(200, Content_Length=len(body))
        self._send(body[: len(body) // 2])

    def _cut_chunked(self, body: bytes) -> None:
        self._start(200, Transfer_Encoding="chunked")
        self._send_chunk(body[: len(body) // 2])

    def _cut_no_length(self, body: bytes) -> None:
        self._start(200)
        self._send(body[: len(body) // 2])

    def _more(self, body: bytes) -> None:
        self._chunked(body + body)

    def _endless(self, body: bytes) -> None:
        self._start(200)
        self._send(body)
        while not self._hostile.over.is_set():
            self._send(bytes(_PIECE))

    def _stall(self, body: bytes) -> None:
        self._start(200, Content_Length=len(body))
        self._send(body[: len(body) // 2])
        self._stay_silent()

    def _silent(self, body: bytes) -> None:
        self._stay_silent()

    def _not_found(self, body: bytes) -> None:
        self._start(404, Content_Length=0)

    def _error(self, body: bytes) -> None:
        self._start(500, Content_Length=0)

    def _loop(self, body: bytes) -> None:
        self._start(302, Location=self.path, Content_Length=0)

    def _redirect(self, body: bytes) -> None:
        self._start(302, Location=body.decode(), Content_Length=0)

    def _endless_redirect(self, body: bytes) -> None:
        self._start(302, Location=body.decode())
        while not self._hostile.over.is_set():
            self._send(bytes(_PIECE))

    def _packs(self, body: bytes) -> None:
        if "gzip" not in self.headers.get("Accept-Encoding", ""):
            self._no_ranges(body)
            return
        packed = gzip.compress(body)
        self._start(200, Content_Length=len(packed), Content_Encoding="gzip")
        self._send(packed)

    def _says_packed(self, body: bytes) -> None:
        self._start(200, Content_Length=len(body), Content_Encoding="gzip")
        self._send(body)

    def _garbage(self, body: bytes) -> None:
        self._send(b"220 mail.example ESMTP\r\n")
