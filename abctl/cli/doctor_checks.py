"""What the doctor checks: one line in ``CHECKS`` for each, from a patient to a finding. They only look."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from abctl.cli.concerns import SET_CLOCK
from abctl.cli.doctor_patient import Patient
from abctl.cli.doctor_repairs import (
    repair_boot_env,
    repair_copies,
    repair_kept,
    repair_scripts,
    repair_settings,
    repair_volumes,
)
from abctl.cli.doctor_volumes import (
    look_at_kept,
    look_at_partitions,
    look_at_room,
    look_at_settings,
    look_at_snapshots,
    look_at_space,
    look_at_volumes,
)
from abctl.cli.report import Verdict as StatusVerdict
from abctl.cli.verdict import advise_kernels
from abctl.core.bootenv import EnvFiles
from abctl.core.clock import judge_clock, say_time
from abctl.core.doctor import (
    Finding,
    Verdict,
    judge_boot_env,
    judge_grub_wrote,
    judge_kernels,
    judge_places,
    judge_scripts,
    judge_versions,
    ok,
)
from abctl.core.doctor_disk import (
    judge_lock,
    judge_own_units,
    judge_watchdogs,
)
from abctl.core.grub import next_boot
from abctl.core.health import CheckResult
from abctl.core.health import Verdict as HealthVerdict
from abctl.core.layout import Role
from abctl.core.signed_dates import read_dates, say_expired
from abctl.core.slot import SlotName
from abctl.core.slots_cfg import make_slots_cfg
from abctl.core.trust_state import TrustState
from abctl.errors import AbctlError, DiskUnusable, ToolFailed
from abctl.host.checks import check_units, check_var
from abctl.host.config import HostConfig


class Where(StrEnum):
    """Where a check can be made."""

    ANYWHERE = "anywhere"
    HOST = "host"  # on the running host only


@dataclass(frozen=True, slots=True)
class Check:
    """One check. ``repair`` does what is safe, and returns what it did.

    ``alone`` says that it can be made where the disk cannot be opened as a host's.
    """

    name: str
    look: Callable[[Patient], Finding]
    repair: Callable[[Patient], str] | None = None
    where: Where = Where.ANYWHERE
    alone: bool = False


def look_at_state(patient: Patient) -> Finding:
    """What ``abctl status`` says."""
    status = patient.status
    verdict = {
        StatusVerdict.ATTENTION: Verdict.WARNING,
        StatusVerdict.DEGRADED: Verdict.FAULT,
    }.get(status.verdict, Verdict.OK)
    asking = patient.prompt.command("doctor")  # which is being answered
    command = next((item.command for item in status.advice if item.command not in (None, asking)), None)
    return Finding(verdict, status.headline, None if verdict is Verdict.OK else command)


def look_at_boot_env(patient: Patient) -> Finding:
    return judge_boot_env(patient.observed.reading, patient.prompt, adopted=patient.is_adopted)


def look_at_grubs_word(patient: Patient) -> Finding:
    return judge_grub_wrote(
        patient.machine.ports.running, patient.observed.reading, patient.files, patient.prompt
    )


def look_at_grub_partition(patient: Patient) -> Finding:
    from abctl.host.create import make_grub_files  # noqa: PLC0415
    from abctl.host.files import find_file  # noqa: PLC0415

    layout = patient.machine.layout
    home = layout.find_role(Role.GRUB)
    assert home is not None
    paths = [*make_grub_files(layout, EnvFiles()), "env1/grubenv", "env2/grubenv", "grubenv"]
    try:
        with patient.open_grub_partition() as volume:
            places = {path: find_file(volume, home.filesystem, path) for path in paths}
    except DiskUnusable as error:
        command = patient.prompt.on_host(f"fsck.vfat /dev/disk/by-partlabel/{home.name}")
        return Finding(Verdict.FAULT, str(error), command)
    return judge_places(places, patient.prompt)


def look_at_scripts(patient: Patient) -> Finding:
    from abctl.host.create import make_grub_files  # noqa: PLC0415

    files = patient.machine.grub_files()
    wanted = make_grub_files(patient.machine.layout, EnvFiles())
    found = {path: files.read(path) for path in wanted}
    differing = [path for path, content in found.items() if content not in (None, wanted[path])]
    return judge_scripts(
        [path for path, content in found.items() if content is None],
        differing,
        adopted=patient.is_adopted,
        sound=_decide_alike(patient, {path: content or b"" for path, content in found.items()})
        if differing
        else True,
        prompt=patient.prompt,
    )


def _decide_alike(patient: Patient, scripts: dict[str, bytes]) -> bool | None:
    """Whether GRUB decides with these scripts as abctl expects it; None where there is no grub-emu."""
    from abctl.host.grub_emu import GrubEmu, is_there  # noqa: PLC0415

    if not is_there():
        return None
    if b"select.cfg" not in scripts["grub.cfg"]:
        return False
    expected = next_boot(patient.files)
    with tempfile.TemporaryDirectory(prefix="abctl-") as folder:
        for path, content in scripts.items():
            (Path(folder) / path).write_bytes(content)
        try:
            with GrubEmu(make_slots_cfg(patient.machine.layout), Path(folder)) as grub:
                boot = grub.power_on(patient.files)
        except ToolFailed:
            return False
    return (boot.chosen, boot.why, boot.files) == (expected.slot_set, expected.why, expected.files)


def look_at_kernels(patient: Patient) -> Finding:
    from abctl.host.grub_emu import is_there  # noqa: PLC0415
    from abctl.host.grub_reads import read_kernels  # noqa: PLC0415

    env = patient.observed.host.env
    advice = advise_kernels(patient.scene)
    command = advice.command if advice else patient.prompt.command("upgrade")
    if not is_there():
        kernels = {name: patient.machine.has_kernel(name) for name in SlotName}
        return judge_kernels(env, kernels, by_grub=False, command=command)
    home = patient.disk.layout.find_role(Role.GRUB)
    found = patient.disk.table.find(home.name) if home else None
    assert found is not None
    return judge_kernels(env, read_kernels(patient.path, found.number), by_grub=True, command=command)


def look_at_versions(patient: Patient) -> Finding:
    versions = {name: item.version for name, item in patient.contents.items()}
    return judge_versions(patient.observed.host.env, versions, patient.prompt)


# --- time and trust ---------------------------------------------------------------------------------


def look_at_clock(patient: Patient) -> Finding:
    now = patient.machine.ports.now()
    wrong = judge_clock(now, patient.dates.signed)
    if wrong:
        return Finding(Verdict.FAULT, wrong, SET_CLOCK)
    return ok(f"it says {say_time(now)}, and nothing that was signed says otherwise")


def look_at_repository(patient: Patient) -> Finding:
    """Is there a root of trust, and is what is known of the repository recent enough to be believed?"""
    config, dates = patient.config, patient.dates
    if config and config.config.repository.mirrors:
        if (lacking := _find_lacking_root(config)) is not None:
            return Finding(Verdict.FAULT, lacking)
    elif not dates.expires:
        return ok("no signed repository is configured, and none was ever asked")
    now = patient.machine.ports.now()
    expired = say_expired(dates, now)
    if expired:
        verdict = Verdict.FAULT if "root" in dates.expired(now) else Verdict.WARNING
        return Finding(verdict, expired, patient.prompt.command("check"))
    if "timestamp" not in dates.expires:
        return ok("a root of trust is there; the repository was not asked yet")
    first = min(dates.expires, key=lambda role: dates.expires[role])
    return ok(
        f"the root of trust and all that is known hold until {say_time(dates.expires[first])} ({first})"
    )


def _find_lacking_root(config: HostConfig) -> str | None:
    """Return why nobody's signatures count, or None where there is root metadata."""
    try:
        pinned = config.read_root().decode("utf-8", "replace")
    except AbctlError as error:
        return str(error)
    if "root" in read_dates(TrustState(), pinned).expires:
        return None
    name = config.folder / config.config.repository.root
    return f"{name} is not root metadata: put the repository's there"


def look_at_config(patient: Patient) -> Finding:
    try:
        config = patient.config
    except AbctlError as error:
        return Finding(Verdict.FAULT, str(error))
    if config is None:
        return ok("none was named with --config")
    if not config.is_there:
        return ok("there is no config.toml: all is as by default")
    return ok(f"{config.folder / 'config.toml'} is sound")


def _as_finding(result: CheckResult, command: str | None) -> Finding:
    """Return what a health check says, as the doctor says it."""
    verdict = {
        HealthVerdict.PASSED: Verdict.OK,
        HealthVerdict.WARNED: Verdict.WARNING,
        HealthVerdict.FAILED: Verdict.FAULT,
    }[result.verdict]
    return Finding(verdict, result.text, None if verdict is Verdict.OK else command)


# --- the running system -----------------------------------------------------------------------------


def look_at_lock(patient: Patient) -> Finding:
    from abctl.host.lock import find_holder  # noqa: PLC0415

    return judge_lock(find_holder(patient.target.disk))


def look_at_units(patient: Patient) -> Finding:
    from abctl.host.systemd import Systemd  # noqa: PLC0415

    may_fail = patient.config.config.health.may_fail if patient.config else ()
    return _as_finding(check_units(Systemd(), may_fail), "systemctl --failed")


def look_at_own_units(_: Patient) -> Finding:
    from abctl.host.unit_states import MOUNTS, UNITS, read_unit_states  # noqa: PLC0415

    must_run = frozenset((*MOUNTS, "abctl-health.service"))
    return judge_own_units(read_unit_states(*UNITS, *MOUNTS), must_run)


def look_at_watchdogs(_: Patient) -> Finding:
    from abctl.host.watchdogs import has_softdog, list_watchdogs  # noqa: PLC0415

    return judge_watchdogs(list_watchdogs(), has_softdog=has_softdog())


def look_at_var(_: Patient) -> Finding:
    from abctl.host.live import LivePaths  # noqa: PLC0415

    return _as_finding(check_var(LivePaths()), "systemctl status var.mount")


def look_at_firewall(_: Patient) -> Finding:
    from abctl.cli.firewall_standing import check_firewall  # noqa: PLC0415

    return _as_finding(check_firewall(), "abctl firewall apply")


CHECKS: tuple[Check, ...] = (
    Check("state", look_at_state),
    Check("lock", look_at_lock, alone=True),
    Check("partitions", look_at_partitions, alone=True),
    Check("volumes", look_at_volumes, repair_volumes, alone=True),
    Check("snapshots", look_at_snapshots, where=Where.HOST),
    Check("grub-partition", look_at_grub_partition, repair_copies),
    Check("grub-scripts", look_at_scripts, repair_scripts),
    Check("boot-env", look_at_boot_env, repair_boot_env),
    Check("grub-wrote", look_at_grubs_word, where=Where.HOST),
    Check("kernels", look_at_kernels),
    Check("versions", look_at_versions),
    Check("room", look_at_room),
    Check("config-volume", look_at_kept, repair_kept),
    Check("config-space", look_at_space),
    Check("settings", look_at_settings, repair_settings),
    Check("config", look_at_config),
    Check("clock", look_at_clock),
    Check("repository", look_at_repository),
    Check("units", look_at_units, where=Where.HOST),
    Check("own-units", look_at_own_units, where=Where.HOST),
    Check("var", look_at_var, where=Where.HOST),
    Check("watchdog", look_at_watchdogs, where=Where.HOST),
    Check("firewall", look_at_firewall, where=Where.HOST),
)


def examine(check: Check, patient: Patient) -> Finding:
    """Make one check; what cannot be looked at is unknown, and why is said."""
    try:
        return check.look(patient)
    except AbctlError as error:
        return Finding(Verdict.UNKNOWN, str(error))
