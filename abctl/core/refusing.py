"""Which versions a host does not take again, and who remembers it."""

from dataclasses import replace

from abctl.core.bootstate import SlotSet, SlotState
from abctl.core.events import Effect, Host, WriteRecord
from abctl.core.record import Record, Refusal
from abctl.core.slot import SlotName
from abctl.core.units import Digest, Seconds, Version


def find_refusal(host: Host, version: Version | None, sha256: Digest | None) -> str | None:
    """Return why this release is refused, or None.

    A bad slot set refuses its own version too, so that a lost record does not let it in again.
    """
    refusal = host.record.find_refusal(version, sha256)
    if refusal:
        return refusal.reason
    for name in SlotName:
        if version and host.env[name] == SlotSet(SlotState.BAD, version):
            return f"slot set {name} holds it and is bad"
    return None


def refuse(host: Host, at: Seconds, slot_set: SlotName, reason: str) -> Record:
    """Return the record with the version in ``slot_set`` refused, where it is known."""
    version = host.env[slot_set].version
    if version is None:
        return host.record
    return host.record.with_refusal(Refusal(at, version, host.record.last_digest(version), reason))


def remember_bad(host: Host, target: SlotName, at: Seconds) -> tuple[Record, tuple[Effect, ...]]:
    """Keep in the record that the version in ``target`` is bad, where only its state says so until now.

    Otherwise a host whose record was lost would take two bad releases in turn, for ever.
    """
    version = host.env[target].version
    if host.env[target].state is not SlotState.BAD or host.record.find_refusal(version, None):
        return host.record, ()
    record = refuse(host, at, target, f"slot set {target} held it and was bad")
    if record == host.record:
        return record, ()
    record = replace(record, serial=record.serial + 1)
    return record, (WriteRecord(record, must_stand=True),)
