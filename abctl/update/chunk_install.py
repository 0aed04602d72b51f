"""Go the chosen way: fetch, make or assemble each chunk, compare it, write it, and read it back."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress

from abctl.core.delta import Group
from abctl.core.slot import Slot, SlotName
from abctl.core.units import format_size
from abctl.core.ways import Assemble, Fetch, Make, Task, WayKind, Zeros, list_places
from abctl.errors import BadArchive, DigestMismatch, WriteProblem
from abctl.ports import ReadableVolume, Slots, Volume
from abctl.update.chunk_writer import ChunkWriter
from abctl.update.chunked import ChunkedImage
from abctl.update.fetch import RangeFetcher
from abctl.update.pool import Scratch, Workers
from abctl.update.progress import OnProgress, Progress, Remark, Step
from abctl.update.seed import GroupMaker, unpack_new
from abctl.update.slotwriter import WrittenImage

_ENOUGH_TO_JUDGE = 16  # chunks; where half of so many came out wrong, the seed is another one


def write_chunks(image: ChunkedImage, slots: Slots, seed: SlotName, on_progress: OnProgress) -> WrittenImage:
    """Write all chunks that are not there, but for Boot's head, and read them back.

    Raise SourceProblem, BadRelease, DownloadTooLarge or WriteProblem.
    """
    with ExitStack() as stack:
        volume = stack.enter_context(slots.open_for_writing(image.slot))
        other: ReadableVolume = volume
        if image.chosen.kind is not WayKind.FULL:
            other = stack.enter_context(slots.open_for_reading(Slot(seed, image.slot.part)))
        workers = stack.enter_context(Workers())
        return _ChunkInstall(image, volume, other, workers, on_progress).run()


def prove_chunks(image: ChunkedImage, on_progress: OnProgress) -> None:
    """Fetch and compare every chunk without writing anything; raise SourceProblem or BadRelease."""
    part, index = image.slot.part, image.index
    places = [index.frame_of(chunk) for chunk in range(index.count)]
    with (
        Workers() as workers,
        RangeFetcher(image.source, image.image.file, places, image.ledger) as fetcher,
    ):
        for chunk, place in enumerate(places):
            workers.submit(_prove_chunk, image, chunk, fetcher.read(*place), workers.scratch)
            done = min((chunk + 1) * index.chunk_size, index.image_size)
            on_progress(Progress(Step.PROVE, part, done, index.image_size))
        workers.wait()


def _prove_chunk(image: ChunkedImage, chunk: int, packed: bytearray, scratch: Scratch) -> None:
    plain = unpack_chunk(image, chunk, packed, scratch)
    if hashlib.sha256(plain).digest() != image.index.digest_of(chunk):
        raise BadArchive(
            f"chunk {chunk} of {image.image.file} unpacks to something else than the index says: the release "
            "was put together wrongly"
        )


def unpack_chunk(image: ChunkedImage, chunk: int, packed: bytearray, scratch: Scratch) -> memoryview:
    """Return the bytes of a chunk, from a frame that is what the index says.

    Raise DigestMismatch or BadArchive, naming the chunk.
    """
    digest, expected = hashlib.sha256(packed).digest(), image.index.frame_digest_of(chunk)
    if digest != expected:
        raise DigestMismatch(
            f"{_describe(image, chunk)} has SHA-256 {digest.hex()}, not {expected.hex()} as the index says: "
            "it is damaged"
        )
    plain = scratch.get("plain", image.index.size_of(chunk))
    try:
        scratch.unpacker.unpack(packed, plain)
    except ValueError as error:
        raise BadArchive(
            f"{_describe(image, chunk)} cannot be unpacked ({error}): the release was put together wrongly"
        ) from error
    return plain


def _describe(image: ChunkedImage, chunk: int) -> str:
    start, length = image.index.frame_of(chunk)
    return (
        f"chunk {chunk} of {image.image.file} from {image.source.place} (bytes {start} to {start + length})"
    )


class _ChunkInstall:
    def __init__(
        self,
        image: ChunkedImage,
        volume: Volume,
        seed: ReadableVolume,
        workers: Workers,
        on_progress: OnProgress,
    ) -> None:
        self._image = image
        self._index = image.index
        self._volume = volume
        self._seed = seed
        self._workers = workers
        self._on_progress = on_progress
        self._writer = ChunkWriter(volume, image.slot, image.index, workers)
        self._to_fetch = image.chosen.download or 0
        self._fetched = 0
        self._made = 0
        self._missed: list[int] = []

    def run(self) -> WrittenImage:
        for chunk in range(self._index.count):
            if self._image.there[chunk]:
                self._writer.skip(chunk)
        self._go(list(self._image.tasks()))
        self._workers.wait(self._report)
        self._fetch_missed()
        self._writer.read_back_rest()
        self._workers.wait(self._report)
        return self._writer.finish()

    # --- in the thread that fetches ---

    def _go(self, tasks: list[Task]) -> None:
        name = self._file_of(tasks)
        places = list_places(self._index, tasks)
        with RangeFetcher(self._image.source, name, places, self._image.ledger) as fetcher:
            for task in tasks:
                self._start(task, fetcher)
                self._writer.read_back_some()
                self._report(fetcher.fetched)
            self._fetched += fetcher.fetched

    def _start(self, task: Task, fetcher: RangeFetcher) -> None:
        match task:
            case Zeros(first, count):
                self._workers.submit(self._writer.zero, first, count)
            case Fetch(chunk):
                frame = fetcher.read(*self._index.frame_of(chunk))
                self._workers.submit(self._write_frame, chunk, frame)
            case Make(group):
                if self._seed_is_wrong:
                    self._missed += self._chunks_to_make(group)
                else:
                    frame = fetcher.read(group.frame_start, group.frame_length)
                    self._workers.submit(self._write_group, group, frame)
            case Assemble(chunk):
                self._workers.submit(self._assemble, chunk)

    def _file_of(self, tasks: list[Task]) -> str:
        if self._image.delta_file and any(isinstance(task, Make) for task in tasks):
            return self._image.delta_file.file
        return self._image.image.file

    def _fetch_missed(self) -> None:
        """Fetch the chunks in full that did not come out of a seed."""
        if not self._missed:
            return
        tasks: list[Task] = [Fetch(chunk) for chunk in sorted(self._missed)]
        more = self._image.sum_download(tasks)
        remark = f"{self._say_missed()}: {format_size(more)} more to fetch"
        self._on_progress(Remark(remark))
        self._image.ledger.plan(more, remark)
        self._to_fetch += more
        self._go(tasks)
        self._workers.wait(self._report)

    def _say_missed(self) -> str:
        """Return which chunks were not made, and out of what."""
        image, first = self._image, min(self._missed)
        file = image.delta_file if image.chosen.kind is WayKind.DELTA else image.image.blocks
        assert file is not None
        start = first * self._index.chunk_size
        where = f"chunk {first} (bytes {start} to {start + self._index.size_of(first)})"
        which = f"{where} of {image.image.file}"
        if len(self._missed) > 1:
            many = f"{len(self._missed)} of the {self._index.count} chunks of {image.image.file}"
            which = f"{many}, {where} first"
        return f"{self._seed.name} and {file.file} do not make {which}"

    @property
    def _seed_is_wrong(self) -> bool:
        missed = len(self._missed)
        return missed + self._made >= _ENOUGH_TO_JUDGE and missed > self._made

    def _report(self, fetched: int = 0) -> None:
        part, size = self._image.slot.part, self._index.image_size
        if self._to_fetch:
            done = min(self._fetched + fetched, self._to_fetch)
            self._on_progress(Progress(Step.FETCH, part, done, self._to_fetch))
        self._on_progress(Progress(Step.WRITE, part, self._writer.done, size))
        self._on_progress(Progress(Step.READ_BACK, part, self._writer.checked, size))

    # --- in the workers ---

    def _write_frame(self, chunk: int, packed: bytearray) -> None:
        self._writer.put(chunk, unpack_chunk(self._image, chunk, packed, self._workers.scratch))

    def _write_group(self, group: Group, packed: bytearray) -> None:
        wanted = set(self._chunks_to_make(group))
        for chunk, buffer in self._make_chunks(group, packed):
            if chunk in wanted and self._put_if_right(chunk, buffer):
                wanted.remove(chunk)
        self._missed += wanted

    def _make_chunks(self, group: Group, packed: bytearray) -> Iterator[tuple[int, memoryview]]:
        """Yield the chunks of a group as far as the seed has what they are made of."""
        delta, scratch = self._image.delta, self._workers.scratch
        assert delta is not None
        # A seed that is damaged or cannot be read costs a download, and no more.
        with suppress(ValueError, WriteProblem):
            maker = GroupMaker(self._seed, delta, group, unpack_new(self._seed, group, packed, scratch))
            for chunk in group.chunks:
                buffer = scratch.get("plain", self._index.size_of(chunk))
                maker.make(buffer)
                yield chunk, buffer

    def _chunks_to_make(self, group: Group) -> list[int]:
        there = self._image.there
        return [chunk for chunk in group.chunks if not there[chunk] and not self._index.is_zero(chunk)]

    def _assemble(self, chunk: int) -> None:
        finder = self._image.finder
        assert finder is not None
        buffer = self._workers.scratch.get("plain", self._index.size_of(chunk))
        try:
            finder.assemble(chunk, buffer, self._seed, self._volume)
        except WriteProblem:
            self._missed.append(chunk)
            return
        if not self._put_if_right(chunk, buffer):
            self._missed.append(chunk)

    def _put_if_right(self, chunk: int, buffer: memoryview) -> bool:
        if hashlib.sha256(buffer).digest() != self._index.digest_of(chunk):
            return False
        self._made += 1
        self._writer.put(chunk, buffer)
        return True
