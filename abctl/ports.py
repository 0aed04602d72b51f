"""What abctl needs of the outside world.

``host`` implements it for machines and disk images, tests hold fakes.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from abctl.core.bootenv import Copy, EnvFiles
from abctl.core.crash_log import CrashLog
from abctl.core.evidence import Evidence
from abctl.core.machine import Running
from abctl.core.record import Record
from abctl.core.slot import Slot, SlotName
from abctl.core.units import Digest, Seconds, Version

if TYPE_CHECKING:
    # It takes longer to load than `abctl status` may take in all.
    from abctl.core.release import Compression, ReleaseKind


class GrubPartition(Protocol):
    """The copies of the boot environment."""

    def read(self) -> EnvFiles:
        """Return the bytes of each copy; None where one is missing or cannot be read."""
        ...

    def overwrite(self, copy: Copy, block: bytes) -> None:
        """Overwrite ``copy`` in place, flushed and read back; raise WriteFailed."""
        ...


class ConfigFile(Protocol):
    """A file of fixed size on the config volume, which both slot sets share."""

    def read(self) -> bytes:
        """Return what it holds, with zeros for a half that cannot be read; nothing where there is nothing."""
        ...

    def overwrite(self, offset: int, data: bytes) -> None:
        """Overwrite a part of it in place, flushed and read back; raise WriteFailed."""
        ...


class RecordStore(Protocol):
    """The record on the config volume."""

    def read(self) -> Record:
        """Return the newest whole record; an empty one where there is none."""
        ...

    def write(self, record: Record) -> None:
        """Overwrite the older half; raise WriteFailed."""
        ...


class EvidenceStore(Protocol):
    """What is kept of the last trials, on the config volume."""

    def read(self) -> Evidence:
        """Return the newest whole half; nothing where there is none."""
        ...

    def write(self, evidence: Evidence) -> None:
        """Overwrite the older half; raise WriteFailed."""
        ...


class ReadableVolume(Protocol):
    """The bytes of one slot, for reading; several threads may use it at once.

    Offsets and sizes in bytes; every failure is a WriteFailed.
    """

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    def read_back(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from the medium, past the page cache where that is possible."""
        ...


class Volume(ReadableVolume, Protocol):
    """The bytes of one slot, for writing too."""

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of ``data``."""
        ...

    def write_zeros(self, offset: int, length: int) -> None:
        """Make the range read as zeros, without using space where the disk can do that."""
        ...

    def flush(self) -> None:
        """Return when what was written is on the medium."""
        ...


class Slots(Protocol):
    """The slots of a disk."""

    def open_for_writing(self, slot: Slot) -> AbstractContextManager[Volume]:
        """Open the volume of ``slot``; raise InUse where it is mounted or open."""
        ...

    def open_for_reading(self, slot: Slot) -> AbstractContextManager[ReadableVolume]:
        """Open the volume of ``slot``, which may be mounted; raise DiskUnusable."""
        ...

    def check_unused(self, slot: Slot) -> None:
        """Raise InUse where ``slot`` is mounted or open."""
        ...

    def size_of(self, slot: Slot) -> int:
        """Return the real size of ``slot`` in bytes, which may be more than the layout's."""
        ...


class Reader(Protocol):
    """Bytes that are read once, from first to last."""

    @property
    def length(self) -> int | None:
        """How many bytes there are in all; None where that is not known before the end."""
        ...

    def readinto(self, buffer: memoryview) -> int:
        """Fill the start of ``buffer`` and return the number of bytes, 0 at the end; raise SourceProblem."""
        ...


Unpack = Callable[[Reader, "Compression", str], AbstractContextManager[Reader]]
"""Opens a reader of what the packed bytes of a file of this name hold; it raises BadArchive at damage."""


class Source(Protocol):
    """Where a release comes from: named files in one place."""

    @property
    def is_local(self) -> bool:
        """True where a file can be read twice at no cost."""
        ...

    @property
    def has_ranges(self) -> bool:
        """False as soon as it showed that a range costs all that is before it in the file."""
        ...

    @property
    def place(self) -> str:
        """The place for people: a folder or a host."""
        ...

    def open(self, name: str, start: int = 0, length: int | None = None) -> AbstractContextManager[Reader]:
        """Open ``length`` bytes of the file ``name`` from byte ``start``; without ``length``, to its end.

        Raise SourceProblem, TransferCut where the file ends before the range does.
        """
        ...


@dataclass(frozen=True, slots=True)
class Offer:
    """A release that an admin named: ``file`` in ``source`` is an archive, or a manifest beside its images.

    ``sha256`` is that of ``file``, and None where nobody said it; ``version`` is what was signed, None where
    nobody signed it.
    """

    source: Source
    file: str
    kind: "ReleaseKind"
    sha256: Digest | None
    version: Version | None = None


class System(Protocol):
    """The running system."""

    def running(self) -> Running:
        """Return which slot set runs; raise NotAHost where abctl's GRUB did not start this machine."""
        ...

    def now(self) -> Seconds: ...

    def reboot(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """One host or disk, as the adapters give it.

    ``version_in`` reads the version out of a slot set's own files, None where it holds none; it is
    asked only when the boot environment is lost. ``unpack`` unpacks what nothing vouches for yet; None is
    in this very process. ``evidence`` and ``marks`` are None where nothing is kept of trials;
    ``crash_logs`` gives what the firmware kept of the kernel's log, oldest first.
    """

    grub: GrubPartition
    slots: Slots
    records: RecordStore
    running: Running
    now: Callable[[], Seconds]
    version_in: Callable[[SlotName], Version | None]
    unpack: Unpack | None = None
    evidence: EvidenceStore | None = None
    marks: ConfigFile | None = None
    crash_logs: Callable[[], tuple[CrashLog, ...]] = tuple
