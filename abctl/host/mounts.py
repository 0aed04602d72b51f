"""What is mounted where, and by which volume: /proc/self/mountinfo and /sys/dev/block."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system; ``device`` is ``major:minor``."""

    point: str
    device: str
    source: str


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """Return the mounts of /proc/self/mountinfo, in its order: what is mounted over comes first."""
    mounts = []
    # The kernel escapes newlines, and no other of the characters that end a line elsewhere.
    for line in text.split("\n"):
        head, _, tail = line.partition(" - ")
        fields, names = head.split(" "), tail.split(" ")
        if len(fields) >= 6 and len(names) >= 2:  # noqa: PLR2004 - see proc_pid_mountinfo(5)
            mounts.append(Mount(_unescape(fields[4]), fields[2], _unescape(names[1])))
    return tuple(mounts)


def read_mounts(path: Path) -> tuple[Mount, ...]:
    """Return the mounts in a mountinfo file."""
    return parse_mountinfo(_read(path))


def _names_of_source(source: str) -> Iterator[str]:
    """Yield the mapped name in ``/dev/mapper/NAME`` or ``/dev/GROUP/VOLUME``, for a machine without /sys."""
    match source.split("/"):
        case ["", "dev", "mapper", name]:
            yield name
        case ["", "dev", group, volume]:
            yield f"{group.replace('-', '--')}-{volume.replace('-', '--')}"


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


@dataclass(frozen=True, slots=True)
class Layer:
    """One of the block devices below a mount: a mapped volume, or a partition of a disk."""

    mapped: str | None = None
    partition: str | None = None
    disk: str | None = None


class MountTable:
    """The mounts of this machine; ``root`` is the folder that holds proc and sys."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self.mounts = read_mounts(root / "proc/self/mountinfo")

    def find(self, point: str) -> Mount | None:
        """Return what is seen at the mount point ``point``; None where no file system of its own is there.

        A folder that is mounted on itself, as systemd does it for a service with a view of its own, is none.
        """
        mount = self._last_at(point)
        if mount is None or point == "/":
            return mount
        parents = (self._last_at(str(parent)) for parent in PurePosixPath(point).parents)
        above = next(filter(None, parents), None)
        return None if above and above.device == mount.device else mount

    def _last_at(self, point: str) -> Mount | None:
        return next((mount for mount in reversed(self.mounts) if mount.point == point), None)

    def layers_of(self, mount: Mount) -> Iterator[Layer]:
        """Yield the devices below a mount from the top: what dm-verity maps comes after dm-verity's own."""
        if (self._root / "sys/dev/block" / mount.device).exists():
            yield from self._layers_of_device(mount.device)
        else:
            yield from (Layer(mapped=name) for name in _names_of_source(mount.source))

    def _layers_of_device(self, device: str) -> Iterator[Layer]:
        folder = (self._root / "sys/dev/block" / device).resolve()
        is_partition = (folder / "partition").exists()
        yield Layer(
            mapped=_read(folder / "dm/name") or None,
            partition=_read_name(folder) if is_partition else None,
            disk=folder.parent.name if is_partition else None,
        )
        for below in sorted((folder / "slaves").glob("*")):
            yield from self._layers_of_device(_read(below / "dev"))

    def find_disk(self, mount: Mount) -> str | None:
        """Return the kernel's name of the disk whose partition is mounted, for example ``sda``."""
        return next((layer.disk for layer in self.layers_of(mount) if layer.disk), None)

    def find_partition(self, disk: str, name: str) -> str | None:
        """Return the kernel's name of the partition ``name`` of a disk, for example ``sda5``."""
        folders = (self._root / "sys/class/block" / disk).resolve().glob("*/partition")
        return next((path.parent.name for path in folders if _read_name(path.parent) == name), None)


def _read_name(folder: Path) -> str | None:
    """Return a partition's name in the partition table."""
    lines = _read(folder / "uevent").splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith("PARTNAME=")), None)


def _read(path: Path) -> str:
    try:
        # As bytes, for reading as text would turn carriage returns into newlines.
        return path.read_bytes().decode("utf-8", "surrogateescape").strip()
    except OSError:
        return ""
