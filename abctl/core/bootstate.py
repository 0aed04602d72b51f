"""The values that the boot environment is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from abctl.core.slot import SlotName
from abctl.core.units import Version

BLOCK_SIZE = 512
OLDER_BLOCK_SIZE = 1024  # what the older system's tools expect
MAX_ATTEMPTS = 3  # select.cfg counts down from here, spelled out
UNSETTLED_MAX = 5  # boots of the primary without an answer; select.cfg counts them, spelled out
GENERATION_MAX = 2**31 - 1  # GRUB compares C's int


class Copy(StrEnum):
    """One of the files that hold the boot environment; the value is its path on the grub partition."""

    FIRST = "env1/grubenv"
    SECOND = "env2/grubenv"
    OLDER = "grubenv"

    @property
    def block_size(self) -> int:
        """How many bytes it has."""
        return OLDER_BLOCK_SIZE if self is Copy.OLDER else BLOCK_SIZE


class Origin(StrEnum):
    """Which file the state in use came from."""

    FIRST = "1"
    SECOND = "2"
    BOTH = "both"
    OLDER = "older"
    NONE = "none"


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
    STAYED_UP = "stayed_up"


class Why(StrEnum):
    """Why GRUB booted the slot set it booted; given to the kernel as ``abctl.why=``."""

    TRIAL = "trial"
    PRIMARY = "primary"
    FALLBACK = "fallback"  # the attempts are used up
    UNSAVED = "unsaved"  # an attempt could not be spent, so the trial was not booted
    NO_KERNEL = "no_kernel"  # the kernel of the first choice could not be loaded
    LOST = "lost"  # no boot environment: the fixed rule
    UNSETTLED = "unsettled"  # the last boots of the primary never came up
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
    """One state of the boot environment; generation 0 came from no copy.

    ``answering`` are the slot sets whose system says at every boot that it came up. GRUB counts the boots of
    such a primary: ``unsettled`` are those since its last answer, and beyond ``UNSETTLED_MAX`` those of the
    other slot set, in its turn.
    """

    primary: SlotName
    trial: Trial | None = None
    slot_sets: Mapping[SlotName, SlotSet] = field(
        default_factory=lambda: {SlotName.A: SlotSet(), SlotName.B: SlotSet()}
    )
    outcome: Outcome = Outcome.NONE
    generation: int = 1
    answering: frozenset[SlotName] = frozenset()
    unsettled: int = 0

    def __post_init__(self) -> None:
        if self.trial and self.trial.slot_set is self.primary:
            raise ValueError(f"slot set {self.primary} cannot be primary and on trial")
        if not 0 <= self.generation <= GENERATION_MAX:
            raise ValueError(f"generation must be 0 to {GENERATION_MAX}, not {self.generation}")
        if not 0 <= self.unsettled <= (2 * UNSETTLED_MAX if self.is_counted else 0):
            raise ValueError(f"there cannot be {self.unsettled} unsettled boots")

    @property
    def is_counted(self) -> bool:
        """Whether GRUB counts the boots of the primary."""
        return self.primary in self.answering

    def __getitem__(self, slot_set: SlotName) -> SlotSet:
        return self.slot_sets[slot_set]

    def with_primary(self, primary: SlotName) -> "BootEnv":
        """Return the state with this primary, whose boots are counted from now on."""
        return replace(self, primary=primary, unsettled=0)

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
