"""What is mounted where, and by which volume: /proc/self/mountinfo and /sys/dev/block."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        fields, names = head.split(" "), tail.split(" ")
        if len(fields) >= 6 and len(names) >= 2:  # noqa: PLR2004 - see proc_pid_mountinfo(5)
            mounts.append(Mount(_unescape(fields[4]), fields[2], _unescape(names[1])))
    return tuple(mounts)


def _names_of_source(source: str) -> Iterator[str]:
    """Yield the mapped name in ``/dev/mapper/NAME`` or ``/dev/GROUP/VOLUME``, for a machine without /sys."""
    match source.split("/"):
        case ["", "dev", "mapper", name]:
            yield name
        case ["", "dev", group, volume]:
            yield f"{group.replace('-', '--')}-{volume.replace('-', '--')}"


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


class MountTable:
    """The mounts of this machine; ``root`` is the folder that holds proc and sys."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self.mounts = parse_mountinfo(_read(root / "proc/self/mountinfo"))

    def find(self, point: str) -> Mount | None:
        """Return what is seen at the mount point ``point``; None where nothing is mounted there."""
        return next((mount for mount in reversed(self.mounts) if mount.point == point), None)

    def names_of(self, mount: Mount) -> Iterator[str]:
        """Yield what the volume below a mount may be called: mapped names, partition names and UUIDs.

        Where dm-verity or another mapping lies between, the names of what it maps follow.
        """
        if (self._root / "sys/dev/block" / mount.device).exists():
            yield from self._names_of_device(mount.device)
        else:
            yield from _names_of_source(mount.source)

    def _names_of_device(self, device: str) -> Iterator[str]:
        folder = self._root / "sys/dev/block" / device
        yield from filter(None, (_read(folder / "dm/name"),))
        values = dict(line.partition("=")[::2] for line in _read(folder / "uevent").splitlines())
        yield from (values[key] for key in ("PARTNAME", "PARTUUID") if values.get(key))
        for below in sorted((folder / "slaves").glob("*")):
            yield from self._names_of_device(_read(below / "dev"))

    def find_disk(self, mount: Mount) -> str | None:
        """Return the kernel's name of the disk whose partition is mounted, for example ``sda``."""
        folder = (self._root / "sys/dev/block" / mount.device).resolve()
        return folder.parent.name if (folder / "partition").exists() else None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "surrogateescape").strip()
    except OSError:
        return ""
