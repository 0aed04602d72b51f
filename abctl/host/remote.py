"""Sources whose bytes another process fetches, which has no rights and is not believed."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

from abctl.errors import Interrupted, SourceNotFound, SourceProblem, TransferCut
from abctl.host.child import Child, Role
from abctl.host.fetching import Fetching, host_of
from abctl.host.frames import Gone, Incoming, Kind, Peer
from abctl.host.source import check_proxy, folder_of, path_of

_SETBACKS_MAX = 100  # in a row without a byte; a transfer is given up after far fewer
_NAME = re.compile(r"[A-Za-z0-9._+~-]+(/[A-Za-z0-9._+~-]+)*")
_NAME_MAX = 512

_ROLE = Role("fetch", "the fetching process", errors=(SourceProblem,), died=TransferCut)

Call = Callable[[str, int, int | None], socket.socket]


def is_plain(name: str) -> bool:
    """Return whether ``name`` is one of a file in or below a folder, and can be nothing else."""
    is_short = len(name) <= _NAME_MAX
    return is_short and bool(_NAME.fullmatch(name)) and not {".", ".."} & set(name.split("/"))


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told of what comes beside the data."""

    on_setback: Callable[[str, float], None]
    on_no_ranges: Callable[[], None]


def ignore_all() -> Listener:
    """Return a listener for streams beside whose data nothing comes that matters."""
    return Listener(lambda said, seconds: None, lambda: None)


class RemoteReader:
    """A range of a file, as ``peer`` sends it: what comes is at most what was asked for."""

    def __init__(self, channel: socket.socket, peer: Peer, asked: int | None, listener: Listener) -> None:
        self.length: int | None = None
        self._channel = channel
        self._incoming = Incoming(channel, peer)
        self._peer = peer
        self._asked = asked
        self._listener = listener
        self._began = self._is_over = self._is_closed = False
        self._setbacks = 0
        self._announced = 0  # bytes of data whose frames have begun
        self._left = 0  # in the frame that is being read

    @property
    def has_some(self) -> bool:
        """True where the next ``readinto`` only has to wait for data that is on its way, or is over."""
        return bool(self._left) or self._is_over

    def start(self) -> None:
        """Wait until the peer has opened the file; raise SourceProblem."""
        with self._explaining():
            while not self._began:
                self._take_frame()

    def readinto(self, buffer: memoryview) -> int:
        """Fill the start of ``buffer`` with what has come; raise Interrupted once this is closed."""
        with self._explaining():
            while not self._left:
                if self._is_over or not buffer:
                    return 0
                self._take_frame()
            count = self._incoming.data(buffer[: self._left])
        self._left -= count
        return count

    def close(self) -> None:
        """End the transfer, and make a ``readinto`` in another thread raise Interrupted at once."""
        self._is_closed = True
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except Gone:
            if self._is_closed:
                raise Interrupted("the transfer was interrupted") from None
            raise self._peer.explain_end() from None

    def _take_frame(self) -> None:
        kind, size = self._incoming.next()
        match kind:
            case Kind.DATA:
                self._begin_data(size)
            case Kind.LENGTH:
                self._begin(self._incoming.length())
            case Kind.SETBACK:
                self._set_back(*self._incoming.setback(size))
            case Kind.NO_RANGES:
                self._listener.on_no_ranges()
            case Kind.ERROR:
                raise self._incoming.error(size)
            case Kind.END:
                self._end()

    def _begin(self, length: int | None) -> None:
        if self._began or (self._asked is not None and length != self._asked):
            raise self._peer.misbehaved("another length than was asked for")
        self._began, self.length = True, length

    def _begin_data(self, size: int) -> None:
        self._announced += size
        if not self._began or (self.length is not None and self._announced > self.length):
            raise self._peer.misbehaved("more data than was asked for")
        self._left = size
        self._setbacks = 0

    def _set_back(self, said: str, seconds: float) -> None:
        self._setbacks += 1
        if self._setbacks > _SETBACKS_MAX:
            raise self._peer.misbehaved("nothing but remarks")
        self._listener.on_setback(said, seconds)

    def _end(self) -> None:
        if not self._began:
            raise self._peer.misbehaved("an end before a beginning")
        if self.length is not None and self._announced < self.length:
            raise TransferCut(f"{self._announced} of {self.length} bytes came: run the command again")
        self._is_over = True


@dataclass(slots=True)
class RemoteSource:
    """The files of a source that stands in another process.

    ``call`` asks that one for a file, and returns the stream on which it comes.
    """

    call: Call
    peer: Peer
    place: str
    is_local: bool = False
    has_ranges: bool = True
    also: str = ""  # a name that needs not be plain: that of an archive is what its URL ends in
    fetching: Fetching = field(default_factory=Fetching)

    @contextmanager
    def open(self, name: str, start: int = 0, length: int | None = None) -> Iterator[RemoteReader]:
        if not is_plain(name) and (not name or name != self.also):
            raise SourceNotFound(f"{name[:100]!r} is not the name of a file in a folder: nothing is asked")
        cancel = self.fetching.cancel
        cancel.check()
        with closing(self.call(name, start, length)) as channel:
            listener = Listener(self.fetching.on_setback, self._lose_ranges)
            reader = RemoteReader(channel, self.peer, length, listener)
            with cancel.stopping(reader.close):
                reader.start()
                yield reader

    def _lose_ranges(self) -> None:
        self.has_ranges = False


class FetchWorker:
    """A process without rights that fetches, for any number of sources; it ends with this one.

    Its connections, its rate limit and what it learns of mirrors are shared. ``close`` ends it; so does the
    end of this program.
    """

    def __init__(self, fetching: Fetching | None = None) -> None:
        """Start it, without waiting; raise SourceNotFound where the proxy is none.

        ``fetching.mirrors`` belongs to single sources and is not looked at here.
        """
        self._fetching = check_proxy(fetching or Fetching())
        self._count = 0
        self.child = Child(_ROLE, as_settings(self._fetching))

    def source(self, url: str, mirrors: tuple[str, ...] = ()) -> RemoteSource:
        """Return the files beside ``url``, which ends in ``/`` for a folder, and beside its ``mirrors``.

        Raise SourceNotFound where one is no URL of a server; no server is asked yet.
        """
        also = path_of(url).rpartition("/")[2]
        for mirror in mirrors:
            path_of(mirror)
        number, self._count = self._count, self._count + 1
        self.child.tell({"source": [url, *mirrors]})
        return RemoteSource(
            call=lambda name, start, length: self.child.call({"open": [number, name, start, length]}),
            peer=self.child.peer,
            place=host_of(url),
            also=also,
            fetching=self._fetching,
        )

    def folder(self, url: str, mirrors: tuple[str, ...] = ()) -> RemoteSource:
        """Return the files in the folder at ``url``, with or without ``/`` at its end, and at ``mirrors``."""
        return self.source(folder_of(url), tuple(folder_of(mirror) for mirror in mirrors))

    def close(self) -> None:
        self.child.close()

    def __enter__(self) -> FetchWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_confined_source(url: str, fetching: Fetching) -> RemoteSource:
    """Return the files beside ``url`` and beside ``fetching.mirrors``, from a process of its own."""
    return FetchWorker(fetching).source(url, fetching.mirrors)


def as_settings(fetching: Fetching) -> dict[str, object]:
    """Return what another process needs to fetch like this."""
    return {
        "connect_timeout": fetching.connect_timeout,
        "stall_timeout": fetching.stall_timeout,
        "tries": fetching.tries,
        "first_pause": fetching.first_pause,
        "retry_after_max": fetching.retry_after_max,
        "rate": fetching.rate_limit and fetching.rate_limit.bytes_per_second,
        "proxy": fetching.proxy,
        "trusted": str(fetching.trusted.absolute()),
    }
