"""What a server says about a file in the header of an answer (RFC 9110)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """``end`` is the byte after the last one, ``size`` that of the whole file, None where it is unknown."""

    start: int
    end: int
    size: int | None


@dataclass(frozen=True, slots=True)
class Entity:
    """One state of a file: its validators and its size in bytes, None where the server does not say it."""

    etag: str | None
    modified: str | None
    size: int | None

    @property
    def validator(self) -> str | None:
        """What to send as If-Range, which a weak ETag is not good for."""
        return self.etag or self.modified

    def is_same_as(self, other: "Entity") -> bool:
        """Return whether nothing speaks against both being the same bytes."""
        if self.etag and other.etag:
            return self.etag == other.etag and self._fits(other)
        return (not (self.modified and other.modified) or self.modified == other.modified) and self._fits(
            other
        )

    def _fits(self, other: "Entity") -> bool:
        return None in (self.size, other.size) or self.size == other.size


def read_entity(headers: Mapping[str, str], size: int | None) -> Entity:
    """Return the state of the file that an answer is of; ``size`` is that of the whole file."""
    etag = headers.get("ETag", "")
    return Entity(etag if etag.startswith('"') else None, headers.get("Last-Modified"), size)


def parse_content_range(text: str) -> ContentRange | None:
    """Return the range and the size that a Content-Range gives, or None where it makes no sense.

    ``bytes */SIZE``, as a 416 has it, is an empty range at the end.
    """
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if not match:
        return None
    size = None if match[3] == "*" else int(match[3])
    if match[1] is None:
        return None if size is None else ContentRange(size, size, size)
    found = ContentRange(int(match[1]), int(match[2]) + 1, size)
    is_sound = found.start < found.end and (size is None or found.end <= size)
    return found if is_sound else None


def parse_retry_after(text: str, now: datetime) -> float:
    """Return how many seconds from ``now`` a Retry-After asks for; 0 where it makes no sense."""
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())
