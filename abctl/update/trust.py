"""What a signed repository offers, as far as this host trusts it: the client of The Update Framework.

python-tuf holds all rules on signatures, versions, expiry and digests (``TrustedMetadataSet``); here it is
given the files in the order of the specification, from what is remembered first and then from a source, and
its refusals become sentences. What was accepted on the way is kept also where a later step fails.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import tuf.api.serialization.json  # noqa: F401 - else loaded late, when there may be no right to read it
from tuf.api.exceptions import (
    BadVersionNumberError,
    EqualVersionNumberError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, MetaFile, Signed, TargetFile, Targets
from tuf.api.serialization import DeserializationError
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from abctl.core.clock import judge_clock, say_time, time_that_counts
from abctl.core.problems import clean_text
from abctl.core.terms import FIELD, MANIFEST_PATH, Policy, Terms, parse_issued, parse_policy, parse_terms
from abctl.core.trust_state import ROOTS_MAX, TrustState
from abctl.core.units import KIB, MIB, Bytes, Digest, Seconds, Version, parse_digest
from abctl.errors import (
    BadMetadata,
    Expired,
    NotSigned,
    Replayed,
    SourceNotFound,
    TransferStalled,
    TransferTooLong,
)
from abctl.ports import Reader, Source
from abctl.update.stream import AtMost, fill

# Real ones are a tenth of it; bounds what a hostile server can send.
_LIMITS = {
    "root": Bytes(64 * KIB),
    "timestamp": Bytes(16 * KIB),
    "snapshot": Bytes(64 * KIB),
    "targets": Bytes(512 * KIB),
}
datetime.strptime("2026", "%Y")  # which loads a module when it is first used
_DELEGATED_MAX = Bytes(4 * MIB)
_DELEGATIONS_MAX = 4
# A mirror that is slower than any line holds newer files back as well as one that has old ones.
_TIME_MIN = 60.0  # seconds for a file, however small
_RATE_MIN = KIB  # bytes a second beyond that
_MANIFEST_END = MANIFEST_PATH.format(version="")


@dataclass(frozen=True, slots=True)
class Offered:
    """A release in the repository: its terms, and the SHA-256 of its manifest."""

    terms: Terms
    sha256: Digest


@dataclass(frozen=True, slots=True)
class Offering:
    """What the repository offers. ``now`` is the time that counts, ``signed`` the last signed time.

    ``expires`` has the time for each role, ``versions`` its version. ``unreadable`` names releases
    whose terms this abctl cannot read.
    """

    policy: Policy
    releases: tuple[Offered, ...]
    now: Seconds
    signed: Seconds
    expires: Mapping[str, Seconds]
    versions: Mapping[str, int]
    unreadable: tuple[str, ...] = ()

    def find(self, version: Version) -> Offered | None:
        return next((item for item in self.releases if item.terms.version == version), None)


class TrustClient:
    """Brings what is trusted up to date, once; ``state`` is what to remember, after errors too."""

    def __init__(self, pinned: bytes, state: TrustState, clock: Seconds) -> None:
        """Begin with the pinned root metadata and what was trusted before; ``clock`` is the system's.

        Raise BadMetadata or NotSigned where the pinned root is not sound.
        """
        self._clock = clock
        self._before = state
        self._place = "this host's configuration"
        with self._explaining("root", "root.json", pinned):
            self._trusted = TrustedMetadataSet(pinned, EnvelopeType.METADATA)
        self._roots: list[str] = []
        self._metadata: dict[str, str] = {}
        self._signed = Seconds(0)
        for root in state.roots:
            # Those before the pinned one, or of another repository, are of no use any more.
            with suppress(RepositoryError):
                self._take_root(root.encode())
        self._see(self._trusted.root)

    @property
    def state(self) -> TrustState:
        kept = {name: data for name, data in self._before.metadata.items() if name not in self._metadata}
        return replace(self._before, roots=tuple(self._roots), metadata={**kept, **self._metadata})

    @property
    def signed(self) -> Seconds:
        """The latest time at which anything that is trusted was signed."""
        return self._signed

    def refresh(self, source: Source, wanted: Version | None = None) -> Offering:
        """Return what ``source`` offers, with older releases where one is ``wanted``.

        Raise SourceProblem, NotSigned, Expired, Replayed or BadMetadata.
        """
        self._place = source.place
        self._load_roots(source)
        self._load_timestamp(source)
        self._load_snapshot(source)
        targets = self._load_targets(source, "targets", "root")
        with self._explaining("targets", f"{targets.version}.targets.json", b""):
            offered, unreadable = _list_offered(targets)
            policy = parse_policy(targets.unrecognized_fields)
        if wanted and not any(item.terms.version == wanted for item in offered):
            offered += self._find_delegated(source, targets, wanted)
        return Offering(
            policy=policy,
            releases=tuple(offered),
            now=time_that_counts(self._clock, self._signed),
            signed=self._signed,
            expires={role: _seconds(signed.expires) for role, signed in self._roles()},
            versions={role: signed.version for role, signed in self._roles()},
            unreadable=tuple(unreadable),
        )

    def _roles(self) -> Iterator[tuple[str, Signed]]:
        for role in ("root", "timestamp", "snapshot", "targets"):
            yield role, self._trusted[role]

    # --- one role after the other ---

    def _load_roots(self, source: Source) -> None:
        for _ in range(ROOTS_MAX):
            name = f"{self._trusted.root.version + 1}.root.json"
            try:
                data = self._fetch(source, "root", name)
            except SourceNotFound:
                break
            with self._explaining("root", name, data):
                self._take_root(data)
        self._see(self._trusted.root)

    def _take_root(self, data: bytes) -> None:
        self._trusted.update_root(data)
        self._roots.append(data.decode())

    def _load_timestamp(self, source: Source) -> None:
        if known := self._before.metadata.get("timestamp"):
            # What is past its date still says what was seen.
            with suppress(RepositoryError):
                self._trusted.update_timestamp(known.encode())
            if "timestamp" in self._trusted:
                self._see(self._trusted.timestamp)
        name = "timestamp.json"
        data = self._fetch(source, "timestamp", name)
        with self._explaining("timestamp", name, data):
            before = self._trusted.get("timestamp")
            try:
                # Where it has the same version, the one that is trusted stays.
                with suppress(EqualVersionNumberError):
                    self._trusted.update_timestamp(data)
            finally:
                # What is past its date is taken too, and then refused.
                if self._trusted.get("timestamp") is not before:
                    self._metadata["timestamp"] = data.decode()
                    self._see(self._trusted.timestamp)
            # The one that stays may have come to its date meanwhile.
            if self._trusted.timestamp.is_expired(self._trusted.reference_time):
                raise ExpiredMetadataError("timestamp.json is expired")

    def _load_snapshot(self, source: Source) -> None:
        if known := self._before.metadata.get("snapshot"):
            with suppress(RepositoryError):
                self._trusted.update_snapshot(known.encode(), trusted=True)
                return
        meta = self._trusted.timestamp.snapshot_meta
        name = f"{meta.version}.snapshot.json"
        data = self._fetch(source, "snapshot", name, meta)
        with self._explaining("snapshot", name, data):
            self._trusted.update_snapshot(data)
        self._metadata["snapshot"] = data.decode()

    def _load_targets(self, source: Source, role: str, parent: str) -> Targets:
        if known := self._before.metadata.get(role):
            with suppress(RepositoryError):
                return self._trusted.update_delegated_targets(known.encode(), role, parent)
        meta = self._trusted.snapshot.meta.get(f"{role}.json")
        if meta is None:
            raise BadMetadata(
                f"snapshot.json from {self._place} does not know the role {role}: have the repository "
                "published again"
            )
        name = f"{meta.version}.{role}.json"
        data = self._fetch(source, role, name, meta)
        with self._explaining(role, name, data):
            targets = self._trusted.update_delegated_targets(data, role, parent)
        if role == "targets":
            self._metadata[role] = data.decode()
        return targets

    def _find_delegated(self, source: Source, targets: Targets, wanted: Version) -> list[Offered]:
        """Return the release with this version from the first delegated role that has it."""
        path = MANIFEST_PATH.format(version=wanted)
        if targets.delegations is None:
            return []
        found = list(targets.delegations.get_roles_for_target(path))[:_DELEGATIONS_MAX]
        for role, is_last in found:
            delegated = self._load_targets(source, role, "targets")
            with self._explaining(role, f"{delegated.version}.{role}.json", b""):
                if path in delegated.targets:
                    return [_read_offered(path, delegated.targets[path])]
            if is_last:
                break
        return []

    # --- what they share ---

    def _fetch(self, source: Source, role: str, name: str, meta: MetaFile | None = None) -> bytes:
        """Return a file, at most as long as ``meta`` says where that is signed."""
        limit = _LIMITS.get(role, _DELEGATED_MAX)
        if meta and meta.length:
            limit = Bytes(min(meta.length, limit))
        where = f"{name} from {self._place} (role {role})"
        buffer = memoryview(bytearray(limit + 1))
        with source.open(f"metadata/{name}") as reader:
            try:
                return bytes(buffer[: fill(_InTime(AtMost(reader, limit, name), limit, where), buffer)])
            except TransferTooLong as error:
                if meta and meta.length == limit:
                    raise _mixed(where, f"it has more than {limit} bytes") from error
                raise TransferTooLong(
                    f"{where} has more than the {limit} bytes that are allowed: nothing of it is used; take "
                    "another mirror"
                ) from error

    def _see(self, signed: Signed) -> None:
        """Note when this was signed: no time before it counts any more."""
        self._signed = Seconds(max(self._signed, parse_issued(signed.unrecognized_fields)))
        now = time_that_counts(self._clock, self._signed)
        self._trusted.reference_time = datetime.fromtimestamp(now, UTC)

    @contextmanager
    def _explaining(self, role: str, name: str, data: bytes) -> Iterator[None]:
        """Make python-tuf's refusals of this file sentences."""
        where = f"{name} from {self._place} (role {role})"
        try:
            yield
        except ExpiredMetadataError as error:
            raise self._explain_expiry(where, role, data) from error
        except UnsignedMetadataError as error:
            raise NotSigned(
                f"{where} is not signed by as many of the trusted keys as have to ({error}): nothing of it "
                "is used; take another mirror, or ask the publisher whether keys were changed"
            ) from error
        except BadVersionNumberError as error:
            raise Replayed(
                f"{where} is older than what this host has seen, or out of turn ({error}): nothing of it is "
                "used; take another mirror"
            ) from error
        except LengthOrHashMismatchError as error:
            raise _mixed(where, str(error)) from error
        except BadMetadata as error:
            raise BadMetadata(f"{where}: {error}") from error
        except (RepositoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadMetadata(
                f"{where} is not sound metadata ({_say_cause(error)}): have the repository published again"
            ) from error

    def _explain_expiry(self, where: str, role: str, data: bytes) -> Expired:
        known = self._trusted[role] if role in self._trusted else _parse(data)
        if role == "timestamp" and self._trusted.root.is_expired(self._trusted.reference_time):
            known = self._trusted.root
            where = f"{known.version}.root.json, the newest that {self._place} has (role root),"
        expired = say_time(_seconds(known.expires)) if known else "an unknown date"
        now = say_time(self._trusted.reference_time.timestamp())
        cause = "the repository is not renewed, or somebody withholds what is newer"
        wrong = judge_clock(self._clock, self._signed)
        advice = f"if its clock is wrong, set it; else {cause}"
        if wrong:
            advice = f"{cause}; and {wrong}; if it is right, the publisher's is not, or a key was stolen"
        return Expired(f"{where} expired at {expired}, and it is {now} by what this host knows: {advice}")


class _InTime:
    """Passes bytes on while no more time has gone by than ``limit`` bytes may take on a slow line."""

    def __init__(self, reader: Reader, limit: int, where: str) -> None:
        self._reader = reader
        self._allowed = _TIME_MIN + limit / _RATE_MIN
        self._began = time.monotonic()
        self._where = where

    @property
    def length(self) -> int | None:
        return self._reader.length

    def readinto(self, buffer: memoryview) -> int:
        count = self._reader.readinto(buffer)
        if count and time.monotonic() - self._began > self._allowed:
            raise TransferStalled(
                f"{self._where} has not come within {self._allowed:.0f} s: take another mirror"
            )
        return count


def _parse(data: bytes) -> Signed | None:
    try:
        found: Metadata[Any] = Metadata.from_bytes(data)
    except RepositoryError:
        return None
    signed: Signed = found.signed
    return signed


def _mixed(where: str, why: str) -> BadMetadata:
    return BadMetadata(
        f"{where} is not the file that the signed metadata names ({why}): the mirror mixes or changes files; "
        "take another mirror"
    )


def _say_cause(error: Exception) -> str:
    """Return what is wrong with metadata: python-tuf says it in what it calls the cause."""
    cause = error.__cause__ if isinstance(error, DeserializationError) and error.__cause__ else error
    said = f"it lacks {cause}" if isinstance(cause, KeyError) else str(cause) or type(cause).__name__
    return clean_text(said)[:160]


def _seconds(expires: datetime) -> Seconds:
    return Seconds(int(expires.timestamp()))


def _list_offered(targets: Targets) -> tuple[list[Offered], list[str]]:
    """Return the releases of a role, and the paths of those whose terms cannot be read."""
    offered, unreadable = [], []
    for path, target in targets.targets.items():
        if not path.endswith(_MANIFEST_END):
            continue
        try:
            offered.append(_read_offered(path, target))
        except BadMetadata:
            unreadable.append(clean_text(path))
    return offered, unreadable


def _read_offered(path: str, target: TargetFile) -> Offered:
    custom = target.custom if isinstance(target.custom, Mapping) else {}
    terms = parse_terms(custom.get(FIELD), path)
    try:
        return Offered(terms, parse_digest(str(target.hashes.get("sha256"))))
    except ValueError as error:
        raise BadMetadata(f"targets: {path} has no SHA-256: have it published again") from error
