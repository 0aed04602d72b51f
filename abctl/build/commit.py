"""Sign what changed and put it where readers find it, in an order that leaves no reader with half of it.

New numbered files come first; nobody looks at them until timestamp.json leads there, which is replaced last.
A root that changes keys waits until the rest is signed so that clients of the old root and of the new one
take it; only where the old keys are lost does it go first, and clients have to wait for the moment between.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from abctl.build import durable
from abctl.build.catalogue import Catalogue, make_archive, make_targets
from abctl.build.files import saying_what_failed
from abctl.build.repository import Published, Repository, State, read_state
from abctl.build.roles import (
    ONLINE_ROLES,
    Document,
    Role,
    expire,
    is_signed,
    read_lifetimes,
    sign,
)
from abctl.core.terms import FIELD
from abctl.core.units import Seconds
from abctl.errors import BadKey, NotSigned

_TARGETS = (Role.TARGETS,)
S = TypeVar("S", Root, Targets, Snapshot, Timestamp)


@dataclass(frozen=True, slots=True)
class Signers:
    """The keys at hand: for targets and archive, and for snapshot and timestamp."""

    targets: tuple[CryptoSigner, ...] = ()
    online: tuple[CryptoSigner, ...] = ()

    def of(self, role: Role) -> tuple[CryptoSigner, ...]:
        return self.targets if role in (Role.TARGETS, Role.ARCHIVE) else self.online


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """A repository that nobody else changes meanwhile, what it held, the keys at hand, and the time."""

    repository: Repository
    state: State
    signers: Signers
    now: Seconds


@contextmanager
def begin(repository: Repository, signers: Signers, now: Seconds) -> Iterator[Work]:
    """Keep others out; raise Busy, SourceNotFound, BadMetadata, NotSigned, and BadKey for a wrong key."""
    with repository.lock():
        state = read_state(repository)
        _check_keys(state, signers)
        yield Work(repository, state, signers, now)


def commit(work: Work, catalogue: Catalogue, place: Callable[[], None] = lambda: None) -> State:
    """Sign ``catalogue`` and all that is due, publish it, and return what the repository holds then.

    Targets and archive are signed where they changed or where targets keys are given. ``place`` puts files
    where they will lead to, before anything does. Raise NotSigned, WriteFailed.
    """
    for base in filter(None, (work.state.next_root, work.state.root)):
        published = _Signing(work, base).run(catalogue)
        if published is not None and published.is_whole(base.signed):
            place()
            return _write(work, base, published)
    raise NotSigned(_say_missing(work.state, work.signers))


def _check_keys(state: State, signers: Signers) -> None:
    """Raise BadKey where a key is for another role."""
    for roles, kind in ((_TARGETS, "targets"), (ONLINE_ROLES, "online")):
        known = {keyid: None for role in roles for keyid in _known_keys(state, role)}
        for signer in signers.of(roles[0]):
            keyid = signer.public_key.keyid
            if keyid not in known:
                names = ", ".join(keyid[:12] for keyid in known)
                raise BadKey(
                    f"key {keyid[:12]} is none of the {kind} keys of {state.root.name}: give one of {names}"
                )


def _known_keys(state: State, role: Role) -> dict[str, None]:
    """Return the ids of a role's keys, in the root that is followed and in one that is about to be."""
    roots = [root for root in (state.root, state.next_root) if root is not None]
    return {keyid: None for root in roots for keyid in root.signed.roles[_keys_of(role)].keyids}


def _keys_of(role: Role) -> Role:
    return Role.TARGETS if role is Role.ARCHIVE else role


def _say_missing(state: State, signers: Signers) -> str:
    root = state.root.signed
    for role in (Role.TARGETS, Role.SNAPSHOT, Role.TIMESTAMP):
        if role is Role.TARGETS and state.published and not signers.targets:
            continue  # they stand as they are
        keys = root.roles[role]
        given = {signer.public_key.keyid for signer in signers.of(role)} & set(keys.keyids)
        if len(given) < keys.threshold:
            names = ", ".join(keyid[:12] for keyid in keys.keyids)
            return (
                f"{role} needs {keys.threshold} of the keys {names}, and {len(given)} "
                f"{'was' if len(given) == 1 else 'were'} given: give the others too"
            )
    return "targets are not signed by the keys that root names: give those with --key"


class _Signing:
    """Makes what is published on the basis of one root."""

    def __init__(self, work: Work, base: Document[Root]) -> None:
        self._work = work
        self._before = work.state.published
        self._base = base
        self._lifetimes = read_lifetimes(base.signed)

    def run(self, catalogue: Catalogue) -> Published | None:
        """Return what is to be published; None where a key is missing that nothing can be done without."""
        before = self._before
        if self._work.signers.targets:
            targets = self._sign(Role.TARGETS, make_targets(catalogue, self._base.signed, self._work.now))
            archive = self._make_archive(catalogue, targets)
        elif before is None or catalogue != before.catalogue:
            return None
        else:
            targets, archive = before.targets, before.archive
        snapshot = self._make_snapshot(targets, archive)
        timestamp = self._make_timestamp(snapshot)
        return Published(timestamp, snapshot, targets, archive, catalogue)

    def _make_archive(self, catalogue: Catalogue, targets: Document[Targets]) -> Document[Targets]:
        before = self._before
        made = make_archive(catalogue, self._work.now)
        is_same = before and before.archive.signed.targets == made.targets
        is_good = before and is_same and before.archive.lives_half(self._work.now)
        if before and is_good and is_signed(targets.signed, before.archive):
            return before.archive
        return self._sign(Role.ARCHIVE, made)

    def _make_snapshot(self, targets: Document[Targets], archive: Document[Targets]) -> Document[Snapshot]:
        before = self._before
        meta = {f"{item.role}.json": item.meta for item in (targets, archive)}
        is_same = (
            before and before.snapshot.signed.meta == meta and before.snapshot.lives_half(self._work.now)
        )
        if before and is_same and is_signed(self._base.signed, before.snapshot):
            return before.snapshot
        return self._sign(Role.SNAPSHOT, Snapshot(meta=meta, unrecognized_fields=self._issued()))

    def _make_timestamp(self, snapshot: Document[Snapshot]) -> Document[Timestamp]:
        signed = Timestamp(snapshot_meta=snapshot.meta, unrecognized_fields=self._issued())
        return self._sign(Role.TIMESTAMP, signed)

    def _issued(self) -> dict[str, Any]:
        return {FIELD: {"issued": self._work.now}}

    def _sign(self, role: Role, signed: S) -> Document[S]:
        """Sign under the next number that is free, or whose file is the same already."""
        earlier = self._before.documents if self._before else ()
        signed.version = next((item.version + 1 for item in earlier if item.role is role), 1)
        signed.expires = expire(self._work.now, self._lifetimes[_keys_of(role)])
        known = _known_keys(self._work.state, role)
        signers = [signer for signer in self._work.signers.of(role) if signer.public_key.keyid in known]
        while True:
            document = sign(role, signed, signers)
            if role is Role.TIMESTAMP or not _is_other(self._work.repository, document):
                return document
            signed.version += 1


def _is_other(repository: Repository, document: Document[Any]) -> bool:
    """Whether an interrupted command left another file of this name, which a cache may have by now."""
    path = repository.metadata / document.name
    with saying_what_failed(path):
        return path.exists() and path.read_bytes() != document.data


def _write(work: Work, base: Document[Root], published: Published) -> State:
    repository, state = work.repository, work.state
    is_new_root = base is not state.root
    write_numbered(repository, (published.archive, published.targets, published.snapshot))
    steps: list[Callable[[], None]] = [lambda: _write_timestamp(repository, published)]
    if is_new_root:
        root_first = not published.is_whole(state.root.signed)
        steps.insert(0 if root_first else 1, lambda: write_numbered(repository, (base,)))
        steps.append(lambda: forget_pending(repository))
    for step in steps:
        step()
    if is_new_root:
        return State((*state.roots, base), None, published)
    return State(state.roots, state.pending, published)


def write_numbered(repository: Repository, documents: Iterable[Document[Any]]) -> None:
    """Write those that are not there yet."""
    durable.make_folder(repository.metadata)
    for document in documents:
        path = repository.metadata / document.name
        if not path.exists():
            durable.replace_file(path, document.data)


def _write_timestamp(repository: Repository, published: Published) -> None:
    durable.replace_file(repository.metadata / published.timestamp.name, published.timestamp.data)


def forget_pending(repository: Repository) -> None:
    durable.forget(repository.pending_root)
