"""The small files by which the guest's service and other commands tell each other how the guest stands."""

import json
from pathlib import Path

from abctl.core.guest_state import PATH, SIZE_MAX, GuestState, decode, encode
from abctl.errors import WriteFailed
from abctl.host.replace import replace_file

HOLD = "run/abctl/guest-hold"  # while it is there, the service keeps the guest stopped; it says why
HEALTHY = "var/lib/abctl/guest-healthy"  # the trial of the guest that reported healthy
_TEXT_MAX = 1000


def has_guest(folder: Path) -> bool:
    """Whether this host has a guest, by the folder of its configuration."""
    return (folder / "guest.toml").exists()


def write_state(state: GuestState, root: Path = Path("/")) -> None:
    """Replace the file at once, so that a reader sees the old or the new one; raise WriteFailed."""
    replace_file(root / PATH, encode(state))


def read_state(root: Path = Path("/")) -> GuestState | None:
    """Return how the guest stands; None where nothing whole is there."""
    data = _read(root / PATH, SIZE_MAX + 1)
    return decode(data) if data and len(data) <= SIZE_MAX else None


def hold(why: str, root: Path = Path("/")) -> None:
    """Have the service keep the guest stopped; raise WriteFailed."""
    replace_file(root / HOLD, f"{why}\n".encode())


def read_hold(root: Path = Path("/")) -> str | None:
    """Return why the guest is to stay stopped; None where it is not."""
    data = _read(root / HOLD, _TEXT_MAX)
    if data is None:
        return None
    return " ".join(data.decode("utf-8", "replace").split()) or "an admin wants it so"


def release(root: Path = Path("/")) -> None:
    """Let the service start the guest again; raise WriteFailed."""
    _remove(root / HOLD)


def note_healthy(generation: int, root: Path = Path("/")) -> None:
    """Note that the trial of this generation of the guest's boot environment reported healthy."""
    replace_file(root / HEALTHY, json.dumps({"generation": generation}).encode() + b"\n", durable=True)


def read_healthy(root: Path = Path("/")) -> int | None:
    """Return the generation that was noted last."""
    try:
        found = json.loads(_read(root / HEALTHY, _TEXT_MAX) or b"")["generation"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return found if type(found) is int else None


def forget_healthy(root: Path = Path("/")) -> None:
    _remove(root / HEALTHY)


def _read(path: Path, limit: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError:
        return None


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise WriteFailed(f"{path} cannot be removed: {error.strerror}") from error
