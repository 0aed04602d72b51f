"""Small files: what the kernel says in /proc and /sys, and what an admin has written."""

from pathlib import Path

from abctl.errors import AbctlError


def read_small(path: Path, limit: int = -1) -> str:
    """Return what is in a file, without blanks around it; empty where it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(limit).strip()
    except OSError:
        return ""


def read_bounded(path: Path, limit: int, failure: type[AbctlError]) -> bytes:
    """Return a file of at most ``limit`` bytes; raise ``failure``."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise failure(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > limit:
        raise failure(f"{path} has more than {limit} bytes: it is another file")
    return data


def read_text(path: Path, limit: int, failure: type[AbctlError]) -> str:
    """Return the text of a file of at most ``limit`` bytes; raise ``failure``."""
    try:
        return read_bounded(path, limit, failure).decode()
    except UnicodeDecodeError as error:
        raise failure(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error
