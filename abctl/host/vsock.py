"""Sockets of the agent: AF_VSOCK, where the kernel says which guest connected, and Unix sockets."""

import errno
import fcntl
import os
import socket
import stat
import struct
from pathlib import Path

from abctl.core.agent_rules import HOST_CID
from abctl.errors import ServerFailed, ToolFailed

_BACKLOG = 128
_GET_LOCAL_CID = 0x7B9  # IOCTL_VM_SOCKETS_GET_LOCAL_CID of linux/vm_sockets.h
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


def listen_vsock(port: int) -> socket.socket:
    """Listen for guests; raise ToolFailed where this kernel has no VSOCK."""
    try:
        listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise ToolFailed(
            f"there is no VSOCK on this host ({error.strerror}): load the kernel's module vhost_vsock"
        ) from error
    try:
        listener.bind((socket.VMADDR_CID_ANY, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ToolFailed(f"nobody can listen on VSOCK port {port}: {error.strerror}") from error
    return listener


def find_guest(connection: socket.socket) -> int | None:
    """Return the CID of the peer, which the kernel vouches for."""
    cid, _ = connection.getpeername()
    # 0 and 1 are processes of this host, and so is 2: none of them is a guest.
    return int(cid) if cid > HOST_CID else None


def listen_unix(path: Path, mode: int = 0o600) -> socket.socket:
    """Listen on a Unix socket, in place of one that nobody listens on any more; raise ToolFailed."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _remove_stale(path)
        before = os.umask(0o177)  # it must not be open to others for a moment either
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        path.chmod(mode)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ToolFailed(f"nobody can listen on {path}: {error.strerror or error}") from error
    return listener


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on; any other file stays where it is, and is in the way."""
    if not path.exists() or not stat.S_ISSOCK(path.lstat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
            path.unlink()


def find_admin(connection: socket.socket) -> int | None:
    """Return the host's own CID where root connected, None for anybody else."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(data)
    return HOST_CID if uid == 0 else None


def connect_vsock(cid: int, port: int, seconds: float) -> socket.socket:
    """Connect to the agent of a host; raise ServerFailed."""
    try:
        connection = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise ServerFailed(
            f"this machine has no VSOCK ({error.strerror}): name a socket with --socket"
        ) from error
    connection.settimeout(seconds)
    try:
        connection.connect((cid, port))
    except OSError as error:
        connection.close()
        raise ServerFailed(
            f"no agent answers on port {port} of CID {cid}: {error.strerror or error}"
        ) from error
    return connection


def connect_unix(path: Path, seconds: float) -> socket.socket:
    """Connect to an agent's Unix socket; raise ServerFailed."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    connection.settimeout(seconds)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        raise ServerFailed(f"no agent answers on {path}: {error.strerror or error}") from error
    return connection


def find_own_cid() -> int:
    """Return the CID that this machine has on its host; raise ServerFailed where it has none."""
    try:
        fd = os.open("/dev/vsock", os.O_RDONLY | os.O_CLOEXEC)
        try:
            answer = fcntl.ioctl(fd, _GET_LOCAL_CID, bytes(4))
        finally:
            os.close(fd)
    except OSError as error:
        raise ServerFailed(
            f"this machine's CID is not known ({error.strerror}): give it with --sender"
        ) from error
    return int.from_bytes(answer, "little")
