"""Unpack a zstd frame of known size into a buffer that is there already, by the system's libzstd.

For frames of a megabyte, the memory that a Python binding allocates for each costs more than the unpacking:
fresh pages, and a copy into a buffer that direct I/O takes. What is unpacked is not known to be sound.
"""

import ctypes
from functools import cache

from abctl.errors import ToolFailed

_LIBRARY = "libzstd.so.1"
_Address = ctypes.c_void_p
_Size = ctypes.c_size_t


class Unpacker:
    """Unpacks one frame after the other; each thread needs its own."""

    def __init__(self) -> None:
        """Raise ToolFailed where there is no libzstd."""
        self._library = _load()
        self._context: int | None = self._library.ZSTD_createDCtx()
        if self._context is None:
            raise MemoryError

    def __del__(self) -> None:
        if getattr(self, "_context", None):
            self._library.ZSTD_freeDCtx(self._context)

    def unpack(self, packed: bytearray, out: memoryview, prefix: memoryview | None = None) -> None:
        """Fill ``out`` with what ``packed`` holds, which was packed with ``prefix`` before it.

        Raise ValueError where it is damaged, or holds more or less than that.
        """
        if not packed:
            raise ValueError("there is nothing in it")
        # Also takes back the prefix of a frame before, whatever became of that.
        start, length = (_address_of(prefix), len(prefix)) if prefix else (None, 0)
        self._check(self._library.ZSTD_DCtx_refPrefix(self._context, start, length))
        count = self._check(
            self._library.ZSTD_decompressDCtx(
                self._context, _address_of(out), len(out), _address_of(packed), len(packed)
            )
        )
        if count != len(out):
            raise ValueError(f"it holds {count} bytes instead of {len(out)}")

    def _check(self, result: int) -> int:
        if self._library.ZSTD_isError(result):
            raise ValueError(self._library.ZSTD_getErrorName(result).decode("ascii", "replace"))
        return result


def _address_of(buffer: bytearray | memoryview) -> int:
    """Return where a writable buffer is; its owner must outlive the use of the address."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


@cache
def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise ToolFailed(f"{_LIBRARY} cannot be loaded: install libzstd1") from error
    for name, result, *arguments in (
        ("ZSTD_createDCtx", _Address),
        ("ZSTD_freeDCtx", _Size, _Address),
        ("ZSTD_DCtx_refPrefix", _Size, _Address, _Address, _Size),
        ("ZSTD_decompressDCtx", _Size, _Address, _Address, _Size, _Address, _Size),
        ("ZSTD_isError", ctypes.c_uint, _Size),
        ("ZSTD_getErrorName", ctypes.c_char_p, _Size),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
