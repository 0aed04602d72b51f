"""Which release an upgrade installs: a signed one, or one that an admin names by its SHA-256."""

from dataclasses import dataclass
from typing import Protocol

from abctl.cli.describe_offers import say_outcome
from abctl.cli.fetching import FetchOptions
from abctl.cli.repository import (
    Findings,
    Repository,
    check_unsigned_allowed,
    read_host_config,
    say_objections,
)
from abctl.cli.wiring import Machine, Target, locate
from abctl.core.consider import Considered, Reason, choose
from abctl.core.units import Digest, Version
from abctl.errors import NotConsidered, NothingToDo, Refused, SourceNotFound, VersionRefused
from abctl.ports import Offer
from abctl.update.progress import OnProgress, Remark


@dataclass(frozen=True, slots=True)
class Picked:
    """A release: ``offers`` are the places it can be had from, the first is tried first.

    ``source`` names it for people, ``note`` is what history should say of the choice.
    """

    offers: tuple[Offer, ...]
    source: str
    note: str = ""


class Choice(Protocol):
    """What the user asked for."""

    @property
    def source(self) -> str:
        """The release or its place as the user named it."""
        ...

    def pick(self, machine: Machine, on_progress: OnProgress, *, remember: bool) -> Picked:
        """Return the release; raise Refused, SourceProblem or BadRelease."""
        ...


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A release that nobody signed: ``who`` says which bytes are the right ones."""

    target: Target
    source: str
    sha256: Digest
    fetch: FetchOptions
    who: str = "an admin"

    def pick(self, machine: Machine, on_progress: OnProgress, *, remember: bool) -> Picked:
        check_unsigned_allowed(self.target)
        offer = locate(self.source, self.sha256, self.fetch.make_fetching(on_progress))
        return Picked((offer,), self.source, f"not signed: {self.who} gave its SHA-256")


@dataclass(frozen=True, slots=True)
class Signed:
    """The newest release of the signed repository that fits, or the one that is ``wanted``."""

    target: Target
    wanted: Version | None
    repositories: tuple[str, ...]
    overrides: frozenset[Reason]
    fetch: FetchOptions

    @property
    def source(self) -> str:
        return self.wanted or "the newest release"

    def pick(self, machine: Machine, on_progress: OnProgress, *, remember: bool) -> Picked:
        fetching = self.fetch.make_fetching(on_progress)
        repository = Repository(read_host_config(self.target), self.repositories, fetching)
        findings = repository.check(
            machine,
            lambda said: on_progress(Remark(said)),
            remember=remember,
            wanted=self.wanted,
            overrides=self.overrides,
        )
        if findings.clock:
            on_progress(Remark(findings.clock))
        item = self._find(findings) if self.wanted else _find_newest(findings)
        version = item.terms.version
        # To have what runs installed once more is nothing that an admin has to be warned of later.
        overridden = ", ".join(
            objection.reason for objection in item.overridden if objection.reason is not Reason.SAME
        )
        return Picked(
            repository.offers(findings, version),
            f"{version} from {findings.place}",
            f"an admin overrode: {overridden}" if overridden else "",
        )

    def _find(self, findings: Findings) -> Considered:
        found = [item for item in findings.considered if item.terms.version == self.wanted]
        recall = findings.refreshed.offering.policy.recall_of(self.wanted)
        if not found and recall:
            raise NotConsidered(
                f"{self.wanted} is not on offer any more because it was recalled: {recall.reason}"
            )
        if not found:
            raise SourceNotFound(
                f"{findings.place} offers no release {self.wanted}: 'abctl check' lists what it offers"
            )
        reasons = {objection.reason for objection in found[0].standing}
        if not reasons:
            return found[0]
        kind: type[Refused] = NotConsidered
        if Reason.REFUSED in reasons:
            kind = VersionRefused
        elif reasons == {Reason.SAME}:
            kind = NothingToDo
        said = f"{self.wanted} is not considered because {say_objections(found[0])}"
        raise kind(f"{said}{_say_override(reasons)}")


def _say_override(reasons: set[Reason]) -> str:
    """Return what an admin may type, where all that stands may be overridden."""
    if Reason.REFUSED in reasons:
        return ""
    return f"; to take it all the same: {' '.join(f'--override {reason}' for reason in sorted(reasons))}"


def _find_newest(findings: Findings) -> Considered:
    chosen = choose(findings.considered)
    if chosen is None:
        raise NothingToDo(f"{say_outcome(findings)}; 'abctl check' lists all that is on offer")
    return chosen
