"""What outlasts a slot set, as files of the config volume: the record, the trust state, and the evidence."""

from dataclasses import replace

from abctl.core import evidence as evidences
from abctl.core import record as records
from abctl.core import trust_state as trusts
from abctl.core.evidence import Evidence
from abctl.core.record import Record
from abctl.core.trust_state import TrustState
from abctl.ports import ConfigFile


class ConfigRecord:
    """The record; implements ports.RecordStore."""

    def __init__(self, file: ConfigFile) -> None:
        self._file = file

    def read(self) -> Record:
        return records.decode(self._file.read())[0]

    def write(self, record: Record) -> None:
        self._file.overwrite(records.place_for(record), records.encode_half(record))


class ConfigTrust:
    """The trust state; implements ports.TrustStore."""

    def __init__(self, file: ConfigFile) -> None:
        self._file = file

    def read(self) -> TrustState:
        return trusts.decode(self._file.read())

    def write(self, state: TrustState) -> None:
        state = replace(state, serial=state.serial + 1)
        self._file.overwrite(trusts.FORM.place_for(state.serial), trusts.encode_half(state))


class ConfigEvidence:
    """What is kept of the last trials; implements ports.EvidenceStore."""

    def __init__(self, file: ConfigFile) -> None:
        self._file = file

    def read(self) -> Evidence:
        return evidences.decode(self._file.read())

    def write(self, evidence: Evidence) -> None:
        self._file.overwrite(evidences.place_for(evidence), evidences.encode_half(evidence))
