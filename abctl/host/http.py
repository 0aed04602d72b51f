"""Releases from http and https servers: transfers that break off go on, at another mirror if there is one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from abctl.errors import SourceChanged, TransferCut
from abctl.host.cancel import Cancel
from abctl.host.entity import Entity
from abctl.host.failed import Failed
from abctl.host.fetching import Fetching
from abctl.host.mirror import READ_SIZE, Body, EndOfFile, Mirror, Wanted
from abctl.host.mirrors import Line, Patience


class HttpReader:
    """A range of a file; where its transfer breaks off, it is asked for again from there."""

    def __init__(self, line: Line, wanted: Wanted, fetching: Fetching) -> None:
        """Prepare to read what is ``wanted``; nothing is asked before ``start``."""
        self.length: int | None = None
        self._wanted = wanted
        self._fetching = fetching
        self._patience = Patience(line, fetching)
        self._said = ""  # of the last setback
        self._cancel = Cancel()
        self._body: Body | None = None
        self._mirror: Mirror | None = None
        self._seen: dict[Mirror, Entity] = {}
        self._size: int | None = None  # of the whole file
        self._at = self._body_at = wanted.start
        self._end = wanted.end
        self._is_over = False

    def start(self) -> None:
        """Ask for the range; raise SourceProblem."""
        if self._wanted.end != self._wanted.start:
            self._connect()
        if self._is_over:
            self._end = self._at
        self.length = None if self._end is None else self._end - self._wanted.start

    def readinto(self, buffer: memoryview) -> int:
        """Fill the start of ``buffer`` with what has come; raise Interrupted once this is closed."""
        while len(buffer) and not self._is_over and self._at != self._end:
            self._cancel.check()
            body = self._body or self._connect()
            if body is None:
                break
            try:
                data = self._read(body, len(buffer))
            except Failed as failed:
                self._set_back(body, failed)
                continue
            buffer[: len(data)] = data
            if data:
                return len(data)
        return 0

    def close(self) -> None:
        """End the transfer, and make a ``readinto`` in another thread raise Interrupted at once."""
        self._cancel.cancel()
        if self._body:
            self._body.shut_down()

    def finish(self) -> None:
        """Close the connection; for the thread that opened the reader."""
        self.close()
        if self._body:
            self._body.close()

    def _read(self, body: Body, size: int) -> bytes:
        """Return the next bytes, or none where those that come are to be dropped, or at the end."""
        data = body.read(self._room(body, size))
        self._cancel.check()
        if not data and (body.skip or self._end is not None):
            raise Failed(TransferCut, f"{body.host} cut the transfer", "try again")
        if self._fetching.rate_limit:
            self._cancel.wait(self._fetching.rate_limit.take(len(data)))
        if body.skip:
            body.skip -= len(data)
            return b""
        self._at += len(data)
        self._is_over = not data
        if data:
            self._patience.progress()
        return data

    def _room(self, body: Body, size: int) -> int:
        most = [READ_SIZE]
        if self._fetching.rate_limit:
            most.append(self._fetching.rate_limit.piece)
        if body.skip:
            return min(*most, body.skip)
        if self._end is not None:
            most.append(self._end - self._at)
        return min(*most, size)

    def _set_back(self, body: Body, failed: Failed) -> None:
        """Give a body up that broke off."""
        self._cancel.check()
        assert self._mirror is not None
        self._body = None
        body.close()
        failed.said += f" after {self._progress}"
        self._said = failed.said
        self._patience.note(self._mirror, failed, came_far=self._at > self._body_at)

    @property
    def _progress(self) -> str:
        of_all = "" if self.length is None else f" of {self.length}"
        return f"{self._at - self._wanted.start}{of_all} bytes of {self._wanted.name}"

    def _connect(self) -> Body | None:
        """Return a body that goes on here, from the first mirror that gives one; None at the end."""
        wanted = Wanted(self._wanted.name, self._at, self._wanted.end)
        while True:
            choice = self._patience.choose()
            if choice is None:
                raise self._patience.explain(self._wanted.name)
            mirror, pause = choice
            if self._said:
                self._fetching.on_setback(f"{self._said}; going on at {mirror.host}", pause)
            self._cancel.wait(pause)
            try:
                return self._open_body(mirror, wanted)
            except EndOfFile:
                self._is_over = True
                return None
            except Failed as failed:
                self._said = failed.said
                self._patience.note(mirror, failed, came_far=False)

    def _open_body(self, mirror: Mirror, wanted: Wanted) -> Body:
        seen = self._seen.get(mirror)
        body = self._cancel.run(lambda: mirror.ask(wanted, seen), Body.close)
        self._body = body
        try:
            self._cancel.check()
            self._compare(mirror, body)
        except BaseException:
            self._body = None
            body.close()
            raise
        self._mirror, self._body_at = mirror, self._at
        if self._end is None:
            self._end = body.end
        return body

    def _compare(self, mirror: Mirror, body: Body) -> None:
        """Raise Failed where a mirror has another file than the bytes so far are of."""
        size = body.entity.size
        if None not in (size, self._size) and size != self._size:
            said = f"{mirror.host} has another {self._wanted.name}, of {size} bytes and not {self._size}"
            raise Failed(SourceChanged, said, "have the same release published everywhere", may_pass=False)
        self._size = self._size if size is None else size
        self._seen[mirror] = body.entity


class HttpSource:
    """The files beside a URL on a server, and on its mirrors."""

    is_local = False

    def __init__(self, url: str, fetching: Fetching | None = None) -> None:
        """Remember where files are; nothing is asked yet."""
        self._fetching = fetching or Fetching()
        mirrors = [Mirror(at, self._fetching) for at in (url, *self._fetching.mirrors)]
        self._line = Line(mirrors)
        self._place = mirrors[0].host

    @property
    def has_ranges(self) -> bool:
        return all(mirror.has_ranges for mirror in self._line)

    @property
    def place(self) -> str:
        return self._place

    def prepare(
        self,
        name: str,
        start: int = 0,
        length: int | None = None,
        on_setback: Callable[[str, float], None] | None = None,
    ) -> HttpReader:
        """Return a reader that has asked for nothing yet; ``on_setback`` is told instead of the usual one."""
        wanted = Wanted(name, start, None if length is None else start + length)
        fetching = replace(self._fetching, on_setback=on_setback) if on_setback else self._fetching
        return HttpReader(self._line, wanted, fetching)

    @contextmanager
    def open(self, name: str, start: int = 0, length: int | None = None) -> Iterator[HttpReader]:
        reader = self.prepare(name, start, length)
        with self._fetching.cancel.stopping(reader.close):
            try:
                reader.start()
                yield reader
            finally:
                reader.finish()
