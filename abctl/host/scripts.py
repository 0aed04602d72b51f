"""GRUB's scripts on the grub partition, and how a host of the older system gets them.

The older system's grub.cfg knows nothing of trials, so nothing may be put on trial under it.
"""

import os
import tempfile
from pathlib import Path
from typing import Protocol

from abctl.core.bootenv import BootEnv, EnvFiles, encode
from abctl.core.layout import Filesystem, Layout, Role
from abctl.errors import DiskUnusable, NotAdopted, WriteFailed
from abctl.host.create import make_grub_files
from abctl.host.disk import Disk
from abctl.host.run import run

_MAIN = "grub.cfg"
_OLDER_MAIN = "grub.cfg.older"
_SIZE_MAX = 64 * 1024  # bytes; the shipped ones have 2 KiB


class GrubFiles(Protocol):
    """The files on the grub partition, by path."""

    def read(self, path: str) -> bytes | None:
        """Return the file, or None where it is not there."""
        ...

    def put(self, path: str, content: bytes) -> None:
        """Make or replace the file, and flush it; raise WriteFailed."""
        ...


def check_scripts(files: GrubFiles) -> None:
    """Raise NotAdopted where GRUB would not read what abctl writes."""
    if b"select.cfg" not in (files.read(_MAIN) or b""):
        raise NotAdopted(
            "GRUB on this host does not run abctl's scripts, so it would not try a release: run 'abctl adopt'"
        )


def find_lost(files: GrubFiles) -> tuple[str, ...]:
    """Return which of the files that GRUB needs are not there; also a grub.cfg that is not abctl's."""
    lost = [] if b"select.cfg" in (files.read(_MAIN) or b"") else [_MAIN]
    return (*lost, *(path for path in ("state.cfg", "select.cfg", "slots.cfg") if files.read(path) is None))


def install_scripts(files: GrubFiles, layout: Layout, env: BootEnv | None) -> None:
    """Put the scripts there, and both copies of ``env`` if given; grub.cfg, which commits it, comes last."""
    blocks = EnvFiles(encode(env), encode(env)) if env else EnvFiles()
    new = make_grub_files(layout, blocks)
    older = files.read(_MAIN)
    if older and older != new[_MAIN] and files.read(_OLDER_MAIN) is None:
        files.put(_OLDER_MAIN, older)
    for path in sorted(new, key=lambda path: path == _MAIN):
        if files.read(path) != new[path]:
            files.put(path, new[path])


class DiskGrubFiles:
    """The grub partition of a disk that does not run; it has to be a FAT."""

    def __init__(self, disk: Disk) -> None:
        home = disk.layout.find_role(Role.GRUB)
        if home is None or home.filesystem is not Filesystem.VFAT:
            raise DiskUnusable(f"layout {disk.layout.name} has no grub partition with a FAT file system")
        self._disk, self._home = disk, home
        self._mtools = f"{disk.path}@@{disk.places_of(home)[0].offset}"

    def read(self, path: str) -> bytes | None:
        try:
            with self._disk.open_file(Role.GRUB, path) as file:
                return file.read(0, min(file.size, _SIZE_MAX))
        except DiskUnusable:
            return None

    def put(self, path: str, content: bytes) -> None:
        self._disk.check_unused(self._home)
        folder = str(Path(path).parent)
        if folder != "." and folder not in self._list():
            run("mmd", "-i", self._mtools, f"::{folder}")
        with tempfile.NamedTemporaryFile() as source:
            source.write(content)
            source.flush()
            run("mcopy", "-D", "o", "-i", self._mtools, source.name, f"::{path}")
        with self._disk.open_volume(self._home, writable=True) as volume:
            volume.flush()
        if self.read(path) != content:
            raise WriteFailed(f"{path} on {self._disk.path} does not hold what was written: check the disk")

    def _list(self) -> list[str]:
        return [line.strip("/:").strip() for line in run("mdir", "-b", "-i", self._mtools, "::").splitlines()]


class LiveGrubFiles:
    """The mounted grub partition of the running host."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str) -> bytes | None:
        try:
            return (self._folder / path).read_bytes()[:_SIZE_MAX]
        except OSError:
            return None

    def put(self, path: str, content: bytes) -> None:
        target = self._folder / path
        new = target.with_name(f"{target.name}.new")
        try:
            target.parent.mkdir(exist_ok=True)
            with new.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.rename(target)
            for folder in {target.parent, self._folder}:
                fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
        except OSError as error:
            raise WriteFailed(f"{target} cannot be written: {error.strerror}") from error
