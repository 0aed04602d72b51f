"""The boot environment: what abctl and GRUB tell each other, and which slot set GRUB will boot.

It stands on the grub partition as two copies, each a GRUB environment block of 512 bytes: the disk
promises only a sector, so a torn write cannot mix two states. The generation is the first and the
last line; GRUB takes a copy for whole when both agree, and abctl also wants the checksum, which
leaves out ``attempts`` because GRUB rewrites that. A third file is the older system's ``grubenv``:
it is taken over when there is no copy, and kept in step as the last word when both are lost.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from abctl.core.envblock import make_block, parse_block, save_value
from abctl.core.slot import SlotName
from abctl.core.units import Version, parse_version

BLOCK_SIZE = 512
OLDER_BLOCK_SIZE = 1024  # what the older system's tools expect
MAX_ATTEMPTS = 3  # select.cfg counts down from here, spelled out


class Copy(StrEnum):
    """One of the files that hold the boot environment; the value is its path on the grub partition."""

    FIRST = "env1/grubenv"
    SECOND = "env2/grubenv"
    OLDER = "grubenv"


class SlotState(StrEnum):
    """Whether a slot set may be booted."""

    GOOD = "good"  # was confirmed, or is what the disk was made with
    UNTESTED = "untested"  # whole, but never confirmed
    BAD = "bad"  # fell back, or an admin said so
    EMPTY = "empty"  # being written, or never was


class Outcome(StrEnum):
    """What the last upgrade or an admin's word came to."""

    NONE = "none"
    INSTALLING = "installing"
    ARMED = "armed"
    CONFIRMED = "confirmed"
    FELL_BACK = "fell_back"
    CALLED_OFF = "called_off"
    ROLLED_BACK = "rolled_back"
    MARKED_BAD = "marked_bad"
    GAVE_WAY = "gave_way"


class Why(StrEnum):
    """Why GRUB booted the slot set it booted; given to the kernel as ``abctl.why=``."""

    TRIAL = "trial"
    PRIMARY = "primary"
    FALLBACK = "fallback"  # the attempts are used up
    UNSAVED = "unsaved"  # an attempt could not be spent, so the trial was not booted
    NO_KERNEL = "no_kernel"  # the kernel of the first choice could not be loaded
    LOST = "lost"  # no boot environment: the fixed rule
    MENU = "menu"  # chosen by hand


@dataclass(frozen=True, slots=True)
class Trial:
    """A slot set booted on approval, and how many boots it still has."""

    slot_set: SlotName
    attempts: int

    def __post_init__(self) -> None:
        if not 0 <= self.attempts <= MAX_ATTEMPTS:
            raise ValueError(f"attempts must be 0 to {MAX_ATTEMPTS}, not {self.attempts}")


@dataclass(frozen=True, slots=True)
class SlotSet:
    """What the boot environment knows of one slot set."""

    state: SlotState = SlotState.UNTESTED
    version: Version | None = None


@dataclass(frozen=True, slots=True)
class BootEnv:
    """One state of the boot environment."""

    primary: SlotName
    trial: Trial | None = None
    slot_sets: Mapping[SlotName, SlotSet] = field(
        default_factory=lambda: {SlotName.A: SlotSet(), SlotName.B: SlotSet()}
    )
    outcome: Outcome = Outcome.NONE
    generation: int = 1

    def __post_init__(self) -> None:
        if self.trial and self.trial.slot_set is self.primary:
            raise ValueError(f"slot set {self.primary} cannot be primary and on trial")
        if self.generation < 1:
            raise ValueError(f"generation must be at least 1, not {self.generation}")

    def __getitem__(self, slot_set: SlotName) -> SlotSet:
        return self.slot_sets[slot_set]

    def with_slot_set(self, name: SlotName, slot_set: SlotSet) -> "BootEnv":
        return replace(self, slot_sets={**self.slot_sets, name: slot_set})

    def with_state(self, name: SlotName, state: SlotState) -> "BootEnv":
        return self.with_slot_set(name, replace(self[name], state=state))


@dataclass(frozen=True, slots=True)
class EnvFiles:
    """The bytes of each copy; None where it is missing or cannot be read."""

    first: bytes | None = None
    second: bytes | None = None
    older: bytes | None = None

    def __getitem__(self, copy: Copy) -> bytes | None:
        return {Copy.FIRST: self.first, Copy.SECOND: self.second, Copy.OLDER: self.older}[copy]

    def with_copy(self, copy: Copy, block: bytes | None) -> "EnvFiles":
        return replace(self, **{copy.name.lower(): block})


class BlockDamaged(ValueError):
    """A copy that abctl does not believe; the message says why."""


# --- one copy ---------------------------------------------------------------------------------------


def encode(env: BootEnv) -> bytes:
    """Return ``env`` as a block of 512 bytes."""
    values = {"generation": str(env.generation), "primary": env.primary.value}
    if env.trial:
        values |= {"trial": env.trial.slot_set.value, "attempts": str(env.trial.attempts)}
    for name in SlotName:
        values[f"state_{name}"] = env[name].state.value
        values[f"version_{name}"] = env[name].version or ""
    values["outcome"] = env.outcome.value
    values["checksum"] = _checksum(values)
    values["generation_end"] = values["generation"]
    return make_block(values, BLOCK_SIZE)


def decode(block: bytes) -> BootEnv:
    """Return the state in ``block``, or raise BlockDamaged."""
    values = parse_block(block)
    if values is None:
        raise BlockDamaged("it is not a GRUB environment block")
    if not _is_whole(values):
        raise BlockDamaged("it was not written to its end")
    if values.get("checksum") != _checksum(values):
        raise BlockDamaged("its checksum does not match")
    trial = None
    try:
        if values.get("trial"):
            trial = Trial(SlotName(values["trial"]), int(values.get("attempts", "")))
        return BootEnv(
            primary=SlotName(values["primary"]),
            trial=trial,
            slot_sets={
                name: SlotSet(SlotState(values[f"state_{name}"]), _version_or_none(values[f"version_{name}"]))
                for name in SlotName
            },
            outcome=Outcome(values["outcome"]),
            generation=int(values["generation"]),
        )
    except (KeyError, ValueError) as error:
        raise BlockDamaged(f"it holds a value that abctl does not know: {error}") from error


def encode_older(env: BootEnv) -> bytes:
    """Return the older system's block that says the same: the primary, and nothing on trial."""
    return make_block({"boot_alternative": env.primary.value, "boot_cycle": "stable"}, OLDER_BLOCK_SIZE)


def decode_older(block: bytes) -> BootEnv:
    """Return what the older system's block says, or raise BlockDamaged where it says nothing."""
    values = parse_block(block)
    if values is None:
        raise BlockDamaged("it is not a GRUB environment block")
    cycle = values.get("boot_cycle", "")
    if not values.get("boot_alternative") and not cycle:
        raise BlockDamaged("it names no slot set")
    named = SlotName.B if values.get("boot_alternative") == "B" else SlotName.A
    on_trial = {"first_boot": 1, "failsafe_check": 0}.get(cycle)
    primary = named if on_trial is None else named.other
    return BootEnv(
        primary=primary,
        trial=None if on_trial is None else Trial(named, on_trial),
    ).with_state(primary, SlotState.GOOD)


def _version_or_none(text: str) -> Version | None:
    return parse_version(text) if text else None


def _checksum(values: Mapping[str, str]) -> str:
    covered = "".join(
        f"{name}={value}\n"
        for name, value in sorted(values.items())
        if name not in ("attempts", "checksum", "generation_end")
    )
    return hashlib.sha256(covered.encode()).hexdigest()[:16]


# --- which slot set GRUB boots ----------------------------------------------------------------------


class Origin(StrEnum):
    """Which file the state in use came from."""

    FIRST = "1"
    SECOND = "2"
    BOTH = "both"
    OLDER = "older"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class NextBoot:
    """What the next power-on does.

    ``second`` is booted when the kernel of ``slot_set`` cannot be loaded; None where there is no way
    out. ``files`` is what stands on the grub partition afterwards.
    """

    slot_set: SlotName
    second: SlotName | None
    why: Why
    attempts: str
    origin: Origin
    files: EnvFiles


def next_boot(files: EnvFiles, *, writable: bool = True) -> NextBoot:
    """Return what grub/state.cfg and grub/select.cfg do with ``files``; tests hold the two together.

    ``writable`` is False where GRUB cannot write the grub partition.
    """
    origin, values = choose_copy(files)
    slot_set, trial, attempts = _slot_set(values["primary"]), values.get("trial"), values.get("attempts", "")
    why = Why.LOST if origin is Origin.NONE else Why.PRIMARY
    if trial in tuple(SlotName):
        left = {"3": "2", "2": "1", "1": "0"}.get(attempts)
        if left is None:
            why = Why.FALLBACK
        else:
            attempts = left
            saved = save_attempts(files, origin, left) if writable else None
            if saved is None:
                why = Why.UNSAVED
            else:
                files, slot_set, why = saved, _slot_set(trial), Why.TRIAL
    other_state = values.get(f"state_{slot_set.other}")
    second = None if other_state == SlotState.EMPTY else slot_set.other
    return NextBoot(slot_set, second, why, attempts, origin, files)


def save_attempts(files: EnvFiles, origin: Origin, attempts: str) -> EnvFiles | None:
    """Return ``files`` after GRUB spent attempts, or None where no copy took it."""
    if origin is Origin.OLDER:
        block = save_value(files.older, "boot_cycle", "failsafe_check")
        return None if block is None else replace(files, older=block)
    saved = None
    for copy, origins in ((Copy.FIRST, (Origin.FIRST, Origin.BOTH)), (Copy.SECOND, (Origin.SECOND, Origin.BOTH))):
        block = save_value(files[copy], "attempts", attempts) if origin in origins else None
        if block is not None:
            saved = (saved or files).with_copy(copy, block)
    return saved


def choose_copy(files: EnvFiles) -> tuple[Origin, Mapping[str, str]]:
    """Return the copy that GRUB takes and its values; ``primary`` is always among them."""
    first, second = (values if _is_whole(values) else None for values in map(parse_block, (files.first, files.second)))
    if first and second:
        ahead = _number(second["generation"]) - _number(first["generation"])
        if ahead > 0:
            return Origin.SECOND, second
        if ahead < 0:
            return Origin.FIRST, first
        # The same state twice: the lower count is the one that was spent.
        fewest = min(first.get("attempts", ""), second.get("attempts", ""), key=_number)
        return Origin.BOTH, {**second, "attempts": fewest}
    if first or second:
        return (Origin.FIRST, first) if first else (Origin.SECOND, second or {})
    return _read_older(files.older)


def _read_older(block: bytes | None) -> tuple[Origin, Mapping[str, str]]:
    try:
        env = decode_older(block or b"")
    except BlockDamaged:
        return Origin.NONE, {"primary": SlotName.A}
    values = {"primary": env.primary.value}
    if env.trial:
        values |= {"trial": env.trial.slot_set.value, "attempts": str(env.trial.attempts)}
    return Origin.OLDER, values


def _is_whole(values: Mapping[str, str] | None) -> bool:
    if not values:
        return False
    generation = values.get("generation")
    return bool(generation) and generation == values.get("generation_end") and values.get("primary") in ("A", "B")


def _number(text: str) -> int:
    digits = text[: len(text) - len(text.lstrip("0123456789"))]
    return int(digits or 0)


def _slot_set(text: str) -> SlotName:
    # select.cfg takes everything but A for B.
    return SlotName.A if text == "A" else SlotName.B


# --- what abctl makes of the copies -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reading:
    """What abctl read: the state, or None where it is lost, and a sentence for each damaged copy.

    ``in_step`` is True when all copies say the same, so that losing any one changes nothing.
    """

    env: BootEnv | None
    origin: Origin
    damage: tuple[str, ...] = ()
    in_step: bool = False


def read_boot_env(files: EnvFiles) -> Reading:
    """Return the newest state that can be believed.

    Where GRUB would take a copy that abctl does not believe, the other copy counts and ``damage``
    says so: rewriting the copies mends it.
    """
    believed: dict[Copy, BootEnv] = {}
    damage = []
    for copy in (Copy.FIRST, Copy.SECOND):
        block = files[copy]
        if block is None:
            damage.append(f"{copy} is missing or cannot be read")
            continue
        try:
            believed[copy] = decode(block)
        except BlockDamaged as error:
            damage.append(f"{copy} is damaged: {error}")
    if believed:
        return _newest(believed, files, tuple(damage))
    try:
        return Reading(decode_older(files.older or b""), Origin.OLDER, tuple(damage))
    except BlockDamaged:
        return Reading(None, Origin.NONE, tuple(damage))


def _newest(believed: Mapping[Copy, BootEnv], files: EnvFiles, damage: tuple[str, ...]) -> Reading:
    first, second = believed.get(Copy.FIRST), believed.get(Copy.SECOND)
    if first and second and first.generation == second.generation:
        fewest = min((first, second), key=lambda env: env.trial.attempts if env.trial else 0)
        in_step = first == second and files.older == encode_older(first)
        return Reading(fewest, Origin.BOTH, damage, in_step)
    copy, env = max(believed.items(), key=lambda item: item[1].generation)
    origin = Origin.FIRST if copy is Copy.FIRST else Origin.SECOND
    return Reading(env, origin, damage)


def writing_order(files: EnvFiles) -> tuple[Copy, ...]:
    """Return the copies in the order in which they are to be rewritten.

    The one that is not in use comes first, so that a torn write leaves the state as it was; the older
    system's file comes last.
    """
    reading = read_boot_env(files)
    if reading.origin is Origin.FIRST:
        return Copy.SECOND, Copy.FIRST, Copy.OLDER
    return Copy.FIRST, Copy.SECOND, Copy.OLDER
