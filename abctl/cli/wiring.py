"""Which adapters stand behind the ports: those of a disk image or device, or those of the running host."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from abctl.core.machine import Running
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import Version, parse_version
from abctl.errors import AbctlError
from abctl.update.operate import Ports

if TYPE_CHECKING:
    from abctl.core.layout import Layout

VERSION_FILE = "/opt/ic/share/version.txt"
KERNEL_FILE = "/vmlinuz"
_VERSION_FILE_MAX = 256  # bytes


@dataclass(frozen=True, slots=True)
class Target:
    """What the user named: a disk and how it is laid out, or by default the running host."""

    disk: Path | None = None
    layout: str | None = None
    booted: SlotName | None = None

    @property
    def name(self) -> str | None:
        """The disk as reports name it; None for the running host."""
        return str(self.disk) if self.disk else None


@dataclass(frozen=True, slots=True)
class Machine:
    """A host or disk with its adapters; ``reboot`` is None where there is nothing to reboot."""

    ports: Ports
    layout: "Layout"
    has_kernel: Callable[[SlotName], bool]
    reboot: Callable[[], None] | None


@contextmanager
def open_machine(target: Target, *, write: bool) -> Iterator[Machine]:
    """Open what the user named; with ``write`` nobody else may change it meanwhile."""
    with ExitStack() as stack:
        if write:
            from abctl.host.lock import lock_disk, lock_host  # noqa: PLC0415

            stack.enter_context(lock_disk(target.disk) if target.disk else lock_host())
        yield open_disk_machine(target, target.disk) if target.disk else _open_host(target)


def open_disk_machine(target: Target, path: Path) -> Machine:
    """Open a disk image or device from outside."""
    from abctl.host.clock import now  # noqa: PLC0415
    from abctl.host.disk import DiskGrubPartition, DiskRecord, DiskSlots, open_disk  # noqa: PLC0415
    from abctl.host.layouts import read_layout  # noqa: PLC0415

    disk = open_disk(path, read_layout(target.layout) if target.layout else None)
    slots = DiskSlots(disk)
    ports = Ports(
        grub=DiskGrubPartition(disk),
        slots=slots,
        records=DiskRecord(disk),
        running=Running.all_of(target.booted),
        now=now,
        version_in=lambda name: _read_version(slots, name),
    )
    return Machine(ports, disk.layout, lambda name: _has_kernel(slots, name), None)


def _open_host(target: Target) -> Machine:
    raise NotImplementedError


def _read_version(slots: "DiskSlots", name: SlotName) -> Version | None:
    text = _read(slots, Slot(name, Part.ROOT), VERSION_FILE, _VERSION_FILE_MAX)
    try:
        return parse_version((text or b"").decode().strip())
    except ValueError:
        return None


def _has_kernel(slots: "DiskSlots", name: SlotName) -> bool:
    return bool(_read(slots, Slot(name, Part.BOOT), KERNEL_FILE, 1))


def _read(slots: "DiskSlots", slot: Slot, path: str, limit: int) -> bytes | None:
    """Return the head of a file in a slot; None where it or its file system is not there or not sound."""
    from abctl.host.files import read_file  # noqa: PLC0415

    try:
        with slots.open_for_reading(slot) as volume:
            return read_file(volume, path, limit)
    except AbctlError:
        return None
