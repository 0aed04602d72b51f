"""Sizes and other small values, parsed once and then trusted."""

import re
from typing import NewType

Bytes = NewType("Bytes", int)
Seconds = NewType("Seconds", int)  # since 1970-01-01 00:00 UTC
Digest = NewType("Digest", str)  # SHA-256 in lower-case hex
Version = NewType("Version", str)

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

TIME_END = 253_402_300_800  # 10000-01-01 in seconds; no serial comes near it

VERSION_MAX = 64  # two of them must fit into the 512 bytes of the boot environment
_VERSION = re.compile(rf"[A-Za-z0-9][A-Za-z0-9.+~_-]{{0,{VERSION_MAX - 1}}}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SIZE = re.compile(r"(\d+)\s*([KMGT]i?B?|B?)", re.IGNORECASE)
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}
_UNITS = ("KiB", "MiB", "GiB", "TiB")


def parse_version(text: str) -> Version:
    """Return ``text`` as a version, or raise ValueError: 1 to 64 letters, digits and ``.+~_-``."""
    if not _VERSION.fullmatch(text):
        raise ValueError(f"not a version (1 to {VERSION_MAX} letters, digits and .+~_-): {text[:80]!r}")
    return Version(text)


def parse_digest(text: str) -> Digest:
    """Return ``text`` as a SHA-256, or raise ValueError."""
    digest = text.strip().lower()
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"not a SHA-256 (64 hex digits): {text[:80]!r}")
    return Digest(digest)


def parse_size(text: str) -> Bytes:
    """Return bytes from ``110G``, ``110 GiB`` (both powers of 1024) or ``20 GB`` (powers of 1000)."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"not a size such as 110G, 512MiB or 20GB: {text[:40]!r}")
    number, unit = int(match[1]), match[2].upper()
    power = _POWERS.get(unit[:1], 0)
    base = 1000 if unit.endswith("B") and len(unit) == 2 else 1024  # noqa: PLR2004
    return Bytes(number * base**power)


def format_size(count: int) -> str:
    """Bytes for people: ``10.0 GiB``."""
    if count < KIB:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, len(_UNITS))
    value, unit = count / KIB**power, _UNITS[power - 1]
    return f"{value:.0f} {unit}" if value == int(value) else f"{value:.1f} {unit}"
