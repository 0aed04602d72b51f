"""The files of a firewall: its policy, the prefixes that fill its sets, and what is remembered of it."""

import hashlib
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from abctl.errors import BadFirewall
from abctl.host.data import find_data
from abctl.host.live import LivePaths
from abctl.host.lock import wait_for_file
from abctl.host.replace import replace_file

DEFAULT_FOLDER = Path("/etc/abctl")  # as in host.config, which takes longer to load
POLICY_NAME = "firewall.toml"
PREFIXES_FOLDER = "firewall.d"  # in /etc/abctl, and in abctl's folder on the config volume
_SHIPPED = "layout/firewall"
_SUFFIX = ".prefixes"
_STATE, _LOCK = "run/abctl/firewall.json", "run/abctl-firewall.lock"
_STATE_MAX = 8 * 1024 * 1024  # bytes; 4096 prefixes in each of some rules
_LOCK_WAIT = 30.0  # seconds
_SESSION_WORDS = 4  # client, its port, server, its port


def has_firewall(folder: Path = DEFAULT_FOLDER, root: Path = Path("/")) -> bool:
    """Whether a firewall is configured, or was loaded in this boot."""
    return (folder / POLICY_NAME).exists() or (root / _STATE).exists()


def list_shipped() -> list[str]:
    """Return the names of the shipped policies."""
    return sorted(path.stem for path in find_data(_SHIPPED).glob("*.toml"))


def find_shipped(name: str) -> Path:
    """Return the file of a shipped policy; raise BadFirewall."""
    if name not in list_shipped():
        raise BadFirewall(f"there is no policy {name[:60]}: give a TOML file, or {', '.join(list_shipped())}")
    return find_data(_SHIPPED) / f"{name}.toml"


def prefix_folders(folder: Path, *, with_config_volume: bool) -> tuple[Path, ...]:
    """Return where files of prefixes may be, what counts first: ``folder`` is that of the configuration."""
    paths = LivePaths()
    volume = paths / f"{paths.config}/abctl/{PREFIXES_FOLDER}"
    return (*([volume] if with_config_volume else []), folder / PREFIXES_FOLDER)


def find_prefix_files(*folders: Path) -> dict[str, Path]:
    """Return the file that fills each set, by the set's name; what is in the first folder counts."""
    found: dict[str, Path] = {}
    for folder in folders:
        try:
            paths = sorted(folder.iterdir())
        except OSError:
            continue
        for path in paths:
            if path.suffix == _SUFFIX and not path.name.startswith("."):
                found.setdefault(path.stem, path)
    return found


def digest_of(path: str) -> str:
    """Return the SHA-256 of a file; empty where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


class KeptFile:
    """What is remembered until the next boot, and the lock of who changes it."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._path = root / _STATE
        self._lock = root / _LOCK

    def read(self) -> bytes:
        """Return what is in the file; empty where it is not there."""
        try:
            with self._path.open("rb") as file:
                return file.read(_STATE_MAX)
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        """Replace the file at once; raise WriteFailed."""
        replace_file(self._path, data)

    def lock(self) -> AbstractContextManager[None]:
        """Wait until nobody else has the lock; raise Busy after half a minute."""
        busy = "another abctl changes the firewall: wait until it has ended"
        return wait_for_file(self._lock, _LOCK_WAIT, busy)


@dataclass(frozen=True, slots=True)
class Session:
    """The two ends of an SSH session, as sshd tells its programs."""

    client: str
    server: str
    port: int


def admin_session(environment: Mapping[str, str] = os.environ) -> Session | None:
    """Return the SSH session that this command was typed in; None where it was none, or sudo hides it."""
    words = environment.get("SSH_CONNECTION", "").split()
    if len(words) != _SESSION_WORDS or not words[3].isdecimal():
        return None
    return Session(words[0], words[2], int(words[3]))
