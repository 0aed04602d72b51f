"""What this machine has to give to a guest: processors, memory, huge pages, bridges, files."""

import os
from collections.abc import Iterable
from pathlib import Path

from abctl.core.guest import Resources
from abctl.core.units import KIB
from abctl.host.small_files import read_small

_HUGEPAGES = "sys/kernel/mm/hugepages/hugepages-2048kB"


def read_resources(files: Iterable[str], root: Path = Path("/")) -> Resources:
    """Return what there is below ``root``, and which of ``files`` cannot be used."""
    memory = _read_meminfo(root)
    return Resources(
        cpus=_count_list(read_small(root / "sys/devices/system/cpu/online")),
        threads=_count_list(read_small(root / "sys/devices/system/cpu/cpu0/topology/thread_siblings_list"))
        or 1,
        has_topoext=_has_topoext(root),
        memory=memory.get("MemTotal", 0),
        available=memory.get("MemAvailable", 0),
        hugepages=_number(root / _HUGEPAGES / "nr_hugepages"),
        free_hugepages=_number(root / _HUGEPAGES / "free_hugepages"),
        bridges=frozenset(path.parent.name for path in (root / "sys/class/net").glob("*/bridge")),
        missing={path: problem for path in files if (problem := _find_problem(root / path.lstrip("/")))},
    )


def _find_problem(path: Path) -> str | None:
    """Return why ``path`` cannot be used."""
    try:
        with path.open("rb") as file:
            os.fstat(file.fileno())
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be used ({error.strerror})"
    return None


def _read_meminfo(root: Path) -> dict[str, int]:
    """Return /proc/meminfo in bytes."""
    found = {}
    for line in read_small(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdecimal():
            found[name] = int(words[0]) * (KIB if words[1:] == ["kB"] else 1)
    return found


def _count_list(text: str) -> int:
    """Return how many numbers are in a list of the kernel's, such as ``0-3,8``."""
    count = 0
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            count += int(last or first) - int(first) + 1
    return count


def _has_topoext(root: Path) -> bool:
    flags = (line for line in read_small(root / "proc/cpuinfo").splitlines() if line.startswith("flags"))
    return "topoext" in next(flags, "").split()


def _number(path: Path) -> int:
    text = read_small(path)
    return int(text) if text.isdecimal() else 0
