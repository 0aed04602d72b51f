"""The medium by which a guest gets its configuration: a FAT file system labelled CONFIG, in an image."""

import os
import stat
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from abctl.core.found import Extent
from abctl.core.layout import Filesystem
from abctl.core.units import MIB, format_size
from abctl.errors import BadGuest, WriteFailed
from abctl.host.block import ExtentVolume
from abctl.host.format import format_volume

LABEL = "CONFIG"
_SIZE = 16 * MIB  # of the image; more where the files are more
_CONTENT_MAX = 64 * MIB
_FILES_MAX = 1000


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files below ``folder`` by path; none where it does not exist.

    Raise BadGuest for what is no file (a link could lead anywhere), for too many, or for what is unreadable.
    """
    files: dict[str, bytes] = {}
    size = 0
    try:
        for path in sorted(folder.rglob("*")):
            kind = path.lstat().st_mode
            if stat.S_ISDIR(kind):
                continue
            if not stat.S_ISREG(kind):
                raise BadGuest(f"{path} is not a file, and the medium {LABEL} holds files only: remove it")
            size += path.stat().st_size
            if size > _CONTENT_MAX or len(files) >= _FILES_MAX:
                raise BadGuest(
                    f"{folder} has more than {_FILES_MAX} files or {format_size(_CONTENT_MAX)}: that is no "
                    f"configuration; mend media.folder in guest.toml"
                )
            files[str(path.relative_to(folder))] = path.read_bytes()
    except OSError as error:
        raise BadGuest(f"{folder} cannot be read: {error.strerror}") from error
    return files


def make_media(path: Path, files: dict[str, bytes]) -> None:
    """Make or replace the image ``path``, which root alone may read; raise WriteFailed or ToolFailed."""
    size = _SIZE + 2 * sum(len(data) for data in files.values()) // MIB * MIB
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            part.touch(mode=0o600)
            os.truncate(part, size)
            with ExtentVolume(part, [Extent(0, size)], LABEL, writable=True) as volume:
                format_volume(volume, Filesystem.VFAT, str(uuid5(NAMESPACE_URL, "abctl:config-media")), files)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise WriteFailed(f"{path} cannot be made: {error.strerror}") from error
