"""Look at a repository as a client does, and compare every file of every release."""

from dataclasses import dataclass

from abctl.build.catalogue import Listed
from abctl.build.publish import CheckedRelease, check_release
from abctl.build.repository import Repository, State, read_state
from abctl.build.roles import verify
from abctl.core.clock import say_time
from abctl.core.units import Bytes, Seconds
from abctl.errors import DigestMismatch, Expired, SourceNotFound


@dataclass(frozen=True, slots=True, eq=False)
class Audited:
    """A repository that clients take; ``size`` in bytes is of all files of releases."""

    state: State
    releases: int
    files: int
    size: Bytes


def audit(repository: Repository, now: Seconds) -> Audited:
    """Return what was compared; raise BadRelease, SourceNotFound where a client would refuse something."""
    state = read_state(repository)
    published = state.published
    if published is None:
        raise SourceNotFound(
            f"nothing is published in {repository.folder} yet: 'abctl release publish' does it"
        )
    for document in (published.timestamp, published.snapshot, published.targets):
        verify(state.root.signed, document)
    for document in (state.root, *published.documents):
        if document.expires <= now:
            raise Expired(
                f"{repository.metadata / document.name} expired on {say_time(document.expires)}: hosts "
                "refuse the repository until it is signed anew"
            )
    releases = [find_release(repository, listed) for listed in published.catalogue.releases.values()]
    files = [content for release in releases for content in (release.content, *release.files.values())]
    return Audited(state, len(releases), len(files), Bytes(sum(content.size for content in files)))


def find_release(repository: Repository, listed: Listed) -> CheckedRelease:
    """Return a release whose files are what was signed; raise SourceNotFound, BadRelease."""
    folder = repository.release(listed.terms.version)
    release = check_release(folder)
    if release.content != listed.manifest or release.version != listed.terms.version:
        raise DigestMismatch(
            f"{folder} has a manifest with SHA-256 {release.content.sha256}, not {listed.manifest.sha256} as "
            "was signed: take the folder from a copy of the repository"
        )
    return release
