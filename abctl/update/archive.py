"""The older system's ``update-img.tar.zst``: boot.img, root.img and VERSION.TXT in a tar.

It is read once, as a stream.
"""

from abctl.core.release import TAR_MAGIC_END, find_compression
from abctl.core.slot import Part
from abctl.core.units import Bytes, Digest, Version, parse_version
from abctl.errors import BadArchive, DigestMismatch
from abctl.ports import Source, Unpack
from abctl.update.decompress import unpack_here
from abctl.update.payload import OnVersion, Payload, Streams
from abctl.update.stream import AtMost, Hashed, Peeked, fill
from abctl.update.tar import Kind, Member, TarReader

IMAGES = {"boot.img": Part.BOOT, "root.img": Part.ROOT}
VERSION_FILE = "VERSION.TXT"
_VERSION_FILE_MAX = 256  # bytes; a version has 64 at most
_WANTED = {*IMAGES, VERSION_FILE}


class ArchiveRelease:
    """The archive ``file`` in ``source``, of which only the SHA-256 of the whole is known beforehand.

    ``limit`` bounds the download in bytes: what the slots can hold, and something for the packing.
    """

    def __init__(
        self, source: Source, file: str, sha256: Digest, limit: Bytes, unpack: Unpack = unpack_here
    ) -> None:
        self._source = source
        self._file = file
        self._sha256 = sha256
        self._limit = limit
        self._unpack = unpack
        self.fetched = 0

    def payloads(self, on_version: OnVersion) -> Streams:
        with self._source.open(self._file) as reader:
            hashed = Hashed(AtMost(reader, self._limit, self._file))
            peeked = Peeked(hashed, TAR_MAGIC_END)
            compression = find_compression(peeked.head)
            if compression is None:
                raise BadArchive(
                    f"{self._file} is neither zstd, gzip nor tar: is it really an update archive?"
                )
            try:
                with self._unpack(peeked, compression, self._file) as unpacked:
                    yield from self._members(TarReader(unpacked, self._file), on_version)
                hashed.drain()
            finally:
                self.fetched += hashed.count
            self._check_digest(hashed.digest)

    def _members(self, tar: TarReader, on_version: OnVersion) -> Streams:
        seen: set[str] = set()
        for member in tar:
            name = self._check(member, seen)
            if name is None:
                continue
            seen.add(name)
            if name == VERSION_FILE:
                on_version(self._read_version(member))
            else:
                payload = Payload(IMAGES[name], name, Bytes(member.size), Hashed(member.data))
                yield payload
                payload.check_read()
        if missing := sorted(_WANTED - seen):
            raise BadArchive(f"{self._file} lacks {' and '.join(missing)}: it is not a whole update archive")

    def _check(self, member: Member, seen: set[str]) -> str | None:
        """Return which of the wanted members it is, None for the folder around them; raise BadArchive."""
        shown = repr(member.name[:100])
        if member.kind is Kind.FOLDER and member.name in (".", "./") and not member.size:
            return None
        if member.name.startswith("/"):
            raise BadArchive(
                f"{self._file} has a member with an absolute path: {shown}; nothing of it is used"
            )
        if ".." in member.name.split("/"):
            raise BadArchive(f"{self._file} has a member that leads outside: {shown}; nothing of it is used")
        name = member.name.removeprefix("./")
        if name not in _WANTED:
            raise BadArchive(f"{self._file} has a member that does not belong there: {shown}")
        if member.kind is not Kind.FILE:
            raise BadArchive(f"{self._file} has {shown} as {member.kind}, not as a file")
        if name in seen:
            raise BadArchive(f"{self._file} has {shown} twice: which one counts is not clear")
        if not member.size:
            raise BadArchive(f"{self._file} has {shown} with no bytes in it")
        return name

    def _read_version(self, member: Member) -> Version:
        buffer = memoryview(bytearray(_VERSION_FILE_MAX + 1))
        count = fill(member.data, buffer)
        if count > _VERSION_FILE_MAX:
            raise BadArchive(f"{VERSION_FILE} in {self._file} has {member.size} bytes: this is not a version")
        try:
            return parse_version(bytes(buffer[:count]).decode("ascii").strip())
        except ValueError as error:
            problem = "it is not ASCII" if isinstance(error, UnicodeDecodeError) else str(error)
            raise BadArchive(f"{VERSION_FILE} in {self._file} does not hold a version: {problem}") from error

    def _check_digest(self, digest: Digest) -> None:
        if digest != self._sha256:
            raise DigestMismatch(
                f"{self._file} has SHA-256 {digest}, not {self._sha256}: it is damaged or another one"
            )
