"""The chunk index and the block index of an image: which bytes belong where, small enough to fetch first.

The image is cut into chunks of one size (1 MiB; the last may be shorter). In the packed file each chunk
is one zstd frame, one after the other, so that any ``zstd -d`` reads it and any range of chunks can be
fetched. The chunk index says of each chunk how long its frame is, whether it is all zeros, and the
SHA-256 of its plain bytes and of its frame: nothing is unpacked that is not what was published. All
numbers are little-endian:

    magic "abctlci1", chunk size u32, chunks u32, image size u64
    for each chunk: u32, bit 31 set where it is all zeros, the rest the length of its frame in bytes
    for each chunk: 32 bytes, the SHA-256 of its plain bytes
    for each chunk: 32 bytes, the SHA-256 of its frame

The block index finds blocks of 4 KiB in a seed that nobody has seen before. It has the first 6 bytes of
the SHA-256 of each block, 6 zeros for a block of zeros; a wrong find costs a fetch and no more, since
each chunk is compared as a whole. On the way it is one zstd frame:

    magic "abctlbi1", blocks u32, reserved u32, image size u64
    for each block: 6 bytes
"""

import struct
import sys
from array import array
from dataclasses import dataclass, field
from itertools import accumulate

from abctl.core.release import IMAGE_MAX
from abctl.core.units import KIB, MIB, Bytes
from abctl.errors import BadIndex

CHUNK_SIZE = MIB
CHUNK_SIZES = (64 * KIB, 4 * MIB)  # from, to; powers of two
BLOCK_SIZE = 4 * KIB
SHORT_SIZE = 6  # bytes of a block's digest
_CHUNKS_MAGIC, _BLOCKS_MAGIC = b"abctlci1", b"abctlbi1"
_HEADER = struct.Struct("<8sIIQ")
_DIGEST_SIZE = 32
_ENTRY_SIZE = 4 + 2 * _DIGEST_SIZE
_ZEROS_BIT = 1 << 31
ZERO_SHORT = bytes(SHORT_SIZE)


@dataclass(frozen=True, slots=True, eq=False)
class ChunkIndex:
    """Where each chunk of an image stands in the packed file, and what it holds; sizes in bytes."""

    image_size: Bytes
    chunk_size: int
    words: "array[int]"
    digests: bytes
    frame_digests: bytes
    _starts: "array[int]" = field(init=False)

    def __post_init__(self) -> None:
        lengths = (word & ~_ZEROS_BIT for word in self.words)
        object.__setattr__(self, "_starts", array("Q", accumulate(lengths, initial=0)))

    @property
    def count(self) -> int:
        return len(self.words)

    @property
    def packed_size(self) -> int:
        return self._starts[-1]

    def is_zero(self, chunk: int) -> bool:
        return bool(self.words[chunk] & _ZEROS_BIT)

    def frame_of(self, chunk: int) -> tuple[int, int]:
        """Return start and length of the chunk's frame in the packed file."""
        return self._starts[chunk], self._starts[chunk + 1] - self._starts[chunk]

    def size_of(self, chunk: int) -> int:
        """Return the plain size of the chunk: all have the same but the last."""
        return min(self.chunk_size, self.image_size - chunk * self.chunk_size)

    def digest_of(self, chunk: int) -> bytes:
        """Return the SHA-256 of the plain chunk."""
        return self.digests[chunk * _DIGEST_SIZE : (chunk + 1) * _DIGEST_SIZE]

    def frame_digest_of(self, chunk: int) -> bytes:
        """Return the SHA-256 of the chunk's frame."""
        return self.frame_digests[chunk * _DIGEST_SIZE : (chunk + 1) * _DIGEST_SIZE]


def count_pieces(size: int, piece: int) -> int:
    """Return how many pieces of ``piece`` bytes cover ``size`` bytes."""
    return -(-size // piece)


def make_chunk_index(
    image_size: int, frames: list[tuple[int, bool, bytes, bytes]], chunk_size: int = CHUNK_SIZE
) -> ChunkIndex:
    """Return the index for frames of (length, is all zeros, SHA-256 of the plain bytes, of the frame)."""
    words = array("I", (length | (_ZEROS_BIT if zero else 0) for length, zero, _, _ in frames))
    digests = b"".join(digest for _, _, digest, _ in frames)
    frame_digests = b"".join(digest for _, _, _, digest in frames)
    return ChunkIndex(Bytes(image_size), chunk_size, words, digests, frame_digests)


def encode_chunk_index(index: ChunkIndex) -> bytes:
    header = _HEADER.pack(_CHUNKS_MAGIC, index.chunk_size, index.count, index.image_size)
    return header + to_little_endian(index.words) + index.digests + index.frame_digests


def parse_chunk_index(data: bytes, name: str, image_size: int, packed_size: int) -> ChunkIndex:
    """Return the index in ``data``; raise BadIndex, naming ``name``, where it does not fit the image."""
    chunk_size, count, body = _parse_header(data, _CHUNKS_MAGIC, name, image_size)
    smallest, largest = CHUNK_SIZES
    if not smallest <= chunk_size <= largest or chunk_size & (chunk_size - 1):
        raise BadIndex(f"{name} has chunks of {chunk_size} bytes, which no abctl makes")
    if count != count_pieces(image_size, chunk_size):
        raise BadIndex(f"{name} has {count} chunks for an image of {image_size} bytes: it is of another one")
    if len(body) != _ENTRY_SIZE * count:
        raise BadIndex(f"{name} has {len(data)} bytes, which is not right for its {count} chunks")
    words, plain, packed = (
        body[: 4 * count],
        body[4 * count : -_DIGEST_SIZE * count],
        body[-_DIGEST_SIZE * count :],
    )
    index = ChunkIndex(Bytes(image_size), chunk_size, from_little_endian("I", words), plain, packed)
    if index.packed_size != packed_size:
        raise BadIndex(
            f"{name} is for a packed file of {index.packed_size} bytes, not of the {packed_size} that the "
            "manifest says: the release was put together wrongly"
        )
    longest = chunk_size + chunk_size // 64 + KIB
    for chunk in range(count):
        length = index.frame_of(chunk)[1]
        if not 0 < length <= longest:
            raise BadIndex(f"{name} has a frame of {length} bytes for chunk {chunk}")
    return index


@dataclass(frozen=True, slots=True)
class BlockIndex:
    """The short digest of each whole block of 4 KiB of an image, one after the other."""

    image_size: Bytes
    shorts: bytes

    @property
    def count(self) -> int:
        return len(self.shorts) // SHORT_SIZE

    def short_of(self, block: int) -> bytes:
        return self.shorts[block * SHORT_SIZE : (block + 1) * SHORT_SIZE]


def block_index_size(image_size: int) -> Bytes:
    """Return the size in bytes of the unpacked index of such an image."""
    return Bytes(_HEADER.size + SHORT_SIZE * (image_size // BLOCK_SIZE))


def encode_block_index(index: BlockIndex) -> bytes:
    return _HEADER.pack(_BLOCKS_MAGIC, index.count, 0, index.image_size) + index.shorts


def parse_block_index(data: bytes, name: str, image_size: int) -> BlockIndex:
    """Return the index in the unpacked ``data``; raise BadIndex where it does not fit the image."""
    count, reserved, body = _parse_header(data, _BLOCKS_MAGIC, name, image_size)
    if reserved or count != image_size // BLOCK_SIZE or len(body) != count * SHORT_SIZE:
        raise BadIndex(f"{name} has {count} blocks for an image of {image_size} bytes: it is of another one")
    return BlockIndex(Bytes(image_size), body)


def _parse_header(data: bytes, magic: bytes, name: str, image_size: int) -> tuple[int, int, bytes]:
    """Return the two numbers of the header and what follows it."""
    if len(data) < _HEADER.size or not data.startswith(magic):
        raise BadIndex(f"{name} does not begin like an index: it is damaged or another file")
    _, first, second, size = _HEADER.unpack_from(data)
    if size != image_size or not 0 < size <= IMAGE_MAX:
        raise BadIndex(f"{name} is for an image of {size} bytes, not of {image_size}: it is of another one")
    return first, second, data[_HEADER.size :]


def to_little_endian(numbers: "array[int]") -> bytes:
    if sys.byteorder == "little":
        return numbers.tobytes()
    swapped = array(numbers.typecode, numbers)
    swapped.byteswap()
    return swapped.tobytes()


def from_little_endian(typecode: str, data: bytes) -> "array[int]":
    """Return the numbers in ``data``, whose length must be a multiple of theirs."""
    numbers: array[int] = array(typecode)
    numbers.frombytes(data)
    if sys.byteorder != "little":
        numbers.byteswap()
    return numbers
