"""Small files: what the kernel says in /proc and /sys, and what an admin has written."""

import os
from pathlib import Path

from abctl.errors import AbctlError


def read_small(path: Path, limit: int = -1) -> str:
    """Return what is in a file, without blanks around it; empty where it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(limit).strip()
    except OSError:
        return ""


def read_if_there(path: Path, limit: int) -> bytes | None:
    """Return the first ``limit`` bytes of a file, None where there is none; raise OSError.

    For what others may have put there: a link is not followed, and nothing is waited for.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read(limit)


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
