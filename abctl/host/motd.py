"""The login message of the running host: a file that pam_motd reads, under /run since /etc is read-only."""

from pathlib import Path

from abctl.errors import WriteFailed
from abctl.host.replace import replace_file

PATH = Path("/run/motd.d/50-abctl")


def write_motd(text: str, path: Path = PATH) -> None:
    """Replace the message at once, or remove it where ``text`` is empty; raise WriteFailed."""
    if text:
        replace_file(path, text.encode())
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise WriteFailed(f"{path} cannot be written: {error.strerror}") from error
