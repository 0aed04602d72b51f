"""What the state machine of ``machine`` is given and gives back: hosts, events and effects."""

from dataclasses import dataclass, field, replace

from abctl.core.bootstate import BootEnv, Why
from abctl.core.record import Record
from abctl.core.slot import SlotName
from abctl.core.units import Digest, Seconds, Version
from abctl.errors import RunningMismatch


@dataclass(frozen=True, slots=True)
class Running:
    """Which slot set the running system came from, by each witness; all None where nothing runs.

    ``why``, ``passed_over``, ``generation`` and ``attempts`` (left to the trial after this boot) are what
    GRUB told the kernel; generation is 0 where no copy was whole, and None where it is not known.
    """

    kernel: SlotName | None = None
    root: SlotName | None = None
    boot: SlotName | None = None
    why: Why | None = None
    passed_over: SlotName | None = None
    generation: int | None = None
    attempts: int | None = None

    @classmethod
    def all_of(cls, slot_set: SlotName | None, why: Why | None = None) -> "Running":
        return cls(slot_set, slot_set, slot_set, why)

    @property
    def disagreement(self) -> str | None:
        """A sentence where the witnesses do not agree."""
        if self.kernel is self.root is self.boot:
            return None
        return (
            f"the kernel was started for slot set {self.kernel or '?'}, but the root file system is of "
            f"{self.root or '?'} and /boot of {self.boot or '?'}"
        )

    @property
    def booted(self) -> SlotName | None:
        """The booted slot set; None where nothing runs. Raise RunningMismatch where it is not clear."""
        if self.disagreement:
            raise RunningMismatch(
                f"{self.disagreement}: nothing is changed from a mixed system; reboot, and look at "
                "'abctl status' again"
            )
        return self.kernel


@dataclass(frozen=True, slots=True)
class Host:
    """All that a decision depends on."""

    env: BootEnv
    running: Running = field(default_factory=Running)
    record: Record = field(default_factory=Record)

    @property
    def why(self) -> Why | None:
        """What GRUB said at this boot, as long as nothing was written since.

        Later it speaks of a trial that is over, not of the one that was armed meanwhile.
        """
        return self.running.why if self.running.generation in (None, self.env.generation) else None


# --- events -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settle:
    """Look at how the last trial ended; every other event is preceded by this one.

    ``note`` is what is known of how far its boots got.
    """

    at: Seconds
    note: str = ""


@dataclass(frozen=True, slots=True)
class CameUp:
    """The system that runs has come up. Said at every boot by its own health service, and by nobody else."""

    at: Seconds


@dataclass(frozen=True, slots=True)
class InstallStarted:
    """A release is about to be written; an archive tells its version only later."""

    at: Seconds
    version: Version | None
    sha256: Digest


@dataclass(frozen=True, slots=True)
class InstallVerified:
    """Every byte was read back from the disk and matched. ``written`` in bytes, ``took`` in seconds.

    ``note`` is what history should say of it, such as what an admin overrode.
    """

    at: Seconds
    version: Version
    sha256: Digest
    written: int
    took: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class InstallFailed:
    at: Seconds
    version: Version | None
    reason: str


@dataclass(frozen=True, slots=True)
class Confirm:
    at: Seconds


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """The running trial did not get healthy in time. Ask ``settling.must_reboot`` what comes next."""

    at: Seconds
    reason: str


@dataclass(frozen=True, slots=True)
class RollBack:
    at: Seconds


@dataclass(frozen=True, slots=True)
class MarkBad:
    at: Seconds
    slot_set: SlotName
    reason: str


@dataclass(frozen=True, slots=True)
class Allow:
    at: Seconds
    version: Version


Event = (
    Settle
    | CameUp
    | InstallStarted
    | InstallVerified
    | InstallFailed
    | Confirm
    | Unhealthy
    | RollBack
    | MarkBad
    | Allow
)


# --- effects ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WriteBootEnv:
    """Rewrite the copies; with ``every_copy`` it fails unless all of them took it."""

    env: BootEnv
    every_copy: bool = False


@dataclass(frozen=True, slots=True)
class InvalidateSlotSet:
    """Make the slot set unbootable on the disk, whatever a boot environment says."""

    slot_set: SlotName


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """Rewrite the record; with ``must_stand`` it fails where that cannot be done, else it only warns."""

    record: Record
    must_stand: bool = False


Effect = WriteBootEnv | InvalidateSlotSet | WriteRecord
Decision = tuple[Host, tuple[Effect, ...]]


def decide(host: Host, env: BootEnv, record: Record, *, record_first: bool = False) -> Decision:
    """Return the host with this boot environment and record, and the effects that make it so."""
    effects: list[Effect] = []
    if env != host.env:
        env = replace(env, generation=host.env.generation + 1)
        effects.append(WriteBootEnv(env))
    if record != host.record:
        record = replace(record, serial=host.record.serial + 1)
        effects.insert(0 if record_first else len(effects), WriteRecord(record))
    return replace(host, env=env, record=record), tuple(effects)
