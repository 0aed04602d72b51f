"""What GRUB does with the boot environment at a power-on: grub/state.cfg and grub/select.cfg, in Python.

The tests hold the two together, in the real GRUB.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from abctl.core.bootenv import COUNTS, BlockDamaged, decode_older, is_whole, parse_count
from abctl.core.bootstate import UNSETTLED_MAX, Copy, EnvFiles, Origin, SlotState, Why
from abctl.core.envblock import parse_block, parse_number, save_value
from abctl.core.slot import SlotName

COPIES_OF = {
    Origin.FIRST: (Copy.FIRST,),
    Origin.SECOND: (Copy.SECOND,),
    Origin.BOTH: (Copy.FIRST, Copy.SECOND),
    Origin.OLDER: (Copy.OLDER,),
    Origin.NONE: (),
}


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


def next_boot(files: EnvFiles, *, unwritable: Collection[Copy] = ()) -> NextBoot:
    """Return what grub/state.cfg and grub/select.cfg do with ``files``; tests hold the two together.

    ``unwritable`` are the copies that GRUB cannot write.
    """
    origin, values = choose_copy(files)
    slot_set, attempts = _slot_set(values["primary"]), values.get("attempts", "")
    why = Why.LOST if origin is Origin.NONE else Why.PRIMARY
    if values.get("trial") in tuple(SlotName):
        left = {"3": "2", "2": "1", "1": "0"}.get(attempts)
        if left is None:
            why = Why.FALLBACK
        else:
            attempts = left
            name, value = ("boot_cycle", "failsafe_check") if origin is Origin.OLDER else ("attempts", left)
            files, saved = save_in_copies(files, origin, name, value, unwritable)
            why = Why.TRIAL if saved else Why.UNSAVED
            slot_set = _slot_set(values["trial"]) if saved else slot_set
    if why in (Why.PRIMARY, Why.FALLBACK) and (count := count_boot(values, slot_set)):
        files, saved = save_in_copies(files, origin, "unsettled", count, unwritable)
        if saved and parse_number(count) > parse_number(COUNTS[UNSETTLED_MAX]):
            why, slot_set = Why.UNSETTLED, slot_set.other
    second = None if values.get(f"state_{slot_set.other}") == SlotState.EMPTY else slot_set.other
    return NextBoot(slot_set, second, why, attempts, origin, files)


def count_boot(values: Mapping[str, str], primary: SlotName) -> str:
    """Return the count that GRUB saves before it boots the primary, or nothing where it counts none."""
    before = values.get("unsettled", "")
    if not before or values.get(f"state_{primary.other}") == SlotState.EMPTY:
        return ""
    # After the turn of the other slot set the primary has its next one.
    return COUNTS[parse_count(before) % (2 * UNSETTLED_MAX) + 1]


def save_in_copies(
    files: EnvFiles, origin: Origin, name: str, value: str, unwritable: Collection[Copy] = ()
) -> tuple[EnvFiles, bool]:
    """Return ``files`` after GRUB's ``save_env``, and whether a copy took the value and gives it back."""
    saved = False
    for copy in COPIES_OF[origin]:
        block = None if copy in unwritable else save_value(files[copy], name, value)
        if block is not None:
            files = files.with_copy(copy, block)
            saved = saved or (parse_block(block) or {}).get(name) == value
    return files, saved


def answer(files: EnvFiles) -> EnvFiles:
    """Return ``files`` after the primary came up, as far as GRUB's count is concerned."""
    for copy in (Copy.FIRST, Copy.SECOND):
        if "unsettled" in (parse_block(files[copy]) or {}):
            files = files.with_copy(copy, save_value(files[copy], "unsettled", COUNTS[0]) or files[copy])
    return files


def choose_copy(files: EnvFiles) -> tuple[Origin, Mapping[str, str]]:
    """Return the copy that GRUB takes and its values; ``primary`` is always among them."""
    first, second = (
        values if is_whole(values) else None for values in map(parse_block, (files.first, files.second))
    )
    if first and second:
        ahead = parse_number(second["generation"]) - parse_number(first["generation"])
        if ahead:
            return (Origin.SECOND, second) if ahead > 0 else (Origin.FIRST, first)
        # The same state twice: the lower count is the one that was spent.
        fewest = min(second.get("attempts", ""), first.get("attempts", ""), key=parse_number)
        most = max(second.get("unsettled", ""), first.get("unsettled", ""), key=parse_number)
        return Origin.BOTH, {**second, "attempts": fewest, "unsettled": most}
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


def _slot_set(text: str) -> SlotName:
    return SlotName.B if text == "B" else SlotName.A
