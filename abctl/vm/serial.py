"""What the guest says on its serial console: bytes from outside, of which two words count."""

import re
from collections.abc import Iterable
from enum import Enum

from abctl.core.problems import clean_text


class Word(Enum):
    """What the guest says of its boot."""

    SUCCESS = b"GUESTOS BOOT SUCCESS"
    FAILURE = b"GUESTOS BOOT FAILURE"


_MARKS = re.compile(b"|".join(re.escape(word.value) for word in Word))
_OVERLAP = max(len(word.value) for word in Word) - 1
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[()][0-9A-Za-z]|.)")
_LINE_MAX = 200  # characters


class Scanner:
    """Finds the first word in a stream that comes in pieces, in bounded memory."""

    def __init__(self) -> None:
        self.found: Word | None = None
        self._end = b""

    def feed(self, data: bytes) -> Word | None:
        """Take the next piece, and return the first word that came so far."""
        if self.found is None:
            data = self._end + data
            match = _MARKS.search(data)
            self.found = Word(match[0]) if match else None
            self._end = data[-_OVERLAP:]
        return self.found


def clean_lines(data: bytes, count: int) -> tuple[str, ...]:
    """Return the last ``count`` lines that say something, fit for a terminal, of 200 characters at most."""
    text = _ESCAPE.sub("", data.decode("utf-8", "replace"))
    lines = [clean_text(line.strip())[:_LINE_MAX] for line in _split(text)]
    return tuple([line for line in lines if line][-count:])


def _split(text: str) -> Iterable[str]:
    # A carriage return begins the line anew: what counts is what is seen then, or may be.
    return re.split(r"[\r\n]+", text)
