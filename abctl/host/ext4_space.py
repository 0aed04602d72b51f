"""How full an ext4 file system is that is not mounted, by its superblock (see the kernel's documentation)."""

import os
import struct

from abctl.errors import DiskUnusable
from abctl.host.block import ExtentVolume
from abctl.host.ext4 import is_ext4

_SUPERBLOCK, _SIZE = 1024, 1024


def read_space(volume: ExtentVolume) -> os.statvfs_result:
    """Return what statvfs(3) would say if it were mounted; raise DiskUnusable where there is no ext4."""
    if not is_ext4(volume):
        raise DiskUnusable(f"there is no ext4 file system on {volume.name}")
    block = volume.read(_SUPERBLOCK, _SIZE)
    inodes, blocks, reserved, free, free_inodes = struct.unpack_from("<IIIII", block, 0)
    (log_size,) = struct.unpack_from("<I", block, 0x18)
    blocks_high, reserved_high, free_high = struct.unpack_from("<III", block, 0x150)
    if not struct.unpack_from("<I", block, 0x60)[0] & 0x80:  # the 64bit feature
        blocks_high = reserved_high = free_high = 0
    size = 1024 << min(log_size, 6)
    blocks, reserved, free = (
        low | high << 32
        for low, high in ((blocks, blocks_high), (reserved, reserved_high), (free, free_high))
    )
    left = max(0, free - reserved)
    return os.statvfs_result(
        (size, size, blocks, free, left, inodes, free_inodes, free_inodes, 0, 255),
    )
