"""A release directory: a manifest, and one packed image a part beside it."""

import hashlib

from abctl.core.release import MANIFEST_MAX, Image, Manifest, parse_manifest
from abctl.core.units import Bytes, Digest
from abctl.errors import BadArchive, DigestMismatch
from abctl.ports import Reader, Source
from abctl.update.decompress import decompress
from abctl.update.payload import OnVersion, Payload, Payloads
from abctl.update.stream import Hashed, Promised, fetch_small, promised_download


def fetch_manifest(source: Source, name: str, sha256: Digest) -> Manifest:
    """Return the manifest ``name``; raise SourceProblem, DigestMismatch, BadManifest."""
    data = fetch_small(source, name, MANIFEST_MAX)
    digest = Digest(hashlib.sha256(data).hexdigest())
    # Compared before it is parsed: nothing is read out of a manifest that nobody vouches for.
    if digest != sha256:
        raise DigestMismatch(
            f"{name} from {source.place} has SHA-256 {digest}, not {sha256}: it is damaged, or another one "
            "was meant"
        )
    return parse_manifest(data)


class DirectoryRelease:
    """The release of ``manifest``, whose files are in ``source``."""

    def __init__(self, source: Source, manifest: Manifest) -> None:
        self._source = source
        self._manifest = manifest
        self.fetched = 0

    def check_files(self) -> None:
        """Ask for each file without reading it; raise SourceProblem where one is missing or too short."""
        for image in self._manifest.images:
            with self._source.open(image.file) as reader:
                self._promised(reader, image)

    def _promised(self, reader: Reader, image: Image) -> Promised:
        return promised_download(reader, image.file, Bytes(image.download.size), self._source.place)

    def payloads(self, on_version: OnVersion) -> Payloads:
        on_version(self._manifest.version)
        for image in self._manifest.images:
            yield from self._payload(image)

    def _payload(self, image: Image) -> Payloads:
        with self._source.open(image.file) as reader:
            packed = Hashed(self._promised(reader, image))
            try:
                unpacked = decompress(packed, image.compression, image.file)
                whole = Hashed(_promised_image(unpacked, image))
                payload = Payload(image.part, image.file, Bytes(image.image.size), whole)
                yield payload
                payload.check_read()
                packed.drain()
            finally:
                self.fetched += packed.count
            self._check_digests(image, packed.digest, whole.digest)

    def _check_digests(self, image: Image, packed: Digest, unpacked: Digest) -> None:
        if packed != image.download.sha256:
            raise DigestMismatch(
                f"{image.file} from {self._source.place} has SHA-256 {packed}, not "
                f"{image.download.sha256} as the manifest says: it is damaged"
            )
        if unpacked != image.image.sha256:
            raise DigestMismatch(
                f"{image.file} unpacks to SHA-256 {unpacked}, not {image.image.sha256} as the manifest says: "
                "the release was put together wrongly"
            )


def _promised_image(reader: Reader, image: Image) -> Promised:
    size = image.image.size
    return Promised(
        reader,
        size,
        too_many=lambda: BadArchive(f"{image.file} holds more than the {size} bytes that the manifest says"),
        too_few=lambda count: BadArchive(
            f"{image.file} holds {count} of the {size} bytes that the manifest says"
        ),
    )
