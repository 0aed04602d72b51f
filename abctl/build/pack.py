"""Pack an image in chunks, and index it."""

import hashlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backports.zstd import CompressionParameter, compress

from abctl.build.files import ImageFile, write_file, zeros
from abctl.build.parallel import Effort, map_ordered
from abctl.core.chunks import (
    BLOCK_SIZE,
    CHUNK_SIZE,
    SHORT_SIZE,
    BlockIndex,
    ChunkIndex,
    encode_block_index,
    encode_chunk_index,
    make_chunk_index,
)
from abctl.core.release import Compression, Content, Image, IndexFile
from abctl.core.slot import Part
from abctl.core.units import Digest

LONG_SIZE = 8  # bytes of a block's digest, while a release is built
_ZERO_BLOCK, _ZERO_LONG = bytes(BLOCK_SIZE), bytes(LONG_SIZE)
OnDone = Callable[[int], None]  # bytes of the image, so far


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed chunk; ``blocks`` are the long digests of its whole blocks."""

    frame: bytes
    described: tuple[int, bool, bytes, bytes]  # as make_chunk_index wants it
    blocks: bytes


@dataclass(frozen=True, slots=True, eq=False)
class PackedImage:
    """A packed image: its entry in the manifest, its chunks, and the long digests of its whole blocks."""

    entry: Image
    index: ChunkIndex
    blocks: "array[int]"


def digest_blocks(data: bytes) -> bytes:
    """Return 8 bytes for each whole block of ``data``: zeros for zeros, else of its SHA-256."""
    if data == zeros(len(data)):
        return bytes(LONG_SIZE * (len(data) // BLOCK_SIZE))
    longs = []
    for start in range(0, len(data) - BLOCK_SIZE + 1, BLOCK_SIZE):
        block = data[start : start + BLOCK_SIZE]
        longs.append(_ZERO_LONG if block == _ZERO_BLOCK else hashlib.sha256(block).digest()[:LONG_SIZE])
    return b"".join(longs)


def pack_chunk(data: bytes, level: int) -> Packed:
    """Return the chunk as a zstd frame that says its size and has a checksum."""
    options: dict[int, int] = {
        CompressionParameter.compression_level: level,
        CompressionParameter.content_size_flag: 1,
        CompressionParameter.checksum_flag: 1,
    }
    frame = compress(data, options=options)
    plain, packed = hashlib.sha256(data).digest(), hashlib.sha256(frame).digest()
    return Packed(frame, (len(frame), data == zeros(len(data)), plain, packed), digest_blocks(data))


def pack_image(folder: Path, part: Part, image: ImageFile, effort: Effort, on_done: OnDone) -> PackedImage:
    """Write the packed image and its two indexes to ``folder``; raise SourceProblem, WriteFailed."""
    whole = hashlib.sha256()
    frames: list[tuple[int, bool, bytes, bytes]] = []
    blocks = bytearray()
    with write_file(folder / f"{part}.img.zst") as file:
        work = partial(
            _pack_or_reuse, level=effort.level, zero_chunk=pack_chunk(zeros(CHUNK_SIZE), effort.level)
        )
        for packed in map_ordered(work, _hashing(image, whole.update, on_done), effort.threads):
            file.write(packed.frame)
            frames.append(packed.described)
            blocks += packed.blocks
    index = make_chunk_index(image.size, frames)
    shorts = b"".join(blocks[at : at + SHORT_SIZE] for at in range(0, len(blocks), LONG_SIZE))
    block_index = encode_block_index(BlockIndex(image.size, shorts))
    entry = Image(
        part=part,  # type: ignore[arg-type]
        file=file.path.name,
        compression=Compression.ZSTD,
        download=file.content,
        image=Content(size=image.size, sha256=Digest(whole.hexdigest())),
        chunks=_write_index(folder / f"{part}.chunks", encode_chunk_index(index)),
        blocks=_write_index(folder / f"{part}.blocks.zst", _pack_whole(block_index)),
    )
    return PackedImage(entry, index, array("Q", bytes(blocks)))


def _pack_or_reuse(data: bytes, level: int, zero_chunk: Packed) -> Packed:
    return zero_chunk if data == zeros(CHUNK_SIZE) else pack_chunk(data, level)


def _hashing(image: ImageFile, update: Callable[[bytes], None], on_done: OnDone) -> Iterator[bytes]:
    done = 0
    for data in image.chunks():
        update(data)
        yield data
        done += len(data)
        on_done(done)


def _pack_whole(data: bytes) -> bytes:
    """Return ``data`` as one frame. It is digests: no level makes them smaller."""
    return compress(data, 3)


def _write_index(path: Path, data: bytes) -> IndexFile:
    with write_file(path) as file:
        file.write(data)
    return IndexFile(file=path.name, size=file.size, sha256=file.sha256)
