"""What grub/grub.cfg tells the kernel about this boot."""

from dataclasses import dataclass

from abctl.core.bootstate import MAX_ATTEMPTS, Why
from abctl.core.slot import SlotName


@dataclass(frozen=True, slots=True)
class GrubsWord:
    """Which slot set GRUB booted and why; None where the command line does not say it.

    ``generation`` is that of the copy GRUB took, 0 where it found none whole; ``attempts`` are those left
    to the trial that was booted.
    """

    slot_set: SlotName | None = None
    why: Why | None = None
    passed_over: SlotName | None = None
    generation: int | None = None
    attempts: int | None = None


def parse_command_line(text: str) -> GrubsWord:
    """Return what GRUB said in a kernel command line; what it cannot have said counts as not said."""
    words = dict(word.partition("=")[::2] for word in text.split())
    why = words.get("abctl.why")
    generation, attempts = words.get("abctl.generation"), words.get("abctl.attempts")
    return GrubsWord(
        slot_set=_slot_set(words.get("dfinity.system")),
        why=Why(why) if why in tuple(Why) else None,
        passed_over=_slot_set(words.get("abctl.passed_over")),
        generation=int(generation or 0) if generation is not None and _is_number(generation) else None,
        attempts=int(attempts) if attempts in _ATTEMPTS else None,
    )


_ATTEMPTS = tuple(str(number) for number in range(MAX_ATTEMPTS))


def _slot_set(text: str | None) -> SlotName | None:
    return SlotName(text) if text in tuple(SlotName) else None


def _is_number(text: str) -> bool:
    return not text.strip("0123456789")
