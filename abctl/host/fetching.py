"""How releases are fetched from servers: the settings, without the code that needs a network."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from abctl.host.cancel import Cancel
from abctl.host.throttle import RateLimit

CONNECT_TIMEOUT = 15.0  # seconds
STALL_TIMEOUT = 30.0  # seconds without a byte
TRIES = 5
FIRST_PAUSE = 1.0  # seconds; doubled with each try
PAUSE_MAX = 60.0  # seconds
RETRY_AFTER_MAX = 300.0  # seconds; a server that asks for more is asked again after these
SYSTEM_CAS = Path("/etc/ssl/certs/ca-certificates.crt")  # where an admin adds the CA of an own server


def host_of(url: str) -> str:
    """Return host and port of ``url``, without a password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _ignore_setback(said: str, seconds: float) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Fetching:
    """How to fetch; times in seconds.

    ``tries`` bounds the tries in a row that bring no byte; each mirror gets one in any case.
    ``mirrors`` are URLs of the same release elsewhere, asked in this order after the first.
    ``proxy`` is a URL, and None for what the environment says.
    ``trusted`` has the certificates of the CAs that may vouch for a server.
    ``on_setback`` is told what went wrong, and in how many seconds it goes on; in the thread that reads.
    ``cancel`` ends everything that is being fetched.
    """

    connect_timeout: float = CONNECT_TIMEOUT
    stall_timeout: float = STALL_TIMEOUT
    tries: int = TRIES
    first_pause: float = FIRST_PAUSE
    retry_after_max: float = RETRY_AFTER_MAX
    rate_limit: RateLimit | None = None
    proxy: str | None = None
    mirrors: tuple[str, ...] = ()
    trusted: Path = SYSTEM_CAS
    on_setback: Callable[[str, float], None] = _ignore_setback
    cancel: Cancel = field(default_factory=Cancel)
