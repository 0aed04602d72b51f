"""The file in which the health service leaves what it found."""

import os
from pathlib import Path

from abctl.core.health_state import PATH, SIZE_MAX, HealthState, decode, encode
from abctl.errors import WriteFailed


def write_health(state: HealthState, root: Path = Path("/")) -> None:
    """Replace the file at once, so that a reader sees the old or the new one; raise WriteFailed."""
    path = root / PATH
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        part.write_bytes(encode(state))
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise WriteFailed(f"{path} cannot be written: {error.strerror}") from error


def read_health(root: Path = Path("/")) -> HealthState | None:
    """Return what the health service found in this boot; None where nothing whole is there."""
    try:
        with (root / PATH).open("rb") as file:
            data = file.read(SIZE_MAX + 1)
    except OSError:
        return None
    return decode(data) if len(data) <= SIZE_MAX else None
