"""A release directory: a manifest, and one packed image a part beside it, in chunks or as a stream."""

import hashlib
from collections.abc import Mapping

from abctl.core.release import MANIFEST_MAX, Image, Manifest, parse_manifest
from abctl.core.slot import Part, Slot
from abctl.core.units import Bytes, Digest, format_size
from abctl.errors import BadArchive, DigestMismatch
from abctl.ports import Reader, Source
from abctl.update.chunked import ChunkedImage, Seeds
from abctl.update.fetch import Ledger
from abctl.update.payload import ChunkedPayload, OnVersion, Payload, Payloads
from abctl.update.progress import OnProgress
from abctl.update.stream import Hashed, Promised, fetch_small, promised_download
from abctl.update.write import Work


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
    """The release of ``manifest``, whose files are in ``source``, for one slot set."""

    def __init__(self, source: Source, manifest: Manifest, seeds: Seeds, work: Work) -> None:
        """Remember what goes where; nothing is asked yet."""
        self._source = source
        self._manifest = manifest
        self._slots = work.slots
        self._seeds = seeds
        self._ledger = Ledger(work.wishes.max_download)
        self._unpack = work.unpack
        self._chunked: dict[Part, ChunkedImage] = {}

    @property
    def fetched(self) -> int:
        return self._ledger.fetched

    def prepare(self, on_progress: OnProgress) -> Mapping[Part, ChunkedImage]:
        """Ask for each file, and choose the way of each image that has chunks, by part.

        Raise SourceProblem where a file is missing or too short, BadRelease, or DownloadTooLarge.
        """
        for image in self._manifest.images:
            size = image.download.size
            if image.chunks is None:
                with self._source.open(image.file) as reader:
                    self._promised(reader, image)
            else:
                with self._source.open(image.file, 0, 1):
                    pass
                chunked = self._chunked_image(image)
                chunked.choose(self._seeds, self._manifest.version, on_progress)
                size = chunked.chosen.download or 0
            self._ledger.plan(size, f"{image.file} takes {format_size(size)}")
        return self._chunked

    def _chunked_image(self, image: Image) -> ChunkedImage:
        if image.part not in self._chunked:
            slot = Slot(self._seeds.slot_set.other, image.part)
            self._chunked[image.part] = ChunkedImage(self._source, image, self._slots, slot, self._ledger)
        return self._chunked[image.part]

    def _promised(self, reader: Reader, image: Image) -> Promised:
        return promised_download(reader, image.file, Bytes(image.download.size), self._source.place)

    def payloads(self, on_version: OnVersion) -> Payloads:
        on_version(self._manifest.version)
        for image in self._manifest.images:
            if image.chunks is None:
                yield from self._payload(image)
            else:
                yield ChunkedPayload(self._chunked_image(image), self._seeds.slot_set)

    def _payload(self, image: Image) -> Payloads:
        with self._source.open(image.file) as reader:
            packed = Hashed(self._promised(reader, image))
            try:
                with self._unpack(packed, image.compression, image.file) as unpacked:
                    whole = Hashed(_promised_image(unpacked, image))
                    payload = Payload(image.part, image.file, Bytes(image.image.size), whole)
                    yield payload
                    payload.check_read()
                packed.drain()
            finally:
                self._ledger.fetched += packed.count
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
