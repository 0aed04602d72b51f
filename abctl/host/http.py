"""Releases from an http or https server, by requests."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import urllib3

from abctl.core.units import KIB
from abctl.errors import ServerFailed, SourceNotFound, TransferCut, TransferStalled

CONNECT_TIMEOUT = 15.0  # seconds
STALL_TIMEOUT = 30.0  # seconds without a byte
REDIRECTS_MAX = 5
_READ_SIZE = 64 * KIB
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "abctl"}
SYSTEM_CAS = Path("/etc/ssl/certs/ca-certificates.crt")  # where an admin adds the CA of an own server
_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


class HttpReader:
    """The body of one answer; no resuming yet, so a cut ends it."""

    def __init__(self, response: requests.Response, host: str, name: str, stall_timeout: float) -> None:
        self._raw = response.raw
        self._host = host
        self._name = name
        self._stall_timeout = stall_timeout
        self._done = 0
        self.length: int | None = self._raw.length_remaining

    def readinto(self, buffer: memoryview) -> int:
        try:
            data = self._raw.read1(min(len(buffer), _READ_SIZE), decode_content=False)
        except urllib3.exceptions.ReadTimeoutError as error:
            raise TransferStalled(
                f"{self._host} sent nothing for {self._stall_timeout:g} s after {self._progress}: try again"
            ) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise TransferCut(f"{self._host} cut the transfer after {self._progress}: try again") from error
        buffer[: len(data)] = data
        self._done += len(data)
        return len(data)

    @property
    def _progress(self) -> str:
        of_all = "" if self.length is None else f" of {self.length}"
        return f"{self._done}{of_all} bytes of {self._name}"


class HttpSource:
    """The files beside ``url`` on a server."""

    is_local = False

    def __init__(
        self,
        url: str,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        stall_timeout: float = STALL_TIMEOUT,
        trusted: Path = SYSTEM_CAS,
    ) -> None:
        """Remember where files are; nothing is asked yet.

        Timeouts are in seconds; ``trusted`` has the certificates of the CAs that may vouch for a server.
        """
        self._url = url
        self._trusted = trusted
        self._timeouts = connect_timeout, stall_timeout
        self._host = host_of(url)

    @property
    def place(self) -> str:
        return self._host

    @contextmanager
    def open(self, name: str) -> Iterator[HttpReader]:
        with _open_session(self._host, self._trusted) as session, self._get(session, name) as response:
            yield HttpReader(response, self._host, name, self._timeouts[1])

    def _get(self, session: requests.Session, name: str) -> requests.Response:
        """Ask for ``name`` and follow a few redirects, never from https to http."""
        url = self._url_of(name)
        for _ in range(REDIRECTS_MAX + 1):
            response = self._ask(session, url)
            if not response.is_redirect:
                return _check_status(response, self._host, name)
            response.close()
            url = self._redirect(url, response.headers["location"])
        raise ServerFailed(f"{self._host} redirects {name} more than {REDIRECTS_MAX} times: check the URL")

    def _url_of(self, name: str) -> str:
        parts = urlsplit(self._url)
        # The URL of an archive is taken as it is, for it may end in a query.
        return self._url if parts.path.rpartition("/")[2] == name else urljoin(self._url, name)

    def _ask(self, session: requests.Session, url: str) -> requests.Response:
        try:
            return session.get(
                url, stream=True, allow_redirects=False, timeout=self._timeouts, headers=_HEADERS
            )
        except requests.exceptions.ReadTimeout as error:
            raise TransferStalled(
                f"{host_of(url)} did not answer within {self._timeouts[1]:g} s: try again"
            ) from error
        except requests.exceptions.ConnectTimeout as error:
            raise ServerFailed(
                f"{host_of(url)} cannot be reached within {self._timeouts[0]:g} s: check the network"
            ) from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise ServerFailed(f"{host_of(url)} cannot be reached: {_find_reason(error)}") from error

    def _redirect(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        before, after = urlsplit(url), urlsplit(target)
        if after.scheme not in ("http", "https") or (before.scheme, after.scheme) == ("https", "http"):
            raise ServerFailed(
                f"{self._host} redirects from {before.scheme} to {after.scheme or 'nowhere'}, which is not "
                "followed: check the URL"
            )
        return target


def host_of(url: str) -> str:
    """Return host and port of ``url``, without a password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _open_session(host: str, trusted: Path) -> requests.Session:
    session = requests.Session()
    # A proxy does not know what is on this machine.
    session.trust_env = not _is_loopback(urlsplit(f"//{host}"))
    if trusted.is_file():
        session.verify = str(trusted)
    return session


def _is_loopback(host: SplitResult) -> bool:
    try:
        return host.hostname == "localhost" or ip_address(host.hostname or "").is_loopback
    except ValueError:
        return False


def _check_status(response: requests.Response, host: str, name: str) -> requests.Response:
    status = response.status_code
    if status == HTTPStatus.OK:
        return response
    response.close()
    try:
        said = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        said = str(status)
    if status in _GONE:
        raise SourceNotFound(f"{host} has no {name} ({said}): check the URL")
    raise ServerFailed(f"{host} answers {said} for {name}: try again later, or ask who runs it")


def _find_reason(error: BaseException) -> str:
    """Return for people why a server could not be reached."""
    seen = _unwrap(error)
    for found in seen:
        if isinstance(found, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({found.verify_message})"
        if isinstance(found, ssl.SSLError):
            return f"no TLS connection could be made ({found.reason})"
        if isinstance(found, socket.gaierror):
            return "its name is not known; check the URL and the network"
    for found in seen:
        if isinstance(found, OSError) and found.strerror and not isinstance(found, requests.RequestException):
            return f"{found.strerror}; check the URL and the network"
    return "it does not speak HTTP as it should; check the URL"


def _unwrap(error: BaseException) -> list[BaseException]:
    """Return all errors that this one was made of."""
    seen: list[BaseException] = []
    todo: list[Any] = [error]
    while todo:
        item = todo.pop()
        if isinstance(item, BaseException) and item not in seen:
            seen.append(item)
            todo += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]
    return seen
