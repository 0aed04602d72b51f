"""Transfers that break off go on, here or at another mirror, or end with what each of them said."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from abctl.core.units import MIB
from abctl.errors import (
    Interrupted,
    ServerFailed,
    SourceChanged,
    SourceNotFound,
    TransferCut,
    TransferStalled,
)
from abctl.host.cancel import Cancel
from abctl.host.entity import parse_content_range, parse_retry_after
from abctl.host.fetching import Fetching
from abctl.host.http import HttpSource
from abctl.host.source import locate_release
from abctl.host.throttle import RateLimit
from abctl.ports import Reader
from abctl.update.stream import fill
from tests.hostile_server import Behaviour, HostileServer, serve_hostile

pytestmark = pytest.mark.slow

BODY = bytes(range(251)) * 1000
SIZE = len(BODY)


@pytest.fixture
def second() -> Iterator[HostileServer]:
    with serve_hostile() as server:
        yield server


def hasty(*mirrors: str, **others: object) -> Fetching:
    return Fetching(stall_timeout=1.0, tries=3, first_pause=0.01, mirrors=mirrors, **others)  # type: ignore[arg-type]


def fetch(url: str, fetching: Fetching, start: int = 0, length: int | None = None) -> bytes:
    with HttpSource(url, fetching).open("root.img", start, length) as reader:
        return read(reader)


def read(reader: Reader) -> bytes:
    buffer = memoryview(bytearray(2 * SIZE))
    return bytes(buffer[: fill(reader, buffer)])


# --- going on at the same server --------------------------------------------------------------------


def test_a_transfer_that_is_cut_again_and_again_goes_on_where_it_was(server: HostileServer) -> None:
    url = server.offer("/root.img", BODY, Behaviour.CUT_EVERY, every=20_000)
    assert fetch(url, hasty()) == BODY
    assert len(server.asked) == -(-SIZE // 20_000)
    assert server.sent == SIZE
    starts = [int(found.split("=")[1].rstrip("-")) for found in server.ranges if found]
    assert all(after - before == 20_000 for before, after in pairwise(starts))


def test_a_range_that_is_cut_goes_on_to_its_own_end(server: HostileServer) -> None:
    url = server.offer("/root.img", BODY, Behaviour.CUT_EVERY, every=20_000)
    assert fetch(url, hasty(), 10_001, 70_000) == BODY[10_001:80_001]
    assert server.sent == 70_000


@pytest.mark.parametrize("behaviour", [Behaviour.STALL_FIRST, Behaviour.CUT_FIRST])
def test_one_mishap_is_got_over(server: HostileServer, behaviour: Behaviour) -> None:
    """The second server knows no ranges: what is there already is dropped."""
    url = server.offer("/root.img", BODY, behaviour)
    assert fetch(url, hasty()) == BODY
    assert len(server.asked) == 2


def test_a_server_without_ranges_that_cuts_at_the_same_place_is_given_up(server: HostileServer) -> None:
    url = server.offer("/root.img", BODY, Behaviour.CUT)
    with pytest.raises(
        TransferCut, match=rf"cut the transfer after {SIZE // 2} of {SIZE} bytes .*\(3 tries\)"
    ):
        fetch(url, hasty())
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_server_that_is_busy_for_a_while_is_asked_again(server: HostileServer, status: int) -> None:
    url = server.offer("/root.img", BODY, Behaviour.BUSY_FIRST, times=2, status=status)
    assert fetch(url, hasty()) == BODY


@pytest.mark.parametrize("status", [400, 401, 403, 410, 451])
def test_an_answer_that_will_not_change_is_not_asked_for_again(server: HostileServer, status: int) -> None:
    url = server.offer("/root.img", BODY, Behaviour.BUSY_FIRST, times=9, status=status)
    with pytest.raises((ServerFailed, SourceNotFound), match=str(status)):
        fetch(url, hasty())
    assert len(server.asked) == 1


def test_a_body_that_lacks_only_the_word_that_it_ends_is_whole(server: HostileServer) -> None:
    url = server.offer("/root.img", BODY, Behaviour.NO_LAST_CHUNK)
    assert fetch(url, hasty()) == BODY
    assert server.ranges == [None, f"bytes={SIZE}-"]


def test_tries_are_bounded(server: HostileServer) -> None:
    url = server.offer("/root.img", BODY, Behaviour.BUSY_FIRST, times=9)
    with pytest.raises(ServerFailed, match=r"503 Service Unavailable .*\(3 tries\)"):
        fetch(url, hasty())
    assert len(server.asked) == 3


def test_the_first_bytes_of_another_file_are_never_mixed_with_the_last_of_this(server: HostileServer) -> None:
    for behaviour in (Behaviour.CHANGES, Behaviour.GROWS, Behaviour.SHRINKS):
        url = server.offer(f"/{behaviour}/root.img", BODY, behaviour)
        with pytest.raises(SourceChanged, match=r"root\.img"):
            fetch(url, hasty())


def test_a_transfer_that_makes_progress_goes_on_at_once(server: HostileServer) -> None:
    pauses: list[float] = []
    url = server.offer("/root.img", BODY, Behaviour.CUT_EVERY, every=50_000)
    assert fetch(url, hasty(on_setback=lambda _, seconds: pauses.append(seconds))) == BODY
    assert pauses == [0] * (SIZE // 50_000)


def test_each_setback_is_told_with_the_time_until_it_goes_on(server: HostileServer) -> None:
    told: list[tuple[str, float]] = []
    url = server.offer("/root.img", BODY, Behaviour.BUSY_FIRST, retry_after="1")
    assert fetch(url, hasty(on_setback=lambda *args: told.append(args))) == BODY
    [(said, seconds)] = told
    assert "503" in said
    assert "going on at 127.0.0.1" in said
    assert 0.5 < seconds <= 1


# --- several mirrors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "behaviour",
    [Behaviour.STALL, Behaviour.CUT, Behaviour.CUT_CHUNKED, Behaviour.CHANGES, Behaviour.CUT_FIRST],
)
def test_a_body_goes_on_at_the_same_byte_of_the_next_mirror(
    server: HostileServer, second: HostileServer, behaviour: Behaviour
) -> None:
    url = server.offer("/a/root.img", BODY, behaviour)
    other = second.offer("/b/root.img", BODY)
    assert fetch(url, hasty(other)) == BODY
    assert second.ranges == [f"bytes={SIZE // 2}-"]
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "behaviour", [Behaviour.NOT_FOUND, Behaviour.ERROR, Behaviour.SILENT, Behaviour.LOOP]
)
def test_a_mirror_that_does_not_have_it_is_passed_over(
    server: HostileServer, second: HostileServer, behaviour: Behaviour
) -> None:
    url = server.offer("/root.img", BODY, behaviour)
    assert fetch(url, hasty(second.offer("/root.img", BODY))) == BODY


@pytest.mark.timeout(60)
def test_the_body_of_a_redirect_is_not_read(server: HostileServer) -> None:
    server.offer("/there/root.img", BODY)
    url = server.offer("/root.img", b"/there/root.img", Behaviour.ENDLESS_REDIRECT)
    assert fetch(url, hasty()) == BODY
    assert server.sent < 16 * MIB  # what the sockets between hold included


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_server_says_in_one_of_these_ways_that_it_has_no_such_file(
    server: HostileServer, status: int
) -> None:
    """A bucket answers 403, unless the reader may list it: a repository has no newer root there."""
    url = server.offer("/root.img", BODY, Behaviour.BUSY_FIRST, times=9, status=status)
    with pytest.raises(SourceNotFound, match=rf"has no root.img \({status} "):
        fetch(url, hasty())


def test_a_mirror_that_failed_is_asked_last_from_then_on(
    server: HostileServer, second: HostileServer
) -> None:
    url = server.offer("/root.img", BODY, Behaviour.CUT_FIRST)
    source = HttpSource(url, hasty(second.offer("/root.img", BODY)))
    for _ in range(3):
        with source.open("root.img") as reader:
            assert read(reader) == BODY
    assert (len(server.asked), len(second.asked)) == (1, 3)


def test_a_mirror_that_is_asked_to_wait_for_is_not_waited_for_while_there_is_another(
    server: HostileServer, second: HostileServer
) -> None:
    url = server.offer("/root.img", BODY, Behaviour.BUSY_FIRST, times=99, retry_after="299")
    other = second.offer("/root.img", BODY, Behaviour.CUT_EVERY, every=100_000)
    assert fetch(url, hasty(other)) == BODY


def test_a_mirror_with_a_file_of_another_size_is_not_mixed_in(
    server: HostileServer, second: HostileServer
) -> None:
    url = server.offer("/root.img", BODY, Behaviour.CUT)
    other = second.offer("/root.img", BODY + b"x")
    with pytest.raises(SourceChanged, match=rf"another root\.img, of {SIZE + 1} bytes and not {SIZE}"):
        fetch(url, hasty(other))


def test_when_all_mirrors_fail_each_is_named_with_what_it_said(
    server: HostileServer, second: HostileServer
) -> None:
    url = server.offer("/root.img", BODY, Behaviour.STALL)
    other = second.offer("/root.img", BODY, Behaviour.ERROR)
    gone = f"{second.url}/gone/root.img"
    with pytest.raises((ServerFailed, TransferStalled)) as raised:
        fetch(url, hasty(other, gone))
    for words in (server.url[7:], "sent nothing for 1 s", second.url[7:], "500", "404", "root.img"):
        assert words in str(raised.value)
    with pytest.raises(SourceNotFound):
        fetch(f"{server.url}/gone/root.img", hasty(gone))


def test_mirrors_of_a_directory_may_be_named_like_the_directory(
    server: HostileServer, second: HostileServer
) -> None:
    second.offer("/b/2/manifest.json", BODY)
    offer = locate_release(f"{server.url}/a/2", None, hasty(f"{second.url}/b/2"))
    with offer.source.open(offer.file) as reader:
        assert fill(reader, memoryview(bytearray(SIZE))) == SIZE
    assert server.asked == ["/a/2/manifest.json"]


@pytest.mark.parametrize("mirror", ["/b/update.tar.zst?key=1", "/b/"])
def test_mirrors_of_an_archive_may_be_named_by_its_own_url_or_its_folder(
    server: HostileServer, second: HostileServer, mirror: str
) -> None:
    second.offer("/b/update.tar.zst", BODY)
    offer = locate_release(f"{server.url}/a/update.tar.zst", None, hasty(f"{second.url}{mirror}"))
    with offer.source.open(offer.file) as reader:
        assert read(reader) == BODY


# --- cancel -----------------------------------------------------------------------------------------


def cancelled_when_silent(
    server: HostileServer, stop: Callable[[], object], work: Callable[[], object]
) -> None:
    """Run ``work`` in a thread, stop it once the server falls silent, and see that it was Interrupted."""
    said: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            said.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert server.is_silent.wait(30)
    time.sleep(0.2)  # what was sent has arrived, and the thread waits for more
    stop()
    thread.join(10)
    assert not thread.is_alive()
    assert [type(error) for error in said] == [Interrupted]


@pytest.mark.parametrize("behaviour", [Behaviour.STALL, Behaviour.SILENT])
def test_a_stalled_transfer_ends_when_it_is_cancelled(server: HostileServer, behaviour: Behaviour) -> None:
    cancel = Cancel()
    url = server.offer("/root.img", BODY, behaviour)
    cancelled_when_silent(server, cancel.cancel, lambda: fetch(url, Fetching(cancel=cancel)))


def test_a_wait_for_a_busy_server_ends_when_it_is_cancelled(server: HostileServer) -> None:
    cancel = Cancel()
    url = server.offer("/root.img", BODY, Behaviour.BUSY_FIRST, times=9, retry_after="250")
    cancelled_when_silent(server, cancel.cancel, lambda: fetch(url, Fetching(cancel=cancel)))


def test_closing_a_reader_ends_what_another_thread_reads(server: HostileServer) -> None:
    url = server.offer("/root.img", BODY, Behaviour.STALL)
    with HttpSource(url).open("root.img") as reader:
        cancelled_when_silent(server, reader.close, lambda: read(reader))


def test_after_a_cancel_nothing_is_asked(server: HostileServer) -> None:
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(Interrupted):
        fetch(server.offer("/root.img", BODY), Fetching(cancel=cancel))
    assert server.asked == []


# --- the rate limit ---------------------------------------------------------------------------------


class Clock:
    """A clock that goes when somebody waits for it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("piece", [1, 10, 3_000])
def test_the_rate_limit_lets_as_much_through_as_it_says(piece: int) -> None:
    clock = Clock()
    limit = RateLimit(1000, clock)
    passed = 0
    while clock.now < 1060:
        clock.now += limit.take(piece)
        passed += piece
        clock.now += 1e-6
        assert passed <= 1000 * (clock.now - 1000 + 0.25) + 1
    assert passed >= 1000 * 59


def test_an_idle_time_is_not_saved_up(server: HostileServer) -> None:
    clock = Clock()
    limit = RateLimit(100, clock)
    clock.now += 3600
    assert limit.take(1025) == pytest.approx(10)


def test_all_readers_of_a_source_share_the_limit(server: HostileServer) -> None:
    """The clock stands still, so that what was booked can be read off."""
    limit = RateLimit(1 << 30, lambda: 0.0)
    source = HttpSource(server.offer("/root.img", BODY), Fetching(rate_limit=limit))
    for _ in range(3):
        with source.open("root.img") as reader:
            read(reader)
    assert limit.take(1 << 30) == pytest.approx(0.75 + 3 * SIZE / (1 << 30))


# --- proxies, secrets, small parsers ----------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_is_asked_when_one_is_given(server: HostileServer, scheme: str) -> None:
    server.offer("/v2/manifest.json", BODY)
    fetching = hasty(proxy=f"{scheme}{server.url[7:]}")
    offer = locate_release("http://server.invalid/v2/", None, fetching)
    with offer.source.open(offer.file) as reader:
        assert read(reader) == BODY
    assert server.asked == ["http://server.invalid/v2/manifest.json"]


def test_the_proxy_of_the_environment_is_asked(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    server.offer("/root.img", BODY)
    assert fetch("http://server.invalid/root.img", hasty()) == BODY


def test_what_is_on_this_machine_is_not_asked_of_a_proxy_that_was_given(server: HostileServer) -> None:
    url = server.offer("/root.img", BODY)
    assert fetch(url, hasty(proxy="http://127.0.0.1:1")) == BODY


SECRETS = r"secret|hidden|t0ken"


@pytest.mark.parametrize("behaviour", list(Behaviour))
def test_no_secret_of_a_url_gets_into_a_message(server: HostileServer, behaviour: Behaviour) -> None:
    server.offer("/root.img", "http://root:hidden@[::1/?t0ken", behaviour, every=9, times=9)
    url = f"{server.url}/root.img?key=t0ken".replace("//", "//admin:secret@")
    fetching = hasty(url, proxy="http://me:hidden@server.invalid")
    try:
        fetch(url, fetching, 3, 9)
    except Exception as error:
        seen: BaseException | None = error
        while seen:
            assert not re.search(SECRETS, str(seen))
            seen = seen.__cause__


def test_no_secret_is_in_what_libraries_say_of_a_server_that_cannot_be_reached() -> None:
    """They quote the path and query, which --debug would show."""
    with pytest.raises(ServerFailed, match="Connection refused") as raised:
        fetch("http://127.0.0.1:1/root.img?key=t0ken", hasty())
    assert isinstance(raised.value.__cause__, ConnectionRefusedError)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    "url", ["http://me:secret@[::1/?t0ken", "ftp://me:secret@server/?t0ken", "http://:secret@"]
)
def test_no_secret_of_a_url_that_is_none_gets_into_a_message(url: str) -> None:
    for args in ((url, hasty()), ("http://server/", hasty(url)), ("http://server/", hasty(proxy=url))):
        with pytest.raises(SourceNotFound) as raised:
            locate_release(args[0], None, args[1])
        assert not re.search(SECRETS, str(raised.value))


NOW = datetime(2026, 11, 2, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("Mon, 02 Nov 2026 08:00:30 GMT", 30),
        ("Mon, 02 Nov 2026 08:00:30 -0000", 30),
        ("Sun, 01 Nov 2026 08:00:30 GMT", 0),
        ("", 0),
        ("soon", 0),
        ("-5", 0),
        ("1e9", 0),
        ("9" * 400, 0),
        ("Mon, 02 Nov 99999 08:00:30 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_nonsense_is_none(text: str, seconds: float) -> None:
    assert parse_retry_after(text, NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes",
        "bytes 5-4/9",
        "bytes 0-9/9",
        "bytes 0-9",
        "items 0-1/9",
        "bytes 0-1/9, 3-4/9",
        "bytes */*",
        "bytes 0--1/9",
    ],
)
def test_a_content_range_that_makes_no_sense_is_none(text: str) -> None:
    assert parse_content_range(text) is None
