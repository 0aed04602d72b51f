"""How abctl's own units and mounts stand, by ``systemctl show``."""

from collections.abc import Iterator

from abctl.core.doctor_disk import UnitState
from abctl.host.run import run
from abctl.host.systemd import Run, parse_properties

UNITS = (
    "abctl-settle.service",
    "abctl-health.service",
    "abctl-failed.service",
    "abctl-deadline.timer",
    "abctl-watchdog.service",
)
MOUNTS = ("boot.mount", "boot-grub.mount", "boot-config.mount", "var.mount")
_TIMEOUT = 15.0  # seconds


def read_unit_states(*names: str, run: Run = run) -> tuple[UnitState, ...]:
    """Return the state of each unit; raise ToolFailed."""
    properties = "--property=Id,LoadState,ActiveState,UnitFileState"
    text = run("systemctl", "show", properties, *names, timeout=_TIMEOUT)
    return tuple(parse_unit_states(text))


def parse_unit_states(text: str) -> Iterator[UnitState]:
    """Yield the units that ``systemctl show`` printed: a paragraph for each."""
    for part in text.split("\n\n"):
        values = parse_properties(part)
        if "Id" in values:
            yield UnitState(
                *(values.get(name, "") for name in ("Id", "LoadState", "ActiveState", "UnitFileState"))
            )
