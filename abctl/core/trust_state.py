"""What a host remembers of a signed repository: the metadata it trusted last, outside both slot sets.

Without it a server could offer old metadata again. It stands on the config volume as the record does, and a
cut at any point leaves what was there before or what came after.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from abctl.core.halves import Halves
from abctl.core.units import KIB, Seconds, Version

FORM = Halves("abctl-trust 1", 512 * KIB)
PATH = "abctl/trust"  # on the config volume
ROOTS_MAX = 64
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class TrustState:
    """``roots`` is the chain of root metadata, oldest first; ``metadata`` is that of other roles, by name.

    ``host_id`` decides the host's place in rollouts where the configuration does not. ``checked_at`` and
    ``recalled`` (version and reason) are what the last check found, for ``abctl status``.
    """

    host_id: str = ""
    roots: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    checked_at: Seconds | None = None
    recalled: Mapping[Version, str] = field(default_factory=dict)
    serial: int = 0

    def with_host_id(self) -> "TrustState":
        """Return the state with an id, a random one where it has none yet."""
        return self if self.host_id else replace(self, host_id=secrets.token_hex(_ID_BYTES))


def encode_half(state: TrustState) -> bytes:
    """Return the state as one half; where it does not fit, metadata that can be fetched again is left out."""
    roots, metadata = list(state.roots[-ROOTS_MAX:]), dict(state.metadata)
    while True:
        values = {
            "serial": state.serial,
            "host_id": state.host_id,
            "checked_at": state.checked_at,
            "roots": roots,
            "metadata": metadata,
            "recalled": state.recalled,
        }
        half = FORM.seal(json.dumps(values, separators=(",", ":")).encode())
        if half is not None:
            return half
        # timestamp and snapshot say which versions were seen, and are small.
        large = [name for name in metadata if name not in ("timestamp", "snapshot")]
        if large:
            del metadata[max(large, key=lambda name: len(metadata[name]))]
        else:
            del roots[0]


def decode(data: bytes) -> TrustState:
    """Return the newer whole half of the file; nothing whole means that nothing was trusted yet."""
    found = [state for half in FORM.split(data) if (state := _decode_half(half)) is not None]
    return max(found, key=lambda state: state.serial, default=TrustState())


def _decode_half(half: bytes) -> TrustState | None:
    body = FORM.unseal(half)
    if body is None:
        return None
    try:
        return _parse(json.loads(body))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _parse(values: Any) -> TrustState:
    """Return the state in ``values``, or raise where a field is missing or of another type."""
    checked_at = values["checked_at"]
    if not isinstance(values["serial"], int) or not isinstance(checked_at, int | None):
        raise TypeError("not numbers")
    return TrustState(
        host_id=_text(values["host_id"]),
        roots=tuple(_text(root) for root in values["roots"]),
        metadata={_text(name): _text(data) for name, data in values["metadata"].items()},
        checked_at=None if checked_at is None else Seconds(checked_at),
        recalled={Version(_text(name)): _text(reason) for name, reason in values["recalled"].items()},
        serial=values["serial"],
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    value.encode()  # half a surrogate is none either
    return value
