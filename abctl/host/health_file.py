"""The file in which the health service leaves what it found."""

from pathlib import Path

from abctl.core.health_state import PATH, SIZE_MAX, HealthState, decode, encode
from abctl.host.replace import replace_file


def write_health(state: HealthState, root: Path = Path("/")) -> None:
    """Replace the file at once, so that a reader sees the old or the new one; raise WriteFailed."""
    replace_file(root / PATH, encode(state))


def read_health(root: Path = Path("/")) -> HealthState | None:
    """Return what the health service found in this boot; None where nothing whole is there."""
    try:
        with (root / PATH).open("rb") as file:
            data = file.read(SIZE_MAX + 1)
    except OSError:
        return None
    return decode(data) if len(data) <= SIZE_MAX else None
