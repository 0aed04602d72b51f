"""The release server on the test's side: plain files over HTTP, with ranges; it can be slow."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import unquote, urlsplit

_PIECE = 64 * 1024


class Server(ThreadingHTTPServer):
    """Serves ``folder`` on loopback. ``on_sent`` is told each time how many bytes it has sent in all."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder.resolve()
        self.sent = 0
        self.asked: list[str] = []
        self.rate: float | None = None  # bytes a second, to each connection
        self.on_sent: Callable[[int], None] | None = None
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def count(self, size: int) -> None:
        with self._lock:
            self.sent += size
            sent = self.sent
        if self.rate:
            time.sleep(size / self.rate)
        if self.on_sent:
            self.on_sent(sent)

    def handle_error(self, request: object, client_address: object) -> None:
        """A guest whose power is cut hangs up in the middle, and that is no news."""


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Yield a server that ends with the block."""
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120  # seconds that a guest may be silent

    def log_message(self, format: str, *args: object) -> None:
        """The server remembers what was asked for."""

    def do_GET(self) -> None:
        server = cast(Server, self.server)
        name = unquote(urlsplit(self.path).path).lstrip("/")
        server.asked.append(name)
        path = (server.folder / name).resolve()
        if not path.is_relative_to(server.folder) or not path.is_file():
            self.send_error(404)
            return
        with suppress(BrokenPipeError, ConnectionResetError, TimeoutError), path.open("rb") as file:
            start, end = self._start(path)
            file.seek(start)
            while start < end and (data := file.read(min(_PIECE, end - start))):
                self.wfile.write(data)
                start += len(data)
                server.count(len(data))

    def _start(self, path: Path) -> tuple[int, int]:
        """Send the head of the answer; return the range that is to follow."""
        size = path.stat().st_size
        tag = f'"{path.stat().st_mtime_ns:x}-{size:x}"'
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = 0, size
        if found and self.headers.get("If-Range", tag) == tag:
            start, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
        if found and start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            start = end = 0
        elif end - start < size:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("ETag", tag)
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        return start, end
