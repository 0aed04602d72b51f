"""GRUB at a power-on, twice: the real one in grub-emu, and what abctl predicts; tests hold them together."""

import atexit
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from abctl.core.bootenv import BLOCK_SIZE, OLDER_BLOCK_SIZE, Copy, EnvFiles, Origin, Why
from abctl.core.envblock import make_block, parse_block, save_value
from abctl.core.grub import COPIES_OF, choose_copy, count_boot, next_boot, save_in_copies
from abctl.core.slot import SlotName
from abctl.core.units import KIB, MIB
from abctl.errors import ToolFailed
from abctl.host.data import find_data
from abctl.host.grub_emu import (
    Disk,
    GrubEmu,
    PoweredOn,
    make_disk,
    make_stand_in,
    read_at,
    read_back,
    write_at,
)

Kernels = Mapping[SlotName, bool]
BOTH_KERNELS: Kernels = {SlotName.A: True, SlotName.B: True}


@dataclass(frozen=True, slots=True)
class Boot:
    """What one power-on did; ``stages`` is the grub partition after each write that took."""

    booted: SlotName | None
    chosen: SlotName
    second: SlotName | None
    why: Why
    passed_over: SlotName | None
    origin: Origin
    attempts: str
    generation: int | None
    stages: tuple[EnvFiles, ...]

    @property
    def files(self) -> EnvFiles:
        return self.stages[-1]


@lru_cache(maxsize=200_000)
def predict_boot(files: EnvFiles, kernels: tuple[bool, bool], unwritable: frozenset[Copy]) -> Boot:
    """The same, remembered."""
    return predict(files, dict(zip(SlotName, kernels, strict=True)), unwritable)


def predict(files: EnvFiles, kernels: Kernels = BOTH_KERNELS, unwritable: Collection[Copy] = ()) -> Boot:
    """Return what GRUB will do, as abctl predicts it; the way out of a missing kernel is grub.cfg's."""
    choice = next_boot(files, unwritable=unwritable)
    stages = [files]
    if choice.why in (Why.TRIAL, Why.UNSAVED):
        stages += _spend(files, choice.origin, choice.attempts, unwritable)
    elif count := _counted(files):
        stages += _save(files, choice.origin, "unsettled", count, unwritable)
    booted, why, passed_over = choice.slot_set, choice.why, None
    if why is Why.UNSETTLED:
        passed_over = booted.other
    if not kernels[booted]:
        if why is Why.TRIAL:
            stages += _spend(stages[-1], choice.origin, "0", unwritable)
        why, passed_over = Why.NO_KERNEL, choice.slot_set
    second = choice.second if choice.second and kernels[choice.second] else None
    started = booted if kernels[booted] else second
    assert stages[-1] == choice.files or passed_over
    return Boot(
        booted=started,
        chosen=choice.slot_set,
        second=choice.second,
        why=why if started else choice.why,
        passed_over=passed_over if started else None,
        origin=choice.origin,
        attempts=choice.attempts,
        generation=_generation_told(files) if started else None,
        stages=tuple(stages),
    )


def _counted(files: EnvFiles) -> str:
    """Return the count that is saved where no trial is booted, or nothing."""
    origin, values = choose_copy(files)
    return "" if origin in (Origin.OLDER, Origin.NONE) else count_boot(values, SlotName(values["primary"]))


def _spend(files: EnvFiles, origin: Origin, attempts: str, unwritable: Collection[Copy]) -> list[EnvFiles]:
    name, value = ("boot_cycle", "failsafe_check") if origin is Origin.OLDER else ("attempts", attempts)
    return _save(files, origin, name, value, unwritable)


def _save(
    files: EnvFiles, origin: Origin, name: str, value: str, unwritable: Collection[Copy]
) -> list[EnvFiles]:
    stages = []
    for copy in COPIES_OF[origin]:
        alone = {copies: name for name, copies in COPIES_OF.items()}[(copy,)]
        after, _ = save_in_copies(files, alone, name, value, unwritable)
        if copy not in unwritable and after != files:
            stages.append(after)
        files = after
    return stages


def _generation_told(files: EnvFiles) -> int | None:
    origin, values = choose_copy(files)
    text = values.get("generation", "") if origin not in (Origin.OLDER, Origin.NONE) else ""
    # The kernel's command line is cut into words: a damaged number may be several.
    word = f"abctl.generation={text}".split()[0].partition("=")[2]
    return int(word or 0) if not word.strip("0123456789") else None


# slot, second, why, origin, attempts, files
Decision = tuple[object, ...]


class BrokenGrub(GrubEmu):
    """grub-emu on a disk whose writes fail: strace stands between, and ``inject`` says how."""

    inject = ""

    def _run(self, image: Path, *command: str) -> str:
        if not self.inject:
            return super()._run(image, *command)
        # strace kills nothing where seccomp picks the calls for it.
        pick = () if self.inject.startswith("signal") else ("--seccomp-bpf",)
        tracer = ("strace", "-f", *pick, "-qq", "-o", "/dev/null", "-P", str(image))
        return super()._run(
            image, *tracer, "-e", "trace=write", "-e", f"inject=write:{self.inject}", *command
        )

    def cut_power(self, files: EnvFiles, kernels: Kernels, before_write: int) -> EnvFiles:
        """Return what stands on the grub partition when power is lost just before that write of GRUB."""
        self.inject = f"signal=KILL:when={before_write}"
        with suppress(ToolFailed):
            self.power_on(files, kernels)
        self.inject = ""
        return read_back(self._disk_for(files, kernels), files)


class RealGrub:
    """The shipped scripts in grub-emu. What it does depends on the bytes alone: it is asked once for each."""

    def __init__(self) -> None:
        self.machine = BrokenGrub().__enter__()
        self._known: dict[tuple[object, ...], PoweredOn] = {}
        atexit.register(self.machine.__exit__, None, None, None)

    @property
    def runs(self) -> int:
        return len(self._known)

    def power_on(
        self, files: EnvFiles, kernels: Kernels = BOTH_KERNELS, unwritable: Collection[Copy] = ()
    ) -> PoweredOn:
        inject = _how_writes_fail(files, unwritable)
        key = files, kernels[SlotName.A], kernels[SlotName.B], inject
        if key not in self._known:
            self.machine.inject = inject
            self._known[key] = self.machine.power_on(files, kernels)
        return self._known[key]


@cache
def real_grub() -> RealGrub:
    """Return the one of this process."""
    return RealGrub()


def assert_predicted(
    files: EnvFiles, kernels: Kernels = BOTH_KERNELS, unwritable: Collection[Copy] = ()
) -> Boot:
    """Power on the real GRUB, see that abctl predicted every bit of it, and return what it did."""
    real, boot = real_grub().power_on(files, kernels, unwritable), predict(files, kernels, unwritable)
    for name in (
        "booted",
        "chosen",
        "second",
        "why",
        "passed_over",
        "origin",
        "attempts",
        "generation",
        "files",
    ):
        assert getattr(real, name) == getattr(boot, name), name
    # A kernel is told of attempts only where they are its own.
    left = int(boot.attempts) if boot.booted and boot.why is Why.TRIAL else None
    assert real.attempts_left == left
    return boot


def _how_writes_fail(files: EnvFiles, unwritable: Collection[Copy]) -> str:
    """Return strace's word for it. GRUB writes the copies in turn, and perhaps once more."""
    origin, _ = choose_copy(files)
    name = "boot_cycle" if origin is Origin.OLDER else "attempts"
    if next_boot(files, unwritable=unwritable).why not in (Why.TRIAL, Why.UNSAVED):
        name = "unsettled"
    written = [copy for copy in COPIES_OF[origin] if save_value(files[copy], name, "0") is not None]
    failing = [number for number, copy in enumerate(written, 1) if copy in unwritable]
    return f"error=EIO:when={failing[0]}+{1 + len(written) - len(failing)}" if failing else ""


class ScriptedGrub(GrubEmu):
    """grub-emu with a script of our own."""

    def say(self, script: str) -> str:
        """Return ``$log`` as ``script`` leaves it."""
        (self._folder / "grub.cfg").write_text(f"{script}\nsave_env -f (hd0)/result log\nhalt\n")
        (self._folder / "device.map").write_text(f"(hd0) {self._results.image}\n")
        write_at(self._results.image, self._results.offsets["result"], make_block({}, _RESULT_SIZE))
        self._run(
            self._results.image, "grub-emu", "-d", str(self._folder), "-m", f"{self._folder}/device.map"
        )
        block = read_at(self._results.image, self._results.offsets["result"], _RESULT_SIZE)
        return (parse_block(block) or {})["log"]


# --- many decisions in one grub-emu -----------------------------------------------------------------

_AT_ONCE = 100
_RESULT_SIZE = 4 * KIB
_ALL_PREAMBLE = """\
set root=(hd0)
function decide {
    set prefix=(hd0)/$1
    source (hd0)/state.cfg
    source (hd0)/select.cfg
    set log="$log$slot,$second,$why,$origin,$attempts;"
}
"""


class ManyGrubs(GrubEmu):
    """state.cfg and select.cfg on many boot environments in one run: five times as fast."""

    def decide(self, cases: Sequence[EnvFiles]) -> list[Decision]:
        """Return the decision of each; all cases must lack the same files, and the sizes are as usual."""
        present = [copy for copy in Copy if cases[0][copy] is not None]
        disk = self._disk_of(present)
        decisions = []
        for start in range(0, len(cases), _AT_ONCE):
            decisions += self._decide(disk, present, cases[start : start + _AT_ONCE])
        return decisions

    def _disk_of(self, present: Sequence[Copy]) -> Disk:
        sizes = {Copy.FIRST: BLOCK_SIZE, Copy.SECOND: BLOCK_SIZE, Copy.OLDER: OLDER_BLOCK_SIZE}
        if tuple(present) not in self._disks:
            paths = {f"{case}/{copy.value}": sizes[copy] for case in range(_AT_ONCE) for copy in present}
            stand_ins = {path: make_stand_in(path, size) for path, size in paths.items()}
            tree = {name: find_data(f"grub/{name}").read_bytes() for name in ("state.cfg", "select.cfg")}
            tree |= {f"{case}/x": b"x" for case in range(_AT_ONCE)}
            folder = self._folder / f"many{len(self._disks)}"
            self._disks[tuple(present)] = make_disk(folder, stand_ins, tree, size=2 * MIB)
        return self._disks[tuple(present)]

    def _decide(self, disk: Disk, present: Sequence[Copy], cases: Sequence[EnvFiles]) -> list[Decision]:
        for number, files in enumerate(cases):
            for copy in present:
                write_at(disk.image, disk.offsets[f"{number}/{copy.value}"], files[copy] or b"")
        script = "".join(f"decide {number}\n" for number in range(len(cases)))
        (self._folder / "grub.cfg").write_text(f"{_ALL_PREAMBLE}{script}save_env -f (hd1)/result log\nhalt\n")
        (self._folder / "device.map").write_text(f"(hd0) {disk.image}\n(hd1) {self._results.image}\n")
        write_at(self._results.image, self._results.offsets["result"], make_block({}, _RESULT_SIZE))
        self._run(disk.image, "grub-emu", "-d", str(self._folder), "-m", f"{self._folder}/device.map")
        block = read_at(self._results.image, self._results.offsets["result"], _RESULT_SIZE)
        said = (parse_block(block) or {})["log"].split(";")[:-1]
        assert len(said) == len(cases)
        return [
            (*line.split(","), _files_at(disk, number, files))
            for number, (line, files) in enumerate(zip(said, cases, strict=True))
        ]


def _files_at(disk: Disk, number: int, files: EnvFiles) -> EnvFiles:
    for copy in Copy:
        block = files[copy]
        if block is not None:
            at = disk.offsets[f"{number}/{copy.value}"]
            files = files.with_copy(copy, read_at(disk.image, at, len(block)))
    return files
