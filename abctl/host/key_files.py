"""The file with a user's SSH keys, in a home that belongs to that user: nothing there is believed.

Every name is looked up below an open folder and no link is followed, so that whatever the user has put there,
only the user's own ``.ssh/authorized_keys`` is replaced.
"""

import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from abctl.errors import WriteFailed

SOURCE_MAX = 256 * 1024  # bytes
_SSH = ".ssh"
_KEYS = "authorized_keys"
_SECOND = "authorized_keys2"  # sshd reads it too
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class User:
    """A user of the running system, as its user database has it."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """The file as it was before, and what people should know; ``changed`` if there was anything to do."""

    before: bytes
    changed: bool
    notes: tuple[str, ...] = ()


def find_user(name: str) -> User | None:
    """Return a user of the running system; None where there is none of this name."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return User(name, found.pw_uid, found.pw_gid, found.pw_dir, found.pw_shell)


def read_source(path: Path) -> bytes | None:
    """Return what is in a file of public keys, None where there is none; raise WriteFailed."""
    try:
        fd = os.open(path, _FILE_FLAGS)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WriteFailed(f"{path} cannot be read: {error.strerror}; the keys stay as they are") from error
    try:
        with os.fdopen(fd, "rb") as file:
            data = file.read(SOURCE_MAX + 1)
    except OSError as error:
        raise WriteFailed(f"{path} cannot be read: {error.strerror}; the keys stay as they are") from error
    if len(data) > SOURCE_MAX:
        raise WriteFailed(f"{path} has more than {SOURCE_MAX // 1024} KiB; the keys stay as they are")
    return data


def replace_keys(user: User, data: bytes, root: Path = Path("/")) -> Replaced:
    """Make ``data`` the user's keys, all of them; raise WriteFailed.

    Without data, and without keys before, nothing is made.
    """
    home = root / user.home.lstrip("/")
    notes: list[str] = []
    try:
        with _open_folder(home) as home_fd:
            if not data and not _exists(_SSH, home_fd):
                return Replaced(b"", changed=False)
            _check_owner(home_fd, user, str(home))
            with _open_ssh(home_fd, user, f"{home}/{_SSH}", notes) as fd:
                before = _read_keys(fd)
                changed = _write_keys(fd, user, data, before, notes) or bool(notes)
                return Replaced(before or b"", changed, tuple(notes))
    except OSError as error:
        if not data and isinstance(error, FileNotFoundError):
            return Replaced(b"", changed=False)  # no home, no keys
        raise WriteFailed(f"the keys in {home}/{_SSH} cannot be written: {error.strerror}") from error


@contextmanager
def _open_folder(path: str | Path, below: int | None = None) -> Iterator[int]:
    fd = os.open(path, _FOLDER_FLAGS, dir_fd=below)
    try:
        yield fd
    finally:
        os.close(fd)


def _check_owner(fd: int, user: User, path: str) -> None:
    """A folder of somebody else is no home: what is written there could be changed by that user."""
    status = os.fstat(fd)
    if status.st_uid not in (0, user.uid):
        raise WriteFailed(
            f"{path} belongs to user {status.st_uid} and not to {user.name}: 'chown {user.name} {path}'"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise WriteFailed(
            f"others than {user.name} may write to {path}, so sshd takes no key there: 'chmod go-w {path}'"
        )


@contextmanager
def _open_ssh(home: int, user: User, path: str, notes: list[str]) -> Iterator[int]:
    """Open the user's .ssh, made anew where it is no folder."""
    if _exists(_SSH, home) and not stat.S_ISDIR(os.lstat(_SSH, dir_fd=home).st_mode):
        os.unlink(_SSH, dir_fd=home)
        notes.append(f"{path} was no folder, and was removed")
    if not _exists(_SSH, home):
        os.mkdir(_SSH, 0o700, dir_fd=home)
    with _open_folder(_SSH, home) as fd:
        status = os.fstat(fd)
        if status.st_uid not in (0, user.uid):
            raise WriteFailed(f"{path} belongs to user {status.st_uid} and not to {user.name}: move it away")
        if (status.st_uid, status.st_gid) != (user.uid, user.gid):
            os.fchown(fd, user.uid, user.gid)
        if stat.S_IMODE(status.st_mode) != 0o700:  # noqa: PLR2004
            os.fchmod(fd, 0o700)
        yield fd


def _read_keys(folder: int) -> bytes | None:
    """Return what sshd finds now; None where that is nothing, or is no file."""
    try:
        fd = os.open(_KEYS, _FILE_FLAGS, dir_fd=folder)
    except OSError:
        return None
    try:
        with open(fd, "rb", closefd=False) as file:
            return file.read(SOURCE_MAX + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except IsADirectoryError:
        return None
    finally:
        os.close(fd)


def _write_keys(folder: int, user: User, data: bytes, before: bytes | None, notes: list[str]) -> bool:
    """Make the file hold ``data``, and no other that sshd would read; return whether there was work."""
    changed = False
    if _exists(_SECOND, folder):
        _remove(_SECOND, folder)
        notes.append(f"{_SECOND} of {user.name} was removed, which sshd would read too")
        changed = True
    if before is None and _exists(_KEYS, folder):
        _remove(_KEYS, folder)
        notes.append(f"{_KEYS} of {user.name} was no file, and was removed")
        changed = True
    if data == (before or b"") and (before is None or _is_right(folder, user)):
        return changed
    if data:
        _replace(folder, user, data)
    else:
        _remove(_KEYS, folder)
    return True


def _is_right(folder: int, user: User) -> bool:
    status = os.lstat(_KEYS, dir_fd=folder)
    return (
        stat.S_ISREG(status.st_mode)
        and (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (user.uid, user.gid, 0o600)
        and status.st_nlink == 1
    )


def _replace(folder: int, user: User, data: bytes) -> None:
    part = f".{_KEYS}.{os.getpid()}"
    _remove(part, folder)
    fd = os.open(
        part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
    )
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchown(fd, user.uid, user.gid)
            os.fchmod(fd, 0o600)
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.rename(part, _KEYS, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        _remove(part, folder)
        raise


def _exists(name: str, folder: int) -> bool:
    try:
        os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def _remove(name: str, folder: int) -> None:
    """Remove a file or link; a folder is moved aside, for it may be full."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        os.rename(name, f"{name}.{os.urandom(4).hex()}", src_dir_fd=folder, dst_dir_fd=folder)
