"""What ``abctl guest`` reports. Forms as in ``report``."""

from dataclasses import dataclass
from typing import Annotated

from abctl.cli.report import Note, Report, Size, StatusReport, Time
from abctl.core.guest_state import Phase
from abctl.core.slot import SlotName


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestReport(Report):
    """abctl guest status: how the guest stands."""

    name: str
    uuid: str
    cpus: Annotated[int, Note("that guest.toml gives it", minimum=1)]
    memory: Annotated[Size, Note("bytes that guest.toml gives it")]
    disk: str
    phase: Phase
    why: Annotated[str, Note("a sentence")]
    since: Annotated[
        Time | None, Note("when this start was; null where that is not known, or it does not run")
    ]
    watched: Annotated[bool, Note("whether the service abctl-guest, or another command, watches over it")]
    held: Annotated[str | None, Note("why the service keeps it stopped; null: it does not")]
    failed: Annotated[int, Note("starts in a row that came to nothing", minimum=0)]
    outdated: Annotated[bool, Note("it runs as an older guest.toml described it")]
    slot_set: Annotated[SlotName | None, Note("that its GRUB booted; null where that is not known")]
    version: str | None
    on_trial: bool
    said: Annotated[tuple[str, ...], Note("the last lines of its serial console, cleaned")]
    adopted: Annotated[
        bool | None, Note("whether its GRUB reads what abctl writes; null where its disk cannot be read")
    ]
    slots: Annotated[StatusReport | None, Note("its own slot sets; null where its disk cannot be read")]
    slots_problem: Annotated[str | None, Note("why its disk cannot be read")]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestDoneReport(Report):
    """abctl guest start, stop and upgrade: how the guest stands afterwards."""

    name: str
    phase: Phase
    sentence: str
    slot_set: SlotName | None
    version: str | None
    forced: Annotated[bool, Note("it had to be ended, for it did not power off in time")]
