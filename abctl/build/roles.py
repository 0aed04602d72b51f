"""Make, sign, read and verify the metadata of a repository's roles, as The Update Framework has them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar, cast

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError, SerializationError

from abctl.core.problems import clean_text
from abctl.core.terms import FIELD, parse_issued
from abctl.core.units import Seconds
from abctl.errors import BadMetadata, NotSigned

DAY = 86_400
LIFETIMES_FIELD = "lifetimes"  # beside ``issued`` in root; seconds


class Role(StrEnum):
    """Who signs what. The archive has the keys of targets."""

    ROOT = "root"
    TARGETS = "targets"
    ARCHIVE = "archive"
    SNAPSHOT = "snapshot"
    TIMESTAMP = "timestamp"


KEY_ROLES = (Role.ROOT, Role.TARGETS, Role.SNAPSHOT, Role.TIMESTAMP)  # those whose keys root names
ONLINE_ROLES = (Role.SNAPSHOT, Role.TIMESTAMP)  # those that a timer signs
LIFETIMES: Mapping[Role, int] = {
    Role.ROOT: 365 * DAY,
    Role.TARGETS: 180 * DAY,
    Role.SNAPSHOT: 14 * DAY,
    Role.TIMESTAMP: 3 * DAY,
}
_TYPES: Mapping[Role, type[Signed]] = {
    Role.ROOT: Root,
    Role.TARGETS: Targets,
    Role.ARCHIVE: Targets,
    Role.SNAPSHOT: Snapshot,
    Role.TIMESTAMP: Timestamp,
}

S = TypeVar("S", Root, Targets, Snapshot, Timestamp)


@dataclass(frozen=True, eq=False)
class Document(Generic[S]):
    """One file of signed metadata: what it says, and its bytes."""

    role: Role
    metadata: Metadata[S]
    data: bytes

    @property
    def signed(self) -> S:
        return self.metadata.signed

    @property
    def version(self) -> int:
        return self.metadata.signed.version

    @property
    def name(self) -> str:
        return f"{self.role}.json" if self.role is Role.TIMESTAMP else f"{self.version}.{self.role}.json"

    @property
    def meta(self) -> MetaFile:
        """What the metadata above it says of it."""
        return MetaFile.from_data(self.version, self.data, ["sha256"])

    @property
    def issued(self) -> Seconds:
        return parse_issued(self.signed.unrecognized_fields)

    @property
    def expires(self) -> Seconds:
        return Seconds(int(self.signed.expires.timestamp()))

    def lives_half(self, now: Seconds) -> bool:
        """Whether more than half of its life is left."""
        return 2 * (self.expires - now) > self.expires - self.issued


def parse_document(role: Role, data: bytes, name: str) -> Document[Any]:
    """Return the metadata in ``data``; raise BadMetadata naming the file."""
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
        metadata.signed_bytes  # noqa: B018 - what has no canonical form cannot be verified either
    except (DeserializationError, SerializationError) as error:
        cause = error.__cause__ or error
        said = f"it lacks {cause}" if isinstance(cause, KeyError) else clean_text(str(cause))
        raise BadMetadata(
            f"{name} is not {role} metadata ({said[:160]}): take it from a copy of the repository"
        ) from error
    if metadata.signed.type != _TYPES[role].type:
        raise BadMetadata(
            f"{name} holds {metadata.signed.type} metadata, not {role}: put the right file there"
        )
    return Document(role, metadata, data)


def sign(role: Role, signed: S, signers: Iterable[CryptoSigner]) -> Document[S]:
    """Return ``signed`` with signatures of all ``signers``, the same bytes each time."""
    metadata = Metadata(signed)
    for signer in sorted(signers, key=lambda signer: signer.public_key.keyid):
        metadata.sign(signer, append=True)
    return Document(role, metadata, metadata.to_bytes())


def count_signatures(delegator: Root | Targets, document: Document[Any]) -> tuple[int, int]:
    """Return how many of the delegator's keys signed, and how many have to."""
    found = delegator.get_verification_result(
        document.role, document.metadata.signed_bytes, document.metadata.signatures
    )
    return len(found.signed), found.threshold


def is_signed(delegator: Root | Targets, document: Document[Any]) -> bool:
    """Whether a client that trusts ``delegator`` takes the document."""
    try:
        delegator.verify_delegate(document.role, document.metadata.signed_bytes, document.metadata.signatures)
    except (UnsignedMetadataError, ValueError):
        return False
    return True


def verify(delegator: Root | Targets, document: Document[Any]) -> None:
    """Raise NotSigned where a client that trusts ``delegator`` would refuse the document."""
    if not is_signed(delegator, document):
        count, threshold = count_signatures(delegator, document)
        raise NotSigned(
            f"{document.name} is signed by {count} of the {threshold} {document.role} keys that it needs: "
            "take it from a copy of the repository, or sign it anew"
        )


def expire(now: Seconds, lifetime: int) -> datetime:
    return datetime.fromtimestamp(now + lifetime, UTC)


def read_lifetimes(root: Root) -> Mapping[Role, int]:
    """Return how long each role's metadata is good for in seconds, as root says."""
    fields = root.unrecognized_fields.get(FIELD)
    said = fields.get(LIFETIMES_FIELD, {}) if isinstance(fields, dict) else {}
    known = cast(Mapping[str, Any], said if isinstance(said, dict) else {})
    return {
        role: value if isinstance(value := known.get(role), int) and value > 0 else usual
        for role, usual in LIFETIMES.items()
    }
