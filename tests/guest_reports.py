"""Reports on the guest, for what checks the published forms."""

from collections.abc import Iterator

from abctl.cli.report import Report, StatusReport
from abctl.cli.report_guest import GuestDoneReport, GuestReport
from abctl.core.guest_state import Phase
from abctl.core.slot import SlotName
from abctl.core.units import GIB


def list_guest_reports(slots: StatusReport) -> Iterator[tuple[str, Report]]:
    """Yield each kind of report on the guest, with its name."""
    for known in (slots, None):
        yield (
            "guest-status",
            GuestReport(
                name="guestos",
                uuid="fd897da5-8017-41c8-8575-a706dba30766",
                cpus=64,
                memory=486 * GIB,
                disk="/dev/hostlvm/guestos",
                phase=Phase.READY,
                why="it said that it is healthy",
                since="2026-11-22T20:11:05Z",
                watched=True,
                held="an admin stopped it" if known else None,
                failed=0,
                outdated=False,
                slot_set=SlotName.B if known else None,
                version="2.0.0" if known else None,
                on_trial=bool(known),
                said=("GUESTOS BOOT SUCCESS",),
                adopted=bool(known) or None,
                slots=known,
                slots_problem=None if known else "it has no partition table",
            ),
        )
    yield (
        "guest-done",
        GuestDoneReport(
            name="guestos",
            phase=Phase.READY,
            sentence="it runs",
            slot_set=SlotName.A,
            version="1.0.0",
            forced=False,
        ),
    )
