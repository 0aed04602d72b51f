"""The login message of the running host: a file that pam_motd reads, under /run since /etc is read-only."""

import os
from pathlib import Path

from abctl.errors import WriteFailed

PATH = Path("/run/motd.d/50-abctl")


def write_motd(text: str, path: Path = PATH) -> None:
    """Replace the message at once, or remove it where ``text`` is empty; raise WriteFailed."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if not text:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            part.write_text(text, "utf-8")
            part.chmod(0o644)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise WriteFailed(f"{path} cannot be written: {error.strerror}") from error
