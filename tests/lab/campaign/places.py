"""Where the campaign keeps its things, and how they are named."""

import hashlib
from dataclasses import dataclass

from abctl.core.slot import SlotName
from tests.lab.places import CACHE
from tests.lab.variants import BETTER, FIRST, GOOD, PANICS

CAMPAIGN = CACHE / "campaign"
KEPT = "".join(f"this line must stay, whatever happens: {number}\n" for number in range(500)).encode()
KEPT_IN_CONFIG = "keep/lines"  # on the config volume
KEPT_IN_VAR = "lib/keep/lines"
KEPT_DIGEST = hashlib.sha256(KEPT).hexdigest()
GO_ON = 20  # one cut in so many is followed by the upgrade, done again: it takes as long as five more cuts
REFUSED = "0.9.9"  # by the record, before anything begins


@dataclass(frozen=True, slots=True)
class Plan:
    """An upgrade that is recorded: from the disk that ``after`` left, or from the first one."""

    name: str
    after: str | None
    primary: SlotName
    old: str
    new: str
    is_good: bool = True
    replaced: str | None = None  # what the target holds before

    @property
    def target(self) -> SlotName:
        return self.primary.other

    @property
    def next_version(self) -> str:
        """What is installed when the host goes on after a cut."""
        return self.new if self.is_good else GOOD.version


PLANS = (
    Plan("a_to_b", None, SlotName.A, FIRST, GOOD.version),
    Plan("b_to_a", "a_to_b", SlotName.B, GOOD.version, BETTER.version, replaced=FIRST),
    Plan("falls_back", None, SlotName.A, FIRST, PANICS.version, is_good=False),
)
