"""The folder of a signed repository: where its files are, what it holds, and one publisher at a time.

    metadata/   N.root.json, N.targets.json, N.archive.json, N.snapshot.json, timestamp.json
    targets/    VERSION/manifest.json and the files that it names
    pending/    what is not published: a root that waits for signatures, and the lock

A numbered file never changes once it has its name. What counts is what timestamp.json leads to.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import MetaFile, Root, Snapshot, Targets, Timestamp

from abctl.build import durable
from abctl.build.catalogue import Catalogue, read_catalogue
from abctl.build.files import saying_what_failed
from abctl.build.roles import Document, Role, is_signed, parse_document, verify
from abctl.core.units import MIB, Version
from abctl.errors import BadMetadata, Busy, SourceNotFound, WriteFailed

METADATA_MAX = 16 * MIB  # far above any real file
ROOT_NAME = "root.json"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository's folder."""

    folder: Path

    @property
    def metadata(self) -> Path:
        return self.folder / "metadata"

    @property
    def targets(self) -> Path:
        return self.folder / "targets"

    @property
    def pending(self) -> Path:
        return self.folder / "pending"

    @property
    def pending_root(self) -> Path:
        return self.pending / ROOT_NAME

    def release(self, version: Version) -> Path:
        return self.targets / version

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep others from changing the repository, and clear up after an interrupted one; raise Busy."""
        if not self.folder.is_dir():
            raise SourceNotFound(f"{self.folder} is no repository: make one with 'abctl release keys init'")
        durable.make_folder(self.pending)
        path = self.pending / "lock"
        with saying_what_failed(path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            with saying_what_failed(path):
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise Busy(f"another abctl changes {self.folder}: wait until it has ended") from error
            self._clean()
            yield
        except WriteFailed:
            # The disk may be full of what is of no use now.
            with suppress(WriteFailed):
                self._clean()
            raise
        finally:
            os.close(fd)

    def _clean(self) -> None:
        for folder in (self.pending, self.metadata, self.targets):
            durable.clean(folder)


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """The metadata that timestamp.json leads to."""

    timestamp: Document[Timestamp]
    snapshot: Document[Snapshot]
    targets: Document[Targets]
    archive: Document[Targets]
    catalogue: Catalogue

    @property
    def documents(self) -> tuple[Document[Any], ...]:
        return (self.timestamp, self.snapshot, self.targets, self.archive)

    def is_whole(self, root: Root) -> bool:
        """Whether a client that trusts ``root`` takes all of it."""
        return all(is_signed(root, item) for item in (self.timestamp, self.snapshot, self.targets)) and (
            is_signed(self.targets.signed, self.archive)
        )


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What a repository holds. ``roots`` begins with the oldest; ``pending`` waits for signatures."""

    roots: tuple[Document[Root], ...]
    pending: Document[Root] | None
    published: Published | None

    @property
    def root(self) -> Document[Root]:
        return self.roots[-1]

    @property
    def next_root(self) -> Document[Root] | None:
        """The pending root, where enough have signed it."""
        pending = self.pending
        if pending and pending.version == self.root.version + 1 and is_root_signed(pending, self.root):
            return pending
        return None

    @property
    def catalogue(self) -> Catalogue:
        return self.published.catalogue if self.published else Catalogue()


def is_root_signed(root: Document[Root], previous: Document[Root] | None) -> bool:
    """Whether enough keys signed a root: of its own, and of the one before it."""
    return is_signed(root.signed, root) and (previous is None or is_signed(previous.signed, root))


def read_state(repository: Repository) -> State:
    """Return what the repository holds, verified; raise SourceNotFound, BadMetadata, NotSigned."""
    roots = read_roots(repository)
    pending = read_pending(repository, len(roots))
    if not roots:
        todo = (
            "sign it with 'abctl release keys sign'" if pending else "make one with 'abctl release keys init'"
        )
        raise SourceNotFound(f"{repository.folder} has no signed root yet: {todo}")
    return State(roots, pending, _read_published(repository, roots))


def read_roots(repository: Repository) -> tuple[Document[Root], ...]:
    """Return the chain of roots, each signed as a client wants it; nothing where there is none yet."""
    roots: list[Document[Root]] = []
    while _exists(path := repository.metadata / f"{len(roots) + 1}.{ROOT_NAME}"):
        root: Document[Root] = _read(path, Role.ROOT)
        if root.version != len(roots) + 1:
            raise BadMetadata(f"{path} holds root version {root.version}: put the right file there")
        for delegator in (*roots[-1:], root):
            verify(delegator.signed, root)
        roots.append(root)
    return tuple(roots)


def read_pending(repository: Repository, published: int) -> Document[Root] | None:
    """Return the root that waits; one of a version that is published is not cleared up yet, and no more."""
    path = repository.pending_root
    pending: Document[Root] | None = _read(path, Role.ROOT) if _exists(path) else None
    return pending if pending and pending.version > published else None


def _read_published(repository: Repository, roots: tuple[Document[Root], ...]) -> Published | None:
    folder = repository.metadata
    if not _exists(folder / "timestamp.json"):
        return None
    timestamp: Document[Timestamp] = _read(folder / "timestamp.json", Role.TIMESTAMP)
    number = timestamp.signed.snapshot_meta.version
    path = folder / f"{number}.snapshot.json"
    snapshot: Document[Snapshot] = _read(path, Role.SNAPSHOT, timestamp.signed.snapshot_meta)
    targets: Document[Targets] = _read_listed(folder, snapshot, Role.TARGETS)
    archive: Document[Targets] = _read_listed(folder, snapshot, Role.ARCHIVE)
    for document in (timestamp, snapshot, targets):
        # A cut may have come between a new root and what its keys sign.
        if not any(is_signed(root.signed, document) for root in roots[-2:]):
            verify(roots[-1].signed, document)
    verify(targets.signed, archive)
    return Published(timestamp, snapshot, targets, archive, read_catalogue(targets.signed, archive.signed))


def _read_listed(folder: Path, snapshot: Document[Snapshot], role: Role) -> Document[Targets]:
    meta = snapshot.signed.meta.get(f"{role}.json")
    if meta is None:
        raise BadMetadata(f"{snapshot.name} does not name {role}.json: this is no repository of abctl's")
    return _read(folder / f"{meta.version}.{role}.json", role, meta)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise SourceNotFound(f"{path} cannot be read ({error.strerror}): use an account that may") from error


def _read(path: Path, role: Role, meta: MetaFile | None = None) -> Document[Any]:
    """Return the metadata in a file, which is what ``meta`` says where that is given."""
    try:
        with path.open("rb") as file:
            data = file.read(METADATA_MAX + 1)
    except OSError as error:
        raise SourceNotFound(
            f"{path} cannot be read ({error.strerror}): take it from a copy of the repository"
        ) from error
    if len(data) > METADATA_MAX:
        raise BadMetadata(f"{path} has more than {METADATA_MAX} bytes: this is no metadata")
    try:
        if meta is not None:
            meta.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as error:
        raise BadMetadata(
            f"{path} is not the file that was signed for ({error}): take it from a copy of the repository"
        ) from error
    return parse_document(role, data, str(path))
