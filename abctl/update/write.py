"""Read a whole release to prove it, or write it to a slot set and read it back; nothing here arms it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain

from abctl.core.plan import check_fits
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import Bytes
from abctl.ports import Slots, Unpack
from abctl.update.chunk_install import prove_chunks, write_chunks
from abctl.update.decompress import unpack_here
from abctl.update.payload import ChunkedPayload, OnVersion, Payload, Release
from abctl.update.progress import OnProgress, Progress, Step, Stopwatch
from abctl.update.slotwriter import (
    CHUNK_SIZE,
    check_is_an_image,
    empty_var,
    read_image_back,
    write_head,
    write_image,
)
from abctl.update.stream import fill, make_buffer


@dataclass(frozen=True, slots=True)
class Wishes:
    """What an admin wishes of an installation.

    At most ``max_download`` bytes are downloaded; with ``in_full`` nothing is made from other slots; with
    ``any_layout`` a release for other layouts is taken if its images fit. ``note`` goes into the record.
    """

    max_download: Bytes | None = None
    in_full: bool = False
    any_layout: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """Where a release goes, and who is told: ``on_version`` may raise to refuse a version."""

    slots: Slots
    target: SlotName
    on_version: OnVersion
    on_progress: OnProgress
    watch: Stopwatch
    wishes: Wishes = Wishes()
    unpack: Unpack = unpack_here


@contextmanager
def start_reading(release: Release, work: Work) -> Iterator[Iterator[Payload | ChunkedPayload]]:
    """Open the release and read as far as its first image, then yield all images that fit.

    So much that is wrong comes out before anything was written. What the release has open is closed at
    the end of the block.
    """
    with closing(release.payloads(work.on_version)) as payloads:
        fitting = _check_sizes(payloads, work)
        first = next(fitting, None)
        yield iter(()) if first is None else chain((first,), fitting)


def _check_sizes(
    payloads: Iterable[Payload | ChunkedPayload], work: Work
) -> Iterator[Payload | ChunkedPayload]:
    for payload in payloads:
        slot = Slot(work.target, payload.part)
        check_fits(payload.file, payload.size, slot, Bytes(work.slots.size_of(slot)))
        yield payload


def prove_release(release: Release, work: Work) -> Mapping[Part, Bytes]:
    """Read the whole release without writing anything; return the sizes of its images in bytes.

    Raise all that writing it would raise because of the release itself.
    """
    sizes = {}
    with work.watch.time(Step.PROVE), start_reading(release, work) as payloads:
        for payload in payloads:
            if isinstance(payload, ChunkedPayload):
                prove_chunks(payload.image, work.on_progress)
            else:
                _prove_stream(payload, work.on_progress)
            sizes[payload.part] = payload.size
    return sizes


def _prove_stream(payload: Payload, on_progress: OnProgress) -> None:
    buffer = make_buffer(CHUNK_SIZE)
    while count := fill(payload.reader, buffer):
        if payload.reader.count == count:
            check_is_an_image(payload, buffer[:count])
        on_progress(Progress(Step.PROVE, payload.part, payload.reader.count, payload.size))


def write_release(payloads: Iterable[Payload | ChunkedPayload], work: Work) -> int:
    """Write all images to the slot set, and read back every byte; return how many bytes were written.

    The head of Boot comes last: whatever happens before, no GRUB finds a kernel in the slot set. Raise
    SourceProblem, BadRelease, DoesNotFit or WriteProblem, and what ``on_version`` raises.
    """
    images, streamed = [], []
    with work.watch.time(Step.WRITE):
        for payload in payloads:
            if isinstance(payload, ChunkedPayload):
                images.append(write_chunks(payload.image, work.slots, payload.seed, work.on_progress))
            else:
                slot = Slot(work.target, payload.part)
                streamed.append(write_image(work.slots, slot, payload, work.on_progress))
    with work.watch.time(Step.READ_BACK):
        for image in streamed:
            read_image_back(work.slots, image, work.on_progress)
        empty_var(work.slots, Slot(work.target, Part.VAR))
        for image in (*images, *streamed):
            write_head(work.slots, image)
    return sum(image.written for image in (*images, *streamed))
