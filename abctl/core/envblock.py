"""GRUB's environment block, as lib/envblk.c of GRUB 2.06 reads and writes it: no checksum, no order.

A block is a header line, ``name=value`` lines with backslash escapes, and ``#`` to the end; the last
line of a name wins. Half-written blocks load silently: see ``bootenv`` for what guards against that.
"""

from collections.abc import Iterator, Mapping

HEADER = b"# GRUB Environment Block\n"


def make_block(values: Mapping[str, str], size: int) -> bytes:
    """Return a block of ``size`` bytes; raise ValueError where the values do not fit."""
    lines = "".join(f"{name}={_escape(value)}\n" for name, value in values.items()).encode()
    if len(HEADER) + len(lines) > size:
        raise ValueError(f"the boot environment needs {len(HEADER) + len(lines)} of {size} bytes")
    return (HEADER + lines).ljust(size, b"#")


def parse_block(block: bytes | None) -> dict[str, str] | None:
    """Return what GRUB's ``load_env`` finds, or None where it refuses the block."""
    if block is None or not block.startswith(HEADER):
        return None
    values = {}
    for name, (start, end) in _lines(block):
        values[name] = _unescape(block[start:end])
    return values


def _lines(block: bytes) -> Iterator[tuple[str, tuple[int, int]]]:
    position, size = len(HEADER), len(block)
    while position < size:
        if block[position] != ord("#"):
            equals = block.find(b"=", position)
            if equals < 0:
                return
            end = _end_of_line(block, equals + 1)
            if end >= size:
                return
            yield block[position:equals].decode("latin-1"), (equals + 1, end)
            position = end
        position = _end_of_line(block, position) + 1


def _end_of_line(block: bytes, position: int) -> int:
    while position < len(block) and block[position] != ord("\n"):
        position += 2 if block[position] == ord("\\") else 1
    return position


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\\n")


def _unescape(value: bytes) -> str:
    text, position = bytearray(), 0
    while position < len(value):
        if value[position] == ord("\\"):
            position += 1
        text += value[position : position + 1]
        position += 1
    return text.decode("latin-1")


def save_value(block: bytes | None, name: str, value: str) -> bytes | None:
    """Return the block after GRUB's ``save_env name``, or None where it refuses to write."""
    if block is None or not block.startswith(HEADER):
        return None
    used = len(block.rstrip(b"#"))
    if block[used - 1 : used] != b"\n":
        return None
    new = value.encode()
    for found, (start, end) in _lines(block):
        if found == name:
            grown = block[:start] + new + block[end:used]
            break
    else:
        grown = block[:used] + name.encode() + b"=" + new + b"\n"
    return None if len(grown) > len(block) else grown.ljust(len(block), b"#")
