"""An HTTP server on loopback that behaves as told, path by path."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

_PIECE = 16 * 1024
_WAIT_MAX = 60.0  # seconds; a stalled answer ends with the server


class Behaviour(StrEnum):
    """What the server does when a path is asked for."""

    OK = "ok"
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
    GARBAGE = "garbage"  # no HTTP at all
    PACKS = "packs"  # with gzip, for whoever says that this is welcome
    SAYS_PACKED = "says_packed"  # Content-Encoding for a file that is packed by itself


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    behaviour: Behaviour = Behaviour.OK


class HostileServer(ThreadingHTTPServer):
    """Offers ``answers``, by path; what is not in there is not found."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.sent = 0
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def offer(self, path: str, body: bytes | str, behaviour: Behaviour = Behaviour.OK) -> str:
        """Answer ``path`` from now on like this; return its URL."""
        self.answers[path] = Answer(body.encode() if isinstance(body, str) else body, behaviour)
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
        path = self.path.partition("?")[0]
        self._hostile.asked.append(self.path)
        self.close_connection = True
        answer = self._hostile.answers.get(path, Answer(b"", Behaviour.NOT_FOUND))
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
        self.wfile.write(data)
        self._hostile.sent += len(data)

    def _send_chunk(self, data: bytes) -> None:
        self._send(b"%x\r\n%s\r\n" % (len(data), data))

    def _ok(self, body: bytes) -> None:
        self._start(200, Content_Length=len(body))
        self._send(body)

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
        self._hostile.over.wait(_WAIT_MAX)

    def _silent(self, body: bytes) -> None:
        self._hostile.over.wait(_WAIT_MAX)

    def _not_found(self, body: bytes) -> None:
        self._start(404, Content_Length=0)

    def _error(self, body: bytes) -> None:
        self._start(500, Content_Length=0)

    def _loop(self, body: bytes) -> None:
        self._start(302, Location=self.path, Content_Length=0)

    def _redirect(self, body: bytes) -> None:
        self._start(302, Location=body.decode(), Content_Length=0)

    def _packs(self, body: bytes) -> None:
        if "gzip" not in self.headers.get("Accept-Encoding", ""):
            self._ok(body)
            return
        packed = gzip.compress(body)
        self._start(200, Content_Length=len(packed), Content_Encoding="gzip")
        self._send(packed)

    def _says_packed(self, body: bytes) -> None:
        self._start(200, Content_Length=len(body), Content_Encoding="gzip")
        self._send(body)

    def _garbage(self, body: bytes) -> None:
        self._send(b"220 mail.example ESMTP\r\n")
