"""Perform what ``core.machine`` decided. Nothing here decides."""

import logging
from collections.abc import Iterable
from typing import assert_never

from abctl.core.bootenv import BootEnv, Copy, encode, encode_older, read_boot_env, writing_order
from abctl.core.machine import Effect, InvalidateSlotSet, WriteBootEnv, WriteRecord
from abctl.core.record import Record
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import MIB
from abctl.errors import AbctlError, StateUnwritable, WriteFailed
from abctl.ports import GrubPartition, RecordStore, Slots

log = logging.getLogger(__name__)

HEAD_SIZE = MIB  # holds the superblock of every file system that GRUB reads


def perform(effects: Iterable[Effect], grub: GrubPartition, slots: Slots, records: RecordStore) -> None:
    """Perform ``effects`` in order; the first that fails stops the rest."""
    for effect in effects:
        match effect:
            case WriteBootEnv(env, every_copy):
                write_boot_env(grub, env, every_copy=every_copy)
            case InvalidateSlotSet(slot_set):
                invalidate(slots, slot_set)
            case WriteRecord(record):
                _write_record(records, record)
            case _:
                assert_never(effect)


def write_boot_env(grub: GrubPartition, env: BootEnv, *, every_copy: bool) -> None:
    """Rewrite the copies, the one that is not in use first; raise StateUnwritable.

    The first whole new copy commits the state. The older system's file follows only where it exists.
    """
    block = encode(env)
    written, failures = 0, []
    files = grub.read()
    for copy in writing_order(files):
        if copy is Copy.OLDER and files.older is None:
            continue
        try:
            grub.overwrite(copy, encode_older(env) if copy is Copy.OLDER else block)
            written += copy is not Copy.OLDER
        except WriteFailed as error:
            failures.append(f"{copy}: {error}")
    if not written or (every_copy and failures):
        raise StateUnwritable(
            f"the boot environment cannot be written ({'; '.join(failures)}): check the grub partition"
        )
    for failure in failures:
        log.warning("one copy of the boot environment could not be written: %s", failure)


def mend_boot_env(grub: GrubPartition) -> None:
    """Rewrite the copies where they are not the same, so that losing one changes nothing."""
    reading = read_boot_env(grub.read())
    if reading.env and not reading.in_step:
        write_boot_env(grub, reading.env, every_copy=False)


def invalidate(slots: Slots, slot_set: SlotName) -> None:
    """Zero the head of Boot and Root: no GRUB finds a kernel there, whatever a boot environment says."""
    for part in (Part.BOOT, Part.ROOT):
        with slots.open_for_writing(Slot(slot_set, part)) as volume:
            volume.write_zeros(0, min(HEAD_SIZE, volume.size))
            volume.flush()


def _write_record(records: RecordStore, record: Record) -> None:
    try:
        records.write(record)
    except AbctlError as error:
        # The state of the host stands in the boot environment; a full or broken config volume must not stop it.
        log.warning("the record could not be written: %s", error)
