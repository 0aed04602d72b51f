"""Changes to a repository's folder: each one whole, on the disk, and in the order in which they were made.

All that publishing writes goes through the functions of this module, so that tests can cut the power at any.
"""

import hashlib
import os
import shutil
from pathlib import Path

from abctl.build.files import flush_folder, saying_what_failed
from abctl.core.units import MIB, Digest
from abctl.errors import DigestMismatch, SourceNotFound

UNFINISHED = ".new-"  # begins the names of what is not published yet
_EXECUTABLE_ALL = 0o755


def replace_file(path: Path, data: bytes) -> None:
    """Give ``path`` this content: a reader sees the old bytes or the new, whatever happens meanwhile."""
    unfinished = path.with_name(UNFINISHED + path.name)
    with saying_what_failed(path):
        write_bytes(unfinished, data)
        rename(unfinished, path)
        flush(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder where there is none yet; it is on the disk afterwards."""
    with saying_what_failed(path):
        if not path.is_dir():
            create_folder(path)
            flush(path.parent)


def publish_folder(unfinished: Path, path: Path) -> None:
    """Give a folder whose files are on the disk its name."""
    with saying_what_failed(path):
        flush(unfinished)
        rename(unfinished, path)
        flush(path.parent)


def take_file(source: Path, target: Path, sha256: Digest) -> None:
    """Make ``target`` the same as ``source``: as another name of it where that can be, else as a copy."""
    with saying_what_failed(target):
        try:
            link(source.resolve(), target)
        except OSError:
            copy(source, target, sha256)


def forget(path: Path) -> None:
    """Remove a file; it is gone from the disk afterwards."""
    with saying_what_failed(path):
        remove(path)
        flush(path.parent)


def clean(folder: Path) -> None:
    """Remove what an interrupted command left unfinished."""
    with saying_what_failed(folder):
        for path in sorted(folder.glob(f"{UNFINISHED}*")):
            remove(path)


# --- single steps -----------------------------------------------------------------------------------


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file that nobody looks at yet; it is on the disk afterwards."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def rename(path: Path, target: Path) -> None:
    path.replace(target)


def flush(folder: Path) -> None:
    flush_folder(folder)


def create_folder(path: Path) -> None:
    path.mkdir(mode=_EXECUTABLE_ALL)


def link(source: Path, target: Path) -> None:
    """Give the bytes of ``source`` a second name; they are on the disk afterwards."""
    os.link(source, target, follow_symlinks=False)
    fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def copy(source: Path, target: Path, sha256: Digest) -> None:
    """Copy a file; raise DigestMismatch where it is another one now."""
    found = hashlib.sha256()
    try:
        reader = source.open("rb")
    except OSError as error:
        raise SourceNotFound(f"{source} cannot be read: {error.strerror}") from error
    with reader, target.open("wb") as writer:
        while data := reader.read(MIB):
            found.update(data)
            writer.write(data)
        writer.flush()
        os.fsync(writer.fileno())
    if found.hexdigest() != sha256:
        raise DigestMismatch(f"{source} was changed while it was copied: publish the release again")


def remove(path: Path) -> None:
    """Remove a file, or a folder with all in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
