"""Files that other programs read at any moment: replaced at once, and never seen half written."""

import os
from pathlib import Path

from abctl.errors import WriteFailed


def replace_file(path: Path, data: bytes) -> None:
    """Make or replace a file that everybody may read, with its folder; raise WriteFailed.

    It is not flushed: this is for what need not outlast a power cut.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            part.write_bytes(data)
            part.chmod(0o644)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise WriteFailed(f"{path} cannot be written: {error.strerror}") from error
