"""The file in which the health service leaves what it found."""

from pathlib import Path

from abctl.core.health_state import PATH, SIZE_MAX, HealthState, decode, encode
from abctl.host.replace import replace_file

_TRIAL_OVER = "run/abctl/trial-over"


def write_health(state: HealthState, root: Path = Path("/")) -> None:
    """Replace the file at once, so that a reader sees the old or the new one; raise WriteFailed."""
    replace_file(root / PATH, encode(state))


def note_trial_over(root: Path = Path("/")) -> None:
    """Leave for the rest of this boot that its trial has ended well; raise WriteFailed.

    The kernel's command line goes on to say that it is one. ``abctl-trial`` looks at the same file.
    """
    replace_file(root / _TRIAL_OVER, b"")


def is_trial_over(root: Path = Path("/")) -> bool:
    return (root / _TRIAL_OVER).exists()


def read_health(root: Path = Path("/")) -> HealthState | None:
    """Return what the health service found in this boot; None where nothing whole is there."""
    try:
        with (root / PATH).open("rb") as file:
            data = file.read(SIZE_MAX + 1)
    except OSError:
        return None
    return decode(data) if len(data) <= SIZE_MAX else None
