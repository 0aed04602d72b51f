"""Small trees that images are made of, and what stands in an image, as e2fsprogs sees it."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KERNEL = "6.1.0-10"
FILES = {
    "boot/vmlinuz-6.1.0-9": b"an older kernel",
    "boot/vmlinuz-6.1.0-10": b"a kernel",
    "boot/initrd.img-6.1.0-9": b"an older initramfs",
    "boot/initrd.img-6.1.0-10": b"an initramfs",
    "boot/config-6.1.0-10": b"CONFIG_EXT4=y",
    "etc/os-release": b"NAME=tiny\n",
    "etc/fstab": b"# UNCONFIGURED\n",
    "etc/machine-id": b"0123456789abcdef0123456789abcdef\n",
    "etc/shadow-": b"root:*:20000:\n",
    "etc/ssh/ssh_host_ed25519_key": b"secret\n",
    "etc/ssh/sshd_config": b"\n",
    'opt/a b/it\'s "so"': b"odd",
    "opt/äö €": b"not ASCII",
    "usr/bin/tool": b"#!/bin/sh\n",
    "usr/lib/empty": b"",
    "usr/lib/holes": bytes(100_000) + b"end",
    "var/cache/apt/pkgcache.bin": os.urandom(64),
    "var/lib/dpkg/status": b"Package: tiny\n",
    "var/lib/dpkg/status-old": os.urandom(16),
    "var/lib/kept/100%": b"kept",
    "var/log/dpkg.log": os.urandom(64),
    "run/lock/x": b"",
}
DEEP = "/".join(["d"] * 20)


def make_tree(folder: Path, *, backwards: bool = False) -> Path:
    """Make a tree; ``backwards`` makes the same one in another order, at another time, and with holes."""
    for name, data in sorted(FILES.items(), reverse=backwards):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(len(data))
            if backwards:
                file.seek(len(data) - len(data.lstrip(b"\0")))
            file.write(data.lstrip(b"\0") if backwards else data)
    (folder / "usr/bin/tool").chmod(0o4755)
    (folder / DEEP).mkdir(parents=True)
    (folder / "lib").symlink_to("usr/lib")
    (folder / "usr/lib/long").symlink_to("/" + "x" * 200)
    for name in ("usr/lib/twin2", "usr/lib/twin1"):
        os.link(folder / "etc/os-release", folder / name)
    os.mkfifo(folder / "usr/lib/fifo")
    # Packages' files are old; what has no date of its own is of today.
    os.utime(folder / "etc/os-release", (1e9, 1e9) if not backwards else (1.2e9, 1e9))
    return folder


@dataclass(frozen=True, slots=True)
class Found:
    """A file in an image; ``mode`` with its type."""

    inode: int
    mode: int
    uid: int
    gid: int
    size: int


def list_image(image: Path) -> dict[str, Found]:
    """Return all that is in an image by its path, as debugfs lists it."""
    return dict(_list_folder(image, ""))


def _list_folder(image: Path, folder: str) -> Iterator[tuple[str, Found]]:
    said = debugfs(image, f'ls -p "/{folder.replace(chr(34), chr(34) * 2)}"')
    for line in said.decode().splitlines():
        match = re.fullmatch(r"/(\d+)/(\d+)/(\d+)/(\d+)/(.*)/(\d*)/", line)
        if not match or match[5] in (".", "..", "lost+found") or match[1] == "0":
            continue
        path = f"{folder}/{match[5]}".lstrip("/")
        mode = int(match[2], 8)
        yield path, Found(int(match[1]), mode, int(match[3]), int(match[4]), int(match[6] or 0))
        if mode & 0o170000 == 0o040000:
            yield from _list_folder(image, path)


def read_from(image: Path, path: str) -> bytes:
    """Return the bytes of a file in an image."""
    return debugfs(image, f'cat "/{path.replace(chr(34), chr(34) * 2)}"')


def debugfs(image: Path, command: str) -> bytes:
    """Return what debugfs prints."""
    return subprocess.run(["debugfs", "-R", command, str(image)], capture_output=True, check=True).stdout
