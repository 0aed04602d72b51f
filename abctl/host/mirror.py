"""One server that has the files of a release: single requests, by requests."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from abctl.core.units import MIB
from abctl.errors import ServerFailed, SourceChanged, SourceNotFound, TransferCut, TransferStalled
from abctl.host.entity import ContentRange, Entity, parse_content_range, parse_retry_after, read_entity
from abctl.host.failed import Failed, explain_failure, find_root
from abctl.host.fetching import Fetching, host_of
from abctl.host.trusted import TrustingAdapter, load_trusted

_HOST_MAX = 300  # characters of a host and a port
REDIRECTS_MAX = 5
READ_SIZE = MIB  # more at once makes nothing faster
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "abctl"}
# Buckets answer 403 for what is not there, unless the reader may list them.
_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.FORBIDDEN)
_MAY_PASS = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
_TRY_AGAIN = "try again"

# It logs whole URLs, with what is secret in them.
logging.getLogger("urllib3").setLevel(logging.INFO)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The bytes of the file ``name`` from ``start`` to before ``end``; None is the end of the file."""

    name: str
    start: int = 0
    end: int | None = None

    @property
    def header(self) -> str | None:
        """The value of Range; None for the whole file."""
        if not self.start and self.end is None:
            return None
        return f"bytes={self.start}-{'' if self.end is None else self.end - 1}"


class Body:
    """The bytes of one answer.

    ``skip`` bytes come before the first that was wanted; ``end`` is the offset in the file after the
    last one, None where the server does not say it.
    """

    def __init__(self, response: requests.Response, host: str, stall_timeout: float) -> None:
        self._response = response
        self._raw: Any = response.raw
        self.host = host
        self._stall_timeout = stall_timeout
        self.skip = 0
        self.end: int | None = None
        self.entity = Entity(None, None, None)

    def read(self, size: int) -> bytes:
        """Return what has come, up to ``size`` bytes, and nothing at the end; raise Failed."""
        try:
            data: bytes = self._raw.read1(min(size, READ_SIZE), decode_content=False)
        except urllib3.exceptions.ReadTimeoutError as error:
            said = f"sent nothing for {self._stall_timeout:g} s"
            raise Failed(TransferStalled, f"{self.host} {said}", _TRY_AGAIN) from find_root(error)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise Failed(TransferCut, f"{self.host} cut the transfer", _TRY_AGAIN) from find_root(error)
        return data

    def shut_down(self) -> None:
        """End a ``read`` that another thread is in."""
        # The connection may have gone by itself.
        with contextlib.suppress(ValueError, RuntimeError, OSError):
            self._raw.shutdown()

    def close(self) -> None:
        self._response.close()


class _Session(requests.Session):
    """Leaves redirects alone: to look where one leads, requests would read its body, of whatever size."""

    def resolve_redirects(self, *_: object, **__: object) -> Iterator[requests.Response]:
        return iter(())


class Mirror:
    """The files beside ``url`` on a server; several threads may ask at once."""

    def __init__(self, url: str, fetching: Fetching) -> None:
        """Remember where files are; nothing is asked yet."""
        self._url = url
        self._fetching = fetching
        self.host = host_of(url)
        self.has_ranges = True  # until an answer shows that it has not
        self._session = _Session()
        self._session.trust_env = not _is_loopback(url)
        self._session.mount("https://", TrustingAdapter(load_trusted(fetching.trusted)))

    def ask(self, wanted: Wanted, seen: Entity | None) -> Body:
        """Return an answer that begins with what is wanted, or has it after ``skip`` bytes; raise Failed.

        ``seen`` is the state of the file that the bytes before ``start`` are of.
        """
        response = self._get(wanted, seen)
        try:
            self._check_status(response, wanted)
            body = Body(response, self.host, self._fetching.stall_timeout)
            if response.status_code == HTTPStatus.PARTIAL_CONTENT:
                self._take_part(body, response, wanted, seen)
            else:
                self._take_whole(body, response, wanted, seen)
        except BaseException:
            response.close()
            raise
        return body

    def _get(self, wanted: Wanted, seen: Entity | None) -> requests.Response:
        """Ask for what is wanted and follow a few redirects, never from https to http."""
        headers = dict(_HEADERS)
        if wanted.header:
            headers["Range"] = wanted.header
        if wanted.header and seen and seen.validator:
            headers["If-Range"] = seen.validator
        url = self._url_of(wanted.name)
        for _ in range(REDIRECTS_MAX + 1):
            response = self._send(url, headers)
            if not response.is_redirect:
                return response
            response.close()
            url = self._redirect(url, response.headers["location"])
        said = f"{self.host} redirects {wanted.name} more than {REDIRECTS_MAX} times"
        raise Failed(ServerFailed, said, "check the URL", may_pass=False)

    def _url_of(self, name: str) -> str:
        parts = urlsplit(self._url)
        # The URL of an archive is taken as it is, for it may end in a query.
        return self._url if parts.path.rpartition("/")[2] == name else urljoin(self._url, name)

    def _send(self, url: str, headers: dict[str, str]) -> requests.Response:
        host = host_of(url)
        timeouts = self._fetching.connect_timeout, self._fetching.stall_timeout
        try:
            return self._session.get(
                url,
                stream=True,
                allow_redirects=False,
                timeout=timeouts,
                headers=headers,
                proxies=self._proxies_for(url),
            )
        except requests.exceptions.ReadTimeout as error:
            said = f"{host} did not answer within {timeouts[1]:g} s"
            raise Failed(TransferStalled, said, _TRY_AGAIN) from find_root(error)
        except requests.exceptions.ConnectTimeout as error:
            said = f"{host} cannot be reached within {timeouts[0]:g} s"
            raise Failed(ServerFailed, said, "check the network") from find_root(error)
        except requests.exceptions.ProxyError as error:
            raise explain_failure(error, f"{host}, through the proxy,") from find_root(error)
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise explain_failure(error, host) from find_root(error)

    def _proxies_for(self, url: str) -> dict[str, str] | None:
        # A proxy does not know what is on this machine; "" keeps away those of the environment.
        if _is_loopback(url):
            return dict.fromkeys(("http", "https", "all"), "")
        proxy = self._fetching.proxy
        return None if proxy is None else {"http": proxy, "https": proxy}

    def _redirect(self, url: str, location: str) -> str:
        try:
            target = urljoin(url, location)
            before, after = urlsplit(url), urlsplit(target)
            if not after.netloc.isprintable() or len(after.netloc) > _HOST_MAX:
                raise ValueError("not a host")  # and it would be shown on a terminal
        except ValueError as error:
            said = f"{self.host} redirects to what is not a URL"
            raise Failed(ServerFailed, said, "check the URL", may_pass=False) from error
        if after.scheme not in ("http", "https") or (before.scheme, after.scheme) == ("https", "http"):
            said = f"{self.host} redirects from {before.scheme} to {after.scheme or 'nowhere'}, which is "
            raise Failed(ServerFailed, f"{said}not followed", "check the URL", may_pass=False)
        return target

    def _check_status(self, response: requests.Response, wanted: Wanted) -> None:
        status = response.status_code
        if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            return
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _too_short(
                self.host, wanted, parse_content_range(response.headers.get("Content-Range", ""))
            )
        said = f"{status} {_phrase(status)}".rstrip()
        if status in _GONE:
            said = f"{self.host} has no {wanted.name} ({said})"
            raise Failed(SourceNotFound, said, "check the URL", may_pass=False)
        may_pass = status in _MAY_PASS or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        pause = parse_retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC))
        raise Failed(
            ServerFailed,
            f"{self.host} answers {said} for {wanted.name}",
            "try again later, or ask who runs it",
            may_pass=may_pass,
            pause=min(pause, self._fetching.retry_after_max),
        )

    def _take_part(
        self, body: Body, response: requests.Response, wanted: Wanted, seen: Entity | None
    ) -> None:
        """Believe a 206 only where it is exactly what was asked for."""
        found = parse_content_range(response.headers.get("Content-Range", ""))
        length = response.raw.length_remaining
        if wanted.header is None or found is None or found.start != wanted.start:
            raise self._lying(wanted)
        if length is not None and length != found.end - found.start:
            raise self._lying(wanted)
        body.end = found.end
        body.entity = read_entity(response.headers, found.size)
        self._check_same(body.entity, seen, wanted)
        if wanted.end is not None and found.end != wanted.end:
            is_end = found.end == found.size and found.end < wanted.end
            raise _too_short(self.host, wanted, found) if is_end else self._lying(wanted)
        if wanted.end is None and found.size is not None and found.end != found.size:
            raise self._lying(wanted)

    def _take_whole(
        self, body: Body, response: requests.Response, wanted: Wanted, seen: Entity | None
    ) -> None:
        """Take a 200, which a server without ranges gives: what comes before is dropped."""
        size: int | None = response.raw.length_remaining
        body.skip = wanted.start
        self.has_ranges = self.has_ranges and not wanted.header
        body.end = size
        body.entity = read_entity(response.headers, size)
        self._check_same(body.entity, seen, wanted)
        if size is not None and size < max(wanted.start, wanted.end or 0):
            raise _too_short(self.host, wanted, ContentRange(size, size, size))

    def _check_same(self, entity: Entity, seen: Entity | None, wanted: Wanted) -> None:
        if seen and not seen.is_same_as(entity):
            said = f"{wanted.name} on {self.host} became another file while it was fetched"
            raise Failed(SourceChanged, said, "run the command again", may_pass=False)

    def _lying(self, wanted: Wanted) -> Failed:
        said = f"{self.host} answers with another part of {wanted.name} than was asked for"
        return Failed(ServerFailed, said, "ask who runs it", may_pass=False)


class EndOfFile(Failed):
    """Nothing is left after ``start``, which is where the file ends."""


def _too_short(host: str, wanted: Wanted, found: ContentRange | None) -> Failed:
    size = found.size if found else None
    if size == wanted.start and wanted.end is None:
        return EndOfFile(TransferCut, f"{host} has no more of {wanted.name}", _TRY_AGAIN, may_pass=False)
    has = "too few bytes" if size is None else f"only {size} bytes"
    wants = f"{wanted.start + 1} and more" if wanted.end is None else str(wanted.end)
    said = f"{host} has {has} of {wanted.name}, of which {wants} are needed"
    return Failed(TransferCut, said, "it is cut short", may_pass=False)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False
