"""The small files by which the guest's service and other commands tell each other how the guest stands."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from abctl.core.guest_state import PATH, SIZE_MAX, GuestState, Hold, decode, encode
from abctl.errors import WriteFailed
from abctl.host.lock import wait_for_file
from abctl.host.replace import replace_file

HOLD = "run/abctl/guest-hold"  # while it is there, the service keeps the guest stopped; it says why
# While somebody has it locked, too. What is in it outlasts an upgrade only where that was killed.
UPGRADE = "run/abctl-guest-upgrade.lock"
HEALTHY = "var/lib/abctl/guest-healthy"  # the trial of the guest that reported healthy
_TEXT_MAX = 1000
BY_UPGRADE = "it gets another release"
_LOCK_WAIT = 1.0  # seconds; who looks whether it is locked has it for a moment


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


@contextmanager
def hold_for_upgrade(root: Path = Path("/")) -> Iterator[None]:
    """Have the service keep the guest stopped, however this process ends; raise Busy, or WriteFailed.

    What an admin wants is another hold, which is there before and after.
    """
    busy = "another 'abctl guest upgrade' works on the guest: wait until it has ended"
    with wait_for_file(root / UPGRADE, _LOCK_WAIT, busy):
        _note(root / UPGRADE, f"{BY_UPGRADE}\n")
        try:
            yield
        finally:
            _note(root / UPGRADE, "")


def end_lost_upgrade(root: Path = Path("/")) -> bool:
    """Return once whether an upgrade that held the guest was killed; raise WriteFailed."""
    path = root / UPGRADE
    if not _read(path, 1) or _read_upgrade(path) is not None:
        return False
    _note(path, "")
    return True


def read_hold(root: Path = Path("/")) -> Hold | None:
    """Return why the guest is to stay stopped; None where it is not."""
    return _read_upgrade(root / UPGRADE) or _read_wish(root / HOLD)


def _read_wish(path: Path) -> Hold | None:
    try:
        with path.open("rb") as file:
            data, mark = file.read(_TEXT_MAX), os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return None
    return Hold(" ".join(data.decode("utf-8", "replace").split()) or "an admin wants it so", mark)


def _read_upgrade(path: Path) -> Hold | None:
    try:
        with path.open("rb") as file:
            try:
                # Shared: two that look at once must not take each other for an upgrade.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return Hold(BY_UPGRADE, os.fstat(file.fileno()).st_mtime_ns)
    except OSError:
        pass
    return None


def _note(path: Path, text: str) -> None:
    """Write into a file that stays the one that is locked."""
    try:
        path.write_text(text)
    except OSError as error:
        raise WriteFailed(f"{path} cannot be written: {error.strerror}") from error


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
