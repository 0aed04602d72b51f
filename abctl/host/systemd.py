"""What systemd says of the boot, by ``systemctl``; each answer is asked for once only."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from abctl.host.run import run

Run = Callable[..., str]
BOOT_TARGET = "boot-complete.target"
DEADLINE_TIMER, WATCHDOG = "abctl-deadline.timer", "abctl-watchdog.service"
_TIMEOUT = 15.0  # seconds; below the WatchdogSec of our service
_JOURNAL = ("journalctl", "-b", "-n", "60", "-o", "short-monotonic", "--no-pager", "-q")
_JOURNAL_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class ManagerState:
    """How systemd stands: ``state`` is starting, running, degraded, maintenance, stopping..."""

    state: str
    failed_units: int
    jobs: int

    @property
    def is_starting(self) -> bool:
        return self.state in ("", "initializing", "starting")


def parse_properties(text: str) -> dict[str, str]:
    """Return what ``systemctl show`` printed."""
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


def parse_manager(text: str) -> ManagerState:
    """Return what ``systemctl show`` printed of the manager; what is missing counts as none."""
    values = parse_properties(text)
    return ManagerState(
        values.get("SystemState", ""), _number(values.get("NFailedUnits")), _number(values.get("NJobs"))
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def parse_units(text: str) -> tuple[str, ...]:
    """Return the names in ``systemctl list-units --plain --no-legend``."""
    return tuple(line.split()[0] for line in text.splitlines() if line.strip())


def parse_jobs(text: str) -> tuple[str, ...]:
    """Return the units in ``systemctl list-jobs --no-legend``, those that are at it first."""
    jobs = [fields for line in text.splitlines() if len(fields := line.split()) >= 4]  # noqa: PLR2004
    return tuple(fields[1] for fields in sorted(jobs, key=lambda fields: fields[3] != "running"))


class Systemd:
    """The running systemd, as it is at one moment; raises ToolFailed."""

    def __init__(self, run: Run = run) -> None:
        self._run = run

    def _ask(self, *arguments: str) -> str:
        return self._run("systemctl", *arguments, timeout=_TIMEOUT)

    @cached_property
    def manager(self) -> ManagerState:
        return parse_manager(self._ask("show", "--property=SystemState,NFailedUnits,NJobs"))

    @cached_property
    def failed_units(self) -> tuple[str, ...]:
        return parse_units(
            self._ask("list-units", "--state=failed", "--all", "--full", "--plain", "--no-legend")
        )

    @cached_property
    def jobs(self) -> tuple[str, ...]:
        return parse_jobs(self._ask("list-jobs", "--full", "--no-legend"))

    @cached_property
    def lacks_boot_target(self) -> bool:
        """Whether somebody wants boot-complete.target, and it was not reached."""
        text = self._ask("show", "--property=ActiveState,RequiredBy,WantedBy", BOOT_TARGET)
        values = parse_properties(text)
        is_wanted = bool(values.get("RequiredBy") or values.get("WantedBy"))
        return is_wanted and values.get("ActiveState") != "active"


def stop_units(*units: str, run: Run = run) -> None:
    """Stop units; those that are not there or do not run are stopped already. Raise ToolFailed."""
    run("systemctl", "stop", *units, timeout=_TIMEOUT)


def read_journal_tail(run: Run = run) -> tuple[str, ...]:
    """Return the last lines of this boot's journal; raise ToolFailed."""
    return tuple(run(*_JOURNAL, timeout=_TIMEOUT)[-_JOURNAL_MAX:].splitlines())
