"""Who may ask what, and how often. The time is a value that the caller gives; nothing here waits."""

from dataclasses import dataclass, field

from abctl.agent.messages import Message, UpgradeFromUrl
from abctl.core.agent_rules import HOST_CID, AgentRules

WRONG_SENDER = (
    "The actual sender CID did not match the sender CID in the request object"  # as the older system
)
_GUESTS_MAX = 1024  # whose requests are counted; more than a host can run


@dataclass(slots=True)
class Bucket:
    """Allows ``rate`` things a second, of which ``burst`` may come at once."""

    rate: float
    burst: float
    level: float = field(init=False)
    seen: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.burst

    def take(self, now: float) -> float:
        """Take one and return 0, or return in how many seconds there is one."""
        self.fill(now)
        if self.level >= 1:
            self.level -= 1
            return 0.0
        return (1 - self.level) / self.rate

    def fill(self, now: float) -> None:
        # A clock that goes back must not empty it.
        self.level = min(self.burst, self.level + max(0.0, now - self.seen) * self.rate)
        self.seen = now

    def is_full(self, now: float) -> bool:
        self.fill(now)
        return self.level >= self.burst


class Gate:
    """Says for each request whether it is let in, and counts those of each guest."""

    def __init__(self, rules: AgentRules) -> None:
        self._rules = rules
        self._buckets: dict[int, Bucket] = {}

    def count(self, cid: int, now: float) -> float:
        """Count one request, whatever it is; return 0, or in how many seconds there may be another one."""
        if cid == HOST_CID:
            return 0.0
        return self._bucket_of(cid, now).take(now)

    def judge(self, cid: int, sender_cid: int, message: Message) -> str | None:
        """Return why a request from ``cid`` (the kernel's word) is refused, None where it is let in."""
        if cid != HOST_CID and not self._rules.is_guest(cid):
            return f"this host answers no requests from CID {cid}: [agent] of its config.toml says to whom"
        if sender_cid != cid:
            return WRONG_SENDER
        # An admin asks over a socket that only root can use.
        return None if cid == HOST_CID else self._judge_guest(cid, message)

    def _judge_guest(self, cid: int, message: Message) -> str | None:
        command = message.command
        if command is not None and command not in self._rules.commands_of(cid):
            return f"{command} is not allowed to CID {cid}: [agent] of this host's config.toml says what is"
        if isinstance(message, UpgradeFromUrl) and not self._rules.unsigned:
            return (
                "this host installs only what is signed, and nobody signed what a URL and a hash name: ask "
                'for the upgrade of "abctl-1", or have its admin allow it under [unsigned] in config.toml'
            )
        return None

    def _bucket_of(self, cid: int, now: float) -> Bucket:
        bucket = self._buckets.get(cid)
        if bucket is None:
            if len(self._buckets) >= _GUESTS_MAX:
                self._forget(now)
            bucket = self._buckets[cid] = Bucket(self._rules.rate, self._rules.burst, seen=now)
        return bucket

    def _forget(self, now: float) -> None:
        """Forget guests that have asked nothing for long, or else the one that asked the longest ago."""
        idle = [cid for cid, bucket in self._buckets.items() if bucket.is_full(now)]
        oldest = min(self._buckets, key=lambda cid: self._buckets[cid].seen)
        for cid in idle or [oldest]:
            del self._buckets[cid]
