"""What the firmware kept of the kernel's log when it crashed; systemd-pstore files it away later."""

import logging
import os
from itertools import islice
from pathlib import Path

from abctl.core.crash_log import CrashLog, CrashPart, join_crash_logs

log = logging.getLogger(__name__)

FOLDER = Path("/sys/fs/pstore")
_PREFIX = "dmesg-"
_FILES_MAX = 256
_PART_MAX = 64 * 1024  # bytes; one variable of EFI holds far less


def read_crash_logs(folder: Path = FOLDER) -> tuple[CrashLog, ...]:
    """Return the last lines of each crash that pstore holds, oldest first; nothing where there is none."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(
                islice((entry.name for entry in entries if entry.name.startswith(_PREFIX)), _FILES_MAX)
            )
    except OSError:
        return ()
    return join_crash_logs(part for name in names if (part := _read_part(folder / name)) is not None)


def _read_part(path: Path) -> CrashPart | None:
    """Return one file; None where it cannot be read, or the kernel could not unpack it."""
    if path.name.endswith(".enc.z"):
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return CrashPart(os.fstat(fd).st_mtime, os.read(fd, _PART_MAX))
        finally:
            os.close(fd)
    except OSError as error:
        log.info("%s cannot be read: %s", path, error.strerror)
        return None
