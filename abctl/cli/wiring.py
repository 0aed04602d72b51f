"""Which adapters stand behind the ports: those of a disk image or device, or those of the running host.

Adapters are imported where they are wanted, so that each command loads only what it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from abctl.core import evidence, marks, record, trust_state
from abctl.core.advice import Prompt
from abctl.core.events import Running
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import Digest, Version, parse_version
from abctl.errors import AbctlError
from abctl.update.memory import ConfigEvidence, ConfigRecord, ConfigTrust
from abctl.update.operate import Ports

if TYPE_CHECKING:
    from abctl.core.crash_log import CrashLog
    from abctl.core.layout import Layout
    from abctl.core.release import Compression
    from abctl.core.space import Foreign, Space
    from abctl.host.block import ExtentVolume
    from abctl.host.disk import Disk
    from abctl.host.fetching import Fetching
    from abctl.host.scripts import GrubFiles
    from abctl.host.settings_file import Read
    from abctl.ports import Offer, Reader

VERSION_FILE = "/opt/ic/share/version.txt"
KERNEL_FILE = "/vmlinuz"
_VERSION_FILE_MAX = 256  # bytes


@dataclass(frozen=True, slots=True)
class Target:
    """What the user named: a disk and how it is laid out, or by default the running host.

    ``config`` is the folder of the configuration, None for that of this host. ``is_shared`` where the disk is
    looked at only, though a virtual machine may have it open.
    """

    disk: Path | None = None
    layout: str | None = None
    booted: SlotName | None = None
    config: Path | None = None
    is_shared: bool = False

    @property
    def name(self) -> str | None:
        """The disk as reports name it; None for the running host."""
        return str(self.disk) if self.disk else None

    @property
    def prompt(self) -> Prompt:
        """How commands have to be typed to mean the same."""
        config = str(self.config) if self.config else None
        return Prompt(self.name, self.booted, self.layout, config)

    def read_layout(self) -> Layout | None:
        """Return the layout that the user named; raise BadLayout."""
        from abctl.host.layouts import read_layout  # noqa: PLC0415

        return read_layout(self.layout) if self.layout else None


class ConfigVolume(Protocol):
    """What is looked at on the config volume beside abctl's own state; each may raise AbctlError."""

    def space(self) -> Space: ...

    def foreign(self) -> Foreign | None:
        """Return what takes most room of all that is not abctl's."""
        ...

    def settings_problems(self) -> tuple[str, ...]:
        """Return why the settings there do not count; does not look into their fields."""
        ...

    def settings(self) -> Read: ...

    def restore_settings(self) -> bool:
        """Write the settings anew from the last good copy; False where they count after all."""
        ...


@dataclass(frozen=True, slots=True)
class Machine:
    """A host or disk with its adapters; ``reboot`` is None where there is nothing to reboot.

    ``config`` is the config volume as others than abctl may have left it, where that can be known.
    """

    ports: Ports
    layout: Layout
    has_kernel: Callable[[SlotName], bool]
    grub_files: Callable[[], GrubFiles]
    trust: ConfigTrust
    reboot: Callable[[], None] | None = None
    config: ConfigVolume | None = None


@contextmanager
def open_machine(target: Target, *, write: bool) -> Iterator[Machine]:
    """Open what the user named; with ``write`` nobody else may change it meanwhile."""
    with ExitStack() as stack:
        if write:
            stack.enter_context(lock_machine(target))
        yield _open_disk(target, target.disk, whole=write) if target.disk else _open_host(target)


def lock_machine(target: Target) -> AbstractContextManager[None]:
    """Keep every other abctl from changing what the user named; raise Busy where one does already."""
    from abctl.host.lock import lock_disk, lock_host  # noqa: PLC0415

    return lock_disk(target.disk) if target.disk else lock_host()


def _open_disk(target: Target, path: Path, *, whole: bool) -> Machine:
    from abctl.host.disk import open_disk  # noqa: PLC0415

    disk = open_disk(path, target.read_layout(), whole=whole)
    return machine_of(disk, target.booted, is_shared=target.is_shared)


def machine_of(disk: Disk, booted: SlotName | None = None, *, is_shared: bool = False) -> Machine:
    """Return a disk that is worked on from outside, as a machine."""
    from abctl.host.clock import now  # noqa: PLC0415
    from abctl.host.config_volume import DiskConfigVolume  # noqa: PLC0415
    from abctl.host.disk import DiskConfigFile, DiskGrubPartition, DiskSlots  # noqa: PLC0415

    slots = DiskSlots(disk, is_shared=is_shared)
    ports = Ports(
        grub=DiskGrubPartition(disk),
        slots=slots,
        records=ConfigRecord(DiskConfigFile(disk, record.PATH, record.FILE_SIZE)),
        running=Running.all_of(booted),
        now=now,
        version_in=lambda name: _read_version(slots, name),
        unpack=_unpack,
        evidence=ConfigEvidence(DiskConfigFile(disk, evidence.PATH, evidence.FILE_SIZE)),
        marks=DiskConfigFile(disk, marks.PATH, marks.FILE_SIZE),
    )
    return Machine(
        ports,
        disk.layout,
        lambda name: _has_kernel(slots, name),
        lambda: _disk_grub_files(disk),
        ConfigTrust(DiskConfigFile(disk, trust_state.PATH, trust_state.FORM.file_size)),
        config=DiskConfigVolume(disk),
    )


def _disk_grub_files(disk: Disk) -> GrubFiles:
    from abctl.host.scripts import DiskGrubFiles  # noqa: PLC0415

    return DiskGrubFiles(disk)


def _open_host(target: Target) -> Machine:
    from abctl.host.config_volume import LiveConfigVolume  # noqa: PLC0415
    from abctl.host.disk import choose_layout  # noqa: PLC0415
    from abctl.host.live import (  # noqa: PLC0415
        LiveConfigFile,
        LiveGrubPartition,
        LiveSlots,
        LiveSystem,
        check_started_by_grub,
        find_live_disk,
    )

    check_started_by_grub()
    layout = target.read_layout() or choose_layout(find_live_disk())
    system, slots = LiveSystem(layout), LiveSlots(layout)
    ports = Ports(
        grub=LiveGrubPartition(),
        slots=slots,
        records=ConfigRecord(LiveConfigFile(record.PATH, record.FILE_SIZE)),
        running=system.running(),
        now=system.now,
        version_in=lambda name: _read_version(slots, name),
        unpack=_unpack,
        evidence=ConfigEvidence(LiveConfigFile(evidence.PATH, evidence.FILE_SIZE)),
        marks=LiveConfigFile(marks.PATH, marks.FILE_SIZE),
        crash_logs=_read_crash_logs,
    )
    trust = ConfigTrust(LiveConfigFile(trust_state.PATH, trust_state.FORM.file_size))
    return Machine(
        ports,
        layout,
        lambda name: _has_kernel(slots, name),
        _live_grub_files,
        trust,
        system.reboot,
        LiveConfigVolume(),
    )


def _read_crash_logs() -> tuple[CrashLog, ...]:
    from abctl.host.pstore import read_crash_logs  # noqa: PLC0415

    return read_crash_logs()


def _live_grub_files() -> GrubFiles:
    from abctl.host.live import LivePaths  # noqa: PLC0415
    from abctl.host.scripts import LiveGrubFiles  # noqa: PLC0415

    paths = LivePaths()
    return LiveGrubFiles(paths / paths.grub)


def locate(source: str, sha256: Digest | None, fetching: Fetching | None = None) -> Offer:
    """Return the release that the user named; raise SourceProblem or BadRelease."""
    from abctl.host.remote import make_confined_source  # noqa: PLC0415
    from abctl.host.source import locate_release  # noqa: PLC0415

    return locate_release(source, sha256, fetching, make_confined_source)


@contextmanager
def _unpack(reader: Reader, compression: Compression, name: str) -> Iterator[Reader]:
    """Unpack in a process without rights."""
    from abctl.host.unpacked import unpack_confined  # noqa: PLC0415

    with unpack_confined(reader, compression, name) as plain:
        yield plain


# --- files in slots that are not mounted ------------------------------------------------------------


class _Readable(Protocol):
    def open_for_reading(self, slot: Slot) -> AbstractContextManager[ExtentVolume]: ...


def _read_version(slots: _Readable, name: SlotName) -> Version | None:
    text = _read(slots, Slot(name, Part.ROOT), VERSION_FILE, _VERSION_FILE_MAX)
    try:
        return parse_version((text or b"").decode().strip())
    except ValueError:
        return None


def _has_kernel(slots: _Readable, name: SlotName) -> bool:
    return bool(_read(slots, Slot(name, Part.BOOT), KERNEL_FILE, 1))


def _read(slots: _Readable, slot: Slot, path: str, limit: int) -> bytes | None:
    """Return the head of a file in a slot; None where it or its file system is not there or not sound."""
    from abctl.host.files import read_file  # noqa: PLC0415

    try:
        with slots.open_for_reading(slot) as volume:
            return read_file(volume, path, limit)
    except AbctlError:
        return None
