"""The root: make it, let its owners sign it one by one, and make it the one that clients follow."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root
from tuf.api.metadata import Role as KeysOfRole

from abctl.build import durable
from abctl.build.commit import forget_pending, write_numbered
from abctl.build.repository import (
    Repository,
    read_pending,
    read_roots,
    read_state,
)
from abctl.build.roles import (
    KEY_ROLES,
    LIFETIMES,
    LIFETIMES_FIELD,
    Document,
    Role,
    expire,
    read_lifetimes,
    sign,
    verify,
)
from abctl.core.terms import FIELD
from abctl.core.units import Seconds
from abctl.errors import BadKey, BadMetadata, NothingToDo, SourceNotFound, WouldOverwrite


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of a role, of which so many have to sign."""

    keys: tuple[SSlibKey, ...]
    threshold: int = 1


@dataclass(frozen=True, slots=True)
class Missing:
    """Signatures that a pending root lacks: so many more of these keys, of this root's number."""

    root: int
    count: int
    keyids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Signing:
    """How far a root has come. ``is_published``: clients get it. Else what is missing; nothing: it waits
    until what it changes the keys of is signed by the new ones."""

    root: Document[Root]
    is_published: bool
    missing: tuple[Missing, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What a new root changes."""

    add: Mapping[Role, tuple[SSlibKey, ...]] = field(default_factory=dict)
    remove: Mapping[Role, tuple[str, ...]] = field(default_factory=dict)
    threshold: Mapping[Role, int] = field(default_factory=dict)
    lifetimes: Mapping[Role, int] = field(default_factory=dict)


def init(
    repository: Repository, sets: Mapping[Role, KeySet], lifetimes: Mapping[Role, int], now: Seconds
) -> Document[Root]:
    """Make the first root, unsigned, as the pending one; raise WouldOverwrite, BadKey."""
    durable.make_folder(repository.folder)
    with repository.lock():
        if read_roots(repository):
            raise WouldOverwrite(
                f"{repository.folder} has a root already: change it with 'abctl release keys rotate'"
            )
        if read_pending(repository, 0):
            raise WouldOverwrite(
                f"{repository.pending_root} waits for signatures already: sign it, or remove it to start anew"
            )
        roles = {role.value: KeysOfRole([], 1) for role in KEY_ROLES}
        root = Root(version=1, roles=roles, consistent_snapshot=True)
        for role, keys in sets.items():
            for key in keys.keys:
                root.add_key(key, role.value)
            root.roles[role].threshold = keys.threshold
        return _put(repository, root, {**LIFETIMES, **lifetimes}, now)


def rotate(repository: Repository, change: Change, now: Seconds) -> Document[Root]:
    """Make the next root, or change the pending one, whose signatures are void then."""
    with repository.lock():
        roots = read_roots(repository)
        if not roots:
            raise SourceNotFound(f"{repository.folder} has no signed root yet: sign the first one first")
        base = read_pending(repository, len(roots)) or roots[-1]
        root = deepcopy(base.signed)
        root.version = roots[-1].version + 1
        for role, keys in change.add.items():
            for key in keys:
                root.add_key(key, role.value)
        for role, keyids in change.remove.items():
            for keyid in keyids:
                root.revoke_key(_find(root, role, keyid), role.value)
        for role, threshold in change.threshold.items():
            root.roles[role].threshold = threshold
        return _put(repository, root, {**read_lifetimes(base.signed), **change.lifetimes}, now)


def _find(root: Root, role: Role, keyid: str) -> str:
    """Return the whole id of a key that is named by how it begins."""
    found = [known for known in root.roles[role].keyids if known.startswith(keyid)]
    if len(found) != 1:
        names = ", ".join(known[:12] for known in root.roles[role].keyids)
        raise BadKey(f"{keyid} is none of the {role} keys, or several: name one of {names}")
    return found[0]


def _put(repository: Repository, root: Root, lifetimes: Mapping[Role, int], now: Seconds) -> Document[Root]:
    for role, keys in root.roles.items():
        if not 1 <= keys.threshold <= len(keys.keyids):
            raise BadKey(
                f"{role} would need {keys.threshold} signatures and have {len(keys.keyids)} keys: "
                "give more keys or a lower threshold"
            )
    changed = {role.value: lifetimes[role] for role in KEY_ROLES if lifetimes[role] != LIFETIMES[role]}
    fields: dict[str, Any] = {"issued": now}
    if changed:
        fields[LIFETIMES_FIELD] = changed
    root.unrecognized_fields[FIELD] = fields
    root.expires = expire(now, lifetimes[Role.ROOT])
    document = sign(Role.ROOT, root, ())
    durable.replace_file(repository.pending_root, document.data)
    return document


def sign_root(repository: Repository, signers: Sequence[CryptoSigner]) -> Signing:
    """Add signatures to the pending root; where all are there, publish it if the rest goes with it."""
    with repository.lock():
        roots, pending = read_roots(repository), read_pending(repository, 0)
        if pending is None:
            raise NothingToDo(f"no root waits for signatures in {repository.pending}")
        previous = roots[-1] if roots else None
        if previous and previous.signed == pending.signed:
            # It was published, and the power went before that was cleared up, or a copy came back.
            forget_pending(repository)
            return Signing(previous, True)
        _check_number(repository, pending, previous)
        _check_root_keys(pending, previous, signers)
        metadata = Metadata(pending.signed, dict(pending.metadata.signatures))
        for signer in signers:
            metadata.sign(signer, append=True)
        metadata.signatures = dict(sorted(metadata.signatures.items()))
        signed = Document(Role.ROOT, metadata, metadata.to_bytes())
        if signed.data != pending.data:
            durable.replace_file(repository.pending_root, signed.data)
        missing = list_missing(signed, previous)
        if missing:
            return Signing(signed, False, missing)
        return Signing(signed, _publish(repository, signed, previous))


def _publish(repository: Repository, root: Document[Root], previous: Document[Root] | None) -> bool:
    """Make ``root`` the one that clients follow, unless they would refuse the rest then."""
    for delegator in filter(None, (previous, root)):
        verify(delegator.signed, root)
    if previous is not None:
        published = read_state(repository).published
        goes_on = published.is_whole(root.signed) if published else has_same_keys(root, previous)
        if not goes_on:
            return False
    write_numbered(repository, (root,))
    forget_pending(repository)
    return True


def has_same_keys(root: Document[Root], previous: Document[Root]) -> bool:
    """Whether all roles but root itself have the same keys."""
    return all(
        set(root.signed.roles[role].keyids) == set(previous.signed.roles[role].keyids)
        and root.signed.roles[role].threshold == previous.signed.roles[role].threshold
        for role in KEY_ROLES
        if role is not Role.ROOT
    )


def _check_number(repository: Repository, pending: Document[Root], previous: Document[Root] | None) -> None:
    number = previous.version + 1 if previous else 1
    if pending.version != number:
        raise BadMetadata(
            f"{repository.pending_root} is root version {pending.version}, and {number} comes next: "
            "remove it and make the change again with 'abctl release keys rotate'"
        )


def _check_root_keys(
    pending: Document[Root], previous: Document[Root] | None, signers: Sequence[CryptoSigner]
) -> None:
    known = set(pending.signed.roles[Role.ROOT].keyids)
    if previous:
        known |= set(previous.signed.roles[Role.ROOT].keyids)
    for signer in signers:
        if signer.public_key.keyid not in known:
            names = ", ".join(sorted(keyid[:12] for keyid in known))
            raise BadKey(f"key {signer.public_key.keyid[:12]} is no root key: sign with one of {names}")


def list_missing(root: Document[Root], previous: Document[Root] | None) -> tuple[Missing, ...]:
    """Return which signatures ``root`` lacks: by its own keys and by those of the root before."""
    found = []
    for delegator in filter(None, (previous, root)):
        result = delegator.signed.get_verification_result(
            Role.ROOT, root.metadata.signed_bytes, root.metadata.signatures
        )
        if not result.verified:
            found.append(Missing(delegator.version, result.missing, tuple(sorted(result.unsigned))))
    return tuple(found)
