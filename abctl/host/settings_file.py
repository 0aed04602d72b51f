"""The settings on the mounted config volume, which both slot sets share."""

import errno
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from abctl.core.settings import Document, Settings, SettingsDamaged, change, encode, parse_document
from abctl.core.settings_place import DAMAGED_PATH, GOOD_PATH, PATH, SIZE_MAX
from abctl.errors import WriteFailed
from abctl.host.live import LivePaths
from abctl.host.lock import wait_for_file
from abctl.host.mounts import MountTable
from abctl.host.replace import replace_file
from abctl.host.small_files import read_if_there

log = logging.getLogger(__name__)

_LOCK, _LOCK_WAIT = "run/abctl-settings.lock", 10.0  # seconds


@dataclass(frozen=True, slots=True)
class Read:
    """The settings that count, and what is to be said of them.

    ``is_damaged`` where the file itself could not be read, ``is_away`` where its volume is not mounted,
    ``is_copy`` where the last good copy counts instead.
    """

    document: Document
    warnings: tuple[str, ...] = ()
    is_damaged: bool = False
    is_away: bool = False
    is_copy: bool = False

    @property
    def settings(self) -> Settings:
        return self.document.settings


class SettingsFile:
    """``settings.json``, with a copy of what was last good."""

    def __init__(self, paths: LivePaths | None = None) -> None:
        self._paths = paths = paths or LivePaths()
        self.path = paths / f"{paths.config}/{PATH}"
        self._good = paths / f"{paths.config}/{GOOD_PATH}"
        self._damaged = paths / f"{paths.config}/{DAMAGED_PATH}"

    def read(self) -> Read:
        """Return the settings; where the file is damaged, those of the last good copy, with a warning."""
        if not self._is_mounted():
            warning = (
                f"the config volume is not mounted on {self._paths.config}: without the settings there, the "
                "host goes by what its hardware says"
            )
            return Read(Document.empty(), (warning,), is_away=True)
        return choose_settings(_read, self.path, self._good)

    def _is_mounted(self) -> bool:
        return MountTable(self._paths.root).find(self._paths.config) is not None

    def keep_good_copy(self) -> None:
        """Make the last good copy what the file is, where it is sound; raise WriteFailed."""
        if not self._is_mounted():
            return
        try:
            found, good = _read_bytes(self.path), _read_bytes(self._good)
            if found is not None and found != good and not parse_document(found).problems:
                replace_file(self._good, found, durable=True)
        except (OSError, SettingsDamaged) as error:
            log.info("%s: %s", self.path, error)

    def update(self, changes: Mapping[str, str | None]) -> Document:
        """Change fields, None taking one away, and return all; raise BadIdentity, Busy or WriteFailed.

        What others wrote into the file stays there; what could not be read is kept beside it.
        """
        if not self._is_mounted():
            raise WriteFailed(
                f"the config volume is not mounted on {self._paths.config}, so nothing can be kept: mount it"
            )
        with self._lock():
            read = self.read()
            document = change(read.document, changes)
            if document is not read.document or read.is_damaged:
                self._write(document, read)
        return document

    def _write(self, document: Document, read: Read) -> None:
        try:
            data = encode(document)
        except SettingsDamaged as error:
            raise WriteFailed(f"{self.path} is not changed, for {error}") from error
        if read.is_damaged:
            try:
                replace_file(self._damaged, _read_bytes(self.path) or b"")
            except (OSError, WriteFailed) as error:
                log.warning("what could not be read is not kept: %s", error)
        try:
            replace_file(self.path, data, durable=True)
        except WriteFailed as error:
            raise WriteFailed(f"{error}; nothing was changed. {_advise(error)}".rstrip()) from error
        try:
            replace_file(self._good, data, durable=True)
        except WriteFailed as error:
            log.warning("%s: the last good copy is an older one", error)

    def restore(self) -> None:
        """Write the file anew where the last good copy counts instead of it; raise Busy or WriteFailed."""
        with self._lock():
            read = self.read()
            if read.is_copy:
                self._write(read.document, read)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Let one writer at a time in."""
        folder = self.path.parent
        try:
            folder.mkdir(mode=0o755, exist_ok=True)
        except OSError as error:
            raise WriteFailed(f"{folder} cannot be used: {error.strerror}") from error
        busy = f"another program writes the settings in {folder}: try again"
        with wait_for_file(self._paths / _LOCK, _LOCK_WAIT, busy):
            yield


def choose_settings(read: Callable[[Path], Document | None], path: Path, good: Path) -> Read:
    """Return the settings in the file ``path``; where it is damaged or gone, those of the ``good`` copy.

    ``read`` returns None for a file that is not there, and raises SettingsDamaged.
    """
    is_damaged = False
    try:
        found = read(path)
        why = f"{path} is gone"
    except SettingsDamaged as error:
        found, is_damaged = None, True
        why = f"{path} cannot be used, for {error}"
    if found is not None:
        return Read(found, tuple(f"{path}: {problem}; it is left out" for problem in found.problems))
    try:
        copy = read(good)
    except SettingsDamaged as error:
        log.info("%s: %s", good, error)
        copy = None
    if copy is not None:
        return Read(copy, (f"{why}: the last good copy counts, {good}",), is_damaged, is_copy=True)
    if is_damaged:
        return Read(Document.empty(), (f"{why}, and there is no good copy: write it anew",), is_damaged=True)
    return Read(Document.empty())


def _advise(error: WriteFailed) -> str:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The config volume is full: remove from it what is not abctl's"
    return ""


def _read(path: Path) -> Document | None:
    """Return the settings in a file, None where there is none; raise SettingsDamaged."""
    try:
        data = _read_bytes(path)
    except OSError as error:
        raise SettingsDamaged(f"it cannot be read: {error.strerror}") from error
    return None if data is None else parse_document(data)


def _read_bytes(path: Path) -> bytes | None:
    """Return the bytes of a file, one more than settings may have at most; raise OSError."""
    return read_if_there(path, SIZE_MAX + 1)
