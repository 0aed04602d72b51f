"""Write one image to a slot and read it back from the medium."""

import hashlib
from dataclasses import dataclass
from functools import partial

from abctl.core.slot import Part, Slot
from abctl.core.units import KIB, MIB, Bytes, Digest
from abctl.errors import BadArchive, ReadBackMismatch
from abctl.ports import Slots, Volume
from abctl.update.payload import Payload
from abctl.update.perform import HEAD_SIZE
from abctl.update.progress import OnProgress, Progress, Step
from abctl.update.stream import fill, is_zero, make_buffer

CHUNK_SIZE = HEAD_SIZE  # so that the first chunk is the head
VAR_HEAD_SIZE = 16 * MIB  # the new system makes its own file system in an empty Var
_PIECE_SIZE = 64 * KIB  # zeros are looked for in pieces of this size


@dataclass(frozen=True, slots=True)
class WrittenImage:
    """An image as it should now stand in its slot; ``written`` counts the bytes that are not zeros' ranges.

    ``head`` was held back and is not there yet: the first ``HEAD_SIZE`` bytes of Boot, or nothing.
    """

    slot: Slot
    size: Bytes
    sha256: Digest
    head: bytes
    written: int


class SparseWriter:
    """Writes data and puts ranges of zeros together to few large ones."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._zeros_from: int | None = None
        self.written = 0

    def put(self, offset: int, chunk: memoryview) -> None:
        """Write ``chunk``; offsets must go up without a gap."""
        start = 0
        for position in range(0, len(chunk), _PIECE_SIZE):
            piece = chunk[position : position + _PIECE_SIZE]
            if not is_zero(piece):
                self.end_zeros(offset + position)
            elif self._zeros_from is None:
                self._write(offset + start, chunk[start:position])
                self._zeros_from = offset + position
            if self._zeros_from is not None:
                start = position + len(piece)
        self._write(offset + start, chunk[start:])

    def end_zeros(self, offset: int) -> None:
        """Write the zeros that go to ``offset``, if there are any."""
        if self._zeros_from is not None:
            self._volume.write_zeros(self._zeros_from, offset - self._zeros_from)
            self._zeros_from = None

    def _write(self, offset: int, data: memoryview) -> None:
        if data:
            self._volume.write(offset, data)
            self.written += len(data)


def check_is_an_image(payload: Payload, first: memoryview) -> None:
    """Raise BadArchive where the first chunk is all zeros: every file system begins within it."""
    if is_zero(first):
        raise BadArchive(f"{payload.file} begins with {len(first)} zeros: there is no file system in it")


def write_image(slots: Slots, slot: Slot, payload: Payload, on_progress: OnProgress) -> WrittenImage:
    """Write an image that is known to fit, and flush it; of Boot all but the head."""
    report = partial(Progress, Step.WRITE, slot.part, total=payload.size)
    hold_back = slot.part is Part.BOOT
    with slots.open_for_writing(slot) as volume:
        writer, buffer = SparseWriter(volume), make_buffer(CHUNK_SIZE)
        head, done = b"", 0
        while count := fill(payload.reader, buffer):
            if not done:
                check_is_an_image(payload, buffer[:count])
            if hold_back and not done:
                head = buffer[: min(count, HEAD_SIZE)].tobytes()
            else:
                writer.put(done, buffer[:count])
            done += count
            on_progress(report(done=done))
        writer.end_zeros(done)
        volume.flush()
    return WrittenImage(slot, payload.size, payload.reader.digest, head, writer.written + len(head))


def read_image_back(slots: Slots, image: WrittenImage, on_progress: OnProgress) -> None:
    """Compare what the medium holds with what was meant to be written; raise ReadBackMismatch.

    For the head that was held back the one in memory counts: ``write_head`` reads it back later.
    """
    report = partial(Progress, Step.READ_BACK, image.slot.part, total=image.size)
    digest = hashlib.sha256(image.head)
    with slots.open_for_writing(image.slot) as volume:
        buffer, done = make_buffer(CHUNK_SIZE), len(image.head)
        while done < image.size:
            chunk = buffer[: min(CHUNK_SIZE, image.size - done)]
            volume.read_back(done, chunk)
            digest.update(chunk)
            done += len(chunk)
            on_progress(report(done=done))
        if digest.hexdigest() != image.sha256:
            raise ReadBackMismatch(
                f"{volume.name} does not hold what was written to it: SHA-256 {digest.hexdigest()}, not "
                f"{image.sha256}; check the health of the disk"
            )


def write_head(slots: Slots, image: WrittenImage) -> None:
    """Write the head that was held back, and read it back: from here on a kernel can be found in the slot."""
    if not image.head:
        return
    with slots.open_for_writing(image.slot) as volume:
        buffer = make_buffer(CHUNK_SIZE)[: len(image.head)]
        buffer[:] = image.head
        volume.write(0, buffer)
        volume.flush()
        _check_holds(volume, 0, image.head, buffer)


def empty_var(slots: Slots, slot: Slot) -> None:
    """Zero the first 16 MiB of Var, for the new system's own file system; raise ReadBackMismatch."""
    with slots.open_for_writing(slot) as volume:
        length = min(VAR_HEAD_SIZE, volume.size)
        volume.write_zeros(0, length)
        volume.flush()
        buffer, zeros = make_buffer(CHUNK_SIZE), bytes(CHUNK_SIZE)
        for offset in range(0, length, CHUNK_SIZE):
            _check_holds(volume, offset, zeros[: length - offset], buffer[: length - offset])


def _check_holds(volume: Volume, offset: int, expected: bytes, buffer: memoryview) -> None:
    volume.read_back(offset, buffer)
    if buffer.tobytes() != expected:
        raise ReadBackMismatch(
            f"{volume.name} does not hold what was written to it (bytes {offset} to "
            f"{offset + len(buffer)}); check the health of the disk"
        )
