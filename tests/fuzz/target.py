"""What is fuzzed, and what must hold for any bytes at all."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

from abctl.errors import AbctlError

_SENTENCE_MAX = 2000  # characters
_NUMBER = re.compile(r"[0-9a-f]*[0-9][0-9a-f]*")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def keep(data: bytes) -> bytes:
    return data


@dataclass(frozen=True, slots=True)
class Target:
    """A parser under ``name``.

    ``check`` reads the bytes by the production door; it may raise an AbctlError, and nothing else. ``seeds``
    are sound inputs that edits start from, ``made`` builds inputs from the structure of the format, and
    ``repair`` makes checksums right again, so that an edit gets past them. An input is as slow as
    ``cost`` others, so that a round has fewer of them.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    check: Callable[[bytes], None]
    made: st.SearchStrategy[bytes] | None = None
    repair: Callable[[bytes], bytes] = field(default=keep)
    cost: int = 1


def meet(target: Target, data: bytes) -> str:
    """Let the parser meet ``data`` and return what kind of answer it gave, without its numbers.

    A refusal must be one line that a terminal can show.
    """
    try:
        target.check(data)
    except AbctlError as error:
        sentence = str(error)
        assert sentence.isprintable(), f"not printable: {sentence!r}"
        assert 0 < len(sentence) <= _SENTENCE_MAX, f"{len(sentence)} characters: {sentence[:80]}..."
        return f"{type(error).__name__}: {_NUMBER.sub('0', _QUOTED.sub('', sentence))}"
    return "taken"
