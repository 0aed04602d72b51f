"""The host as the agent sees it: what stands behind the protocols of ``agent.desk``."""

import importlib
import secrets
from collections.abc import Callable
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from abctl.agent.answers import BootStateAnswer, NextBootAnswer, SlotSetAnswer, TrialAnswer
from abctl.agent.desk import Desk
from abctl.agent.store import ConfigJobs
from abctl.cli.wiring import VERSION_FILE, Target, open_machine
from abctl.core import jobs_file
from abctl.core.agent_rules import AgentRules
from abctl.core.bootstate import SlotState
from abctl.core.events import Settle
from abctl.core.grub import next_boot
from abctl.core.machine import Host, transition
from abctl.core.record import Record
from abctl.core.slot import SlotName
from abctl.core.units import Version, parse_version
from abctl.errors import DiskUnusable, ToolFailed
from abctl.host.clock import now
from abctl.host.config import DEFAULT_FOLDER
from abctl.host.jobs import FOLDER, ChildJobs, JobFolder, SystemdJobs
from abctl.host.live import LiveConfigFile
from abctl.ports import ConfigFile
from abctl.update.operate import observe
from abctl.vm.description import DESCRIPTION_NAME

HSM = (0x20A0, 0x4230)  # USB vendor and product
_GUEST = "guestos"  # the libvirt domain of a host without a guest.toml
_SYSTEMD = Path("/run/systemd/system")  # there where systemd runs
_VERSION_MAX = 256  # bytes


class TargetHost:
    """The running host, or a disk that stands for it; implements desk.HostView."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._version: Version | None = None

    def version(self) -> Version:
        """Return the version of what runs; of a disk from which nothing runs, that of its primary."""
        if self._target.disk is None:
            return _read_version(Path(VERSION_FILE))
        if self._version is None:
            found = self._find_version()
            if self._target.booted is None:  # another one may be the primary next time
                return found
            self._version = found
        return self._version

    def _find_version(self) -> Version:
        with open_machine(self._target, write=False) as machine:
            env = observe(machine.ports).host.env
            slot_set = machine.ports.running.kernel or env.primary
            found = machine.ports.version_in(slot_set) or env[slot_set].version
        if found is None:
            raise DiskUnusable(f"slot set {slot_set} has no {VERSION_FILE}")
        return found

    def boot_state(self) -> BootStateAnswer:
        with open_machine(self._target, write=False) as machine:
            host, files = observe(machine.ports).host, machine.ports.grub.read()
        env, boot = host.env, next_boot(files)
        return BootStateAnswer(
            booted=None if host.running.disagreement else host.running.kernel,
            primary=env.primary,
            trial=TrialAnswer(slot_set=env.trial.slot_set, attempts_left=env.trial.attempts)
            if env.trial
            else None,
            slot_sets={name: _describe_slot_set(host, name) for name in SlotName},
            next_boot=NextBootAnswer(slot_set=boot.slot_set, why=boot.why),
        )

    def record(self) -> Record:
        with open_machine(self._target, write=False) as machine:
            host, _ = transition(observe(machine.ports).host, Settle(machine.ports.now()))
        return host.record


def _describe_slot_set(host: Host, name: SlotName) -> SlotSetAnswer:
    held = host.env[name]
    # An empty slot set holds nothing; the version is then only what was being written.
    return SlotSetAnswer(version=None if held.state is SlotState.EMPTY else held.version, state=held.state)


def _read_version(path: Path) -> Version:
    try:
        with path.open("rb") as file:
            return parse_version(file.read(_VERSION_MAX).decode().strip())
    except (OSError, ValueError) as error:
        raise DiskUnusable(f"{path} does not say which version runs: {error}") from error


class LibvirtGuest:
    """The virtual machine and its HSM; implements desk.Guest. ``description`` is its guest.toml, if any."""

    def __init__(self, description: Path) -> None:
        self._description = description

    def attach_hsm(self) -> None:
        self._call("attach_usb", "give the guest its HSM")

    def detach_hsm(self) -> None:
        self._call("detach_usb", "take the HSM from the guest")

    def _call(self, function: str, what: str) -> None:
        name, daemon = _GUEST, {}
        if self._description.exists():
            found = _call("abctl.cli.guest_host", "read_description", what)(self._description)
            name, daemon = found.name, {"uri": found.uri}
        _call("abctl.host.libvirt", function, what)(name, *HSM, **daemon)


class HostNames:
    """What the host goes by; implements desk.Names."""

    def set_node_id(self, node_id: str) -> None:
        _call("abctl.cli.identity_host", "store_node_id", "keep the node's id")(node_id)


def _call(module: str, name: str, what: str) -> Callable[..., Any]:
    """Return a function of a part that a host may lack; raise ToolFailed where it does."""
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ToolFailed(f"this host cannot {what}: {error}") from error
    return found


def open_jobs(target: Target, folder: JobFolder) -> ConfigJobs:
    """Return the list of jobs of a host or disk."""
    return ConfigJobs(_jobs_file(target), folder.lock)


def _jobs_file(target: Target) -> ConfigFile:
    size = jobs_file.FORM.file_size
    if target.disk is None:
        return LiveConfigFile(jobs_file.PATH, size)
    from abctl.host.disk import DiskConfigFile, open_disk  # noqa: PLC0415

    return DiskConfigFile(open_disk(target.disk, target.read_layout()), jobs_file.PATH, size)


def make_runner(target: Target, folder: Path | None) -> SystemdJobs | ChildJobs:
    """Return what runs jobs: systemd on a host that it runs on, else the agent itself."""
    if target.disk is None and folder is None and _SYSTEMD.is_dir():
        return SystemdJobs()
    folder = folder or FOLDER
    options = {
        "--disk": target.disk and target.disk.absolute(),
        "--layout": target.layout,
        "--booted": target.booted,
        "--config": target.config and target.config.absolute(),
    }
    words = [word for name, value in options.items() if value for word in (name, str(value))]
    return ChildJobs(folder, [*words, "agent", "run-job", "--state", str(folder.absolute())])


def make_desk(target: Target, rules: AgentRules, folder: Path | None) -> Desk:
    """Wire the desk to a host or disk; raise AbctlError where it cannot be opened."""
    runner = make_runner(target, folder)
    return Desk(
        host=TargetHost(target),
        store=open_jobs(target, runner),
        runner=runner,
        guest=LibvirtGuest((target.config or DEFAULT_FOLDER) / DESCRIPTION_NAME),
        names=HostNames(),
        now=now,
        make_id=lambda: secrets.token_hex(8),
        abctl_version=version_of("abctl"),
        jobs_per_hour=rules.jobs_per_hour,
    )
