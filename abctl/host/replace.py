"""Files that other programs read at any moment: replaced at once, and never seen half written."""

import os
from pathlib import Path

from abctl.errors import WriteFailed


def replace_file(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Make or replace a file that everybody may read, with its folder; raise WriteFailed.

    It is flushed where it is ``durable``; else it need not outlast a power cut.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            part.write_bytes(data)
            part.chmod(0o644)
            if durable:
                _flush(part, os.O_RDONLY)
            part.replace(path)
            if durable:
                _flush(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise WriteFailed(f"{path} cannot be written: {error.strerror}") from error


def _flush(path: Path, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
