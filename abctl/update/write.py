"""Read a whole release to prove it, or write it to a slot set and read it back; nothing here arms it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain

from abctl.core.plan import check_fits
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import Bytes
from abctl.ports import Slots
from abctl.update.payload import OnVersion, Payload, Release
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
class Work:
    """Where a release goes, and who is told: ``on_version`` may raise to refuse a version."""

    slots: Slots
    target: SlotName
    on_version: OnVersion
    on_progress: OnProgress
    watch: Stopwatch


@contextmanager
def start_reading(release: Release, work: Work) -> Iterator[Iterator[Payload]]:
    """Open the release and read as far as its first image, then yield all images that fit.

    So much that is wrong comes out before anything was written. What the release has open is closed at
    the end of the block.
    """
    with closing(release.payloads(work.on_version)) as payloads:
        fitting = _check_sizes(payloads, work)
        first = next(fitting, None)
        yield iter(()) if first is None else chain((first,), fitting)


def _check_sizes(payloads: Iterable[Payload], work: Work) -> Iterator[Payload]:
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
        buffer = make_buffer(CHUNK_SIZE)
        for payload in payloads:
            report = partial(Progress, Step.PROVE, payload.part, total=payload.size)
            while count := fill(payload.reader, buffer):
                if payload.reader.count == count:
                    check_is_an_image(payload, buffer[:count])
                work.on_progress(report(done=payload.reader.count))
            sizes[payload.part] = payload.size
    return sizes


def write_release(payloads: Iterable[Payload], work: Work) -> int:
    """Write all images to the slot set, and read back every byte; return how many bytes were written.

    The head of Boot comes last: whatever happens before, no GRUB finds a kernel in the slot set. Raise
    SourceProblem, BadRelease, DoesNotFit or WriteProblem, and what ``on_version`` raises.
    """
    images = []
    with work.watch.time(Step.WRITE):
        for payload in payloads:
            slot = Slot(work.target, payload.part)
            images.append(write_image(work.slots, slot, payload, work.on_progress))
    with work.watch.time(Step.READ_BACK):
        for image in images:
            read_image_back(work.slots, image, work.on_progress)
        empty_var(work.slots, Slot(work.target, Part.VAR))
        for image in images:
            write_head(work.slots, image)
    return sum(image.written for image in images)
