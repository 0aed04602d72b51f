"""The checks that abctl brings along, and a round of all checks. They look and change nothing."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from abctl.core import evidence, record, trust_state
from abctl.core.events import Running
from abctl.core.guest_state import judge_guest
from abctl.core.halves import Halves
from abctl.core.health import CheckResult, HealthPolicy, MinFree, Verdict, judge
from abctl.core.slot import SlotName
from abctl.core.units import format_size
from abctl.errors import AbctlError
from abctl.host.check_files import Done, find_checks, run_check
from abctl.host.clock import since_boot
from abctl.host.config import read_config
from abctl.host.guest_file import has_guest, read_state
from abctl.host.live import LiveConfigFile, LivePaths
from abctl.host.mounts import MountTable
from abctl.host.systemd import BOOT_TARGET, Systemd

log = logging.getLogger(__name__)

_NAMED_MAX = 3  # units that a sentence names
_VAR_PROBLEM = "run/abctl/var-problem"  # what usr/lib/abctl/abctl-var leaves
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REMEMBERED: tuple[tuple[str, str, Halves], ...] = (
    ("record", record.PATH, record.FORM),
    ("trust state", trust_state.PATH, trust_state.FORM),
    ("evidence", evidence.PATH, evidence.FORM),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """What the checks look at. ``trial`` is the slot set on trial, ``running`` raises AbctlError.

    ``config`` is the folder of the configuration, ``systemd`` makes a fresh view of systemd, ``more`` are
    required checks of what else the host has, by name.
    """

    policy: HealthPolicy
    running: Callable[[], Running]
    trial: Callable[[], SlotName | None] = lambda: None
    paths: LivePaths = field(default_factory=LivePaths)
    config: Path = Path("/etc/abctl")
    systemd: Callable[[], Systemd] = Systemd
    free: Callable[[Path], os.statvfs_result] = os.statvfs
    more: tuple[tuple[str, Callable[[], CheckResult]], ...] = ()


@dataclass(frozen=True, slots=True)
class Builtin:
    """A check of abctl's own."""

    name: str
    required: bool
    run: Callable[[], CheckResult]


def list_builtins(scene: Scene) -> tuple[Builtin, ...]:
    """Return abctl's own checks for one round."""
    systemd = scene.systemd()
    return (
        Builtin("boot-complete", True, lambda: check_boot(systemd)),
        Builtin("units", True, lambda: check_units(systemd, scene.policy.may_fail)),
        Builtin("slot-set", True, lambda: check_slot_set(scene.running(), scene.trial())),
        Builtin("var", True, lambda: check_var(scene.paths)),
        Builtin("disk-space", True, lambda: check_space("disk-space", "/var", scene, required=True)),
        Builtin("config", True, lambda: check_config(scene.config)),
        Builtin("config-volume", True, lambda: check_config_volume(scene.paths)),
        # What abctl keeps there has its room already, so a full one is no fault of a release.
        Builtin(
            "config-space",
            False,
            lambda: check_space("config-space", scene.paths.config, scene, required=False),
        ),
        *((Builtin("guest-ready", True, lambda: check_guest(scene)),) if has_guest(scene.config) else ()),
        *(Builtin(name, True, run) for name, run in scene.more),
    )


def check_boot(systemd: Systemd) -> CheckResult:
    """Has systemd started all that it has to?"""
    name, manager = "boot-complete", systemd.manager
    problem = None
    if manager.is_starting:
        problem = f"systemd is still starting: {_name_some(systemd.jobs) or 'it does not say what'}"
    elif manager.state in ("maintenance", "stopping", "offline", "unknown"):
        problem = f"systemd is not running as it should: its state is {manager.state}"
    elif systemd.lacks_boot_target:
        problem = f"{BOOT_TARGET} was not reached: 'systemctl list-dependencies {BOOT_TARGET}' says why"
    return judge(name, problem, required=True, said="systemd has started everything")


def check_units(systemd: Systemd, may_fail: Sequence[str]) -> CheckResult:
    """Has a unit failed that may not?"""
    failed = systemd.failed_units if systemd.manager.failed_units else ()
    bad = [unit for unit in failed if not any(fnmatchcase(unit, glob) for glob in may_fail)]
    problem = f"{_name_some(bad)} failed; see 'systemctl status {bad[0]}'" if bad else None
    said = f"only units that may have failed: {_name_some(failed)}" if failed else "no unit has failed"
    return judge("units", problem, required=True, said=said)


def _name_some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def check_slot_set(running: Running, trial: SlotName | None) -> CheckResult:
    """Are the kernel, the root and /boot of one slot set, and of that which is on trial?"""
    problem = running.disagreement
    if problem is None and running.kernel is None:
        problem = "no slot set runs"
    elif problem is None and trial and running.kernel is not trial:
        problem = f"slot set {running.kernel} runs, but {trial} is on trial"
    said = f"the kernel, the root and /boot are of slot set {running.kernel}"
    return judge("slot-set", problem, required=True, said=said)


def check_var(paths: LivePaths) -> CheckResult:
    """Is /var on a volume?"""
    mount = MountTable(paths.root).find("/var")
    problem = None
    if mount is None:
        problem = "nothing is mounted on /var: 'systemctl status var.mount' says why"
    elif mount.device.startswith("0:"):  # what the kernel gives file systems without a device
        said = _read_line(paths / _VAR_PROBLEM) or "its volume could not be used"
        problem = f"/var is in memory only, and lost at the next boot: {said}"
    return judge("var", problem, required=True, said="/var is on its volume")


def _read_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline(1000).strip()
    except OSError:
        return ""


def check_space(name: str, point: str, scene: Scene, *, required: bool) -> CheckResult:
    """Is enough of a volume free, in bytes and in files?"""
    path = scene.paths / point
    try:
        found = scene.free(path)
    except OSError as error:
        return judge(name, f"{point} cannot be looked at: {error.strerror}", required=required)
    problem = _find_shortage(point, found, scene.policy.min_free)
    free = format_size(found.f_bavail * found.f_frsize)
    return judge(name, problem, required=required, said=f"{point} has {free} free")


def _find_shortage(point: str, found: os.statvfs_result, wanted: MinFree) -> str | None:
    total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    least = wanted.of(total)
    if free < least:
        return (
            f"{point} has {format_size(free)} of {format_size(total)} free; {format_size(least)} are wanted"
        )
    # Some file systems make room for files as they go, and say that they have none at all.
    if found.f_files and found.f_favail < found.f_files * wanted.share:
        return f"{point} has room for {found.f_favail} more files only, of {found.f_files}"
    return None


def check_config(folder: Path) -> CheckResult:
    """Is config.toml sound?"""
    found = read_config(folder)  # raises a sentence where it is not
    said = (
        f"{folder}/config.toml is sound"
        if found.is_there
        else "there is no config.toml: all is as by default"
    )
    return judge("config", None, required=True, said=said)


def check_config_volume(paths: LivePaths) -> CheckResult:
    """Is the config volume there, and what is remembered on it whole?"""
    if MountTable(paths.root).find(paths.config) is None:
        return judge("config-volume", f"the config volume is not mounted on {paths.config}", required=True)
    damaged = [name for name, path, form in _REMEMBERED if _is_damaged(path, form, paths)]
    if damaged:
        text = f"damaged on the config volume, and begun anew at the next write: the {', the '.join(damaged)}"
        return CheckResult("config-volume", True, Verdict.WARNED, text)
    return judge("config-volume", None, required=True, said=f"the config volume is on {paths.config}")


def _is_damaged(path: str, form: Halves, paths: LivePaths) -> bool:
    return form.is_lost(LiveConfigFile(path, form.file_size, paths).look().data)


def check_guest(scene: Scene) -> CheckResult:
    """Does the guest say that it is healthy?"""
    return judge_guest(read_state(scene.paths.root), since_boot=since_boot())


# --- a round ----------------------------------------------------------------------------------------


class Round:
    """All checks, abctl's own and those in files; ``tick`` is called between and during them."""

    def __init__(
        self,
        scene: Scene,
        *,
        environment: Mapping[str, str] | None = None,
        tick: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scene = scene
        self._environment = {"PATH": _PATH, "LC_ALL": "C.UTF-8", **(environment or {})}
        self._tick = tick
        self._clock = clock

    def run(self, seconds: float) -> tuple[Done, ...]:
        """Run each check once; one that does not come to its turn within ``seconds`` has failed."""
        return tuple(self._run(self._clock() + seconds))

    def _run(self, until: float) -> Iterator[Done]:
        found = find_checks(self._scene.paths.root)
        replaced = found.off | {(item.required, item.name) for item in found.files}
        for builtin in list_builtins(self._scene):
            self._tick()
            if (builtin.required, builtin.name) not in replaced:
                yield Done(self._run_builtin(builtin))
        for check in found.files:
            self._tick()
            left = until - self._clock()
            if left <= 0:
                yield Done(judge(check.name, "it did not come to its turn in time", required=check.required))
                continue
            limit = min(self._scene.policy.check_timeout, left)
            yield run_check(check, self._environment, limit=limit, tick=self._tick)

    def _run_builtin(self, builtin: Builtin) -> CheckResult:
        started = self._clock()
        try:
            result = builtin.run()
        except AbctlError as error:
            result = judge(builtin.name, str(error), required=builtin.required)
        except Exception as error:
            # A fault in one check is its failure, and not the end of the others.
            log.debug("check %s", builtin.name, exc_info=True)
            said = f"this is a fault in abctl ({type(error).__name__}: {error})"
            result = judge(builtin.name, said, required=builtin.required)
        return replace(result, took=self._clock() - started)
