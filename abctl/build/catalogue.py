"""What a repository offers, as values; and how that stands in the metadata of targets and archive."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ValidationError
from tuf.api.metadata import DelegatedRole, Delegations, Root, TargetFile, Targets

from abctl.build.roles import Role
from abctl.core.offer import KEEP, choose_offered
from abctl.core.release import Content
from abctl.core.terms import FIELD, MANIFEST_PATH, Policy, Recall, Terms, parse_policy, parse_terms
from abctl.core.units import Digest, Seconds, Version
from abctl.core.version_order import order_of
from abctl.errors import BadMetadata, SourceNotFound

RECALLS_MAX = 200  # the newest; older ones have to be below the floor by then
_KEEP_FIELD = "keep"  # beside the policy


@dataclass(frozen=True, slots=True)
class Listed:
    """A release: its terms, and size and digest of its manifest."""

    terms: Terms
    manifest: Content


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All releases, what holds for all of them, and how many newest ones stay on offer."""

    releases: Mapping[Version, Listed] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    keep: int = KEEP

    @property
    def offered(self) -> frozenset[Version]:
        """The versions on offer; the others, and what was recalled, are in the archive."""
        return choose_offered(self.sound, self.keep)

    @property
    def sound(self) -> tuple[Terms, ...]:
        """The terms of all releases that were not recalled."""
        every = (listed.terms for listed in self.releases.values())
        return tuple(terms for terms in every if not self.policy.recall_of(terms.version))

    @property
    def newest_first(self) -> list[Listed]:
        every = self.releases.values()
        return sorted(every, key=lambda listed: order_of(listed.terms.version), reverse=True)

    def find(self, version: Version) -> Listed:
        """Return a release; raise SourceNotFound."""
        listed = self.releases.get(version)
        if listed is None:
            recall = self.policy.recall_of(version)
            why = f"recalled it ({recall.reason})" if recall else "has no such release"
            raise SourceNotFound(f"{version}: the repository {why}; 'abctl release list' shows what it has")
        return listed

    def with_release(self, listed: Listed) -> "Catalogue":
        return replace(self, releases={**self.releases, listed.terms.version: listed})

    def with_policy(self, **changes: Any) -> "Catalogue":
        return replace(self, policy=self.policy.model_copy(update=changes))

    def with_recall(self, recall: Recall) -> "Catalogue":
        """Return all with one more recall; what it pushes out of the list is gone for good."""
        every = sorted((*self.policy.recalled, recall), key=lambda item: item.at)
        gone = {item.version for item in every[:-RECALLS_MAX]}
        rest = {version: listed for version, listed in self.releases.items() if version not in gone}
        return replace(self, releases=rest).with_policy(recalled=tuple(every[-RECALLS_MAX:]))


def read_catalogue(targets: Targets, archive: Targets) -> Catalogue:
    """Return what the metadata says; raise BadMetadata."""
    files = {**archive.targets, **targets.targets}
    releases = [_read_listed(path, file) for path, file in files.items()]
    fields = targets.unrecognized_fields
    policy = parse_policy(fields)
    said = fields.get(FIELD)
    keep = said.get(_KEEP_FIELD) if isinstance(said, dict) else None
    known = keep if isinstance(keep, int) and keep > 0 else KEEP
    return Catalogue({listed.terms.version: listed for listed in releases}, policy, known)


def _read_listed(path: str, file: TargetFile) -> Listed:
    custom = file.custom.get(FIELD) if isinstance(file.custom, dict) else None
    terms = parse_terms(custom, path)
    try:
        return Listed(terms, Content(size=file.length, sha256=Digest(file.hashes["sha256"])))
    except (KeyError, ValidationError) as error:
        raise BadMetadata(f"targets: {path} has no sound size and SHA-256: publish it again") from error


def make_targets(catalogue: Catalogue, root: Root, now: Seconds) -> Targets:
    """Return what is on offer, and the delegation of the archive to the keys that ``root`` gives targets."""
    offered = catalogue.offered
    targets = _list(listed for listed in catalogue.newest_first if listed.terms.version in offered)
    role = root.roles[Role.TARGETS]
    paths = [MANIFEST_PATH.format(version="*")]
    archive = DelegatedRole(Role.ARCHIVE.value, list(role.keyids), role.threshold, False, paths=paths)
    keys = {keyid: root.keys[keyid] for keyid in role.keyids}
    fields = {**_to_json(catalogue.policy), _KEEP_FIELD: catalogue.keep, "issued": now}
    return Targets(
        targets=targets,
        delegations=Delegations(keys, {archive.name: archive}),
        unrecognized_fields={FIELD: fields},
    )


def make_archive(catalogue: Catalogue, now: Seconds) -> Targets:
    """Return what is not on offer any more."""
    offered = catalogue.offered
    targets = _list(listed for listed in catalogue.newest_first if listed.terms.version not in offered)
    return Targets(targets=targets, unrecognized_fields={FIELD: {"issued": now}})


def _list(releases: Iterable[Listed]) -> dict[str, TargetFile]:
    return {listed.terms.path: _make_target(listed) for listed in releases}


def _make_target(listed: Listed) -> TargetFile:
    terms = listed.terms
    hashes = {"sha256": str(listed.manifest.sha256)}
    custom = {"custom": {FIELD: _to_json(terms)}}
    return TargetFile(listed.manifest.size, hashes, terms.path, custom)


def _to_json(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
