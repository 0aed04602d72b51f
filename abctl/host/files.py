"""Files inside a volume that is not mounted: where they are, and what stands in them."""

from abctl.core.found import Extent
from abctl.core.layout import Filesystem
from abctl.errors import DiskUnusable
from abctl.host.block import ExtentVolume
from abctl.host.ext4 import find_in_ext4, is_ext4, read_from_ext4
from abctl.host.fat import find_in_fat


def find_file(volume: ExtentVolume, filesystem: Filesystem | None, path: str) -> tuple[Extent, ...] | None:
    """Return where the bytes of the file ``path`` are in ``volume``, or None where there is no such file.

    Raise DiskUnusable for a damaged file system, and for a file with holes.
    """
    match filesystem:
        case Filesystem.VFAT:
            return find_in_fat(volume, path)
        case Filesystem.EXT4:
            return find_in_ext4(volume, path)
        case None:
            raise DiskUnusable(f"the layout does not say which file system {volume.name} has")


def read_file(volume: ExtentVolume, path: str, limit: int) -> bytes | None:
    """Return the first ``limit`` bytes of a file on an ext2, 3 or 4 volume; symbolic links are followed.

    None where there is no such file, or no such file system. Raise DiskUnusable where it is damaged.
    """
    return read_from_ext4(volume, path, limit) if is_ext4(volume) else None
