"""What is remembered outside both slot sets: refused versions, and what happened when.

It stands on the config volume as two halves of a file of fixed size, so that a cut costs the last
entry and no more. GRUB never reads it, and a lost record never costs the host: what must not be lost is
in the boot environment.
"""

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from abctl.core.halves import Halves
from abctl.core.slot import SlotName
from abctl.core.units import KIB, TIME_END, Digest, Seconds, Version

FORM = Halves("abctl-record 1", 32 * KIB)
HALF_SIZE, FILE_SIZE = FORM.half_size, FORM.file_size
PATH = "abctl/record"  # on the config volume
REFUSALS_MAX = 32
TEXT_MAX = 200
_ENTRIES_MIN = 16  # of the history that are worth more than whole reasons of refusals


class Happened(StrEnum):
    """The kinds of entries."""

    CREATED = "created"
    INSTALLED = "installed"
    INSTALL_FAILED = "install_failed"
    CONFIRMED = "confirmed"
    FELL_BACK = "fell_back"
    CALLED_OFF = "called_off"
    ROLLED_BACK = "rolled_back"
    MARKED_BAD = "marked_bad"
    GAVE_WAY = "gave_way"
    STAYED_UP = "stayed_up"
    ALLOWED = "allowed"
    REBUILT = "rebuilt"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened; ``written`` in bytes and ``took`` in seconds where they apply."""

    at: Seconds
    what: Happened
    slot_set: SlotName | None = None
    version: Version | None = None
    sha256: Digest | None = None
    text: str = ""
    written: int | None = None
    took: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version that is not installed again until an admin allows it, and why."""

    at: Seconds
    version: Version
    sha256: Digest | None
    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """Refusals and entries, oldest first."""

    refusals: tuple[Refusal, ...] = ()
    entries: tuple[Entry, ...] = ()
    serial: int = 0

    def with_entry(self, entry: Entry) -> "Record":
        return replace(self, entries=(*self.entries, replace(entry, text=_clean(entry.text))))

    def with_refusal(self, refusal: Refusal) -> "Record":
        kept = self.without_refusal(refusal.version).refusals
        return replace(
            self, refusals=(*kept, replace(refusal, reason=_clean(refusal.reason)))[-REFUSALS_MAX:]
        )

    def without_refusal(self, version: Version) -> "Record":
        return replace(self, refusals=tuple(item for item in self.refusals if item.version != version))

    def find_refusal(self, version: Version | None, sha256: Digest | None) -> Refusal | None:
        """Return the refusal of this version, or of the release with this digest."""
        for item in reversed(self.refusals):
            if item.version == version or (sha256 and item.sha256 == sha256):
                return item
        return None

    def gave_way(self, version: Version | None) -> bool:
        """Return whether a slot set with this version gave way before, and no admin has allowed it since."""
        for entry in reversed(self.entries):
            if version and entry.version == version and entry.what in (Happened.GAVE_WAY, Happened.ALLOWED):
                return entry.what is Happened.GAVE_WAY
        return False

    def was_called_off(self, version: Version | None, text: str) -> bool:
        """Return whether a trial of ``version`` was called off with this text, and none allowed since."""
        for entry in reversed(self.entries):
            if version and entry.version == version:
                if entry.what is Happened.CALLED_OFF and entry.text == _clean(text):
                    return True
                if entry.what in (Happened.ALLOWED, Happened.CONFIRMED):
                    return False
        return False

    def last_digest(self, version: Version | None) -> Digest | None:
        """Return the digest under which ``version`` was last installed."""
        for entry in reversed(self.entries):
            if entry.what is Happened.INSTALLED and entry.version == version:
                return entry.sha256
        return None


def _clean(text: str) -> str:
    """Return ``text`` on one line, without control characters, and short."""
    return "".join(char if char.isprintable() else " " for char in text)[:TEXT_MAX]


_KINDS: dict[str, tuple[type, ...]] = {
    "at": (int,),
    "serial": (int,),
    "written": (int,),
    "took": (int, float),
}


def encode_half(record: Record) -> bytes:
    """Return the record as one half; what does not fit is dropped, of the oldest entries first.

    Where refusals leave no room for the newest entries, their reasons are cut short.
    """
    while (half := FORM.seal(_encode(record))) is None:
        record = _shorten(record)
    return half


def _encode(record: Record) -> bytes:
    values = {
        "serial": record.serial,
        "refusals": [asdict(item) for item in record.refusals],
        "entries": [_without_nothing(asdict(entry)) for entry in record.entries],
    }
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()


def _shorten(record: Record) -> Record:
    """Drop some of what matters least."""
    entries, refusals = record.entries, record.refusals
    if len(entries) > _ENTRIES_MIN or not any(item.reason for item in refusals):
        if entries:
            return replace(record, entries=entries[max(1, len(entries) // 8) :])
        return replace(record, refusals=refusals[1:])
    shorter = (replace(item, reason=item.reason[: len(item.reason) // 2]) for item in refusals)
    return replace(record, refusals=tuple(shorter))


def _without_nothing(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "")}


def decode_half(half: bytes) -> Record | None:
    """Return the record in ``half``, or None where it is empty, torn or damaged."""
    body = FORM.unseal(half)
    if body is None:
        return None
    try:
        values = json.loads(body)
        return Record(
            refusals=tuple(Refusal(**_checked(item)) for item in values["refusals"]),
            # A newer abctl may know more kinds of entries: the rest is worth keeping.
            entries=tuple(
                _parse_entry(_checked(item)) for item in values["entries"] if item["what"] in tuple(Happened)
            ),
            serial=_checked({"serial": values["serial"]})["serial"],
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _checked(values: Any) -> dict[str, Any]:
    """Return the fields of an entry or a refusal, or raise ValueError where one is of another type."""
    if not isinstance(values, dict):
        raise ValueError("not an object")
    for name, value in values.items():
        kinds = _KINDS.get(name, (str, type(None)))
        if type(value) not in kinds or (kinds == (int,) and not 0 <= value < TIME_END):
            raise ValueError(f"{name} cannot be {value!r}")
    return values


def _parse_entry(values: dict[str, Any]) -> Entry:
    slot_set = values.get("slot_set")
    return Entry(
        **{**values, "what": Happened(values["what"]), "slot_set": SlotName(slot_set) if slot_set else None}
    )


def decode(data: bytes) -> tuple[Record, bool]:
    """Return the newer whole half of the file, and whether there was one.

    Nothing whole means an empty record: it was never written, or is lost.
    """
    found = [record for half in FORM.split(data) if (record := decode_half(half)) is not None]
    return max(found, key=lambda record: record.serial, default=Record()), bool(found)


def place_for(record: Record) -> int:
    """Return the offset at which the record with this serial stands."""
    return FORM.place_for(record.serial)


def empty_file() -> bytes:
    """Return the file of a new disk."""
    return FORM.blank(encode_half(Record()))
