"""Where a release comes from: a file, a folder or a server."""

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from abctl.core.release import MANIFEST_NAME, TAR_MAGIC_END, ReleaseKind, find_compression
from abctl.core.units import Digest
from abctl.errors import BadArchive, SourceNotFound, TransferCut
from abctl.ports import Offer, Source

if TYPE_CHECKING:
    from abctl.host.fetching import Fetching

    MakeSource = Callable[[str, Fetching], Source]

_SCHEMES = ("http", "https")
ARCHIVE_ENDINGS = (".tar.zst", ".tar.gz", ".tgz", ".tar")


class FileReader:
    """A range of a regular file, read once."""

    def __init__(self, path: Path, start: int = 0, length: int | None = None) -> None:
        """Open ``length`` bytes from ``start``, or all from there; raise SourceNotFound, TransferCut."""
        self._path = path
        try:
            # Without waiting: it may be a pipe, which is refused below.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _not_found(path, error) from error
        try:
            size = self._measure()
            self.length = size - start if length is None else length
            if self.length < 0 or start + self.length > size:
                raise TransferCut(f"{path} has only {size} bytes, which is too few: it is cut short")
        except BaseException:
            self.close()
            raise
        self._start = start
        self._done = 0

    def _measure(self) -> int:
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            raise SourceNotFound(f"{self._path} is not a file")
        return found.st_size

    def close(self) -> None:
        os.close(self._fd)

    def readinto(self, buffer: memoryview) -> int:
        part = buffer[: self.length - self._done]
        try:
            count = os.preadv(self._fd, [part], self._start + self._done)
        except OSError as error:
            raise TransferCut(
                f"{self._path} cannot be read after {self._done} of {self.length} bytes: {error.strerror}"
            ) from error
        self._done += count
        return count


class FolderSource:
    """The files of one folder."""

    is_local = True
    has_ranges = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def place(self) -> str:
        return str(self._folder)

    @contextmanager
    def open(self, name: str, start: int = 0, length: int | None = None) -> Iterator[FileReader]:
        reader = FileReader(self._folder / name, start, length)
        try:
            yield reader
        finally:
            reader.close()


def locate_release(
    text: str,
    sha256: Digest | None = None,
    fetching: "Fetching | None" = None,
    make_source: "MakeSource | None" = None,
) -> Offer:
    """Return what ``text`` names: an http(s) URL, an archive, a manifest or the folder around it.

    A URL is an archive where its path ends like one; a file is one where it begins like one. ``sha256``
    is that of the archive or of the manifest; ``fetching`` is how to ask servers, and which mirrors;
    ``make_source`` returns the files beside a URL, by default from this very process.
    Raise SourceNotFound, BadArchive; no server is asked yet.
    """
    scheme, separator, _ = text.partition("://")
    if not separator:
        return _locate_path(Path(text), sha256)
    if scheme.lower() not in _SCHEMES:
        raise SourceNotFound(f"{_without_secrets(text)} is neither a file nor an http or https URL")
    return _locate_url(text, sha256, fetching, make_source or _make_http_source)


def _make_http_source(url: str, fetching: "Fetching") -> Source:
    # requests takes longer to import than most commands run.
    from abctl.host.http import HttpSource  # noqa: PLC0415

    return HttpSource(url, fetching)


def _locate_url(
    url: str, sha256: Digest | None, fetching: "Fetching | None", make_source: "MakeSource"
) -> Offer:
    from abctl.host.fetching import Fetching  # noqa: PLC0415

    fetching = check_proxy(fetching or Fetching())
    path = path_of(url)
    if path.lower().endswith(ARCHIVE_ENDINGS):
        for mirror in fetching.mirrors:
            path_of(mirror)
        return Offer(make_source(url, fetching), path.rpartition("/")[2], ReleaseKind.ARCHIVE, sha256)
    fetching = replace(fetching, mirrors=tuple(folder_of(mirror) for mirror in fetching.mirrors))
    return Offer(make_source(folder_of(url), fetching), MANIFEST_NAME, ReleaseKind.DIRECTORY, sha256)


def path_of(url: str) -> str:
    """Return the path of the URL of a server, or raise SourceNotFound."""
    try:
        parts = urlsplit(url)
        is_sound = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0 and url.isprintable()
    except ValueError:
        is_sound = False
    if not is_sound:
        raise SourceNotFound(f"{_without_secrets(url)!r} is not a URL of a server: check it")
    return parts.path


def folder_of(url: str) -> str:
    """Return the URL of a release directory in such a way that its files can be joined to it.

    Raise SourceNotFound where it is no URL of a server.
    """
    path = path_of(url)
    if path.endswith(("/", f"/{MANIFEST_NAME}")):
        return url
    return urlsplit(url)._replace(path=f"{path}/").geturl()


def check_proxy(fetching: "Fetching") -> "Fetching":
    """Return the settings with the proxy as a URL; raise SourceNotFound where it is none."""
    if fetching.proxy is None:
        return fetching
    proxy = fetching.proxy if "://" in fetching.proxy else f"http://{fetching.proxy}"
    path_of(proxy)
    return replace(fetching, proxy=proxy)


def _without_secrets(url: str) -> str:
    """Return a URL for people, which need not be one: no password, no query."""
    return re.sub(r"//[^/]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])[:200]


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
