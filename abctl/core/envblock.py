"""GRUB's environment block, as GRUB 2.06 reads and writes it (lib/envblk.c, loadenv.c): no checksum.

A block is a header line, ``name=value`` lines with backslash escapes, and ``#`` to the end; the last
line of a name wins. Half-written blocks load silently: see ``bootenv`` for what guards against that.
"""

import re
from collections.abc import Iterator, Mapping

HEADER = b"# GRUB Environment Block\n"

_NUMBER = re.compile(r"[ \t\r\n]*(?:0x(?P<hex>[0-9A-Fa-f]+)|(?P<octal>0[0-7]+)|(?P<decimal>[0-9]+))")
_LINE = re.compile(rb"(?:[^\\\n]+|\\.)*", re.DOTALL)
_BASES = {"hex": 16, "octal": 8, "decimal": 10}


def make_block(values: Mapping[str, str], size: int) -> bytes:
    """Return a block of ``size`` bytes; raise ValueError where the values do not fit."""
    lines = "".join(f"{name}={_escape(value)}\n" for name, value in values.items()).encode()
    if len(HEADER) + len(lines) > size:
        raise ValueError(f"the boot environment needs {len(HEADER) + len(lines)} of {size} bytes")
    return (HEADER + lines).ljust(size, b"#")


def parse_block(block: bytes | None) -> dict[str, str] | None:
    """Return what GRUB's ``load_env`` finds, or None where it refuses the block."""
    if not _is_block(block):
        return None
    return {_text(name): _text(_unescape(value)) for name, value in _lines(block or b"")}


def save_value(block: bytes | None, name: str, value: str) -> bytes | None:
    """Return the block after GRUB's ``save_env name``, or None where it refuses to write."""
    used = len((block or b"").rstrip(b"#"))
    if block is None or not _is_block(block) or block[used - 1 : used] != b"\n":
        return None
    new, found = _escape(value).encode(), _find_value(block, name.encode(), used)
    if found is None:
        grown = block[:used] + name.encode() + b"=" + new + b"\n"
    elif found[1] >= len(block):
        return None
    else:
        grown = block[: found[0]] + new + block[found[1] : used]
    return None if len(grown) > len(block) else grown.ljust(len(block), b"#")


def parse_number(text: str) -> int:
    """Return what GRUB's ``test`` takes ``text`` for: C's int, in base 8, 10 or 16; 0 if it is none."""
    negative = text.startswith("-")
    match = _NUMBER.match(text[negative:])
    if match is None:
        return 0
    base = str(match.lastgroup)
    value = min(int(match[base], _BASES[base]), 2**64 - 1)
    return ((-value if negative else value) + 2**31) % 2**32 - 2**31


def _is_block(block: bytes | None) -> bool:
    # GRUB's size of the header counts its terminating zero.
    return block is not None and len(block) > len(HEADER) and block.startswith(HEADER)


def _lines(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield names and raw values in the way of ``load_env``: a name may run over several lines."""
    position, size = len(HEADER), len(block)
    while position < size:
        if block[position] != ord("#"):
            equals = block.find(b"=", position)
            if equals < 0:
                return
            end = _end_of_line(block, equals + 1)
            if end >= size:
                return
            yield block[position:equals], block[equals + 1 : end]
            position = end
        position = _end_of_line(block, position) + 1


def _find_value(block: bytes, name: bytes, used: int) -> tuple[int, int] | None:
    """Return where the value of ``name`` is, in the way of ``save_env``: the first line with that name."""
    position, prefix = len(HEADER), name + b"="
    while position + len(prefix) < used:
        if block.startswith(prefix, position):
            return position + len(prefix), _end_of_line(block, position + len(prefix))
        position = _end_of_line(block, position) + 1
    return None


def _end_of_line(block: bytes, position: int) -> int:
    """Return where the line ends; past the end of the block where a backslash is its last byte."""
    match = _LINE.match(block, position)
    end = match.end() if match else position
    return end + 2 if block[end : end + 1] == b"\\" else end


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\\n")


def _unescape(value: bytes) -> bytes:
    return re.sub(rb"\\(.)", rb"\1", value, flags=re.DOTALL) if b"\\" in value else value


def _text(value: bytes) -> str:
    # A string of C ends at the first zero.
    return value.split(b"\0", 1)[0].decode("latin-1")
