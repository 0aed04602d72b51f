"""What a process without rights or a network makes of untrusted files, and what is believed of it."""

import gzip
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backports import zstd

from abctl.core.release import Compression
from abctl.core.units import MIB
from abctl.errors import BadArchive, BadMetadata, SourceProblem, TransferCut
from abctl.host import checked
from abctl.host.checked import run_check
from abctl.host.remote import FetchWorker
from abctl.host.source import FileReader, FolderSource
from abctl.host.unpacked import UnpackWorker
from abctl.ports import Source
from abctl.update.decompress import decompress
from abctl.update.stream import fill
from tests.hostile_server import HostileServer

pytestmark = pytest.mark.slow

TASKS = ("ask_for_nonsense", "be_wrong", "die", "echo", "leave_early", "look_for", "refuse", "return_much")


@pytest.fixture(autouse=True)
def tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TASKS:
        monkeypatch.setitem(checked.TASKS, name, f"tests.probes:{name}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").write_bytes(b"alpha")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/c").write_bytes(b"gamma")
    (tmp_path / "large").write_bytes(bytes(20 * MIB))
    return tmp_path


@pytest.fixture(params=["folder", "server"])
def source(request: pytest.FixtureRequest, folder: Path, server: HostileServer) -> Iterator[Source]:
    """The same files in a folder, and on a server that another process asks."""
    if request.param == "folder":
        yield FolderSource(folder)
        return
    for name in ("a", "b/c", "large"):
        server.offer(f"/{name}", (folder / name).read_bytes())
    with FetchWorker() as worker:
        yield worker.folder(server.url)


def test_a_task_gets_its_argument_and_its_files(source: Source) -> None:
    said = f"a\nb/c|lp|am|{source.place}|{source.is_local}|True"
    assert run_check("echo", b"a\nb/c", source) == said.encode()


def test_a_task_meets_the_errors_of_the_source(source: Source) -> None:
    assert b"x.json" in run_check("look_for", b"x.json", source)
    assert run_check("look_for", b"a", source) == b"there"


def test_an_error_of_a_source_that_nobody_catches_comes_back(folder: Path) -> None:
    (folder / "short").write_bytes(b"x")
    with pytest.raises(TransferCut, match=r"short has only 1 bytes"):
        run_check("echo", b"short", FolderSource(folder))


def test_a_task_may_have_enough_of_a_file(source: Source) -> None:
    assert run_check("leave_early", b"large", source) == bytes(10)


def test_a_refusal_comes_back_as_what_it_is_without_what_moves_a_cursor(folder: Path) -> None:
    with pytest.raises(BadMetadata, match=r"^it is \?\[31mnot sound$"):
        run_check("refuse", b"", FolderSource(folder))


def test_a_fault_in_a_task_is_said_to_be_one(folder: Path) -> None:
    with pytest.raises(SourceProblem, match=r"fault in abctl \(KeyError"):
        run_check("be_wrong", b"", FolderSource(folder))


def test_a_process_that_dies_is_explained(folder: Path) -> None:
    with pytest.raises(SourceProblem, match="the checking process was killed by SIGKILL"):
        run_check("die", b"", FolderSource(folder))


def test_a_result_is_bounded(folder: Path) -> None:
    assert run_check("return_much", b"%d" % (8 * MIB), FolderSource(folder)) == bytes(8 * MIB)
    with pytest.raises(SourceProblem, match="misbehaved"):
        run_check("return_much", b"%d" % (8 * MIB + 1), FolderSource(folder))


def test_an_argument_of_mebibytes_arrives(folder: Path) -> None:
    argument = b" " * (8 * MIB - 1000)
    assert run_check("echo", argument, FolderSource(folder)).startswith(argument)


WANTED = struct.pack("!qq", 0, -1)


@pytest.mark.parametrize(
    "message",
    [
        WANTED + b"../secret",
        WANTED + b"/etc/shadow",
        WANTED + b"b/../../secret",
        WANTED + b"a\0b",
        WANTED + "ä".encode(),
        WANTED + b"a" * 600,
        WANTED,
        b"short",
        struct.pack("!qq", -1, -1) + b"a",
        struct.pack("!qq", 0, -2) + b"a",
    ],
)
def test_a_process_that_asks_for_what_it_may_not_have_gets_nothing(folder: Path, message: bytes) -> None:
    (folder / "secret").write_bytes(b"secret")
    with pytest.raises(SourceProblem, match="the checking process misbehaved"):
        run_check("ask_for_nonsense", message, FolderSource(folder / "b"))


# --- unpacking --------------------------------------------------------------------------------------

PLAIN = b"".join(b"%d" % number for number in range(400_000))
PACK: dict[Compression, Callable[[bytes], bytes]] = {
    Compression.ZSTD: zstd.compress,
    Compression.GZIP: lambda data: gzip.compress(data, 1),
    Compression.NONE: bytes,
}


class Pieces:
    """Gives bytes in pieces of this size, and may fail in the end; ``length`` is not known."""

    length = None

    def __init__(self, data: bytes, piece: int, error: Exception | None = None) -> None:
        self._data = memoryview(data)
        self._piece = piece
        self._error = error

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), self._piece, len(self._data))
        if not count and self._error:
            raise self._error
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


@pytest.fixture(scope="module")
def unpacker() -> Iterator[UnpackWorker]:
    worker = UnpackWorker()
    yield worker
    worker.close()


def unpack(worker: UnpackWorker, reader: Pieces | FileReader, compression: Compression) -> bytes:
    buffer = memoryview(bytearray(2 * len(PLAIN)))
    with worker.unpack(reader, compression, "root.img") as plain:
        return bytes(buffer[: fill(plain, buffer)])


@pytest.mark.parametrize("piece", [7, 1000, MIB])
@pytest.mark.parametrize("compression", PACK)
def test_what_is_unpacked_elsewhere_is_the_same(
    unpacker: UnpackWorker, compression: Compression, piece: int
) -> None:
    data = PACK[compression](PLAIN[: 2000 * piece])
    assert unpack(unpacker, Pieces(data, piece), compression) == PLAIN[: 2000 * piece]


@pytest.mark.parametrize("compression", [Compression.ZSTD, Compression.GZIP])
def test_damage_is_told_in_the_same_words(unpacker: UnpackWorker, compression: Compression) -> None:
    packed, buffer = PACK[compression](PLAIN), memoryview(bytearray(2 * len(PLAIN)))
    for damaged in (packed[:-5], packed[:9] + b"damaged" + packed[16:], packed + b"more", b"", b"none"):
        with pytest.raises(BadArchive) as here:
            fill(decompress(Pieces(damaged, MIB), compression, "root.img"), buffer)
        with pytest.raises(BadArchive) as elsewhere:
            unpack(unpacker, Pieces(damaged, MIB), compression)
        assert str(elsewhere.value) == str(here.value)


def test_what_goes_wrong_with_the_packed_bytes_comes_out_as_it_is(unpacker: UnpackWorker) -> None:
    packed = Pieces(zstd.compress(PLAIN)[:-9], 1000, TransferCut("it broke off"))
    with pytest.raises(TransferCut, match="it broke off"):
        unpack(unpacker, packed, Compression.ZSTD)
    assert unpack(unpacker, Pieces(zstd.compress(PLAIN), MIB), Compression.ZSTD) == PLAIN


def test_what_unpacks_to_more_than_anybody_reads_costs_nothing(unpacker: UnpackWorker) -> None:
    bomb = zstd.compress(bytes(1 << 30))
    buffer = memoryview(bytearray(10))
    began = time.monotonic()
    with unpacker.unpack(Pieces(bomb, MIB), Compression.ZSTD, "root.img") as plain:
        assert plain.readinto(buffer) == 10
    assert time.monotonic() - began < 2
    assert unpack(unpacker, Pieces(zstd.compress(b"x"), MIB), Compression.ZSTD) == b"x"


def test_a_process_that_dies_while_it_unpacks_has_met_a_bad_archive() -> None:
    worker = UnpackWorker()
    packed = zstd.compress(PLAIN)

    class Killer(Pieces):
        def readinto(self, buffer: memoryview) -> int:
            assert worker.pid
            os.kill(worker.pid, signal.SIGKILL)
            return super().readinto(buffer)

    with pytest.raises(BadArchive, match="the unpacking process was killed by SIGKILL"):
        unpack(worker, Killer(packed, 1000), Compression.ZSTD)
    assert unpack(worker, Pieces(packed, MIB), Compression.ZSTD) == PLAIN
    worker.close()
