"""The first state of a new disk."""

from collections.abc import Mapping
from dataclasses import replace

from abctl.core import evidence, jobs_file, marks, record, trust_state
from abctl.core.bootenv import BootEnv, EnvFiles, SlotSet, SlotState, encode, encode_older
from abctl.core.events import WriteBootEnv, WriteRecord
from abctl.core.record import Entry, Happened, Record
from abctl.core.slot import SlotName
from abctl.update.install import Installed
from abctl.update.operate import Ports
from abctl.update.perform import perform

_BLANK = BootEnv(SlotName.A, slot_sets={name: SlotSet(SlotState.EMPTY) for name in SlotName})


def blank_env_files() -> EnvFiles:
    """Return the boot environment of a disk whose slot sets are both empty."""
    return EnvFiles(encode(_BLANK), encode(_BLANK), encode_older(_BLANK, None))


def blank_config_files() -> Mapping[str, bytes]:
    """Return the files of the config volume of such a disk, by path."""
    return {
        record.PATH: record.empty_file(),
        trust_state.PATH: trust_state.FORM.blank(),
        evidence.PATH: evidence.empty_file(),
        marks.PATH: marks.empty_file(),
        jobs_file.PATH: jobs_file.FORM.blank(),
    }


def record_creation(ports: Ports, installed: Installed) -> None:
    """Make the slot set that was filled the primary of a new disk, and begin its record."""
    env = replace(_BLANK, primary=installed.target).with_slot_set(
        installed.target, SlotSet(SlotState.GOOD, installed.version)
    )
    entry = Entry(
        ports.now(),
        Happened.CREATED,
        installed.target,
        installed.version,
        installed.sha256,
        written=installed.written,
        took=installed.took,
    )
    first = replace(Record().with_entry(entry), serial=1)
    perform((WriteRecord(first), WriteBootEnv(env, every_copy=True)), ports.grub, ports.slots, ports.records)
