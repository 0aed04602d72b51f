"""Publish a release: check it, put its files in place, then sign what leads there."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from abctl.build import durable
from abctl.build.catalogue import Catalogue, Listed
from abctl.build.commit import Signers, Work, begin, commit
from abctl.build.files import open_image, saying_what_failed
from abctl.build.repository import Repository, State
from abctl.core.release import MANIFEST_MAX, MANIFEST_NAME, Content, Image, Manifest, parse_manifest
from abctl.core.slot import Part
from abctl.core.terms import Rollout, Sizes, Terms, Wave
from abctl.core.units import MIB, Bytes, Digest, Seconds, Version
from abctl.core.version_order import is_newer, order_of
from abctl.errors import BadManifest, DigestMismatch, NotConsidered, SourceNotFound, WouldOverwrite


@dataclass(frozen=True, slots=True)
class Wishes:
    """The terms of a release, and what is to hold for all from now on; None leaves things as they are.

    ``start`` None begins the rollout now, and lets one that has begun with the same waves go on.
    """

    needs: Version | None = None
    waves: tuple[Wave, ...] | None = None
    start: Seconds | None = None
    floor: Version | None = None
    keep: int | None = None


@dataclass(frozen=True, slots=True)
class CheckedRelease:
    """A release directory whose files are all what its manifest says."""

    folder: Path
    manifest: Manifest
    content: Content  # of the manifest itself
    files: Mapping[str, Content]

    @property
    def version(self) -> Version:
        return self.manifest.version

    @property
    def download(self) -> Bytes:
        """What a host without any of it downloads at most."""
        return Bytes(sum(image.download.size for image in self.manifest.images))


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """What a repository holds now, whether anything was written, and which root was published with it."""

    state: State
    is_changed: bool = True
    new_root: int | None = None


def publish(
    repository: Repository, folder: Path, signers: Signers, wishes: Wishes, now: Seconds
) -> tuple[CheckedRelease, Done]:
    """Put the release in ``folder`` on offer; the same again goes on where it was interrupted.

    Raise SourceNotFound, BadRelease, WouldOverwrite, BadKey, NotConsidered, Busy, WriteFailed.
    """
    release = check_release(folder)
    with begin(repository, signers, now) as work:
        before = work.state.catalogue
        _check_version(before, release)
        catalogue = _add(before, release, wishes, now)
        _check_placed(repository, release)
        return release, conclude(work, catalogue, lambda: _place(repository, release))


def conclude(work: Work, catalogue: Catalogue, place: Callable[[], None] = lambda: None) -> Done:
    """Commit ``catalogue``, unless all is so already."""
    state, published = work.state, work.state.published
    is_same = published and published.catalogue == catalogue and not state.next_root
    if published and is_same and published.is_whole(state.root.signed):
        place()
        return Done(state, False)
    return conclude_signed(work, catalogue, place)


def conclude_signed(work: Work, catalogue: Catalogue, place: Callable[[], None] = lambda: None) -> Done:
    """Commit ``catalogue`` in any case."""
    after = commit(work, catalogue, place)
    return Done(after, new_root=after.root.version if after.root is not work.state.root else None)


# --- the release ------------------------------------------------------------------------------------


def check_release(folder: Path) -> CheckedRelease:
    """Return the release in ``folder``; raise SourceNotFound, BadManifest, DigestMismatch."""
    data = _read_manifest(folder)
    manifest = parse_manifest(data)
    files: dict[str, Content] = {}
    for name, content in (item for image in manifest.images for item in _list_files(image)):
        if name == MANIFEST_NAME or files.setdefault(name, content) != content:
            raise BadManifest(f"the manifest of {folder} names {name} twice: build the release again")
    for name, content in files.items():
        check_file(folder / name, content)
    own = Content(size=len(data), sha256=Digest(hashlib.sha256(data).hexdigest()))
    return CheckedRelease(folder, manifest, own, files)


def _list_files(image: Image) -> Iterator[tuple[str, Content]]:
    yield image.file, Content(size=image.download.size, sha256=image.download.sha256)
    for other in (image.chunks, image.blocks, *image.deltas):
        if other is not None:
            yield other.file, Content(size=other.size, sha256=other.sha256)


def _read_manifest(folder: Path) -> bytes:
    try:
        with (folder / MANIFEST_NAME).open("rb") as file:
            return file.read(MANIFEST_MAX + 1)
    except OSError as error:
        raise SourceNotFound(
            f"{folder} is no release directory: its {MANIFEST_NAME}: {error.strerror}"
        ) from error


def check_file(path: Path, content: Content) -> None:
    """Raise SourceNotFound, DigestMismatch where a file is not what a manifest says."""
    with open_image(path) as file:
        if file.size != content.size:
            raise DigestMismatch(
                f"{path} has {file.size} bytes, not {content.size} as the manifest says: build it again"
            )
        found = hashlib.sha256()
        for start in range(0, file.size, MIB):
            found.update(file.read(start, min(MIB, file.size - start)))
    if found.hexdigest() != content.sha256:
        raise DigestMismatch(
            f"{path} has SHA-256 {found.hexdigest()}, not {content.sha256} as the manifest says: "
            "build it again"
        )


def _check_version(catalogue: Catalogue, release: CheckedRelease) -> None:
    """Raise where the version stands for something else, or was recalled."""
    version = release.version
    if recall := catalogue.policy.recall_of(version):
        raise NotConsidered(
            f"{version} was recalled ({recall.reason}): publish a newer version, or take it back with "
            f"'abctl release revoke --undo'"
        )
    listed = catalogue.releases.get(version)
    if listed and listed.manifest != release.content:
        raise WouldOverwrite(
            f"{version} was published with other bytes (manifest {listed.manifest.sha256[:12]}): "
            "a version stands for one release for ever; build this one under a new version"
        )
    for other in (*catalogue.releases, *(recall.version for recall in catalogue.policy.recalled)):
        if other != version and order_of(other) == order_of(version):
            raise WouldOverwrite(f"{version} counts as the same version as {other}: take a newer version")


def _check_placed(repository: Repository, release: CheckedRelease) -> None:
    """Raise WouldOverwrite where the release's place is taken by another one."""
    path = repository.release(release.version)
    if not os.path.lexists(path):
        return
    try:
        for name, content in {MANIFEST_NAME: release.content, **release.files}.items():
            check_file(path / name, content)
    except (SourceNotFound, DigestMismatch) as error:
        raise WouldOverwrite(
            f"{path} holds another release {release.version}, or a damaged one ({error}): if it was never "
            "served, remove it and publish again; else build this one under a new version"
        ) from error


def _place(repository: Repository, release: CheckedRelease) -> None:
    """Put the files in place, all of them or none, where they are not yet."""
    path = repository.release(release.version)
    if os.path.lexists(path):
        return
    durable.make_folder(repository.targets)
    unfinished = repository.targets / f"{durable.UNFINISHED}{release.version}"
    with saying_what_failed(unfinished):
        durable.create_folder(unfinished)
    for name, content in {**release.files, MANIFEST_NAME: release.content}.items():
        durable.take_file(release.folder / name, unfinished / name, content.sha256)
    durable.publish_folder(unfinished, path)


# --- its terms --------------------------------------------------------------------------------------


def _add(catalogue: Catalogue, release: CheckedRelease, wishes: Wishes, now: Seconds) -> Catalogue:
    before = catalogue.releases.get(release.version)
    terms = before.terms if before else _make_terms(release, now)
    if wishes.needs is not None:
        _check_needs(terms.version, wishes.needs)
        terms = terms.model_copy(update={"needs": wishes.needs})
    if wishes.waves is not None and not _goes_on(terms.rollout, wishes):
        rollout = Rollout(start=now if wishes.start is None else wishes.start, waves=wishes.waves)
        terms = terms.model_copy(update={"rollout": rollout})
    catalogue = catalogue.with_release(Listed(terms, release.content))
    if wishes.floor is not None:
        catalogue = with_floor(catalogue, wishes.floor)
    return catalogue if wishes.keep is None else replace(catalogue, keep=wishes.keep)


def _make_terms(release: CheckedRelease, now: Seconds) -> Terms:
    boot, root = (release.manifest.image_of(part).image.size for part in (Part.BOOT, Part.ROOT))
    return Terms(
        version=release.version,
        layouts=release.manifest.layouts,
        published=now,
        download=release.download,
        sizes=Sizes(boot=boot, root=root),
    )


def _check_needs(version: Version, needs: Version) -> None:
    if not is_newer(version, needs):
        raise NotConsidered(f"{version} cannot need {needs}, which is no older: name an older version")


def _goes_on(rollout: Rollout | None, wishes: Wishes) -> bool:
    """Whether a rollout is the one that is asked for."""
    return rollout is not None and rollout.waves == wishes.waves and wishes.start in (None, rollout.start)


def with_floor(catalogue: Catalogue, floor: Version | None) -> Catalogue:
    """Return the catalogue with another floor; raise SourceNotFound where nothing would be left."""
    if floor and not any(not is_newer(floor, terms.version) for terms in catalogue.sound):
        raise SourceNotFound(
            f"no release is {floor} or newer, so hosts could install nothing: publish it first"
        )
    return catalogue.with_policy(floor=floor)
