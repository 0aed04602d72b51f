"""Make metrics out of what other commands report. Nothing here looks at a host.

Every family has few series, whatever happens on a host: of what has no bound, as checks, some are left out.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from abctl.cli.report import SlotSetReport, SlotSetRole, StatusReport, Verdict
from abctl.core.bootenv import SlotState
from abctl.core.exposition import Family, Sample
from abctl.core.guest_state import GuestState, Phase
from abctl.core.health import CheckResult
from abctl.core.health import Verdict as Checked
from abctl.core.health_state import HealthState, Stand
from abctl.core.record import Entry, Happened, Record
from abctl.core.slot import SlotName

CHECKS_MAX = 64
_FALLBACKS = (Happened.FELL_BACK, Happened.GAVE_WAY, Happened.STAYED_UP)
_UPGRADES = (
    *(Happened.INSTALLED, Happened.INSTALL_FAILED, Happened.CONFIRMED, Happened.CALLED_OFF),
    *(Happened.ROLLED_BACK, *_FALLBACKS),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a host; ``status`` is None where that could not be looked at.

    ``health``, ``guest`` and ``drift`` are None where nothing of the kind is there, or has left a word.
    """

    program: str
    status: StatusReport | None
    record: Record = field(default_factory=Record)
    health: HealthState | None = None
    guest: GuestState | None = None
    drift: bool | None = None


def make_families(facts: Facts) -> tuple[Family, ...]:
    """Return all metrics; a family without a sample is there too, so that it is known which there are."""
    return (
        _info("abctl_build_info", "the version of abctl", {"version": facts.program}),
        _gauge("abctl_up", "1 where the state of the slot sets could be read", facts.status is not None),
        *_tell_status(facts.status),
        *_tell_record(facts.record),
        *_tell_health(facts.health),
        *_tell_guest(facts.guest),
        _gauge("abctl_firewall_drift", "1 where the firewall is not as it should be", facts.drift),
    )


# --- forms ------------------------------------------------------------------------------------------


def _gauge(name: str, text: str, value: float | None) -> Family:
    return Family(name, text, () if value is None else (Sample(float(value)),))


def _info(name: str, text: str, labels: Mapping[str, str]) -> Family:
    return Family(name, text, (Sample(1, labels),))


def _states(name: str, text: str, label: str, kinds: Iterable[StrEnum], value: StrEnum | None) -> Family:
    """Return a family with a sample for each state, 1 for the one that holds."""
    samples = () if value is None else tuple(Sample(kind is value, {label: kind.value}) for kind in kinds)
    return Family(name, text, samples)


# --- slot sets --------------------------------------------------------------------------------------


def _tell_status(status: StatusReport | None) -> Iterator[Family]:
    yield _states(
        "abctl_verdict",
        "1 for how the host is: ok, on trial, in want of attention, or degraded",
        "verdict",
        Verdict,
        status.verdict if status else None,
    )
    yield from _tell_slot_sets(status.slot_sets if status else {})
    trial = status.trial if status else None
    yield Family(
        "abctl_trial_attempts_left",
        "boots left to the slot set on trial; absent where none is",
        (Sample(trial.attempts_left, {"slot_set": trial.slot_set}),) if trial else (),
    )
    following = status.next_boot.slot_set if status else None
    yield _states(
        "abctl_next_boot", "1 for the slot set that the next power-on boots", "slot_set", SlotName, following
    )
    env = status.boot_env if status else None
    yield _gauge(
        "abctl_boot_env_in_step",
        "1 where all copies of the boot environment say the same",
        env.in_step if env else None,
    )
    yield _gauge(
        "abctl_boot_env_unsettled_boots",
        "boots since the primary last came up; absent where GRUB does not count them",
        env.unsettled if env else None,
    )
    yield _gauge(
        "abctl_refused_versions",
        "versions that this host does not install again",
        len(status.refused) if status else None,
    )
    yield _gauge(
        "abctl_warnings",
        "warnings and damages that abctl status names",
        len(status.warnings) + len(status.damage) if status else None,
    )


def _tell_slot_sets(sets: Mapping[SlotName, SlotSetReport]) -> Iterator[Family]:
    yield Family(
        "abctl_slot_set_info",
        "which version each slot set holds",
        tuple(Sample(1, {"slot_set": name, "version": found.version or ""}) for name, found in sets.items()),
    )
    yield Family(
        "abctl_slot_set_state",
        "1 for the state of each slot set",
        tuple(
            Sample(found.state is state, {"slot_set": name, "state": state})
            for name, found in sets.items()
            for state in SlotState
        ),
    )
    yield Family(
        "abctl_slot_set_role",
        "1 for what each slot set is: booted, the primary, on trial",
        tuple(
            Sample(role in found.roles, {"slot_set": name, "role": role})
            for name, found in sets.items()
            for role in SlotSetRole
        ),
    )


# --- the past ---------------------------------------------------------------------------------------


def _tell_record(record: Record) -> Iterator[Family]:
    fallback = _find_last(record, _FALLBACKS)
    yield Family(
        "abctl_last_upgrade_timestamp_seconds",
        "when something last became of an upgrade, and what",
        _at(_find_last(record, _UPGRADES), lambda entry: {"outcome": entry.what}),
    )
    yield Family(
        "abctl_last_fallback_timestamp_seconds",
        "when this host last fell back, from what and why; absent where it never did",
        _at(fallback, lambda entry: {"outcome": entry.what, "reason": entry.text}),
    )
    installed = _find_last(record, (Happened.INSTALLED,))
    yield Family(
        "abctl_last_install_timestamp_seconds",
        "when a release was last written into a slot set",
        _at(installed, lambda _: {}),
    )
    yield _gauge(
        "abctl_last_install_written_bytes",
        "what that wrote to the disk",
        installed.written if installed else None,
    )
    yield _gauge(
        "abctl_last_install_duration_seconds",
        "how long that took",
        round(installed.took, 3) if installed and installed.took is not None else None,
    )


def _find_last(record: Record, kinds: Collection[Happened]) -> Entry | None:
    return next((entry for entry in reversed(record.entries) if entry.what in kinds), None)


def _at(entry: Entry | None, more: Callable[[Entry], Mapping[str, str]]) -> tuple[Sample, ...]:
    if entry is None:
        return ()
    labels = {"slot_set": entry.slot_set or "", "version": entry.version or ""}
    return (Sample(entry.at, {**labels, **more(entry)}),)


# --- this boot --------------------------------------------------------------------------------------


def _tell_health(health: HealthState | None) -> Iterator[Family]:
    yield _gauge(
        "abctl_health_timestamp_seconds",
        "when the health checks last ran in this boot",
        health.at if health else None,
    )
    yield _states(
        "abctl_health_stand",
        "1 for where the health service stands",
        "stand",
        Stand,
        health.stand if health else None,
    )
    checks = _distinct(health.results if health else ())
    yield Family(
        "abctl_health_check_passed",
        "1 where a health check passed, 0 where it failed or warned",
        tuple(Sample(check.verdict is Checked.PASSED, _name(check)) for check in checks[:CHECKS_MAX]),
    )
    yield Family(
        "abctl_health_check_duration_seconds",
        "how long a health check took",
        tuple(Sample(round(check.took, 3), _name(check)) for check in checks[:CHECKS_MAX]),
    )
    yield _gauge(
        "abctl_health_checks_left_out",
        f"health checks beyond the first {CHECKS_MAX}, of which nothing is told",
        max(0, len(checks) - CHECKS_MAX) if health else None,
    )


def _distinct(results: Sequence[CheckResult]) -> list[CheckResult]:
    """Return one result for each name: of two checks with the same one, that which did not pass."""
    found: dict[tuple[str, bool], CheckResult] = {}
    for check in results:
        key = (check.name, check.required)
        if key not in found or found[key].verdict is Checked.PASSED:
            found[key] = check
    return list(found.values())


def _name(check: CheckResult) -> dict[str, str]:
    return {"check": check.name, "required": "true" if check.required else "false"}


def _tell_guest(guest: GuestState | None) -> Iterator[Family]:
    yield _states(
        "abctl_guest_phase", "1 for where the guest stands", "phase", Phase, guest.phase if guest else None
    )
    yield _gauge(
        "abctl_guest_timestamp_seconds",
        "when somebody last looked after the guest",
        guest.at if guest else None,
    )
    yield _gauge(
        "abctl_guest_failed_starts",
        "starts of the guest in a row that came to nothing",
        guest.failed if guest else None,
    )
    labels = {"slot_set": guest.slot_set or "", "version": guest.version or ""} if guest else {}
    yield Family(
        "abctl_guest_info",
        "which slot set and version of its own the guest runs",
        (Sample(1, labels),) if guest else (),
    )
