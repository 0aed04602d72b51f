"""Loop devices: a range of an image as a block device, for the programs that want one."""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from abctl.core.found import Extent
from abctl.errors import DiskUnusable

# linux/loop.h
_CONFIGURE, _GET_FREE = 0x4C0A, 0x4C82
_AUTOCLEAR = 4
_CONFIG = struct.Struct("=II 5Q 4I 64s 64s 32s 2Q 64s")

_TRIES = 100  # another program may take the free device first


@contextmanager
def attach_loop(path: Path, extent: Extent, *, writable: bool = False) -> Iterator[str]:
    """Yield the name of a block device that shows ``extent`` of ``path``; raise DiskUnusable.

    The kernel detaches it when the last program closes it, so it is gone even if this one is killed.
    """
    mode = os.O_RDWR if writable else os.O_RDONLY
    try:
        backing = os.open(path, mode)
    except OSError as error:
        raise DiskUnusable(f"{path} cannot be opened: {error.strerror}") from error
    try:
        device, name = _configure(_make_config(backing, extent), mode, path)
    finally:
        os.close(backing)
    try:
        yield name
    finally:
        os.close(device)


def _make_config(backing: int, extent: Extent) -> bytes:
    return _CONFIG.pack(
        backing, 0, 0, 0, 0, extent.offset, extent.length, 0, 0, 0, _AUTOCLEAR, b"", b"", b"", 0, 0, b""
    )


def _configure(config: bytes, mode: int, path: Path) -> tuple[int, str]:
    """Return an open loop device that took ``config``, and its name."""
    try:
        control = os.open("/dev/loop-control", os.O_RDWR)
        try:
            for _ in range(_TRIES):
                name = f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}"
                device = os.open(name, mode)
                with suppress(_Taken), _closing_on_error(device):
                    _claim(device, config)
                    return device, name
        finally:
            os.close(control)
    except OSError as error:
        raise DiskUnusable(
            f"LVM on {path} needs a loop device, and there is none: {error.strerror} "
            "(it takes root, /dev/loop-control and a free /dev/loopN)"
        ) from error
    raise DiskUnusable(f"LVM on {path} needs a loop device, and all are taken: detach one with losetup -d")


class _Taken(Exception):
    """Another program was faster."""


@contextmanager
def _closing_on_error(device: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(device)
        raise


def _claim(device: int, config: bytes) -> None:
    try:
        fcntl.ioctl(device, _CONFIGURE, config)
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.EAGAIN):
            raise _Taken from error
        raise
