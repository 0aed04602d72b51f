"""The world that the boot tests hold: the grub partition, what is in each slot set, the record, and power.

Everything that decides or acts in it is production code: events go through ``update.operate``, power-ons
through GRUB. A power cut may fall into any write: it leaves that write half done and raises PowerCut.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache

from abctl.core.bootenv import BootEnv, Copy, EnvFiles, Origin, read_boot_env
from abctl.core.grub import next_boot
from abctl.core.machine import (
    Allow,
    Confirm,
    Event,
    Host,
    InstallStarted,
    InstallVerified,
    MarkBad,
    RollBack,
    Running,
    Unhealthy,
)
from abctl.core.record import Record
from abctl.core.settling import must_reboot
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import Digest, Seconds, Version
from abctl.errors import AbctlError, InUse, StateUnwritable, WriteFailed
from abctl.ports import Volume
from abctl.update.operate import Ports, apply, come_up, observe, settle
from abctl.update.perform import FIRST_BLOCK, HEAD_SIZE
from tests.grubs import Boot, predict_boot

VOLUME_SIZE = 2 * HEAD_SIZE
ZEROS = b"\0"


class PowerCut(BaseException):
    """Power is gone; nothing may catch this but the world."""


class Kind(StrEnum):
    """How a release behaves when it is booted."""

    GOOD = "good"
    PANICS = "panics"
    NO_KERNEL = "no_kernel"  # GRUB cannot load it
    UNHEALTHY = "unhealthy"  # it runs, and nobody confirms it


@dataclass(frozen=True, slots=True)
class Release:
    version: Version
    kind: Kind

    @property
    def digest(self) -> Digest:
        return Digest(f"{self.version}-{self.kind}".encode().hex().ljust(64, "0")[:64])


@dataclass(frozen=True, slots=True)
class Content:
    """What is in a slot set: for Boot and Root the head and the rest, each of one release or nothing."""

    boot: tuple[Release | None, Release | None] = (None, None)
    root: tuple[Release | None, Release | None] = (None, None)

    @classmethod
    def of(cls, release: Release) -> "Content":
        return cls((release, release), (release, release))

    @property
    def release(self) -> Release | None:
        """The release that is whole here."""
        parts = {*self.boot, *self.root}
        return self.boot[0] if len(parts) == 1 else None

    @property
    def has_kernel(self) -> bool:
        """GRUB finds a kernel as soon as there is a head, whether the rest is whole or not."""
        return self.boot[0] is not None and self.boot[0].kind is not Kind.NO_KERNEL

    @property
    def runs(self) -> bool:
        return self.release is not None and self.release.kind in (Kind.GOOD, Kind.UNHEALTHY)


@dataclass(frozen=True, slots=True)
class Tear:
    """Where power fails: within write number ``write`` (from 0), after ``at`` bytes from that end."""

    write: int
    at: int = 0
    from_front: bool = True

    def tear(self, old: bytes | None, new: bytes) -> bytes | None:
        if self.at == 0:
            return old
        old = (old or b"").ljust(len(new), b"\0")[: len(new)]
        return new[: self.at] + old[self.at :] if self.from_front else old[: -self.at] + new[-self.at :]


@lru_cache(maxsize=200_000)
def read_files(files: EnvFiles) -> BootEnv | None:
    """Return what abctl believes; remembered, since the tests ask often."""
    return read_boot_env(files).env


@dataclass(frozen=True, slots=True)
class State:
    """All of the world that outlasts a moment; a value."""

    files: EnvFiles
    contents: Mapping[SlotName, Content]
    record: Record = field(default_factory=Record)
    running: Running = field(default_factory=Running)
    unwritable: frozenset[Copy] = frozenset()
    # What the tests know, and no production code reads: which slot sets were read back and matched, which
    # ones somebody confirmed or gave up, and which versions GRUB fell back from.
    verified: frozenset[SlotName] = frozenset(SlotName)
    trusted: frozenset[SlotName] = frozenset(SlotName)
    given_up: frozenset[SlotName] = frozenset()
    fell_back: frozenset[Version] = frozenset()

    @property
    def env(self) -> BootEnv | None:
        return read_files(self.files)

    def without_power(self) -> "State":
        """Return what is left; who confirmed something that did not get to the disk confirmed nothing."""
        env = self.env
        unconfirmed = {env.trial.slot_set} if env and env.trial else set()
        return replace(self, running=Running(), trusted=self.trusted - unconfirmed)


@dataclass(frozen=True, slots=True)
class Write:
    """A write that took, and what there would be if power had failed within it."""

    what: str
    torn: Callable[[Tear], State]


class World:
    """One host and its power switch."""

    def __init__(self, state: State, start_grub: Callable[..., Boot] = predict_boot) -> None:
        self.state = state
        self.tear: Tear | None = None
        self.writes: list[Write] = []
        self._start_grub = start_grub

    # --- ports ---

    @property
    def ports(self) -> Ports:
        return Ports(
            grub=FakeGrub(self),
            slots=FakeSlots(self),
            records=FakeRecords(self),
            running=self.state.running,
            now=lambda: Seconds(0),
            version_in=self.version_in,
        )

    def head_of(self, slot: Slot) -> Release | None:
        content = self.state.contents[slot.slot_set]
        return (content.boot if slot.part is Part.BOOT else content.root)[0]

    def version_in(self, slot_set: SlotName) -> Version | None:
        release = self.state.contents[slot_set].release
        return release.version if release else None

    def change(self, what: str, new: Callable[[], State], torn: Callable[[Tear], State]) -> None:
        """Do one write, or half of it where power is cut."""
        if self.tear and self.tear.write == len(self.writes):
            self.state = torn(self.tear)
            raise PowerCut(what)
        self.writes.append(Write(what, torn))
        self.state = new()

    # --- what people and programs do ---

    def do(self, event: Event) -> Host:
        """Let production code settle, decide and perform."""
        return apply(self.ports, event)

    def install(self, release: Release) -> None:
        """Install as the data path does: disarm, invalidate, write, the head of Boot last, verify, arm."""
        target = settle(self.ports).env.primary.other
        before = self.state.trusted
        # Who starts an installation gives up what was there.
        self.state = replace(self.state, trusted=before - {target})
        try:
            self.do(InstallStarted(Seconds(0), release.version, release.digest))
        except AbctlError:
            self.state = replace(self.state, trusted=before)
            raise
        for part, index in ((Part.BOOT, 1), (Part.ROOT, 0), (Part.ROOT, 1), (Part.BOOT, 0)):
            self.write_content(target, part, index, release)
        self.state = replace(self.state, verified=self.state.verified | {target})
        self.do(InstallVerified(Seconds(0), release.version, release.digest, 0, 0.0))

    def write_content(self, target: SlotName, part: Part, index: int, release: Release | None) -> None:
        """Fill the head (0) or the rest (1) of a volume with a release, or with nothing."""
        self.assert_writable(target)
        old = self.state.contents[target]

        state = self.state

        def filled(boot: bool, index: int, release: Release | None) -> State:
            head, rest = old.boot if boot else old.root
            halves = (release, rest) if index == 0 else (head, release)
            content = replace(old, boot=halves) if boot else replace(old, root=halves)
            return replace(
                state,
                contents={**state.contents, target: content},
                verified=state.verified - {target},
                trusted=state.trusted - {target},
                given_up=state.given_up - {target},
            )

        def torn(tear: Tear) -> State:
            # The head falls with its first block, which is there or not; half of the rest is rubbish.
            return filled(part is Part.BOOT, index, None) if tear.at and index else state

        self.change(f"write {target}_{part}", lambda: filled(part is Part.BOOT, index, release), torn)

    def allow(self, version: Version) -> None:
        """Allow a version; it is an admin's word, also where power fails meanwhile."""
        before = self.state.fell_back
        self.state = replace(self.state, fell_back=before - {version})
        try:
            self.do(Allow(Seconds(0), version))
        except AbctlError:
            self.state = replace(self.state, fell_back=before)
            raise

    def roll_back(self) -> None:
        """Roll back; who goes back to a version says that it may be used."""
        env, before = self.state.env, self.state.fell_back
        if env and env.trial is None:
            self.state = replace(self.state, fell_back=before - {env[env.primary.other].version})
        try:
            self.do(RollBack(Seconds(0)))
        except AbctlError:
            self.state = replace(self.state, fell_back=before)
            raise

    def mark_bad(self, slot_set: SlotName) -> None:
        before = self.state.given_up
        self.state = replace(self.state, given_up=before | {slot_set})
        try:
            self.do(MarkBad(Seconds(0), slot_set, "an admin said so"))
        except AbctlError:
            self.state = replace(self.state, given_up=before)
            raise

    def confirm(self) -> None:
        """Confirm; what an admin confirms runs, also where power fails meanwhile."""
        before, booted = self.state.trusted, self.state.running.kernel
        self.state = replace(self.state, trusted=before | ({booted} if booted else set()))
        try:
            self.do(Confirm(Seconds(0)))
        except AbctlError:
            self.state = replace(self.state, trusted=before)
            raise

    def give_up(self, reason: str = "required check net failed: no link") -> bool:
        """Do what the health service does with a trial that stays unhealthy; return whether it reboots."""
        before = observe(self.ports).host
        reboots = must_reboot(before)
        trial = before.env.trial
        after = self.do(Unhealthy(Seconds(0), reason))
        assert must_reboot(after) is reboots, "giving up changed its mind"
        if trial and after.env.trial is None:
            lost = before.env[trial.slot_set].version
            kept = self.state.fell_back | ({lost} if lost else set())
            self.state = replace(self.state, fell_back=kept)
        return reboots

    def give_up_and_reboot(self) -> None:
        if self.give_up():
            self.power_on()

    def assert_writable(self, target: SlotName) -> None:
        """Invariant 2: what runs, the primary, and what any copy still names is never written."""
        assert target is not self.state.running.kernel, f"{target} runs and is written"
        last = self.state.trusted == {target} and target not in self.state.given_up
        assert not last, f"{target} is the last good slot set, and is written"
        for copy in Copy:
            alone = next_boot(EnvFiles(**{copy.name.lower(): self.state.files[copy]}))
            if alone.origin is not Origin.NONE:
                assert alone.slot_set is not target, f"{copy} names {target}, which is written"
                assert copy is Copy.OLDER or alone.second is None, f"{copy} takes {target} for a way out"

    # --- power ---

    @property
    def kernels(self) -> tuple[bool, bool]:
        return self.state.contents[SlotName.A].has_kernel, self.state.contents[SlotName.B].has_kernel

    def lose_power(self) -> None:
        self.state = self.state.without_power()

    def start_grub(self) -> Boot:
        """Power on as far as a kernel; GRUB's writes may be cut as any other."""
        self.lose_power()
        boot = self._start_grub(self.state.files, self.kernels, self.state.unwritable)
        for files in boot.stages[1:]:
            self._grub_writes(files)
        return boot

    def _grub_writes(self, files: EnvFiles) -> None:
        before = self.state
        [copy] = [copy for copy in Copy if before.files[copy] != files[copy]]

        def torn(tear: Tear) -> State:
            half = tear.tear(before.files[copy], files[copy] or b"")
            return replace(before, files=before.files.with_copy(copy, half))

        self.change(f"GRUB writes {copy}", lambda: replace(before, files=files), torn)

    def power_on(self) -> Boot:
        """Power on; where the booted slot set runs, userland settles what happened."""
        boot = self.start_grub()
        if boot.booted is None or not self.state.contents[boot.booted].runs:
            return boot
        running = Running(boot.booted, boot.booted, boot.booted, boot.why, boot.passed_over, boot.generation)
        self.state = replace(self.state, running=running)
        env = self.state.env
        try:
            settle(self.ports)
            # Early in the boot first; then the health service starts.
            come_up(self.ports)
        except StateUnwritable:
            assert self.state.unwritable
            return boot
        if env and env.trial and boot.booted is not env.trial.slot_set and env.trial.attempts == 0:
            lost = env[env.trial.slot_set].version
            self.state = replace(self.state, fell_back=self.state.fell_back | ({lost} if lost else set()))
        return boot


# --- the ports --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FakeGrub:
    """The grub partition as a mounted folder; a missing file is made anew."""

    world: World

    def read(self) -> EnvFiles:
        return self.world.state.files

    def overwrite(self, copy: Copy, block: bytes) -> None:
        before = self.world.state
        if copy in before.unwritable:
            raise WriteFailed(f"{copy}: Input/output error")

        def written(content: bytes | None) -> State:
            return replace(before, files=before.files.with_copy(copy, content))

        self.world.change(
            f"overwrite {copy}",
            lambda: written(block),
            lambda tear: written(tear.tear(before.files[copy], block)),
        )


@dataclass(frozen=True, slots=True)
class FakeRecords:
    """The record: a torn write costs the older half, which nobody misses."""

    world: World

    def read(self) -> Record:
        return self.world.state.record

    def write(self, record: Record) -> None:
        before = self.world.state
        self.world.change("write the record", lambda: replace(before, record=record), lambda _: before)


@dataclass(frozen=True, slots=True)
class FakeSlots:
    world: World

    def check_unused(self, slot: Slot) -> None:
        if slot.slot_set is self.world.state.running.kernel:
            raise InUse(f"{slot} is mounted")

    def size_of(self, slot: Slot) -> int:
        return VOLUME_SIZE

    @contextmanager
    def open_for_writing(self, slot: Slot) -> Iterator[Volume]:
        self.check_unused(slot)
        yield FakeVolume(self.world, slot)

    @contextmanager
    def open_for_reading(self, slot: Slot) -> Iterator[Volume]:
        yield FakeVolume(self.world, slot)


@dataclass(frozen=True, slots=True)
class FakeVolume:
    """A volume that knows only of its head and its rest."""

    world: World
    slot: Slot

    @property
    def name(self) -> str:
        return self.slot.name

    @property
    def size(self) -> int:
        return VOLUME_SIZE

    def write(self, offset: int, data: memoryview) -> None:
        raise NotImplementedError("the model writes whole halves: see World.install")

    def write_zeros(self, offset: int, length: int) -> None:
        if offset == 0:
            self.world.write_content(self.slot.slot_set, self.slot.part, 0, None)
        else:
            assert self.world.head_of(self.slot) is None
            assert (offset, offset + length) == (FIRST_BLOCK, HEAD_SIZE)

    def flush(self) -> None:
        pass

    def read_back(self, offset: int, buffer: memoryview) -> None:
        raise NotImplementedError("the model verifies by looking")
