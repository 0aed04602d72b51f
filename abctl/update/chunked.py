"""Prepare to put an image with a chunk index into its slot: what is there, and what each way would cost."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from backports.zstd import ZstdDecompressor, ZstdError

from abctl.core.chunks import ChunkIndex, block_index_size, parse_block_index, parse_chunk_index
from abctl.core.delta import Delta, parse_delta
from abctl.core.release import DeltaFile, Image, IndexFile
from abctl.core.slot import Slot, SlotName
from abctl.core.units import Bytes, Version, format_size
from abctl.core.ways import (
    Task,
    WayCost,
    WayKind,
    find_cheapest,
    list_by_blocks,
    list_by_delta,
    list_full,
    sum_download,
)
from abctl.errors import BadArchive, BadIndex
from abctl.ports import Slots, Source
from abctl.update.fetch import Ledger
from abctl.update.progress import OnProgress, Remark
from abctl.update.seed import BlockFinder
from abctl.update.stream import fetch_verified
from abctl.update.survey import survey

_HARDLY_ANYTHING = "hardly anything has to be downloaded"


@dataclass(frozen=True, slots=True)
class Seeds:
    """What a release may be made from: the slot set that is not written, and what both should hold."""

    slot_set: SlotName
    version: Version | None
    overwritten: Version | None
    may_be_used: bool = True


class ChunkedImage:
    """One image of a release, the slot it goes to, and the ways it can get there.

    ``costs`` are those of all ways, ``chosen`` is the cheapest.
    """

    def __init__(self, source: Source, image: Image, slots: Slots, slot: Slot, ledger: Ledger) -> None:
        """Fetch the chunk index; raise SourceProblem or BadRelease."""
        assert image.chunks is not None
        self.source = source
        self.image = image
        self.slot = slot
        self.ledger = ledger
        self._slots = slots
        data = self._fetch(image.chunks)
        self.index: ChunkIndex = parse_chunk_index(
            data, image.chunks.file, image.image.size, image.download.size
        )
        if self.index.is_zero(0):
            raise BadArchive(f"{image.file} begins with zeros: there is no file system in it")
        self.there = bytearray(self.index.count)
        self.delta: Delta | None = None
        self.delta_file: DeltaFile | None = None
        self.finder: BlockFinder | None = None
        self.costs: tuple[WayCost, ...] = (self._cost_in_full(),)
        self.chosen = self.costs[0]

    def choose(self, seeds: Seeds, version: Version, on_progress: OnProgress) -> None:
        """Look at the slot and the seeds, and take the way that downloads least."""
        expect_some = seeds.overwritten == version
        with self._slots.open_for_reading(self.slot) as volume:
            self.there = survey(
                volume, self.index, self.slot.part, expect_some=expect_some, on_progress=on_progress
            )
        costs = [self._cost_in_full()]
        if seeds.may_be_used and not self.source.is_local:
            costs.append(self._cost_by_delta(seeds, costs[0].download or 0))
            if costs[-1].download is None:
                costs.append(self._cost_by_blocks(seeds, costs[0].download or 0))
        self.costs, self.chosen = tuple(costs), find_cheapest(costs)
        for cost in costs:
            if cost.kind is WayKind.DELTA and cost.why_not not in ("", _HARDLY_ANYTHING):
                said = f"no delta applies to {self.image.file}: {cost.why_not}"
                on_progress(Remark(f"{said}; {format_size(self.chosen.download or 0)} to fetch"))

    def tasks(self) -> Iterator[Task]:
        """Yield what there is to do, from the first chunk to the last."""
        match self.chosen.kind:
            case WayKind.DELTA if self.delta:
                return list_by_delta(self.index, self.there, self.delta)
            case WayKind.BLOCKS if self.finder:
                return list_by_blocks(self.index, self.there, self.finder.has_all_of)
            case _:
                return list_full(self.index, self.there)

    def sum_download(self, tasks: Iterable[Task]) -> Bytes:
        """Return how many bytes the tasks download from this source."""
        return sum_download(self.index, tasks, has_ranges=self.source.has_ranges)

    def _cost_in_full(self) -> WayCost:
        return WayCost(WayKind.FULL, self.sum_download(list_full(self.index, self.there)))

    def _cost_by_delta(self, seeds: Seeds, full: int) -> WayCost:
        def not_so(why: str) -> WayCost:
            return WayCost(WayKind.DELTA, None, seeds.version, why)

        file = self.image.delta_from(seeds.version)
        if seeds.version is None:
            return not_so(f"it is not known what slot set {seeds.slot_set} holds")
        if file is None:
            return not_so(f"the release has none from {seeds.version}, which is in slot set {seeds.slot_set}")
        if full <= file.header.size:
            return not_so(_HARDLY_ANYTHING)
        header = fetch_verified(self.source, file.file, file.header.size, file.header.sha256)
        self.ledger.fetched += len(header)
        self.delta_file = file
        self.delta = parse_delta(header, file.file, self.index, file.size)
        if self._slots.size_of(Slot(seeds.slot_set, self.slot.part)) < self.delta.seed_size:
            return not_so(f"slot {Slot(seeds.slot_set, self.slot.part)} is smaller than its seed")
        tasks = list_by_delta(self.index, self.there, self.delta)
        return WayCost(WayKind.DELTA, self.sum_download(tasks), seeds.version)

    def _cost_by_blocks(self, seeds: Seeds, full: int) -> WayCost:
        blocks = self.image.blocks
        if blocks is None:
            return WayCost(WayKind.BLOCKS, None, why_not="the release has no block index")
        if full <= blocks.size:
            return WayCost(WayKind.BLOCKS, None, why_not=_HARDLY_ANYTHING)
        self.finder = self._find_blocks(blocks, seeds)
        tasks = list_by_blocks(self.index, self.there, self.finder.has_all_of)
        return WayCost(WayKind.BLOCKS, self.sum_download(tasks))

    def _find_blocks(self, file: IndexFile, seeds: Seeds) -> BlockFinder:
        size = block_index_size(self.image.image.size)
        data = _unpack(self._fetch(file), size, file.file)
        finder = BlockFinder(self.index, parse_block_index(data, file.file, self.image.image.size))
        for slot in (Slot(seeds.slot_set, self.slot.part), self.slot):
            with self._slots.open_for_reading(slot) as volume:
                finder.scan(volume, is_target=slot == self.slot)
        return finder

    def _fetch(self, file: IndexFile) -> bytes:
        data = fetch_verified(self.source, file.file, file.size, file.sha256)
        self.ledger.fetched += len(data)
        return data


def _unpack(data: bytes, size: int, name: str) -> bytes:
    """Return the ``size`` bytes that one zstd frame holds; raise BadIndex."""
    frame = ZstdDecompressor()
    try:
        plain = frame.decompress(data, max_length=size + 1)
    except ZstdError as error:
        raise BadIndex(f"{name} cannot be unpacked: {error}") from error
    if len(plain) != size or not frame.eof or frame.unused_data:
        raise BadIndex(f"{name} does not unpack to {size} bytes: it is of another image")
    return plain
