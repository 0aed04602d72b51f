"""What the newest release needs that a host has seen on offer, by the metadata that it remembers.

As in ``signed_dates``, nothing is verified here: what is remembered was verified when it was taken.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from abctl.core.signed_dates import FIELD
from abctl.core.slot import Part
from abctl.core.trust_state import TrustState
from abctl.core.units import Bytes, Version, parse_version
from abctl.core.version_order import order_of


@dataclass(frozen=True, slots=True)
class Newest:
    """A release, and what its images take in their slots."""

    version: Version
    sizes: Mapping[Part, Bytes]


def find_newest(state: TrustState, layout: str) -> Newest | None:
    """Return the newest release for this layout; None where none is known, or not how large it is."""
    found = list(_read_all(state.metadata.get("targets", ""), layout))
    return max(found, key=lambda item: order_of(item.version), default=None)


def _read_all(text: str, layout: str) -> Iterator[Newest]:
    try:
        targets = json.loads(text)["signed"]["targets"].values()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    for target in targets:
        newest = _read(target, layout)
        if newest:
            yield newest


def _read(target: Any, layout: str) -> Newest | None:
    try:
        custom = target["custom"][FIELD]
        if layout not in custom["layouts"]:
            return None
        sizes = {part: Bytes(int(custom["sizes"][part])) for part in (Part.BOOT, Part.ROOT)}
        return Newest(parse_version(custom["version"]), sizes)
    except (ValueError, KeyError, TypeError):
        return None
