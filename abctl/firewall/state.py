"""What is remembered of a firewall until the next boot: what was loaded, and what waits to be confirmed."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from abctl.core.units import Seconds


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be loaded: ``objects`` for nft, from the policy ``name``.

    ``digests`` are those of the files it was made of, by path. ``emergency`` says why the emergency rules are
    loaded in place of a policy, empty where they are not; ``problems`` is what was left out of it.
    """

    name: str
    objects: tuple[Mapping[str, Any], ...]
    digests: Mapping[str, str] = field(default_factory=dict)
    emergency: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pending:
    """Rules that are loaded on approval until ``deadline``, in seconds since the boot.

    ``before`` is what nft listed before them (None: no table), ``wanted`` where that came from.
    """

    deadline: float
    before: str | None
    wanted: Wanted | None


@dataclass(frozen=True, slots=True)
class Memory:
    """``wanted`` was loaded last, at ``at``; ``put_back`` where that was because nobody confirmed."""

    wanted: Wanted | None = None
    at: Seconds | None = None
    pending: Pending | None = None
    put_back: bool = False


def encode(memory: Memory) -> bytes:
    return json.dumps(asdict(memory)).encode() + b"\n"


def decode(data: bytes) -> Memory:
    """Return what is remembered; nothing, where the file is damaged or of another abctl."""
    try:
        values = json.loads(data)
        pending = values["pending"]
        return Memory(
            wanted=_parse_wanted(values["wanted"]),
            at=None if values["at"] is None else Seconds(int(values["at"])),
            pending=None if pending is None else _parse_pending(pending),
            put_back=bool(values["put_back"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return Memory()


def _parse_wanted(values: Any) -> Wanted | None:
    if values is None:
        return None
    return Wanted(
        name=str(values["name"]),
        objects=tuple(dict(item) for item in values["objects"]),
        digests={str(path): str(digest) for path, digest in values["digests"].items()},
        emergency=str(values["emergency"]),
        problems=tuple(str(item) for item in values["problems"]),
    )


def _parse_pending(values: Any) -> Pending:
    before = values["before"]
    return Pending(
        deadline=float(values["deadline"]),
        before=None if before is None else str(before),
        wanted=_parse_wanted(values["wanted"]),
    )
