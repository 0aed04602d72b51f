"""Which of the releases on offer a host takes, and why not the others."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from abctl.core.clock import say_time
from abctl.core.events import Host
from abctl.core.machine import find_refusal
from abctl.core.terms import Policy, Terms
from abctl.core.units import Seconds, Version
from abctl.core.version_order import is_newer, order_of

_PLACE_BITS = 53  # what a float holds exactly


class Reason(StrEnum):
    """Why a release is not considered. An admin may override all but the last, by these names."""

    DOWNGRADE = "downgrade"  # older than what runs, or the same by another name
    FLOOR = "floor"  # older than anything the publisher lets install
    STEPPING_STONE = "stepping-stone"  # another release has to come first
    LAYOUT = "layout"  # for other disks
    WAVE = "wave"  # not this host's turn yet
    RECALLED = "recalled"
    SAME = "same"  # it runs already
    REFUSED = "refused"  # fell back or was given up here; 'abctl allow' takes that back


OVERRIDABLE = (
    Reason.DOWNGRADE,
    Reason.FLOOR,
    Reason.STEPPING_STONE,
    Reason.LAYOUT,
    Reason.WAVE,
    Reason.RECALLED,
    Reason.SAME,
)


@dataclass(frozen=True, slots=True)
class Objection:
    """One reason, and a sentence that goes on after 'not considered because'."""

    reason: Reason
    sentence: str
    is_overridden: bool = False


@dataclass(frozen=True, slots=True)
class Considered:
    """A release on offer, and what speaks against it here."""

    terms: Terms
    objections: tuple[Objection, ...]

    @property
    def standing(self) -> tuple[Objection, ...]:
        """The objections that nobody overrode."""
        return tuple(item for item in self.objections if not item.is_overridden)

    @property
    def overridden(self) -> tuple[Objection, ...]:
        return tuple(item for item in self.objections if item.is_overridden)


@dataclass(frozen=True, slots=True)
class Vantage:
    """What a host brings to the decision.

    ``now`` is the time that counts for rollouts; ``place`` from 0 to 1 is how late the host comes in them,
    None where each release has another order, by ``host_id``.
    """

    host: Host
    layout: str
    now: Seconds
    host_id: str
    place: float | None = None

    @property
    def version(self) -> Version | None:
        """The version of the primary: what runs, or ran last."""
        return self.host.env[self.host.env.primary].version

    def place_for(self, version: Version) -> float:
        """Return from 0 to 1 how late this host takes ``version``."""
        if self.place is not None:
            return self.place
        digest = hashlib.sha256(f"{self.host_id}\n{version}".encode()).digest()
        return (int.from_bytes(digest[:8]) >> (64 - _PLACE_BITS)) / (1 << _PLACE_BITS)


def consider(
    offered: Iterable[Terms], policy: Policy, vantage: Vantage, overrides: frozenset[Reason] = frozenset()
) -> tuple[Considered, ...]:
    """Return all releases on offer, the newest first, each with what speaks against it."""
    every = sorted(offered, key=lambda terms: order_of(terms.version), reverse=True)
    return tuple(
        Considered(
            terms,
            tuple(
                Objection(reason, sentence, is_overridden=reason in overrides)
                for reason, sentence in _object(terms, policy, vantage, every)
            ),
        )
        for terms in every
    )


def choose(considered: Iterable[Considered]) -> Considered | None:
    """Return the newest release that nothing speaks against, or None."""
    return next((item for item in considered if not item.standing), None)


def _object(
    terms: Terms, policy: Policy, vantage: Vantage, every: list[Terms]
) -> Iterator[tuple[Reason, str]]:
    version, runs = terms.version, vantage.version
    yield from _compare(version, policy, vantage)
    if recall := policy.recall_of(version):
        yield Reason.RECALLED, f"it was recalled: {recall.reason}"
    if vantage.layout not in terms.layouts:
        layouts = " or ".join(terms.layouts)
        yield Reason.LAYOUT, f"it is for layout {layouts}, and this disk has {vantage.layout}"
    if terms.needs and (runs is None or is_newer(terms.needs, runs)):
        usable = [
            other
            for other in every
            if vantage.layout in other.layouts and not policy.recall_of(other.version)
        ]
        yield Reason.STEPPING_STONE, _say_stone(terms, runs, usable)
    if refusal := find_refusal(vantage.host, version, None):
        yield Reason.REFUSED, f"{refusal}; 'abctl allow {version}' takes that back"
    if late := _say_late(terms, vantage):
        yield Reason.WAVE, late


def _compare(version: Version, policy: Policy, vantage: Vantage) -> Iterator[tuple[Reason, str]]:
    runs = vantage.version
    if runs == version:
        yield Reason.SAME, f"slot set {vantage.host.env.primary} has it already"
    elif runs and not is_newer(version, runs):
        # 2.0 and 2.0.0 rank alike: a host that took either for an upgrade of the other would never rest.
        older = "older" if is_newer(runs, version) else "no newer"
        yield Reason.DOWNGRADE, f"it is {older} than {runs}, which this host has"
    if policy.floor and is_newer(policy.floor, version):
        yield Reason.FLOOR, f"it is older than {policy.floor}, the oldest that the publisher lets install"


def _say_stone(terms: Terms, runs: Version | None, usable: list[Terms]) -> str:
    where = f"this host has {runs}" if runs else "it is not known what this host has"
    said = f"it needs {terms.needs} or newer first, and {where}"
    stones = [
        other.version
        for other in usable
        if terms.needs
        and not is_newer(terms.needs, other.version)
        and (other.needs is None or (runs and not is_newer(other.needs, runs)))
    ]
    return f"{said}; {stones[-1]} leads there" if stones else said


def _say_late(terms: Terms, vantage: Vantage) -> str | None:
    rollout = terms.rollout
    if rollout is None:
        return None
    if rollout.aborted is not None:
        return f"its rollout was aborted: {rollout.aborted}"
    place = vantage.place_for(terms.version)
    if place < rollout.share_at(vantage.now):
        return None
    when = rollout.time_for(place)
    if when is None:
        reason = "is paused" if rollout.paused_at is not None else "ends before this host's turn"
        return f"its rollout {reason} (this host's place is {place:.1%})"
    return f"this host's turn comes at {say_time(when)} (its place is {place:.1%})"
