"""Which watchdogs the kernel has."""

import os
from pathlib import Path

from abctl.host.small_files import read_small


def list_watchdogs(root: Path = Path("/")) -> tuple[str, ...]:
    """Return what each calls itself, as ``iTCO_wdt`` or ``Software Watchdog``."""
    found = sorted((root / "sys/class/watchdog").glob("*/identity"))
    return tuple(read_small(path) or path.parent.name for path in found)


def has_softdog(root: Path = Path("/"), release: str = os.uname().release) -> bool:
    """Whether this kernel has the watchdog in software, which the initramfs loads for a trial."""
    return any((root / "lib/modules" / release).glob("kernel/drivers/watchdog/softdog.ko*"))
