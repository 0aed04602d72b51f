"""nginx on loopback, over HTTP and HTTPS, with its files in the page cache; it counts what it sends."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.trees import run

_CONFIG = """
daemon off; master_process on; worker_processes 1; pid {work}/nginx.pid; error_log {work}/error.log;
user root;
events {{ worker_connections 256; }}
http {{
  log_format sent '$bytes_sent'; access_log {work}/access.log sent;
  sendfile on; tcp_nopush on; types {{}} default_type application/octet-stream;
  client_body_temp_path {work}/t1; proxy_temp_path {work}/t2; fastcgi_temp_path {work}/t3;
  uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
  server {{ listen 127.0.0.1:{http}; root {files}; }}
  server {{ listen 127.0.0.1:{slow}; root {files}; limit_rate 12500000; }}
  server {{ listen 127.0.0.1:{https} ssl; root {files};
            ssl_certificate {work}/server.pem; ssl_certificate_key {work}/server.key; }}
}}
"""


@dataclass(frozen=True, slots=True)
class Server:
    """Three addresses of the same files; ``slow`` gives 100 Mbit/s to a connection."""

    http: str
    https: str
    slow: str
    ca: Path
    log: Path

    def sent(self) -> int:
        """Return the bytes of all answers so far, their headers included."""
        # nginx writes a line when an answer is over.
        time.sleep(0.05)
        return sum(int(line) for line in self.log.read_text().split())


@contextmanager
def serve(files: Path, work: Path) -> Iterator[Server]:
    """Serve ``files`` until the end of the block; logs and keys go to ``work``."""
    work.mkdir(parents=True, exist_ok=True)
    ca = work / "server.pem"
    run(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(work / "server.key"),
        "-out", str(ca),
    )  # fmt: skip
    http, https, slow = (_free_port() for _ in range(3))
    config = work / "nginx.conf"
    config.write_text(
        _CONFIG.format(work=work.resolve(), files=files.resolve(), http=http, https=https, slow=slow)
    )
    (work / "access.log").write_text("")
    process = subprocess.Popen(
        ["nginx", "-c", str(config.resolve()), "-e", str(work.resolve() / "error.log")]
    )
    try:
        _wait_for(http)
        yield Server(
            f"http://127.0.0.1:{http}",
            f"https://localhost:{https}",
            f"http://127.0.0.1:{slow}",
            ca.resolve(),
            work / "access.log",
        )
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("bench: nginx does not answer")
