"""Perform what ``core.machine`` decided. Nothing here decides."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from abctl.core.bootenv import (
    BootEnv,
    Copy,
    encode,
    encode_older,
    highest_generation,
    writing_order,
)
from abctl.core.machine import Effect, InvalidateSlotSet, WriteBootEnv, WriteRecord
from abctl.core.record import Record
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import KIB, MIB
from abctl.errors import AbctlError, StateUnwritable, WriteFailed
from abctl.ports import GrubPartition, RecordStore, Slots

log = logging.getLogger(__name__)

HEAD_SIZE = MIB  # holds the superblock of every file system that GRUB reads
FIRST_BLOCK = 4 * KIB  # holds that of FAT, ext and XFS; short enough to be gone or not


def perform(effects: Iterable[Effect], grub: GrubPartition, slots: Slots, records: RecordStore) -> None:
    """Perform ``effects`` in order; the first that fails stops the rest."""
    for effect in effects:
        match effect:
            case WriteBootEnv(env, every_copy):
                write_boot_env(grub, env, every_copy=every_copy)
            case InvalidateSlotSet(slot_set):
                invalidate(slots, slot_set)
            case WriteRecord(record, must_stand):
                _write_record(records, record, must_stand=must_stand)
            case _:
                assert_never(effect)


def write_boot_env(grub: GrubPartition, env: BootEnv, *, every_copy: bool) -> None:
    """Rewrite the copies, the one that is not in use first; raise StateUnwritable.

    The first whole new copy commits the state, under a generation above all that stand there; the older
    system's file follows. With ``every_copy`` the first copy that cannot be written ends it.
    """
    files = grub.read()
    env = replace(env, generation=max(env.generation, highest_generation(files) + 1))
    committed, failures = False, []
    for copy in writing_order(files):
        # The older system's file follows a state that stands, and never goes ahead of it.
        if copy is Copy.OLDER and not committed:
            break
        try:
            grub.overwrite(copy, encode_older(env, files.older) if copy is Copy.OLDER else encode(env))
            committed = True
        except WriteFailed as error:
            failures.append(f"{copy}: {error}")
            if every_copy:
                break
    if failures and (every_copy or not committed):
        raise StateUnwritable(
            f"the boot environment cannot be written ({'; '.join(failures)}): check the grub partition"
        )
    for failure in failures:
        log.warning("one copy of the boot environment could not be written: %s", failure)


def invalidate(slots: Slots, slot_set: SlotName) -> None:
    """Zero the head of Boot and Root: no GRUB finds a kernel there, whatever a boot environment says."""
    for part in (Part.BOOT, Part.ROOT):
        with slots.open_for_writing(Slot(slot_set, part)) as volume:
            size = min(HEAD_SIZE, volume.size)
            first = min(FIRST_BLOCK, size)
            # The superblock by itself: half a head that still had one would look whole to GRUB.
            volume.write_zeros(0, first)
            volume.flush()
            volume.write_zeros(first, size - first)
            volume.flush()


def _write_record(records: RecordStore, record: Record, *, must_stand: bool) -> None:
    try:
        records.write(record)
    except AbctlError as error:
        if must_stand:
            bad = record.refusals[-1].version
            raise WriteFailed(
                f"that {bad} is refused cannot be recorded, and would be forgotten: {error}; mend the config "
                f"volume, or say 'abctl allow {bad}'"
            ) from error
        # What must not be lost stands in the boot environment: a full config volume must not stop it.
        log.warning("the record could not be written: %s", error)
