"""Where a release is looked for, and how it is read from there."""

import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from abctl.core.release import ReleaseKind
from abctl.core.units import MIB
from abctl.errors import Interrupted, ServerFailed, SourceNotFound
from abctl.host.cancel import Cancel
from abctl.host.fetching import Fetching
from abctl.host.http import HttpSource
from abctl.host.source import FolderSource, locate_release
from abctl.ports import Source
from abctl.update.stream import fill
from tests.hostile_server import Behaviour, HostileServer

BODY = bytes(range(256)) * 4096
HASTY = Fetching(stall_timeout=0.3, tries=2, first_pause=0.01)


def fetch(source: Source, name: str) -> bytes:
    with source.open(name) as reader:
        buffer = memoryview(bytearray(4 * MIB))
        return bytes(buffer[: fill(reader, buffer)])


@pytest.mark.parametrize(
    ("url", "kind", "file"),
    [
        ("http://server/v2/", ReleaseKind.DIRECTORY, "manifest.json"),
        ("http://server/v2", ReleaseKind.DIRECTORY, "manifest.json"),
        ("http://server", ReleaseKind.DIRECTORY, "manifest.json"),
        ("https://server/v2/manifest.json", ReleaseKind.DIRECTORY, "manifest.json"),
        ("http://server/update-img.tar.zst", ReleaseKind.ARCHIVE, "update-img.tar.zst"),
        ("http://server/update-img.tar.gz?token=a/b", ReleaseKind.ARCHIVE, "update-img.tar.gz"),
        ("HTTPS://server/UPDATE.TGZ", ReleaseKind.ARCHIVE, "UPDATE.TGZ"),
        ("http://server/update-img.tar", ReleaseKind.ARCHIVE, "update-img.tar"),
        ("http://h/h", ReleaseKind.DIRECTORY, "manifest.json"),
    ],
)
def test_a_url_is_an_archive_where_it_ends_like_one(url: str, kind: ReleaseKind, file: str) -> None:
    offer = locate_release(url)
    assert (offer.kind, offer.file, offer.source.is_local) == (kind, file, False)


def test_a_file_is_an_archive_where_it_begins_like_one(tmp_path: Path) -> None:
    subprocess.run(["tar", "-C", "/", "-cf", tmp_path / "bare", "etc/hostname"], check=True)
    subprocess.run(["zstd", "-q", tmp_path / "bare", "-o", tmp_path / "small"], check=True)
    subprocess.run(f"gzip < {tmp_path}/bare > {tmp_path}/zipped", shell=True, check=True)
    for name in ("bare", "small", "zipped"):
        offer = locate_release(str(tmp_path / name))
        assert (offer.kind, offer.file, offer.source.is_local) == (ReleaseKind.ARCHIVE, name, True)


def test_a_release_directory_may_be_named_by_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    for path in (tmp_path, tmp_path / "manifest.json"):
        offer = locate_release(str(path))
        assert (offer.kind, offer.file) == (ReleaseKind.DIRECTORY, "manifest.json")
        assert fetch(offer.source, offer.file) == b"{}"


@pytest.mark.parametrize("behaviour", [Behaviour.OK, Behaviour.CHUNKED, Behaviour.NO_LENGTH, Behaviour.SLOW])
def test_a_body_arrives_whole_however_it_is_sent(server: HostileServer, behaviour: Behaviour) -> None:
    url = server.offer("/v2/boot.img", BODY, behaviour)
    assert fetch(HttpSource(url), "boot.img") == BODY


def test_the_length_is_known_where_the_server_says_it(server: HostileServer) -> None:
    server.offer("/known", BODY)
    server.offer("/chunked", BODY, Behaviour.CHUNKED)
    source = HttpSource(f"{server.url}/")
    with source.open("known") as known, source.open("chunked") as chunked:
        assert (known.length, chunked.length) == (len(BODY), None)


def test_a_redirect_is_followed_on_the_same_or_another_server(server: HostileServer) -> None:
    server.offer("/v2/boot.img", BODY)
    server.offer("/latest/boot.img", "/v2/boot.img", Behaviour.REDIRECT)
    server.offer("/newest/boot.img", f"{server.url}/latest/boot.img", Behaviour.REDIRECT)
    assert fetch(HttpSource(f"{server.url}/newest/"), "boot.img") == BODY


@pytest.mark.parametrize("target", ["file:///etc/shadow", "ftp://server/boot.img", "gopher://x/"])
def test_a_redirect_leads_to_http_only(server: HostileServer, target: str) -> None:
    url = server.offer("/boot.img", target, Behaviour.REDIRECT)
    with pytest.raises(ServerFailed, match=f"redirects from http to {target.partition(':')[0]}"):
        fetch(HttpSource(url), "boot.img")


def test_a_redirect_to_nowhere_is_a_failure_of_the_server(server: HostileServer) -> None:
    url = server.offer("/boot.img", "http://[::1", Behaviour.REDIRECT)
    with pytest.raises(ServerFailed, match=r"127\.0\.0\.1"):
        fetch(HttpSource(url), "boot.img")


def test_a_server_that_cannot_be_reached_is_named_with_the_reason(server: HostileServer) -> None:
    closed = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(ServerFailed, match=r"127\.0\.0\.1:\d+ cannot be reached: Connection refused"):
        fetch(HttpSource(f"{closed}/", HASTY), "boot.img")
    with pytest.raises(ServerFailed, match=r"server\.invalid cannot be reached: its name is not known"):
        fetch(HttpSource("http://server.invalid/"), "boot.img")


@pytest.mark.parametrize(
    "url",
    ["http://", "http:///v2/", "http://[::1", "http://server:x/", "http://server:99999/", "http://h/\x1b[2J"],
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SourceNotFound, match="is not a URL of a server"):
        locate_release(url)


def test_a_redirect_to_a_server_that_cannot_be_reached_names_that_server(server: HostileServer) -> None:
    url = server.offer("/boot.img", "http://server.invalid/boot.img", Behaviour.REDIRECT)
    with pytest.raises(ServerFailed, match=r"server\.invalid cannot be reached"):
        fetch(HttpSource(url), "boot.img")


def test_no_password_of_a_url_gets_into_a_message(server: HostileServer) -> None:
    url = server.url.replace("http://", "http://admin:secret@")
    with pytest.raises(SourceNotFound) as raised:
        fetch(HttpSource(f"{url}/"), "boot.img")
    assert "secret" not in str(raised.value)


def test_a_proxy_is_not_asked_for_what_is_on_this_machine(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    url = server.offer("/boot.img", BODY)
    assert fetch(HttpSource(url), "boot.img") == BODY


@pytest.mark.parametrize("behaviour", [Behaviour.PACKS, Behaviour.SAYS_PACKED])
def test_the_bytes_of_a_file_arrive_as_they_are(server: HostileServer, behaviour: Behaviour) -> None:
    """Some servers pack what they send, or say Content-Encoding for a .gz; the digest is that of the file."""
    url = server.offer("/boot.img.gz", BODY, behaviour)
    assert fetch(HttpSource(url), "boot.img.gz") == BODY


def test_a_folder_gives_its_files(tmp_path: Path) -> None:
    (tmp_path / "boot.img").write_bytes(BODY)
    assert fetch(FolderSource(tmp_path), "boot.img") == BODY
    with pytest.raises(SourceNotFound, match=r"root\.img does not exist"):
        fetch(FolderSource(tmp_path), "root.img")
    (tmp_path / "root.img").mkdir()
    with pytest.raises(SourceNotFound, match=r"root\.img is not a file"):
        fetch(FolderSource(tmp_path), "root.img")


# --- TLS --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signed itself, with its key."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 "
        f"-addext subjectAltName=IP:127.0.0.1 -keyout {path} -out {path}.crt"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@contextmanager
def serve_tls(
    certificate: Path, location: str | None = None, silent: threading.Event | None = None
) -> Iterator[str]:
    """Serve BODY, or a redirect, over TLS; with ``silent`` half of BODY, and then the event is set."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302 if location else 200)
            self.send_header("Content-Length", str(0 if location else len(BODY)))
            if location:
                self.send_header("Location", location)
            self.end_headers()
            if silent:
                self.wfile.write(BODY[: len(BODY) // 2])
                silent.set()
                over.wait(60)
            elif not location:
                self.wfile.write(BODY)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that does not trust it goes away

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}/"
        finally:
            over.set()
            server.shutdown()
            thread.join()


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    with serve_tls(certificate) as url, pytest.raises(ServerFailed, match="certificate is not trusted"):
        fetch(HttpSource(url), "boot.img")


def test_a_server_that_a_trusted_ca_vouches_for_is_read_over_tls(certificate: Path) -> None:
    with serve_tls(certificate) as url:
        assert fetch(HttpSource(url, Fetching(trusted=certificate)), "boot.img") == BODY


def test_a_stalled_transfer_over_tls_ends_when_it_is_cancelled(certificate: Path) -> None:
    silent, cancel = threading.Event(), Cancel()
    said: list[BaseException] = []

    def run(url: str) -> None:
        try:
            fetch(HttpSource(url, Fetching(trusted=certificate, cancel=cancel)), "boot.img")
        except BaseException as error:
            said.append(error)

    with serve_tls(certificate, silent=silent) as url:
        thread = threading.Thread(target=run, args=(url,), daemon=True)
        thread.start()
        assert silent.wait(30)
        time.sleep(0.2)  # what was sent has arrived, and the thread waits for more
        cancel.cancel()
        thread.join(10)
        assert [type(error) for error in said] == [Interrupted]


def test_a_redirect_never_leads_from_https_to_http(certificate: Path, server: HostileServer) -> None:
    location = server.offer("/boot.img", BODY)
    with (
        serve_tls(certificate, location) as url,
        pytest.raises(ServerFailed, match="redirects from https to http"),
    ):
        fetch(HttpSource(url, Fetching(trusted=certificate)), "boot.img")
    assert server.asked == []


def test_a_server_without_tls_is_named(server: HostileServer) -> None:
    with pytest.raises(ServerFailed, match="no TLS connection could be made"):
        fetch(HttpSource(server.url.replace("http:", "https:") + "/"), "boot.img")
