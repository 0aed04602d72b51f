"""When signed metadata was signed and until when it holds, as far as a host remembers it; verifies nothing.

It reads what ``trust_state`` keeps without python-tuf and pydantic, which take longer to load than
``abctl status`` may take in all. What is remembered was verified when it was taken.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from abctl.core.clock import say_time, time_that_counts
from abctl.core.trust_state import TrustState
from abctl.core.units import TIME_END, Seconds

FIELD = "abctl"  # in ``custom`` of a target, and in targets and timestamp themselves
ROLES = ("root", "timestamp", "snapshot", "targets")
NEVER = Seconds(0)


@dataclass(frozen=True, slots=True)
class SignedDates:
    """When what is remembered was signed last, 0 where nothing is; and when each role expires."""

    signed: Seconds = NEVER
    expires: Mapping[str, Seconds] = field(default_factory=dict)

    def expired(self, now: Seconds) -> tuple[str, ...]:
        """Return the roles that are past their date at ``now``, or at the last time that was signed."""
        counts = time_that_counts(now, self.signed)
        return tuple(role for role in ROLES if self.expires.get(role, counts) < counts)


def read_issued(fields: Mapping[str, Any]) -> Seconds:
    """Return when metadata was signed, by the fields that are abctl's own; 0 where it does not say it."""
    found = fields.get(FIELD)
    issued = found.get("issued") if isinstance(found, Mapping) else None
    return Seconds(issued) if isinstance(issued, int) and 0 <= issued < TIME_END else Seconds(0)


def read_dates(state: TrustState, pinned: str | None = None) -> SignedDates:
    """Return the dates in what is remembered; ``pinned`` is the root metadata that trust began with."""
    roots = [fields for text in (pinned, *state.roots) if text and (fields := _parse(text)) is not None]
    found = {"root": max(roots, key=_version_of)} if roots else {}
    for role in ROLES[1:]:
        fields = _parse(state.metadata.get(role, ""))
        if fields is not None:
            found[role] = fields
    signed = [read_issued(fields) for fields in found.values()]
    expires = {role: at for role, fields in found.items() if (at := _read_expiry(fields)) is not None}
    return SignedDates(max(signed, default=NEVER), expires)


def _version_of(fields: Mapping[str, Any]) -> int:
    version = fields.get("version")
    return version if isinstance(version, int) else 0


def _parse(text: str) -> Mapping[str, Any] | None:
    try:
        signed = json.loads(text)["signed"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return signed if isinstance(signed, dict) else None


def _read_expiry(fields: Mapping[str, Any]) -> Seconds | None:
    try:
        return Seconds(int(datetime.fromisoformat(fields["expires"]).timestamp()))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def say_expired(dates: SignedDates, now: Seconds) -> str | None:
    """Return a sentence where what is remembered of the repository is too old to be believed."""
    expired = dates.expired(now)
    if not expired:
        return None
    role = expired[0]
    at = say_time(dates.expires[role])
    return f"what this host knows of its repository is out of date: {role} metadata expired at {at}"
