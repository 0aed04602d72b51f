"""A file of fixed size in two halves: the newer whole half counts, and the other is overwritten next.

A cut costs the last write and no more, and an unreadable sector the half that it is in. Each half begins with
a line that names its form and the SHA-256 of what follows; the rest is filled with spaces.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum


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

    def find_unsealed(self, data: bytes) -> tuple[int, ...]:
        """Return the offsets of the halves in which nothing whole is: only these may be begun anew."""
        places = (0, self.half_size)
        return tuple(
            place for place, half in zip(places, self.split(data), strict=True) if self.unseal(half) is None
        )

    def is_lost(self, data: bytes) -> bool:
        """Whether something was written into the file, and nothing of it is whole."""
        return bool(data.strip()) and len(self.find_unsealed(data)) == 2  # noqa: PLR2004 - both halves

    def place_for(self, serial: int) -> int:
        """Return the offset of the half with this serial number."""
        return serial % 2 * self.half_size

    def blank(self, first: bytes = b"") -> bytes:
        """Return a file with room for both halves, without a hole: it is overwritten in place later."""
        return first.ljust(self.file_size, b" ")


@dataclass(frozen=True, slots=True)
class Content:
    """What is in a file of fixed size, as far as it can be read.

    A half that cannot be read stands in ``data`` as zeros, which do not unseal, and ``problem`` says why.
    Where the file cannot be opened at all, ``data`` is empty.
    """

    data: bytes = b""
    problem: str = ""
    is_there: bool = True

    @property
    def known(self) -> bytes:
        """The bytes of it; none where there is nothing that could be read."""
        return b"" if self.problem and not self.data.strip(b"\0") else self.data


# --- what is wrong with such a file -----------------------------------------------------------------


class Harm(StrEnum):
    """What is wrong with a file of fixed size."""

    MISSING = "missing"
    SHORT = "short"  # it would have to grow
    DAMAGED = "damaged"  # it can be read, and nothing of it is whole
    UNREADABLE = "unreadable"  # the disk does not give it back, or not what would be whole
    HALF = "half"  # one half is unreadable, and the other one whole
    CLOSED = "closed"  # it cannot be opened: the file system, or rights


@dataclass(frozen=True, slots=True)
class Unsound:
    """A file that is not as it has to be, and what mends it: a half that unseals stays as it is.

    ``wanted`` is all that it has to hold, and ``parts`` are the offsets and bytes that are to be written.
    """

    path: str
    harm: Harm
    wanted: bytes
    parts: tuple[tuple[int, bytes], ...]
    problem: str = ""  # why it cannot be read

    @property
    def keeps(self) -> bool:
        """Whether it holds something that must not be lost."""
        return len(self.wanted) > sum(len(data) for _, data in self.parts)


def find_harm(path: str, content: Content, form: Halves | None, blank: bytes) -> Unsound | None:
    """Return what is wrong with the file, None where nothing is; ``form`` is None for one without seals."""
    broken = _find_broken(content, form, len(blank))
    harm = _name_harm(content, len(blank), is_half=len(broken) == 1)
    if harm is None and form and form.is_lost(content.data):
        harm = Harm.DAMAGED
    if harm is None:
        return None
    if len(broken) > 1:
        # One write for both: what is read back at the border of a half may be of the other one, too.
        broken = (range(len(blank)),)
    parts = tuple((part.start, blank[part.start : part.stop]) for part in broken)
    wanted = bytearray(content.data.ljust(len(blank), b" "))
    for at, data in parts:
        wanted[at : at + len(data)] = data
    return Unsound(path, harm, bytes(wanted), parts, content.problem)


def _find_broken(content: Content, form: Halves | None, size: int) -> tuple[range, ...]:
    """Return where nothing whole is; without seals that is what cannot be read, or what lacks at the end."""
    half = size // 2
    if form:
        return tuple(range(at, at + half) for at in form.find_unsealed(content.data))
    if not content.problem:
        return (range(len(content.data), size),)
    return tuple(range(at, at + half) for at in (0, half) if not content.data[at : at + half].strip(b"\0"))


def _name_harm(content: Content, size: int, *, is_half: bool) -> Harm | None:
    if not content.is_there:
        return Harm.MISSING
    if content.problem and not content.data:
        return Harm.CLOSED
    if content.problem:
        return Harm.HALF if is_half else Harm.UNREADABLE
    return Harm.SHORT if len(content.data) < size else None
