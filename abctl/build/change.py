"""Change what is published without a new release: rollouts, the floor, recalls; and sign it anew in time."""

from collections.abc import Callable
from dataclasses import dataclass

from abctl.build.catalogue import Catalogue, Listed
from abctl.build.commit import Signers, begin
from abctl.build.publish import Done, conclude, conclude_signed, with_floor
from abctl.build.repository import Repository, State
from abctl.build.roles import ONLINE_ROLES
from abctl.core.terms import Recall, Rollout, Wave
from abctl.core.units import Seconds, Version
from abctl.errors import NothingToDo, SourceNotFound


@dataclass(frozen=True, slots=True)
class Plan:
    """A rollout that is wanted; without ``start`` it begins when the one before did, or now."""

    waves: tuple[Wave, ...]
    start: Seconds | None = None


def _change(
    repository: Repository, signers: Signers, now: Seconds, decide: Callable[[Catalogue], Catalogue]
) -> Done:
    with begin(repository, signers, now) as work:
        return conclude(work, decide(work.state.catalogue))


# --- rollouts ---------------------------------------------------------------------------------------


def pause(repository: Repository, signers: Signers, now: Seconds, version: Version) -> Done:
    """Let no more hosts take a release until the rollout is resumed."""

    def decide(rollout: Rollout) -> Rollout:
        if rollout.paused_at is not None:
            return rollout
        return rollout.model_copy(update={"paused_at": now})

    return _change_rollout(repository, signers, now, version, decide)


def resume(repository: Repository, signers: Signers, now: Seconds, version: Version) -> Done:
    """Go on where the rollout was paused, as if no time had passed."""

    def decide(rollout: Rollout) -> Rollout:
        if rollout.paused_at is None:
            return rollout
        start = rollout.start + max(0, now - rollout.paused_at)
        return rollout.model_copy(update={"start": start, "paused_at": None})

    return _change_rollout(repository, signers, now, version, decide)


def abort(repository: Repository, signers: Signers, now: Seconds, version: Version, reason: str) -> Done:
    """Let no host take a release any more; those that have it keep it."""

    def decide(catalogue: Catalogue) -> Catalogue:
        listed = catalogue.find(version)
        rollout = listed.terms.rollout or Rollout(
            start=listed.terms.published, waves=(Wave(after=0, share=1),)
        )
        return _with_rollout(catalogue, listed, rollout.model_copy(update={"aborted": reason}))

    return _change(repository, signers, now, decide)


def restart(
    repository: Repository,
    signers: Signers,
    now: Seconds,
    version: Version,
    wanted: Plan,
) -> Done:
    """Give a release another rollout."""

    def decide(catalogue: Catalogue) -> Catalogue:
        listed = catalogue.find(version)
        before = listed.terms.rollout
        usual = now if before is None or before.aborted is not None else before.start
        rollout = Rollout(start=usual if wanted.start is None else wanted.start, waves=wanted.waves)
        return _with_rollout(catalogue, listed, rollout)

    return _change(repository, signers, now, decide)


def _change_rollout(
    repository: Repository,
    signers: Signers,
    now: Seconds,
    version: Version,
    decide: Callable[[Rollout], Rollout],
) -> Done:
    def decide_all(catalogue: Catalogue) -> Catalogue:
        listed = catalogue.find(version)
        if listed.terms.rollout is None:
            raise NothingToDo(
                f"{version} has no rollout: all hosts may take it; 'abctl release revoke' stops that"
            )
        if listed.terms.rollout.aborted is not None:
            raise NothingToDo(f"the rollout of {version} was aborted: give it a new one with --rollout")
        return _with_rollout(catalogue, listed, decide(listed.terms.rollout))

    return _change(repository, signers, now, decide_all)


def _with_rollout(catalogue: Catalogue, listed: Listed, rollout: Rollout) -> Catalogue:
    terms = listed.terms.model_copy(update={"rollout": rollout})
    return catalogue.with_release(Listed(terms, listed.manifest))


# --- policy -----------------------------------------------------------------------------------------


def set_floor(repository: Repository, signers: Signers, now: Seconds, floor: Version | None) -> Done:
    """Let hosts install nothing that is older; None takes the floor away."""
    return _change(repository, signers, now, lambda catalogue: with_floor(catalogue, floor))


def revoke(repository: Repository, signers: Signers, now: Seconds, version: Version, reason: str) -> Done:
    """Take a release off offer, and have the hosts that run it say so; an admin can still ask for it."""

    def decide(catalogue: Catalogue) -> Catalogue:
        recall = catalogue.policy.recall_of(version)
        if recall and recall.reason == reason:
            return catalogue  # the same command, repeated
        if recall:
            raise NothingToDo(f"{version} was recalled already: {recall.reason}")
        catalogue.find(version)
        return catalogue.with_recall(Recall(version=version, reason=reason, at=now))

    return _change(repository, signers, now, decide)


def undo_revoke(repository: Repository, signers: Signers, now: Seconds, version: Version) -> Done:
    """Take a recall back; the release is on offer again where it is new enough."""

    def decide(catalogue: Catalogue) -> Catalogue:
        if not catalogue.policy.recall_of(version):
            raise NothingToDo(f"{version} is not recalled")
        rest = tuple(recall for recall in catalogue.policy.recalled if recall.version != version)
        return catalogue.with_policy(recalled=rest)

    return _change(repository, signers, now, decide)


# --- time -------------------------------------------------------------------------------------------


def renew(repository: Repository, signers: Signers, now: Seconds, within: int | None = None) -> Done:
    """Sign timestamp anew, snapshot when half of its life is over, and what targets keys are given for.

    With ``within``, only where timestamp or snapshot would expire in so many seconds.
    """
    with begin(repository, signers, now) as work:
        state = work.state
        if state.published is None and not signers.targets:
            raise SourceNotFound(
                f"nothing is published in {repository.folder} yet: 'abctl release publish' does it"
            )
        if within is not None and not _is_due(state, now + within) and not signers.targets:
            return Done(state, False)
        return conclude_signed(work, state.catalogue)


def _is_due(state: State, until: int) -> bool:
    published = state.published
    if published is None or state.next_root or not published.is_whole(state.root.signed):
        return True
    online = [item for item in published.documents if item.role in ONLINE_ROLES]
    return any(item.expires <= until for item in online)
