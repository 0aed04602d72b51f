"""What guests may ask of this host, and how often; ``[agent]`` of config.toml says it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

HOST_CID = 2  # of the host itself; an admin asks in its name
FIRST_GUEST_CID = 3  # 0 is reserved, 1 is any process of the host, 2 is the host
LAST_CID = 2**32 - 2  # one more means "any"
_RANGE = re.compile(r"([0-9]{1,10})(\.\.([0-9]{1,10})?)?")


class Command(StrEnum):
    """What can be allowed by itself; each message is one of these."""

    ATTACH_HSM = "attach-hsm"
    DETACH_HSM = "detach-hsm"
    NOTIFY = "notify"
    SET_NODE_ID = "set-node-id"
    VERSION = "version"
    UPGRADE = "upgrade"  # start a job
    JOBS = "jobs"  # look at one's own jobs
    CANCEL = "cancel"  # end one's own job
    HISTORY = "history"
    BOOT_STATE = "boot-state"


ALL_COMMANDS = frozenset(Command)


@dataclass(frozen=True, slots=True)
class CidRange:
    """The CIDs from ``first`` to ``last``."""

    first: int
    last: int

    def __contains__(self, cid: object) -> bool:
        return isinstance(cid, int) and self.first <= cid <= self.last


def parse_cids(text: str) -> CidRange:
    """Return ``3``, ``3..9`` or ``3..`` as a range; raise ValueError where these are no guests."""
    match = _RANGE.fullmatch(text)
    if not match:
        raise ValueError(f"{text[:40]!r} is not a CID such as 3, nor a range such as 3..9 or 3..")
    first = int(match[1])
    last = first if match[2] is None else int(match[3] or LAST_CID)
    if not FIRST_GUEST_CID <= first <= last <= LAST_CID:
        raise ValueError(
            f"{text[:40]!r}: guests have CIDs from {FIRST_GUEST_CID} to {LAST_CID}, in this order"
        )
    return CidRange(first, last)


ALL_GUESTS = CidRange(FIRST_GUEST_CID, LAST_CID)


@dataclass(frozen=True, slots=True)
class AgentRules:
    """Who may ask what: ``only`` takes the place of ``commands`` for single CIDs.

    ``rate`` is in requests a second, of which ``burst`` may come at once; both, and ``jobs_per_hour``, are
    for each guest. With ``unsigned`` a guest may have installed what nobody signed, by its SHA-256.
    """

    enabled: bool = True
    cids: tuple[CidRange, ...] = (ALL_GUESTS,)
    commands: frozenset[Command] = ALL_COMMANDS
    only: Mapping[int, frozenset[Command]] = field(default_factory=dict)
    rate: float = 20.0
    burst: int = 40
    jobs_per_hour: int = 12
    unsigned: bool = False

    def is_guest(self, cid: int) -> bool:
        """Return whether this guest may ask anything."""
        return any(cid in known for known in self.cids)

    def commands_of(self, cid: int) -> frozenset[Command]:
        return self.only.get(cid, self.commands)
