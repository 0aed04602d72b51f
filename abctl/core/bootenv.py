"""The boot environment: what abctl and GRUB tell each other, and what abctl makes of it.

It stands on the grub partition as two copies, each a GRUB environment block of 512 bytes: the disk
promises only a sector, so a torn write cannot mix two states. The generation is the first and the
last line, and the seal says again what GRUB decides by: GRUB takes a copy for whole when they agree.
abctl also wants the checksum, which leaves out what GRUB rewrites: ``attempts`` and ``unsettled``. A third
file is the older system's ``grubenv``: it is taken over when there is no copy, and kept in step as the
last word when both are lost.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from abctl.core.bootstate import (
    BLOCK_SIZE,
    GENERATION_MAX,
    MAX_ATTEMPTS,
    OLDER_BLOCK_SIZE,
    UNSETTLED_MAX,
    BootEnv,
    Copy,
    EnvFiles,
    Origin,
    Outcome,
    SlotSet,
    SlotState,
    Trial,
    Why,
)
from abctl.core.envblock import make_block, parse_block, parse_number, save_value
from abctl.core.slot import SlotName
from abctl.core.units import Version, parse_version

__all__ = [
    "BLOCK_SIZE",
    "COUNTS",
    "GENERATION_MAX",
    "MAX_ATTEMPTS",
    "OLDER_BLOCK_SIZE",
    "UNSETTLED_MAX",
    "BlockDamaged",
    "BootEnv",
    "Copy",
    "EnvFiles",
    "Origin",
    "Outcome",
    "Reading",
    "SlotSet",
    "SlotState",
    "Trial",
    "Why",
    "decode",
    "decode_older",
    "encode",
    "encode_older",
    "highest_generation",
    "is_whole",
    "parse_count",
    "read_boot_env",
    "writing_order",
]


# Unsettled boots as they are written: of one width, so that a torn write is the old count or the new one, and
# a digit for each boot, so that a damaged byte cannot make many of few. To GRUB's `test` they are decimals.
COUNTS = (
    *("1" * boots + "0" * (UNSETTLED_MAX - boots) for boots in range(UNSETTLED_MAX + 1)),
    *("2" * boots + "1" * (UNSETTLED_MAX - boots) for boots in range(1, UNSETTLED_MAX + 1)),
)


class BlockDamaged(ValueError):
    """A copy that abctl does not believe; the message says why."""


# --- one copy ---------------------------------------------------------------------------------------


def encode(env: BootEnv) -> bytes:
    """Return ``env`` as a block of 512 bytes."""
    values = {"generation": str(env.generation), "primary": env.primary.value}
    if env.trial:
        values |= {"trial": env.trial.slot_set.value, "attempts": str(env.trial.attempts)}
    if env.answering:
        values["answering"] = "".join(sorted(env.answering))
    if env.is_counted:
        values["unsettled"] = COUNTS[env.unsettled]
    for name in SlotName:
        values[f"state_{name}"] = env[name].state.value
        values[f"version_{name}"] = env[name].version or ""
    values["outcome"] = env.outcome.value
    values["seal"] = _seal(values)
    values["checksum"] = _checksum(values)
    values["generation_end"] = values["generation"]
    return make_block(values, BLOCK_SIZE)


def decode(block: bytes) -> BootEnv:
    """Return the state in ``block``, or raise BlockDamaged."""
    values = parse_block(block)
    if values is None:
        raise BlockDamaged("it is not a GRUB environment block")
    if not is_whole(values):
        raise BlockDamaged("it was not written to its end")
    if values.get("checksum") != _checksum(values):
        raise BlockDamaged("its checksum does not match")
    trial = None
    try:
        if values.get("trial"):
            trial = Trial(SlotName(values["trial"]), _strict_number(values.get("attempts", "")))
        primary = SlotName(values["primary"])
        answering = frozenset(map(SlotName, values.get("answering", "")))
        return BootEnv(
            primary=primary,
            trial=trial,
            slot_sets={
                name: SlotSet(SlotState(values[f"state_{name}"]), _version_or_none(values[f"version_{name}"]))
                for name in SlotName
            },
            outcome=_outcome(values["outcome"]),
            generation=_strict_number(values["generation"]),
            answering=answering,
            unsettled=parse_count(values.get("unsettled", "")) if primary in answering else 0,
        )
    except (KeyError, ValueError) as error:
        raise BlockDamaged(f"it holds a value that abctl does not know: {error}") from error


def encode_older(env: BootEnv, block: bytes | None = None) -> bytes:
    """Return the older system's block that says the same: the primary, and nothing on trial.

    Other variables that stand in ``block`` are kept.
    """
    values = {"boot_alternative": env.primary.value, "boot_cycle": "stable"}
    for name, value in values.items():
        block = save_value(block, name, value)
    if block and values.items() <= (parse_block(block) or {}).items():
        return block
    return make_block(values, OLDER_BLOCK_SIZE)


def decode_older(block: bytes) -> BootEnv:
    """Return what the older system's block says, or raise BlockDamaged where it says nothing."""
    values = parse_block(block)
    if values is None:
        raise BlockDamaged("it is not a GRUB environment block")
    cycle = values.get("boot_cycle", "")
    if not values.get("boot_alternative") and not cycle:
        raise BlockDamaged("it names no slot set")
    named = SlotName.B if values.get("boot_alternative") == "B" else SlotName.A
    if cycle in ("", "stable", "install"):
        env = BootEnv(named, generation=0)
    else:
        # A cycle that nobody knows is half of a word: GRUB was cut while it ended a first boot.
        env = BootEnv(named.other, Trial(named, 1 if cycle == "first_boot" else 0), generation=0)
    return env.with_state(env.primary, SlotState.GOOD)


def _outcome(text: str) -> Outcome:
    """A newer abctl may know more of them; nothing is decided by it, so the block is as good as any."""
    return Outcome(text) if text in tuple(Outcome) else Outcome.NONE


def parse_count(text: str) -> int:
    """Return how many boots ``text`` counts.

    What nobody writes is damage; it costs the count and no more, as with GRUB.
    """
    return COUNTS.index(text) if text in COUNTS else 0


def _version_or_none(text: str) -> Version | None:
    return parse_version(text) if text else None


def _strict_number(text: str) -> int:
    if not re.fullmatch("0|[1-9][0-9]{0,9}", text):
        raise ValueError(f"{text!r} is not a number")
    return int(text)


def is_whole(values: Mapping[str, str] | None) -> bool:
    """Whether GRUB takes a copy with these values for one that was written to its end."""
    if not values or not values.get("generation"):
        return False
    ends_alike = values["generation"] == values.get("generation_end") and values.get("seal") == _seal(values)
    return ends_alike and values.get("primary") in ("A", "B")


def _seal(values: Mapping[str, str]) -> str:
    return "/".join(values.get(name, "") for name in ("primary", "trial", "state_A", "state_B"))


def _checksum(values: Mapping[str, str]) -> str:
    covered = "".join(
        f"{name}={value}\n"
        for name, value in sorted(values.items())
        if name not in ("attempts", "unsettled", "checksum", "generation_end")
    )
    return hashlib.sha256(covered.encode()).hexdigest()[:16]


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
    """Return the newest state that can be believed, under the highest generation that GRUB sees.

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
        env = decode_older(files.older or b"")
    except BlockDamaged:
        return Reading(None, Origin.NONE, tuple(damage))
    return Reading(_as_high_as_any(env, files), Origin.OLDER, tuple(damage))


def _newest(believed: Mapping[Copy, BootEnv], files: EnvFiles, damage: tuple[str, ...]) -> Reading:
    copy = max(believed, key=lambda copy: _precedence(believed[copy]))
    env = believed[copy]
    origin = Origin.FIRST if copy is Copy.FIRST else Origin.SECOND
    if len({item.generation for item in believed.values()}) == 1 < len(believed):
        origin = Origin.BOTH
    # To the byte: GRUB reads a copy whose fill is damaged, but cannot save to it.
    in_step = all(
        _without_fill(files[copy]) == _without_fill(encode(env)) for copy in (Copy.FIRST, Copy.SECOND)
    )
    in_step = in_step and files.older == encode_older(env, files.older)
    return Reading(_as_high_as_any(env, files), origin, damage, in_step)


def _without_fill(block: bytes | None) -> bytes | None:
    return block and block.rstrip(b"#")


def _precedence(env: BootEnv) -> tuple[int, int, int]:
    """The later generation counts; of the same, what GRUB saved last: fewer attempts, more boots."""
    return env.generation, -env.trial.attempts if env.trial else 0, env.unsettled


def _as_high_as_any(env: BootEnv, files: EnvFiles) -> BootEnv:
    return replace(env, generation=max(env.generation, highest_generation(files)))


def highest_generation(files: EnvFiles) -> int:
    """Return the highest generation that GRUB sees, 0 where it sees none."""
    whole = [
        values for values in map(parse_block, (files.first, files.second)) if values and is_whole(values)
    ]
    seen = [parse_number(values["generation"]) for values in whole]
    # A number that no host can have counted up to is damage: not to be passed, or there would be none left.
    return max((number for number in seen if 0 < number <= GENERATION_MAX // 2), default=0)


def writing_order(files: EnvFiles) -> tuple[Copy, ...]:
    """Return the copies in the order in which they are to be rewritten.

    The one that is not in use comes first, so that a torn write leaves the state as it was; the older
    system's file comes last.
    """
    order = sorted((Copy.FIRST, Copy.SECOND), key=lambda copy: _believed_precedence(files[copy]))
    return *order, Copy.OLDER


def _believed_precedence(block: bytes | None) -> tuple[int, int, int]:
    try:
        return _precedence(decode(block or b""))
    except BlockDamaged:
        return -1, 0, 0
