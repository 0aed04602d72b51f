"""The decision itself, by ``consider`` and ``choose``: what the arrays of ``simulate`` are held to."""

from dataclasses import dataclass

from abctl.core.bootstate import BootEnv, SlotSet, SlotState
from abctl.core.consider import Vantage, choose, consider
from abctl.core.events import Host
from abctl.core.slot import SlotName
from abctl.core.terms import Policy, Rollout, Terms
from abctl.core.units import Seconds, Version
from tests.rollout.fleet import HOUR, NEW, OLD, STONE
from tests.rollout.waves import LAYOUT, name_host

NAMES = {OLD: Version("1.4.0"), STONE: Version("2.0.0"), NEW: Version("2.1.0")}


@dataclass(frozen=True, slots=True)
class Edition:
    """The rollouts that the publisher signs at ``at``."""

    at: int
    rollout: Rollout
    stone: Rollout

    def offer(self) -> tuple[Terms, ...]:
        """Return the terms of all that is on offer then."""
        return (
            Terms(version=NAMES[OLD], layouts=(LAYOUT,), published=Seconds(0), download=0),
            Terms(
                version=NAMES[STONE], layouts=(LAYOUT,), published=Seconds(0), download=0, rollout=self.stone
            ),
            Terms(
                version=NAMES[NEW],
                layouts=(LAYOUT,),
                published=Seconds(0),
                download=0,
                needs=NAMES[STONE],
                rollout=self.rollout,
            ),
        )


def decide(host: int, has: int, at: float, edition: Edition, *, is_refused: bool) -> int:
    """Return what the host with the version ``has`` takes at ``at``, or what it has."""
    other = SlotSet(SlotState.BAD, NAMES[NEW]) if is_refused else SlotSet()
    env = BootEnv(SlotName.A, slot_sets={SlotName.A: SlotSet(SlotState.GOOD, NAMES[has]), SlotName.B: other})
    vantage = Vantage(Host(env), LAYOUT, Seconds(int(at)), name_host(host))
    chosen = choose(consider(edition.offer(), Policy(), vantage))
    return has if chosen is None else next(key for key, name in NAMES.items() if name == chosen.terms.version)


def make_rollout(*waves: tuple[float, float], start: float = 0) -> Rollout:
    """Return a rollout from hours and shares."""
    return Rollout.model_validate(
        {
            "start": round(start * HOUR),
            "waves": [{"after": round(after * HOUR), "share": float(share)} for after, share in waves],
        }
    )
