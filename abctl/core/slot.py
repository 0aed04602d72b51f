"""Slots, slot sets and their parts."""

from dataclasses import dataclass
from enum import StrEnum


class SlotName(StrEnum):
    """One of the two slot sets."""

    A = "A"
    B = "B"

    @property
    def other(self) -> "SlotName":
        return SlotName.B if self is SlotName.A else SlotName.A


class Part(StrEnum):
    """What a slot is for."""

    BOOT = "boot"
    ROOT = "root"
    VAR = "var"


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """One updatable volume, for example A_root."""

    slot_set: SlotName
    part: Part

    @property
    def name(self) -> str:
        return f"{self.slot_set}_{self.part}"

    def __str__(self) -> str:
        return self.name


ALL_SLOTS = tuple(Slot(slot_set, part) for slot_set in SlotName for part in Part)
