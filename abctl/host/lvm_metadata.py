"""Where LVM keeps its text on a physical volume, as lib/format_text/layout.h of LVM 2.03 has it."""

import struct
import zlib

from abctl.core.units import MIB
from abctl.errors import ToolFailed
from abctl.host.block import ExtentVolume

_HEADER_AT = 4096  # of the first metadata area, from the start of the physical volume
_HEADER_SIZE = 512
_MAGIC = b" LVM2 x[5A%r0N*>"
_HEADER = struct.Struct("<I16sIQQ")  # checksum, magic, version, start and size of the area
_LOCATION = struct.Struct("<QQII")  # offset in the area, size, checksum, flags


def replace_text(volume: ExtentVolume, text: str) -> None:
    """Put ``text`` where LVM has written its own for the same group.

    LVM adds the time, the machine's name and the device's; without them, the same layout gives the
    same bytes. Raise ToolFailed where LVM did not write what was expected.
    """
    header = bytearray(volume.read(_HEADER_AT, _HEADER_SIZE))
    checksum, magic, version, start, size = _HEADER.unpack_from(header)
    offset, length, _, flags = _LOCATION.unpack_from(header, _HEADER.size)
    if (magic, version, checksum) != (
        _MAGIC,
        1,
        _checksum(header[4:]),
    ) or not 0 < offset + length <= size <= MIB:
        raise ToolFailed("lvm vgcfgrestore left no metadata that abctl knows: make the disk again")
    new = text.encode() + b"\0"
    _LOCATION.pack_into(header, _HEADER.size, offset, len(new), _checksum(new), flags)
    struct.pack_into("<I", header, 0, _checksum(header[4:]))
    volume.write(start + offset, memoryview(new.ljust(length, b"\0")))
    volume.write(_HEADER_AT, memoryview(header))


def _checksum(data: bytes | bytearray) -> int:
    # LVM's CRC-32 starts with a value of its own.
    return zlib.crc32(data, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
