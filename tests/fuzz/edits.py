"""Edits of sound inputs, chosen at random or by hypothesis."""

import json
import random
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.target import Target

_NUMBERS = (0, 1, 2, 7, 255, 256, 511, 4095, 4096, 2**15, 2**16 - 1, 2**20, 2**31 - 1, 2**31, 2**32 - 1,
            2**40, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
_SNIPPETS = (b"", b"\0", b"\n", b"\r\n", b" ", b"-1", b"0", b"1e9", b"\x1b[31m", b"\xff", b"\xc3\x28",
             b"\xe2\x80\xae", b"../", b"null", b"[" * 2000, b"0" * 5000, b"\0" * 512)  # fmt: skip
_FORMATS = ("<B", "<H", "<I", "<Q", ">I", ">Q")
_STOCK_MAX = 300
_DIGITS = re.compile(rb"[0-9]+")

Edit = Callable[[bytes, int, int, bytes], bytes]


def _flip(data: bytes, at: int, pick: int, _: bytes) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << pick % 8)]) + data[at + 1 :] if at < len(data) else data


def _truncate(data: bytes, at: int, _pick: int, _: bytes) -> bytes:
    return data[:at]


def _cut_out(data: bytes, at: int, pick: int, _: bytes) -> bytes:
    return data[:at] + data[at + pick % 4096 + 1 :]


def _repeat(data: bytes, at: int, pick: int, _: bytes) -> bytes:
    length = pick % 1024 + 1
    return data[: at + length] + data[at:]


def _splice(data: bytes, at: int, pick: int, other: bytes) -> bytes:
    place = pick % (len(other) + 1)
    return data[:at] + other[place : place + 4096] + data[at:]


def _join(data: bytes, at: int, pick: int, other: bytes) -> bytes:
    return data[:at] + other[pick % (len(other) + 1) :]


def _put_number(data: bytes, at: int, pick: int, _: bytes) -> bytes:
    form = _FORMATS[pick % len(_FORMATS)]
    size = struct.calcsize(form)
    number = _NUMBERS[pick // len(_FORMATS) % len(_NUMBERS)] % (1 << 8 * size)
    at -= at % size
    return data[:at] + struct.pack(form, number) + data[at + size :]


def _put_digits(data: bytes, at: int, pick: int, _: bytes) -> bytes:
    match = _DIGITS.search(data, at) or _DIGITS.search(data)
    if match is None:
        return data
    return data[: match.start()] + str(_NUMBERS[pick % len(_NUMBERS)]).encode() + data[match.end() :]


def _insert(data: bytes, at: int, pick: int, _: bytes) -> bytes:
    return data[:at] + _SNIPPETS[pick % len(_SNIPPETS)] + data[at:]


def _replace(data: bytes, at: int, pick: int, _: bytes) -> bytes:
    snippet = _SNIPPETS[pick % len(_SNIPPETS)]
    return data[:at] + snippet + data[at + max(1, len(snippet)) :]


EDITS: tuple[Edit, ...] = (
    _flip, _put_number, _put_digits, _truncate, _cut_out, _repeat, _splice, _join, _insert, _replace,
)  # fmt: skip


def _find_content(data: bytes) -> list[int]:
    """Return the places of what is not zeros, so that edits of a disk image meet something."""
    step = max(1, len(data) // 65536)
    return [at for at in range(0, len(data), step) if data[at]] or [0]


class Stock:
    """Inputs that edits start from: the seeds, and what was met with an answer that none had before."""

    def __init__(self, seeds: Sequence[bytes]) -> None:
        self._items = [(seed, _find_content(seed)) for seed in seeds]
        self._room = len(seeds) + _STOCK_MAX

    def add(self, data: bytes) -> None:
        if len(self._items) < self._room:
            self._items.append((data, _find_content(data)))

    def edit(self, number: int, edits: Iterable[tuple[Edit, int, int]]) -> bytes:
        """Return one of the inputs after some edits; all numbers may be of any size."""
        data, content = self._items[number % len(self._items)]
        for edit, place, pick in edits:
            # Half of the places lie in what is not zeros, half anywhere.
            at = content[place // 2 % len(content)] if place % 2 else place // 2 % (len(data) + 1)
            data = edit(data, at, pick, self._items[pick % len(self._items)][0])
        return data

    def choose(self, rng: random.Random) -> bytes:
        """Return any of the inputs with any edits."""
        count = rng.choice((0, 1, 1, 1, 2, 2, 3, 5, 8))
        edits = [(rng.choice(EDITS), rng.getrandbits(24), rng.getrandbits(16)) for _ in range(count)]
        return self.edit(rng.getrandbits(16), edits)


def inputs_of(target: Target) -> st.SearchStrategy[bytes]:
    """Return what hypothesis makes for ``target``: edited, made from its structure, and noise."""
    stock = Stock(target.seeds())
    edits = st.tuples(st.sampled_from(EDITS), st.integers(0, 2**24), st.integers(0, 2**16))

    @st.composite
    def edited(draw: st.DrawFn) -> bytes:
        data = stock.edit(draw(st.integers(0, 2**16)), draw(st.lists(edits, max_size=6)))
        return target.repair(data) if draw(st.booleans()) else data

    kinds = [edited(), st.binary(max_size=600)]
    if target.made is not None:
        kinds += [target.made, target.made]
    return st.one_of(*kinds)


def shrink(data: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """Return a smaller input that fails as well, as far as leaving parts out leads to one."""
    size = len(data) // 2
    while size:
        at = 0
        while at < len(data):
            smaller = data[:at] + data[at + size :]
            if fails(smaller):
                data = smaller
            else:
                at += size
        size //= 2
    return data


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("4f" * 32),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def changed_json(draw: st.DrawFn, text: bytes) -> bytes:
    """Return a JSON object with other values in a few of its fields."""
    values = json.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        place: Any = values
        while True:
            key = draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
            inner = place[key]
            if not isinstance(inner, (dict, list)) or not inner or draw(st.booleans()):
                place[key] = draw(_JSON)
                break
            place = inner
    return json.dumps(values).encode()
