"""The campaign itself: draw cuts, make their disks, look at them, power them on, and write down what came."""

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.lab.campaign.boots import Workshop, boot_cut, kill_live
from tests.lab.campaign.disks import RollingDisk
from tests.lab.campaign.look import look, read_memory
from tests.lab.campaign.page import write_page
from tests.lab.campaign.places import GO_ON
from tests.lab.campaign.recording import Drawn, Recording
from tests.lab.campaign.results import Kind, Result, append, count_fates, load, next_indexes
from tests.lab.campaign.sets import Set
from tests.lab.prepare import copy_sparse
from tests.lab.server import serve

_BATCH = 20  # cuts for which a recording is gone through once
_LOOKED_BATCH = 500


@dataclass
class Campaign:
    """Cuts of one set of recordings; ``until`` is when no new one is begun, by the monotonic clock."""

    found: Set
    jobs: int
    until: float
    known: list[Result] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.known = load(self.path)

    @property
    def path(self) -> Path:
        return self.found.folder / "results.jsonl"

    def is_over(self) -> bool:
        return time.monotonic() >= self.until

    def count(self, kind: Kind) -> int:
        return sum(1 for item in self.known if item.kind is kind)

    def note(self, result: Result) -> None:
        """Write a result down, and say it."""
        with self._lock:
            self.known.append(result)
            append(self.path, [result])
        if result.kind is not Kind.LOOKED or result.problems:
            print(_say(result, self.count(result.kind)), flush=True)

    # --- cuts of the recordings ---

    def boot(self, cuts: int, kills: int) -> None:
        """Follow cuts to the end until there are so many, and on the way kill QEMU ``kills`` times."""
        turn = 0
        while (done := self.count(Kind.BOOTED)) < cuts and not self.is_over():
            recordings = self.found.recordings
            recording = recordings[turn % len(recordings)]
            with self._workshop() as shop, ThreadPoolExecutor(self.jobs) as pool:
                killed = self._start_kills(shop, pool, done * kills // cuts)
                self._boot_batch(shop, pool, recording, min(_BATCH, cuts - done))
                _wait(killed)
            write_page(self.found)
            turn += 1

    def _boot_batch(self, shop: Workshop, pool: ThreadPoolExecutor, recording: Recording, count: int) -> None:
        # A disk is 1.5 GB: there are never more than machines, and one that waits.
        free = threading.Semaphore(self.jobs + 1)
        running: list[Future[None]] = []
        with _rolling(recording) as rolling:
            for drawn in self._draw(recording, Kind.BOOTED, count):
                free.acquire()
                if self.is_over():
                    break
                result = look_at(recording, rolling, drawn)
                if self._same_as(result):
                    self.note(replace(result, kind=Kind.LOOKED))
                    free.release()
                    continue
                disk = shop.folder / f"{recording.plan.name}-{drawn.index}.img"
                with rolling.holding(drawn.cut.loose):
                    copy_sparse(rolling.path, disk)
                running.append(pool.submit(self._follow, shop, recording, disk, result, free))
            _wait(running)

    def _follow(
        self, shop: Workshop, recording: Recording, disk: Path, result: Result, free: threading.Semaphore
    ) -> None:
        try:
            self.note(boot_cut(shop, recording, disk, result, go_on=result.index % GO_ON == 0))
        finally:
            free.release()

    def _same_as(self, result: Result) -> bool:
        """Whether a cut that left the same disk was powered on already."""
        return any(item.disk == result.disk for item in self.known if item.kind is Kind.BOOTED)

    def _draw(self, recording: Recording, kind: Kind, count: int) -> Sequence[Drawn]:
        """Return the next cuts, in the order of the log."""
        disks = {item.disk for item in self.known if item.kind is Kind.BOOTED}
        seen = (
            item
            for item in self.known
            if item.kind in (kind, Kind.BOOTED) or (item.kind is Kind.LOOKED and item.disk in disks)
        )
        numbers = next_indexes(seen, recording.plan.name, count)
        return sorted((recording.draw(index) for index in numbers), key=lambda drawn: drawn.cut.durable)

    def repeat(self, recording: Recording, index: int) -> Result:
        """Follow one cut once more; what comes out takes the place of what was noted."""
        with self._workshop() as shop, _rolling(recording) as rolling:
            drawn = recording.draw(index)
            result = look_at(recording, rolling, drawn)
            disk = shop.folder / f"{recording.plan.name}-{index}.img"
            with rolling.holding(drawn.cut.loose):
                copy_sparse(rolling.path, disk)
            result = boot_cut(shop, recording, disk, result, go_on=True)
        self.note(replace(result, is_repeated=True))
        return result

    # --- more of them from outside only ---

    def look(self, cuts: int) -> None:
        """Look at disks without powering them on, until there are so many."""
        turn = 0
        while self.count(Kind.LOOKED) < cuts and not self.is_over():
            recordings = self.found.recordings
            recording = recordings[turn % len(recordings)]
            with _rolling(recording) as rolling:
                left = min(_LOOKED_BATCH, cuts - self.count(Kind.LOOKED))
                for drawn in self._draw(recording, Kind.LOOKED, left):
                    if self.is_over():
                        break
                    self.note(replace(look_at(recording, rolling, drawn), kind=Kind.LOOKED))
            turn += 1

    # --- QEMU killed ---

    def kill(self, cuts: int) -> None:
        """Kill QEMU in live upgrades until there are so many."""
        with self._workshop() as shop, ThreadPoolExecutor(self.jobs) as pool:
            _wait(self._start_kills(shop, pool, cuts))

    def _start_kills(self, shop: Workshop, pool: ThreadPoolExecutor, cuts: int) -> list[Future[None]]:
        recordings = self.found.recordings
        return [
            pool.submit(self._kill, shop, recordings[number % len(recordings)], number)
            for number in range(self.count(Kind.KILLED), cuts)
        ]

    def _kill(self, shop: Workshop, recording: Recording, number: int) -> None:
        result = None if self.is_over() else kill_live(shop, recording, number, self.is_over)
        if result:
            self.note(result)

    @contextmanager
    def _workshop(self) -> Iterator[Workshop]:
        repository = self.found.repository
        repository.renew(targets=True)
        folder = self.found.folder / "runs"
        folder.mkdir(exist_ok=True)
        for left in folder.glob("*.img"):
            left.unlink()
        with serve(repository.folder) as server:
            yield Workshop(folder, server)


def look_at(recording: Recording, rolling: RollingDisk, drawn: Drawn) -> Result:
    """Make the disk of a cut, look at it from outside, and put the rolling disk back."""
    cut = drawn.cut
    rolling.go_to(cut.durable)
    before = read_memory(rolling.path)
    disk = rolling.fingerprint(cut)
    with rolling.holding(cut.loose):
        looked = look(rolling.path, recording.plan, rolling.matches, before)
    return Result(
        Kind.BOOTED,
        recording.plan.name,
        drawn.index,
        drawn.phase,
        looked.outcome,
        looked.problems,
        position=cut.position,
        durable=cut.durable,
        fates=count_fates(cut.fates),
        disk=disk,
        is_over=looked.is_over,
    )


@contextmanager
def _rolling(recording: Recording) -> Iterator[RollingDisk]:
    with tempfile.TemporaryDirectory(dir=recording.folder, prefix="rolling-") as folder:
        yield RollingDisk(recording, Path(folder) / "disk.img")


def _wait(running: list[Future[None]]) -> None:
    for future in as_completed(running):
        future.result()


def _say(result: Result, number: int) -> str:
    what = "; ".join(result.problems) if result.problems else "right"
    loose = sum((result.fates or {}).values())
    return (
        f"{time.strftime('%H:%M:%S')} {result.kind} {number}: {result.name} in {result.phase} "
        f"({loose} loose): {result.outcome}, {', '.join(result.boots) or '-'}, {result.seconds:.0f} s: {what}"
    )


def clean(found: Set) -> None:
    """Remove what a campaign that was killed left behind."""
    for recording in found.recordings:
        for left in recording.folder.glob("rolling-*"):
            shutil.rmtree(left)
