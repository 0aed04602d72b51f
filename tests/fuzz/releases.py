"""The files of a release directory: manifest, chunk index, block index and the header of a delta."""

import hashlib
import json
import struct
from contextlib import suppress
from dataclasses import fields, replace
from functools import cache
from typing import Any

from hypothesis import strategies as st

from abctl.core.chunks import (
    BLOCK_SIZE,
    BlockIndex,
    ChunkIndex,
    encode_block_index,
    encode_chunk_index,
    make_chunk_index,
    parse_block_index,
    parse_chunk_index,
)
from abctl.core.delta import NEW, ZERO, Delta, NewGroup, Run, encode_delta, parse_delta
from abctl.core.release import parse_manifest
from abctl.core.units import KIB, Bytes
from abctl.errors import AbctlError
from tests.fuzz.edits import changed_json
from tests.fuzz.target import Target

_CHUNK = 64 * KIB
_CHUNKS = 9
_IMAGE = _CHUNK * (_CHUNKS - 1) + 5000
_SEED = 40 * BLOCK_SIZE
_DELTA_FILE = 50_000  # bytes; the header's length is not fixed, so the check takes what fits
_DIGEST = hashlib.sha256(b"chunk").digest()


# --- manifest ---------------------------------------------------------------------------------------


def _content(size: int) -> dict[str, Any]:
    return {"size": size, "sha256": "4f" * 32}


def _manifest(**more: Any) -> dict[str, Any]:
    images = [
        {
            "part": part,
            "file": f"{part}.img.zst",
            "compression": "zstd",
            "download": _content(1234),
            "image": _content(2**20),
            **more,
        }
        for part in ("boot", "root")
    ]
    return {"format": 1, "version": "2.0.0", "layouts": ["hostos"], "images": images}


def _manifests() -> list[bytes]:
    delta = {**_content(900), "file": "root.delta", "version": "1.9.0", "header": _content(80)}
    extras = {
        "chunks": {**_content(500), "file": "root.chunks"},
        "blocks": {**_content(700), "file": "root.blocks"},
        "deltas": [delta],
    }
    return [json.dumps(_manifest(**more), indent=1).encode() for more in ({}, extras)]


def _check_manifest(data: bytes) -> None:
    manifest = parse_manifest(data)
    assert parse_manifest(manifest.model_dump_json().encode()) == manifest


_made_manifest = st.sampled_from(_manifests()).flatmap(changed_json)


# --- indexes ----------------------------------------------------------------------------------------


@cache
def chunk_index() -> ChunkIndex:
    frames = [(1000 + chunk, chunk in (2, 3), _DIGEST, _DIGEST) for chunk in range(_CHUNKS)]
    return make_chunk_index(_IMAGE, frames, _CHUNK)


def _check_chunk_index(data: bytes) -> None:
    """Once as for this image, and once as if the manifest went with what the index says of itself."""
    if len(data) >= 24:
        count, size = struct.unpack_from("<IQ", data, 12)
        words = struct.iter_unpack("<I", data[24 : 24 + 4 * count // 4 * 4][: (len(data) - 24) // 4 * 4])
        packed = sum(word & 0x7FFF_FFFF for (word,) in words)
        with suppress(AbctlError):
            _expect_sound_index(data, size, packed)
    _expect_sound_index(data, _IMAGE, chunk_index().packed_size)


def _expect_sound_index(data: bytes, image_size: int, packed_size: int) -> None:
    index = parse_chunk_index(data, "root.chunks", image_size, packed_size)
    assert encode_chunk_index(index) == data
    assert sum(index.size_of(chunk) for chunk in range(index.count)) == image_size
    for chunk in range(index.count):
        assert len(index.digest_of(chunk)) == len(index.frame_digest_of(chunk)) == 32


def _block_index() -> bytes:
    return encode_block_index(BlockIndex(Bytes(_IMAGE), b"abcdef" * (_IMAGE // BLOCK_SIZE)))


def _check_block_index(data: bytes) -> None:
    index = parse_block_index(data, "root.blocks", _IMAGE)
    assert encode_block_index(index) == data


# --- delta ------------------------------------------------------------------------------------------


def _groups() -> list[NewGroup]:
    blocks = _CHUNK // BLOCK_SIZE
    last = -(-(_IMAGE - 7 * _CHUNK) // BLOCK_SIZE)
    return [
        NewGroup(0, 2, 0, 8192, 600, 3 * BLOCK_SIZE, (Run(4, 2 * blocks - 3), Run(NEW, 3))),
        NewGroup(4, 3, 4096, 0, 0, 0, (Run(1, blocks), Run(ZERO, blocks), Run(0, blocks))),
        NewGroup(7, 2, 0, 100, 90, 904, (Run(8, last - 1), Run(NEW, 1))),
    ]


def _deltas() -> list[bytes]:
    return [encode_delta(_CHUNK, _IMAGE, _SEED, _groups())]


def _check_delta(data: bytes) -> None:
    size = len(data) + sum(group.frame_length for group in _groups())
    for said in (size, _size_it_says(data)):
        delta = parse_delta(data, "root.delta", chunk_index(), said)
        _check_ranges(delta, said)
        assert _encode_again(delta) == data


def _size_it_says(data: bytes) -> int:
    """Return the size of the file as an attacker's manifest would give it: what the groups add up to."""
    count = struct.unpack_from("<I", data, 12)[0] if len(data) >= 16 else 0
    table = data[40 : 40 + 32 * min(count, len(data))]
    groups = struct.iter_unpack("<20xI8x", table[: len(table) // 32 * 32])
    return len(data) + sum(int(length) for (length,) in groups)


def _check_ranges(delta: Delta, size: int) -> None:
    """What the groups name lies in the file, in the seed and in the image."""
    for group in delta.groups:
        assert len(delta.numbers) >= 2 * group.runs_to
        assert 0 <= group.frame_start <= group.frame_start + group.frame_length <= size
        assert group.prefix_start + group.prefix_length <= delta.seed_size
        assert 0 <= group.first < group.first + group.count <= chunk_index().count
        for run in delta.runs_of(group):
            assert run.source in (NEW, ZERO) or run.source * BLOCK_SIZE < delta.seed_size


def _encode_again(delta: Delta) -> bytes:
    groups = [
        NewGroup(
            group.first,
            group.count,
            group.prefix_start,
            group.prefix_length,
            group.frame_length,
            group.new_length,
            tuple(delta.runs_of(group)),
        )
        for group in delta.groups
    ]
    return encode_delta(delta.chunk_size, delta.image_size, delta.seed_size, groups)


@st.composite
def _made_delta(draw: st.DrawFn) -> bytes:
    """Groups with one or two numbers near those that would be right, or at their limits."""
    groups = _groups()
    seed = draw(st.sampled_from([_SEED, _SEED, _SEED, 1, 2**40, 2**50]))
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(groups) - 1))
        name = draw(st.sampled_from([item.name for item in fields(NewGroup)]))
        value: Any = getattr(groups[at], name)
        changed: Any
        if name == "runs":
            place = draw(st.integers(0, len(value)))
            blocks = st.sampled_from([0, 1, 15, 16, 32, 40, 2**20, NEW, ZERO])
            changed = (*value[:place], Run(draw(blocks), draw(blocks)), *value[place + 1 :])
        else:
            near = min(max(0, value + draw(st.integers(-2, 2))), 2**32 - 1)
            changed = draw(st.sampled_from([near, near, 0, _SEED, _SEED + 1, 2**22 + 1, 2**24, 2**32 - 1]))
        groups[at] = replace(groups[at], **{name: changed})
    return encode_delta(_CHUNK, _IMAGE, seed, groups)


TARGETS = (
    Target("manifest", _manifests, _check_manifest, _made_manifest),
    Target("chunk-index", lambda: [encode_chunk_index(chunk_index())], _check_chunk_index),
    Target("block-index", lambda: [_block_index()], _check_block_index),
    Target("delta", _deltas, _check_delta, _made_delta()),
)
