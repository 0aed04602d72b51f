"""The running host as the launcher of the guest sees it: its adapters behind ``vm.surroundings``."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from abctl.cli.guest_disk import GuestDisk
from abctl.cli.wiring import Target
from abctl.core.found import Extent
from abctl.core.guest import Resources
from abctl.core.guest_state import GuestState, Hold
from abctl.core.units import Seconds
from abctl.errors import AbctlError, BadGuest, Busy, DiskUnusable, GuestUnfit
from abctl.host import clock, guest_file
from abctl.host.block import size_of
from abctl.host.config import DEFAULT_FOLDER
from abctl.host.config_media import make_media, read_folder
from abctl.host.in_use import check_unused
from abctl.host.libvirt import Libvirt
from abctl.host.lock import lock_file
from abctl.host.notify import Notifier
from abctl.host.resources import read_resources
from abctl.host.serial_log import SerialLog
from abctl.host.small_files import read_text
from abctl.vm.description import DESCRIPTION_MAX, DESCRIPTION_NAME, Description, parse_description
from abctl.vm.domain import Start, make_xml
from abctl.vm.fitness import choose_hugepages, find_problems, list_files
from abctl.vm.surroundings import Booting

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_MEDIA = "run/abctl/guest-config.img"
_LOCK, _SERVICE_LOCK = "run/abctl-guest.lock", "run/abctl-guest-service.lock"
_LOCK_PAUSES = (0.1, 0.2, 0.4)  # seconds
_NO_MAC = "52:54:00:00:00:00"  # stands in where only the XML is wanted, and nothing gives the MAC


def find_root() -> Path:
    """Return the root folder; another one than / in tests only."""
    return Path(os.environ.get("ABCTL_ROOT") or "/")


def description_path(target: Target) -> Path:
    return (target.config or DEFAULT_FOLDER) / DESCRIPTION_NAME


def read_description(path: Path) -> Description:
    """Return the guest's description; raise BadGuest."""
    if not path.exists():
        raise BadGuest(
            f"{path} does not exist, so this host has no guest: copy "
            "/usr/share/abctl/layout/guest/guest.toml there and change what has to be"
        )
    return parse_description(read_text(path, DESCRIPTION_MAX, BadGuest), str(path))


def find_mac() -> str:
    """Return the MAC address that follows from the identity of this host; raise BadIdentity."""
    from abctl.cli.identity_host import find_guest_mac  # noqa: PLC0415

    return find_guest_mac()


@contextmanager
def own_guest(root: Path, *, as_service: bool = False) -> Iterator[None]:
    """Keep every other abctl from starting and ending the guest; raise Busy where one does already.

    ``as_service`` is for the one that obeys others while it does.
    """
    with ExitStack() as stack:
        _enter(stack, root / _LOCK)
        if as_service:
            _enter(stack, root / _SERVICE_LOCK)
        yield


def _enter(stack: ExitStack, path: Path) -> None:
    """Take a lock that others may hold for a moment, to see whether it is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for pause in _LOCK_PAUSES:
        try:
            stack.enter_context(lock_file(path, "the guest"))
            return
        except Busy:
            time.sleep(pause)
    stack.enter_context(lock_file(path, "the guest"))


def is_watched(root: Path) -> bool:
    """Whether the service runs, which does what others ask for."""
    path = root / _SERVICE_LOCK
    if not path.exists():
        return False
    try:
        with lock_file(path, "the guest"):
            return False
    except Busy:
        return True


@dataclass
class LiveGuest:
    """Implements vm.surroundings.Surroundings; tests give it another root, resources and MAC."""

    target: Target
    root: Path
    notifier: Notifier
    sleep: Callable[[float], None] = time.sleep
    find_mac: Callable[[], str] = find_mac
    resources: Callable[[Description], Resources] | None = None
    _hypervisor: Libvirt | None = None
    _is_ready: bool = False

    @classmethod
    def of(cls, target: Target) -> LiveGuest:
        return cls(target, find_root(), Notifier())

    # --- what vm.surroundings asks for ---

    @property
    def hypervisor(self) -> Libvirt:
        if self._hypervisor is None:
            self._hypervisor = Libvirt(self.describe().uri)
        return self._hypervisor

    def serial(self, description: Description) -> SerialLog:
        return SerialLog(Path(description.serial.log))

    def now(self) -> Seconds:
        return clock.now()

    def since_boot(self) -> float:
        return clock.since_boot()

    def wait(self, seconds: float) -> None:
        self.notifier.ping()
        self.sleep(min(seconds, self.notifier.pause))

    def describe(self) -> Description:
        return read_description(description_path(self.target))

    def new_run(self) -> str:
        return str(uuid4())

    def prepare(self, description: Description, run: str) -> str:
        resources = self.read_resources(description)
        problems = list(find_problems(description, resources))
        mac = self._collect(problems, lambda: self._choose_mac(description))
        hugepages, files = False, dict[str, bytes]()
        if not problems:
            # What is free counts only where nothing else is wrong.
            hugepages = bool(self._collect(problems, lambda: choose_hugepages(description, resources)))
        if description.disk.path not in resources.missing:
            self._collect(problems, lambda: _check_disk_unused(Path(description.disk.path)))
        if description.media.enabled:
            files = self._collect(problems, lambda: read_folder(Path(description.media.folder))) or {}
        if problems:
            raise GuestUnfit(f"this machine cannot run {description.name}: {'; '.join(problems)}")
        media = self.root / _MEDIA if description.media.enabled else None
        if media:
            make_media(media, files)
        return make_xml(description, Start(run, mac, hugepages, str(media) if media else None))

    def settle(self, description: Description) -> None:
        self.disk(description).settle()

    def look(self, description: Description) -> Booting | None:
        return self.disk(description).look()

    def note_healthy(self, booting: Booting) -> None:
        try:
            guest_file.note_healthy(booting.generation, self.root)
        except AbctlError as error:
            log.warning("that the guest's trial is healthy could not be noted: %s", error)

    def read_hold(self) -> Hold | None:
        return guest_file.read_hold(self.root)

    def end_lost_upgrade(self) -> bool:
        return guest_file.end_lost_upgrade(self.root)

    def last_state(self) -> GuestState | None:
        return guest_file.read_state(self.root)

    def tell(self, state: GuestState) -> None:
        try:
            guest_file.write_state(state, self.root)
        except AbctlError as error:
            log.warning("%s", error)
        if not self._is_ready:
            # The first start was tried: a host need not wait for its guest to come up.
            self._is_ready = True
            self.notifier.ready()
        self.notifier.status(f"{state.phase.replace('_', ' ')}: {state.why}")

    # --- what else the commands want ---

    def disk(self, description: Description) -> GuestDisk:
        config = self.target.config or DEFAULT_FOLDER
        return GuestDisk(
            Target(Path(description.disk.path), description.disk.layout, config=config), self.root
        )

    def read_resources(self, description: Description) -> Resources:
        if self.resources is not None:
            return self.resources(description)
        return read_resources(list_files(description))

    def show_xml(self, description: Description) -> tuple[str, tuple[str, ...]]:
        """Return the XML of a start as it would be, and what speaks against one."""
        resources = self.read_resources(description)
        problems = list(find_problems(description, resources))
        mac = self._collect(problems, lambda: self._choose_mac(description))
        hugepages = not problems and bool(
            self._collect(problems, lambda: choose_hugepages(description, resources))
        )
        media = str(self.root / _MEDIA) if description.media.enabled else None
        if description.network.enabled and mac is None:
            mac = _NO_MAC
        return make_xml(description, Start("dry-run", mac, hugepages, media)), tuple(problems)

    def _choose_mac(self, description: Description) -> str | None:
        if not description.network.enabled:
            return None
        return description.network.mac or self.find_mac()

    @staticmethod
    def _collect(problems: list[str], ask: Callable[[], _T]) -> _T | None:
        """Return what ``ask`` does; what it has to say against a start becomes one more problem."""
        try:
            return ask()
        except AbctlError as error:
            problems.append(str(error))
            return None


def _check_disk_unused(path: Path) -> None:
    """Raise InUse where the guest's disk is mounted or open: two machines on one disk destroy it."""
    try:
        check_unused(path, (Extent(0, size_of(path)),), str(path))
    except OSError as error:
        raise DiskUnusable(f"{path} cannot be used: {error.strerror}") from error
