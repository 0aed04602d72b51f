"""In a confined process: fetch from servers, for the process that may write."""

import encodings.idna
import encodings.punycode  # noqa: F401
import netrc  # noqa: F401
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import idna  # noqa: F401

from abctl.host.fetching import Fetching
from abctl.host.frames import Outgoing
from abctl.host.http import HttpReader, HttpSource
from abctl.host.serve import serve_reader, watching
from abctl.host.throttle import RateLimit
from abctl.host.trusted import load_trusted


class Fetcher:
    """The sources that were named so far, and how they are asked."""

    def __init__(self, fetching: Fetching) -> None:
        self._fetching = fetching
        self._sources: list[HttpSource] = []

    def take(self, message: dict[str, list[Any]], stream: socket.socket | None) -> None:
        """Remember a source, or send a file of one."""
        if stream is None:
            self._add(*message["source"])
            return
        threading.Thread(target=self._send, args=(stream, *message["open"]), daemon=True).start()

    def _add(self, url: str, *mirrors: str) -> None:
        self._sources.append(HttpSource(url, replace(self._fetching, mirrors=mirrors)))

    def _send(self, stream: socket.socket, number: int, name: str, start: int, length: int | None) -> None:
        out, source = Outgoing(stream), self._sources[number]
        reader = source.prepare(name, start, length, out.setback)
        with stream, watching(stream, reader.close):
            serve_reader(out, _started(reader), lambda: source.has_ranges)


@contextmanager
def _started(reader: HttpReader) -> Iterator[HttpReader]:
    try:
        reader.start()
        yield reader
    finally:
        reader.finish()


def start(settings: dict[str, Any], _control: socket.socket) -> Callable[[Any, socket.socket | None], None]:
    """Read what needs rights to be read; raise SourceNotFound where there are no CAs."""
    trusted, rate = Path(settings["trusted"]), settings["rate"]
    load_trusted(trusted)
    names = ("connect_timeout", "stall_timeout", "tries", "first_pause", "retry_after_max", "proxy")
    fetching = Fetching(
        **{name: settings[name] for name in names},
        trusted=trusted,
        rate_limit=RateLimit(rate) if rate else None,
    )
    return Fetcher(fetching).take
