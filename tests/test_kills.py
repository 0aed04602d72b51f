"""Cuts at random moments of an installation: nothing wrong is ever armed, and it goes on where it was.

In layers: SIGKILL of the real command on a real disk image, and in memory power cuts that lose and tear
what no flush has covered. Each cut comes from a seed, which a failure names.
"""

import json
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import abctl.update.chunk_writer
from abctl.core.bootenv import EnvFiles, Trial, Why, read_boot_env
from abctl.core.grub import next_boot
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import MIB
from abctl.core.ways import WayKind
from abctl.host.disk import DiskGrubPartition, DiskSlots, open_disk
from abctl.update.install import install
from abctl.update.progress import Step
from tests.chunk_releases import (
    IN_FULL,
    PARTS,
    WHATEVER,
    FarPlace,
    Pair,
    build_pair,
    count_left,
    far_from,
    image_of,
    index_of,
    make_old_root,
    offer_at,
    sum_indexes,
)
from tests.disks import copy_image
from tests.fake_volumes import LAYOUT
from tests.hostile_server import HostileServer, serve_hostile
from tests.power import CachedDisk, Moment, PowerCut
from tests.releases import Images
from tests.test_cli import ABCTL, run

pytestmark = pytest.mark.slow

WISHES = {WayKind.FULL: IN_FULL, WayKind.DELTA: WHATEVER}
AGAIN_MAX = 32 * MIB  # bytes that a cut may cost


def edit_much(old: bytes) -> bytes:
    """Put new data into a third of each MiB, so that a delta has several groups."""
    noise, new = random.Random(len(old)), bytearray(old)
    for place in range(0, len(new) - MIB, MIB):
        if any(old[place : place + MIB]):
            new[place : place + MIB // 3] = noise.randbytes(MIB // 3)
    return bytes(new)


def assert_right(slots: Mapping[Slot, bytes | bytearray], images: Images) -> None:
    for part in PARTS:
        data = images[part].read_bytes()
        assert slots[Slot(SlotName.B, part)][: len(data)] == data, f"B_{part} is not what was released"
    assert not any(slots[Slot(SlotName.B, Part.VAR)][: 16 * MIB])


def is_armed(files: EnvFiles) -> bool:
    """Return whether B will be tried; otherwise A boots, whatever stands in B."""
    env, then = read_boot_env(files).env, next_boot(files)
    assert env
    if env.trial:
        assert env.trial == Trial(SlotName.B, 3)
        assert (then.slot_set, then.second) == (SlotName.B, SlotName.A)
        return True
    assert (then.slot_set, then.why) == (SlotName.A, Why.PRIMARY)
    return False


# --- power cuts, in memory --------------------------------------------------------------------------

CUTS_IN_A_BATCH = 12  # of 18 batches: more than 200 in all
POWER_NOT_PROCESS = 0.7  # of the cuts; in the others only the process is gone, and the cache lives on
# How often each moment comes even if only the heads are missing.
AT_LEAST = {
    Moment.SURVEY: 20,
    Moment.BEGIN: 10,
    Moment.FETCH: 6,
    Moment.WRITE: 4,
    Moment.READ_BACK: 2,
    Moment.SEAL: 3,
    Moment.ARM: 3,
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return build_pair(tmp_path_factory.mktemp("pair"), make_old_root(25), edit_much)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return build_pair(tmp_path_factory.mktemp("large"), make_old_root(48), edit_much)


@dataclass
class Story:
    """Attempts to install one release on one disk, each but the last cut short."""

    pair: Pair
    kind: WayKind
    seed: int

    def __post_init__(self) -> None:
        self.numbers = random.Random(self.seed)
        self.disk = CachedDisk(self.pair.host(), self.numbers)
        self.far: FarPlace = far_from(self.pair.new)
        self.far.on_read = lambda: self.disk.happen(Moment.FETCH)
        self.a_before = {s: bytes(d) for s, d in self.disk.medium.items() if s.slot_set is SlotName.A}

    def attempt(self, cut_at: Moment | None = None, cut_in: int = 0) -> bool:
        """Return whether it was cut."""
        self.disk.start(cut_at, cut_in)
        self.far.fetched = 0
        try:
            offer = offer_at(self.far, self.pair.new.manifest_sha256)
            install(self.disk.ports, LAYOUT, offer, wishes=WISHES[self.kind])
        except PowerCut:
            return True
        return False

    def check(self) -> bool:
        """Nothing wrong is armed, even if power goes now; return whether it is armed."""
        armed = is_armed(self.disk.disk.files)
        if armed:
            assert_right(self.disk.medium, self.pair.new_images)
        for slot, data in self.a_before.items():
            assert self.disk.disk.slots[slot] == data, f"{slot} was changed"
        return armed

    def check_proven(self) -> None:
        """What was flushed and read back is there after the cut, and so is not fetched again."""
        for slot, offset, length in self.disk.proven:
            if slot.part in PARTS and offset >= MIB:
                data = self.pair.new_images[slot.part].read_bytes()[offset : offset + length]
                assert self.disk.disk.slots[slot][offset : offset + length] == data


@pytest.fixture(scope="module")
def events(pair: Pair) -> dict[WayKind, Counter[Moment]]:
    """How often each moment comes in an installation that nothing cuts."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(abctl.update.chunk_writer, "FLUSH_EVERY", 4 * MIB)
        for kind in WISHES:
            story = Story(pair, kind, 0)
            assert not story.attempt()
            assert story.check()
            found[kind] = story.disk.events
            assert set(found[kind]) == set(Moment)
    return found


@pytest.mark.parametrize("batch", range(9))
@pytest.mark.parametrize("kind", WISHES)
def test_power_cuts_at_random_moments_never_arm_what_is_wrong(
    pair: Pair,
    events: dict[WayKind, Counter[Moment]],
    kind: WayKind,
    batch: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(abctl.update.chunk_writer, "FLUSH_EVERY", 4 * MIB)
    cuts: Counter[Moment] = Counter()
    for number, first in enumerate(Moment):
        seed = 100 * batch + number
        try:
            cuts += live_through(Story(pair, kind, seed), first, events[kind])
        except BaseException as error:
            error.add_note(f"kind {kind}, seed {seed}")
            raise
    assert set(cuts) == set(Moment)
    assert cuts.total() >= CUTS_IN_A_BATCH


def live_through(story: Story, first: Moment, events: Counter[Moment]) -> Counter[Moment]:
    """Cut an installation two or three times, and then let it come to its end; return when it was cut."""
    cuts: Counter[Moment] = Counter()
    for number in range(story.numbers.randint(2, 3)):
        moment = story.numbers.choice(list(Moment)) if number else first
        # Later attempts have less to do.
        latest = AT_LEAST[moment] if number else events[moment] * 9 // 10
        assert story.attempt(moment, story.numbers.randint(1, latest)), f"{moment} did not come"
        cuts[moment] += 1
        if story.numbers.random() < POWER_NOT_PROCESS:
            story.disk.lose_power()
            story.check_proven()
        if story.check():
            return cuts
    left = count_left(story.disk.disk.slots, story.pair.new, story.pair.new_images)
    assert not story.attempt()
    assert story.check()
    if story.kind is WayKind.FULL:
        manifest_size = story.pair.new.manifest.stat().st_size
        assert story.far.fetched == left + sum_indexes(story.pair.new, story.kind) + manifest_size
    return cuts


@pytest.mark.parametrize("part_done", [0.3, 0.6, 0.9])
def test_a_cut_that_takes_the_whole_cache_costs_no_more_than_32_mib(large: Pair, part_done: float) -> None:
    story = Story(large, WayKind.FULL, 0)
    whole = count_left(story.disk.disk.slots, large.new, large.new_images)
    index = index_of(large.new)
    assert story.attempt(Moment.WRITE, int(part_done * index.count))
    story.disk.lose_power(with_all=True)
    left = count_left(story.disk.disk.slots, large.new, large.new_images)
    assert story.far.fetched + left <= whole + AGAIN_MAX
    assert not story.attempt()
    assert story.check()


# --- SIGKILL of the real command on a real disk image -----------------------------------------------

KILLS = 20  # for each way, at the least
# The line of progress that is waited for, and how many seconds at most after it the process is killed.
POINTS: dict[str, tuple[tuple[str, ...], float]] = {
    "start": (("start",), 0.15),
    "survey": (("began", Step.SURVEY, Part.ROOT), 0.03),
    "fetch and write": (("began", Step.WRITE, Part.ROOT), 0.08),
    "flush": (("finished", Step.FETCH, Part.ROOT), 0.05),
    "read back": (("finished", Step.WRITE, Part.ROOT), 0.04),
    "arm": (("finished", Step.READ_BACK, Part.ROOT), 0.015),
}


@dataclass
class Command:
    """The real command on a real disk image whose slot set A runs the older release."""

    pair: Pair
    image: Path
    url: str
    kind: WayKind

    def start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(self.line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @property
    def line(self) -> list[str]:
        options = ["--no-reboot", "--json", "--progress", "json"]
        options += ["--no-delta"] if self.kind is WayKind.FULL else []
        release = ["--sha256", self.pair.new.manifest_sha256]
        return [
            str(ABCTL),
            "--disk",
            str(self.image),
            "--booted",
            "A",
            "upgrade",
            self.url,
            *release,
            *options,
        ]

    def kill(self, point: str, part: float) -> bool:
        """Kill it at the given part of the time after a point; return False where it had ended before."""
        line, longest = POINTS[point]
        with self.start() as process:
            assert process.stderr
            for text in process.stderr:
                said = json.loads(text)
                if (said["event"], said.get("step"), said.get("part"))[: len(line)] == line:
                    time.sleep(part * longest)
                    break
            process.kill()
            process.communicate()
        assert process.returncode in (0, -signal.SIGKILL)
        return process.returncode != 0

    def slots(self, name: SlotName) -> dict[Slot, bytes]:
        """Return as much of a slot set as an image fills."""
        slots, found = DiskSlots(open_disk(self.image)), {}
        for part in Part:
            size = self.pair.new_images[part].stat().st_size if part in PARTS else 16 * MIB
            with slots.open_for_reading(Slot(name, part)) as volume:
                found[Slot(name, part)] = volume.read(0, size)
        return found

    def check(self) -> bool:
        """Nothing wrong is armed; return whether it is armed."""
        armed = is_armed(DiskGrubPartition(open_disk(self.image)).read())
        if armed:
            assert_right(self.slots(SlotName.B), self.pair.new_images)
        a = self.slots(SlotName.A)
        for part in PARTS:
            assert a[Slot(SlotName.A, part)] == self.pair.old_images[part].read_bytes(), (
                f"A_{part} was changed"
            )
        return armed


@pytest.fixture(scope="module")
def fresh_disk(tmp_path_factory: pytest.TempPathFactory, large: Pair) -> Path:
    image, old = tmp_path_factory.mktemp("disk") / "host.img", large.old
    release: list[str | Path] = ["--release", old.directory, "--sha256", old.manifest_sha256]
    assert run(ABCTL, "disk", "create", image, "--layout", LAYOUT, *release).code == 0
    return image


@pytest.fixture(scope="module")
def far_server() -> Iterator[HostileServer]:
    with serve_hostile() as server:
        yield server


@pytest.mark.parametrize("kind", WISHES)
def test_a_process_that_is_killed_at_random_moments_never_arms_what_is_wrong(
    large: Pair, fresh_disk: Path, far_server: HostileServer, tmp_path: Path, kind: WayKind
) -> None:
    url = far_server.offer_folder("/v2", large.new.directory)
    kills: Counter[str] = Counter()
    seed = 0
    while kills.total() < KILLS or set(kills) != set(POINTS):
        command = Command(large, copy_image(fresh_disk, tmp_path / "host.img"), url, kind)
        try:
            kills += kill_and_go_on(
                command, far_server, random.Random(seed), list(POINTS)[seed % len(POINTS)]
            )
        except BaseException as error:
            error.add_note(f"{kind}, seed {seed}")
            raise
        seed += 1
        assert seed < 2 * KILLS, f"kills do not come in time: {kills}"


def kill_and_go_on(
    command: Command, server: HostileServer, numbers: random.Random, first: str
) -> Counter[str]:
    """Kill an installation once or twice, and then let it come to its end; return where it was killed."""
    kills: Counter[str] = Counter()
    server.sent = 0
    for point in (first, numbers.choice(list(POINTS)))[: numbers.randint(1, 2)]:
        if command.kill(point, numbers.random()):
            kills[point] += 1
        if command.check():
            return kills
    left = count_left(command.slots(SlotName.B), command.pair.new, command.pair.new_images)
    done = run(*command.line)
    assert done.code == 0, done.err
    assert command.check()
    if command.kind is WayKind.FULL:
        assert json.loads(done.out)["downloaded"] == left + sum_indexes(command.pair.new, command.kind)
    images = [image_of(command.pair.new, part) for part in PARTS]
    is_full = command.kind is WayKind.FULL
    whole = sum(image.download.size if is_full else image.deltas[0].size for image in images)
    assert server.sent <= whole + kills.total() * AGAIN_MAX
    return kills
