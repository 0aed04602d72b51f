"""A file of fixed size in two halves: the newer whole half counts, and the other is overwritten next.

A cut costs the last write and no more. Each half begins with a line that names its form and the SHA-256 of
what follows; the rest is filled with spaces.
"""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Halves:
    """The form of such a file: ``header`` begins each half, ``half_size`` is in bytes."""

    header: str
    half_size: int

    @property
    def file_size(self) -> int:
        return 2 * self.half_size

    def seal(self, body: bytes) -> bytes | None:
        """Return ``body`` as one half, or None where it is too long."""
        half = f"{self.header} {hashlib.sha256(body).hexdigest()}\n".encode() + body + b"\n"
        return half.ljust(self.half_size, b" ") if len(half) <= self.half_size else None

    def unseal(self, half: bytes) -> bytes | None:
        """Return what is in ``half``, or None where it is empty, torn or damaged."""
        head, _, body = half.rstrip(b" ").partition(b"\n")
        body = body.removesuffix(b"\n")
        expected = f"{self.header} {hashlib.sha256(body).hexdigest()}"
        return body if head.decode("ascii", "replace") == expected else None

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        return data[: self.half_size], data[self.half_size : self.file_size]

    def place_for(self, serial: int) -> int:
        """Return the offset of the half with this serial number."""
        return serial % 2 * self.half_size

    def blank(self, first: bytes = b"") -> bytes:
        """Return a file with room for both halves, without a hole: it is overwritten in place later."""
        return first.ljust(self.file_size, b" ")
