"""Which watchdogs the kernel has."""

from pathlib import Path


def list_watchdogs(root: Path = Path("/")) -> tuple[str, ...]:
    """Return what each calls itself, as ``iTCO_wdt`` or ``Software Watchdog``."""
    found = sorted((root / "sys/class/watchdog").glob("*/identity"))
    return tuple(_read(path) or path.parent.name for path in found)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
