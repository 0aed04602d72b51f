"""Unpack zstd and gzip as a stream, in bounded memory whatever the input claims."""

import zlib
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

from abctl.core.release import Compression
from abctl.core.units import MIB
from abctl.errors import BadArchive
from abctl.ports import Reader
from abctl.update.stream import INPUT_SIZE

WINDOW_LOG_MAX = 25  # 32 MiB, what zstd -19 needs at most without --long; this much memory may be taken
EMPTY_MAX = 1000  # frames in a row that unpack to nothing: each costs time and moves nothing
_OUTPUT_SIZE = MIB
_GZIP_WBITS = 31


class _Stream(Protocol):
    """One zstd frame or one gzip member."""

    @property
    def is_over(self) -> bool: ...

    @property
    def wants_input(self) -> bool:
        """True where no more comes out before more goes in."""
        ...

    @property
    def rest(self) -> bytes:
        """The input after the end of this stream."""
        ...

    def unpack(self, data: bytes, limit: int) -> bytes:
        """Take all of ``data`` and return up to ``limit`` bytes; raise ValueError where it is damaged."""
        ...


class _ZstdFrame:
    def __init__(self) -> None:
        self._frame = ZstdDecompressor(options={DecompressionParameter.window_log_max: WINDOW_LOG_MAX})

    @property
    def is_over(self) -> bool:
        return self._frame.eof

    @property
    def wants_input(self) -> bool:
        return self._frame.needs_input

    @property
    def rest(self) -> bytes:
        return self._frame.unused_data

    def unpack(self, data: bytes, limit: int) -> bytes:
        try:
            return self._frame.decompress(data, limit)
        except ZstdError as error:
            if "too much memory" in str(error):
                raise ValueError(
                    f"it needs a window of more than {2**WINDOW_LOG_MAX // MIB} MiB: pack it without --long"
                ) from error
            raise ValueError(str(error).removeprefix("Unable to decompress Zstandard data: ")) from error


class _GzipMember:
    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WBITS)
        self._full = False

    @property
    def is_over(self) -> bool:
        return self._member.eof

    @property
    def wants_input(self) -> bool:
        return not self._full and not self._member.unconsumed_tail

    @property
    def rest(self) -> bytes:
        return self._member.unused_data

    def unpack(self, data: bytes, limit: int) -> bytes:
        try:
            out = self._member.decompress(self._member.unconsumed_tail + data, limit)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        self._full = len(out) == limit
        return out


_STREAMS: dict[Compression, type[_Stream]] = {Compression.ZSTD: _ZstdFrame, Compression.GZIP: _GzipMember}


class Decompressed:
    """The unpacked bytes of a reader: any number of frames or members, and nothing after them.

    Raise BadArchive with the place in the packed bytes where they end too early or are damaged.
    """

    def __init__(self, reader: Reader, compression: Compression, name: str) -> None:
        self._reader = reader
        self._compression = compression
        self._name = name
        self._new_stream = _STREAMS[compression]
        self._stream: _Stream | None = None
        self._buffer = memoryview(bytearray(INPUT_SIZE))
        self._input = b""  # read, but not yet given to a stream
        self._taken = 0
        self._empty = 0  # frames in a row
        self._output = memoryview(b"")

    @property
    def length(self) -> None:
        return None

    def readinto(self, buffer: memoryview) -> int:
        while not self._output:
            if not self._unpack_some():
                return 0
        count = min(len(buffer), len(self._output))
        buffer[:count] = self._output[:count]
        self._output = self._output[count:]
        return count

    def _unpack_some(self) -> bool:
        """Give the stream some input; False at the sound end of everything."""
        if not self._input and (self._stream is None or self._stream.wants_input) and not self._read_more():
            if self._stream is None and self._taken:
                return False
            raise self._damaged("it ends too early")
        self._stream = self._stream or self._new_stream()
        data, self._input = self._input, b""
        try:
            self._output = memoryview(self._stream.unpack(data, _OUTPUT_SIZE))
        except ValueError as error:
            raise self._damaged(str(error)) from error
        if self._output:
            self._empty = 0
        if self._stream.is_over:
            self._input = self._stream.rest
            self._stream = None
            self._empty += 1
            if self._empty > EMPTY_MAX:
                raise self._damaged(f"it has more than {EMPTY_MAX} empty frames in a row")
        return True

    def _read_more(self) -> bool:
        count = self._reader.readinto(self._buffer)
        self._input = bytes(self._buffer[:count])
        self._taken += count
        return bool(count)

    def _damaged(self, problem: str) -> BadArchive:
        return BadArchive(
            f"{self._name} is no sound {self._compression} before byte {self._taken}: {problem}; fetch it "
            "again"
        )


def decompress(reader: Reader, compression: Compression, name: str) -> Reader:
    """Return a reader of the unpacked bytes; they raise BadArchive where the packed ones are damaged."""
    return reader if compression is Compression.NONE else Decompressed(reader, compression, name)


def unpack_here(reader: Reader, compression: Compression, name: str) -> AbstractContextManager[Reader]:
    """Unpack in this very process."""
    return nullcontext(decompress(reader, compression, name))
