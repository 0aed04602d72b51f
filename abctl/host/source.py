"""Where a release comes from: a file, a folder or a server."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from abctl.core.release import MANIFEST_NAME, TAR_MAGIC_END, ReleaseKind, find_compression
from abctl.core.units import Digest
from abctl.errors import BadArchive, SourceNotFound, TransferCut
from abctl.ports import Offer

ARCHIVE_ENDINGS = (".tar.zst", ".tar.gz", ".tgz", ".tar")


class FileReader:
    """A regular file, read once."""

    def __init__(self, path: Path) -> None:
        """Open ``path``; raise SourceNotFound."""
        self._path = path
        try:
            # Without waiting: it may be a pipe, which is refused below.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _not_found(path, error) from error
        found = os.fstat(self._fd)
        self._is_file = stat.S_ISREG(found.st_mode)
        self.length = found.st_size
        self._done = 0
        if not self._is_file:
            self.close()
            raise SourceNotFound(f"{path} is not a file")

    def close(self) -> None:
        os.close(self._fd)

    def readinto(self, buffer: memoryview) -> int:
        try:
            count = os.readv(self._fd, [buffer])
        except OSError as error:
            raise TransferCut(
                f"{self._path} cannot be read after {self._done} of {self.length} bytes: {error.strerror}"
            ) from error
        self._done += count
        return count


class FolderSource:
    """The files of one folder."""

    is_local = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def place(self) -> str:
        return str(self._folder)

    @contextmanager
    def open(self, name: str) -> Iterator[FileReader]:
        reader = FileReader(self._folder / name)
        try:
            yield reader
        finally:
            reader.close()


def locate_release(text: str, sha256: Digest | None = None) -> Offer:
    """Return what ``text`` names: an http(s) URL, an archive, a manifest or the folder around it.

    A URL is an archive where its path ends like one; a file is one where it begins like one. ``sha256``
    is that of the archive or of the manifest. Raise SourceNotFound, BadArchive; no server is asked yet.
    """
    scheme, separator, _ = text.partition("://")
    if not separator:
        return _locate_path(Path(text), sha256)
    if scheme.lower() not in ("http", "https"):
        raise SourceNotFound(f"{text} is neither a file nor an http or https URL")
    return _locate_url(text, _path_of(text), sha256)


def _path_of(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_sound = bool(parts.hostname) and parts.port != 0 and url.isprintable()
    except ValueError:
        is_sound = False
    if not is_sound:
        raise SourceNotFound(f"{url[:200]!r} is not a URL of a server: check it")
    return parts.path


def _locate_url(url: str, path: str, sha256: Digest | None) -> Offer:
    from abctl.host.http import HttpSource  # noqa: PLC0415 - requests takes longer to import than most commands run

    if path.lower().endswith(ARCHIVE_ENDINGS):
        return Offer(HttpSource(url), path.rpartition("/")[2], ReleaseKind.ARCHIVE, sha256)
    if not path.endswith(("/", f"/{MANIFEST_NAME}")):
        url = urlsplit(url)._replace(path=f"{path}/").geturl()
    return Offer(HttpSource(url), MANIFEST_NAME, ReleaseKind.DIRECTORY, sha256)


def _locate_path(path: Path, sha256: Digest | None) -> Offer:
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError) as error:
        raise _not_found(path, error) from error
    if is_folder and not (path / MANIFEST_NAME).is_file():
        raise SourceNotFound(f"{path} has no {MANIFEST_NAME}: it is not a release directory")
    if is_folder:
        return Offer(FolderSource(path), MANIFEST_NAME, ReleaseKind.DIRECTORY, sha256)
    source = FolderSource(path.parent)
    if path.name == MANIFEST_NAME:
        return Offer(source, path.name, ReleaseKind.DIRECTORY, sha256)
    with source.open(path.name) as reader:
        head = bytearray(TAR_MAGIC_END)
        count = reader.readinto(memoryview(head))
    if find_compression(bytes(head[:count])) is None:
        raise BadArchive(
            f"{path} is neither a release directory nor a tar, packed with zstd, gzip or not at all"
        )
    return Offer(source, path.name, ReleaseKind.ARCHIVE, sha256)


def _not_found(path: Path, error: OSError | ValueError) -> SourceNotFound:
    if isinstance(error, FileNotFoundError):
        return SourceNotFound(f"{path} does not exist")
    reason = error.strerror if isinstance(error, OSError) else error
    return SourceNotFound(f"{str(path)[:200]!r} cannot be opened: {reason}")
