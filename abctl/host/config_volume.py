"""The config volume as the doctor and ``abctl status`` look at it: how full it is, and the settings there.

``LiveConfigVolume`` is the one of the running host, ``DiskConfigVolume`` that of a disk from outside.
"""

import os
import shlex
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from abctl.core.found import Extent
from abctl.core.layout import LogicalVolume, Partition, Role
from abctl.core.settings_place import DAMAGED_PATH, GOOD_PATH, PATH, SIZE_MAX, may_be_sound
from abctl.core.space import Foreign, Space
from abctl.errors import DiskUnusable, ToolFailed, WriteFailed
from abctl.host import ext4_put
from abctl.host.disk import Disk
from abctl.host.ext4 import Entry, measure_ext4
from abctl.host.ext4_space import read_space
from abctl.host.files import read_file
from abctl.host.live import LivePaths
from abctl.host.small_files import read_if_there

if TYPE_CHECKING:
    from abctl.host.settings_file import Read

_OURS = ("abctl", "lost+found")


class LiveConfigVolume:
    """The config volume of the running host, where it is mounted."""

    def __init__(self, paths: LivePaths | None = None) -> None:
        self._paths = paths or LivePaths()
        self._folder = self._paths / self._paths.config

    def space(self) -> Space:
        """Return how full it is; raise DiskUnusable."""
        try:
            return os.statvfs(self._folder)
        except OSError as error:
            raise DiskUnusable(f"the config volume cannot be looked at: {error.strerror}") from error

    def foreign(self) -> Foreign | None:
        """Return what takes most room of all that is not abctl's; raise DiskUnusable."""
        try:
            most = _choose([_measure(path) for path in self._folder.iterdir()])
        except OSError as error:
            raise DiskUnusable(f"{self._folder} cannot be looked at: {error.strerror}") from error
        if most is None:
            return None
        path = shlex.quote(str(self._folder / most.name))
        command = f"du -xah {path} | sort -h | tail" if most.is_folder else f"rm -i {path}"
        return Foreign(str(self._folder / most.name), most.size, command)

    def settings_problems(self) -> tuple[str, ...]:
        """Return why the settings there do not count; does not look into their fields."""
        return _find_problems(self._read, self.settings)

    def _read(self, path: str) -> bytes | None:
        try:
            return read_if_there(self._folder / path, SIZE_MAX + 1)
        except OSError:
            return b""  # which is no settings either

    def settings(self) -> "Read":
        from abctl.host.settings_file import SettingsFile  # noqa: PLC0415

        return SettingsFile(self._paths).read()

    def restore_settings(self) -> bool:
        """Write the settings anew from the last good copy; raise Busy or WriteFailed."""
        from abctl.host.settings_file import SettingsFile  # noqa: PLC0415

        is_copy = self.settings().is_copy
        SettingsFile(self._paths).restore()
        return is_copy


class DiskConfigVolume:
    """The config volume of a disk that is worked on from outside."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._home = _home_of(disk)

    def space(self) -> Space:
        """Return how full it is; raise DiskUnusable."""
        with self._disk.open_volume(self._home) as volume:
            return read_space(volume)

    def foreign(self) -> Foreign | None:
        """Return what takes most room of all that is not abctl's; raise DiskUnusable."""
        with self._disk.open_volume(self._home) as volume:
            most = _choose(list(measure_ext4(volume)))
        return Foreign(f"/{most.name}", most.size, self._removing(most)) if most else None

    def _removing(self, entry: Entry) -> str | None:
        # debugfs has quoting of its own, and takes a volume that lies in one piece.
        places = self._disk.places_of(self._home)
        if len(places) > 1 or not entry.name.isprintable() or set(entry.name) & set("\"'\\"):
            return None
        name = f'"/{entry.name}"' if " " in entry.name else f"/{entry.name}"
        request = f"ls -l {name}" if entry.is_folder else f"rm {name}"
        place = shlex.quote(f"{self._disk.path}?offset={places[0].offset}")
        return f"debugfs -w -R {shlex.quote(request)} {place}"

    def settings_problems(self) -> tuple[str, ...]:
        """Return why the settings there do not count; does not look into their fields."""
        return _find_problems(self._read, self.settings)

    def _read(self, path: str) -> bytes | None:
        with self._disk.open_volume(self._home) as volume:
            return read_file(volume, path, SIZE_MAX + 1)

    def settings(self) -> "Read":
        from abctl.core.settings import Document, SettingsDamaged, parse_document  # noqa: PLC0415
        from abctl.host.settings_file import choose_settings  # noqa: PLC0415

        def read(path: Path) -> Document | None:
            try:
                data = self._read(str(path))
            except DiskUnusable as error:
                raise SettingsDamaged(f"it cannot be read: {error}") from error
            return None if data is None else parse_document(data)

        return choose_settings(read, Path("/", PATH), Path("/", GOOD_PATH))

    def restore_settings(self) -> bool:
        """Write the settings anew where the last good copy counts instead; raise InUse or WriteFailed."""
        make_clean(self._disk)
        damaged, good = self._read(PATH), self._read(GOOD_PATH)
        if good is None or not self.settings().is_copy:
            return False
        files = {PATH: good}
        if damaged is not None:
            files[DAMAGED_PATH] = damaged
        put_on_config_volume(self._disk, files, [path for path in files if self._read(path) is not None])
        return True


def put_on_config_volume(disk: Disk, files: Mapping[str, bytes], instead_of: Iterable[str] = ()) -> None:
    """Make files on the config volume of a disk, some ``instead_of`` others; raise InUse or WriteFailed.

    What is missing there can be said only after ``make_clean``.
    """
    make_clean(disk)
    ext4_put.put_files(disk.path, _find_place(disk, _home_of(disk)), files, instead_of=instead_of)


def is_unclean(disk: Disk) -> bool:
    """Whether a host that went down left a journal on the config volume, in which files may stand alone."""
    with disk.open_volume(_home_of(disk)) as volume:
        return ext4_put.is_unclean(volume)


def make_clean(disk: Disk) -> bool:
    """Replay the journal of the config volume where one is left; return whether there was something to do.

    The next mount would replay it over all that is written before. Raise InUse or WriteFailed.
    """
    if not is_unclean(disk):
        return False
    home = _home_of(disk)
    place = _find_place(disk, home)
    try:
        ext4_put.make_clean(disk.path, place)
    except ToolFailed as error:
        where = f"-o {place.offset} --sizelimit {place.length} {shlex.quote(str(disk.path))}"
        raise WriteFailed(
            f"the file system of {home.name} on {disk.path} was not left clean, and {error}: mend it with "
            f"'d=$(losetup -f --show {where}) && e2fsck -fy $d; losetup -d $d'"
        ) from error
    return True


def _home_of(disk: Disk) -> Partition | LogicalVolume:
    home = disk.layout.find_role(Role.CONFIG)
    assert home is not None
    return home


def _find_place(disk: Disk, home: Partition | LogicalVolume) -> Extent:
    """Return where the volume is that is to be written; raise InUse or WriteFailed."""
    disk.check_unused(home)
    places = disk.places_of(home)
    if len(places) != 1:
        raise WriteFailed(f"{home.name} lies in pieces: mount it, and let abctl make its files there")
    return places[0]


def _find_problems(read: Callable[[str], bytes | None], settings: "Callable[[], Read]") -> tuple[str, ...]:
    found, good = read(PATH), read(GOOD_PATH)
    is_well = good is None if found is None else may_be_sound(found)
    return () if is_well else settings().warnings


def _measure(path: Path) -> Entry:
    found = path.lstat()
    size, is_folder = found.st_size, stat.S_ISDIR(found.st_mode)
    if is_folder:
        for folder, _, names in os.walk(path):
            size += sum((Path(folder) / name).lstat().st_size for name in names)
    return Entry(path.name, size, is_folder)


def _choose(entries: list[Entry]) -> Entry | None:
    return max((item for item in entries if item.name not in _OURS), key=lambda item: item.size, default=None)
