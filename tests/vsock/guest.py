"""A small guest: Debian's kernel, busybox, Python and abctl in memory, with a shell on its serial line."""

import base64
import os
import re
import select
import shlex
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

import abctl

REPOSITORY = Path(__file__).resolve().parents[2]
KERNEL = REPOSITORY / ".cache/kernel/vmlinuz"
MODULES = REPOSITORY / ".cache/kernel/modules"
# In this order; the first few may be part of the kernel.
_MODULES = (
    "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci",
    "vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport", "vsock_loopback",
)  # fmt: skip
_PYTHON = Path("/usr/bin/python3.11")
_STDLIB = Path("/usr/lib/python3.11")
_NOT_NEEDED = (
    "test", "idlelib", "lib2to3", "tkinter", "ensurepip", "pydoc_data", "unittest", "turtle*", "config-3*",
    "distutils", "sqlite3", "curses", "wsgiref", "xmlrpc", "dbm",
)  # fmt: skip
_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin PYTHONPATH=/lib/packages
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in {modules}; do insmod /modules/$module.ko 2>/dev/null; done
stty -echo -onlcr
echo @@ready@@
while IFS= read -r line; do eval "$line"; done
"""
_BOOT_LIMIT, _COMMAND_LIMIT = 120.0, 90.0  # seconds


@dataclass(frozen=True, slots=True)
class Said:
    """What a command in the guest printed, on both streams, and how it ended."""

    code: int
    out: str


class Guest:
    """A guest that runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._read = b""
        self._wait_for(rb"@@ready@@\r?\n", _BOOT_LIMIT)

    def run(self, *words: str, limit: float = _COMMAND_LIMIT) -> Said:
        """Run a command, and return what it said."""
        assert self._process.stdin
        self._process.stdin.write(f"{shlex.join(words)} 2>&1; echo @@$?@@\n".encode())
        self._process.stdin.flush()
        match = self._wait_for(rb"@@(\d+)@@\r?\n", limit)
        said = match.string[: match.start()].decode("utf-8", "replace")
        return Said(int(match[1]), said.replace("\r\n", "\n"))

    def python(self, program: str) -> Said:
        """Run a Python program, which goes over the serial line as one line of less than 4 KiB."""
        packed = base64.b64encode(program.encode()).decode()
        return self.run("python3", "-c", f"import base64; exec(base64.b64decode('{packed}'))")

    def ask(self, *words: str) -> Said:
        """Ask the host's agent over AF_VSOCK, with the real client."""
        return self.run("python3", "-m", "abctl", "agent", "ask", *words)

    def _wait_for(self, pattern: bytes, limit: float) -> re.Match[bytes]:
        """Read the serial line until ``pattern`` comes, and forget all up to it."""
        assert self._process.stdout
        until = time.monotonic() + limit
        while (match := re.search(pattern, self._read)) is None:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            data = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            if not data:
                raise AssertionError(f"the guest did not say {pattern!r}: {self._read[-2000:]!r}")
            self._read += data
        self._read = self._read[match.end() :]
        return match


@contextmanager
def run_guest(initramfs: Path, device: Path, *, memory: int = 256) -> Iterator[Guest]:
    """Start a guest whose VSOCK device listens on the socket ``device``; memory in MiB."""
    command = [
        "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", str(memory),
        "-M", "pc,memory-backend=ram", "-object", f"memory-backend-memfd,id=ram,size={memory}M,share=on",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
        "-chardev", f"socket,id=vsock,path={device}", "-device", "vhost-user-vsock-pci,chardev=vsock",
        "-kernel", str(KERNEL), "-initrd", str(initramfs),
        "-append", "console=ttyS0 quiet loglevel=3 panic=-1 random.trust_cpu=on",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Guest(process)
    finally:
        process.kill()
        process.communicate()


# --- what it boots ----------------------------------------------------------------------------------


def make_initramfs(folder: Path) -> Path:
    """Make the guest's file system in ``folder``, and return the archive of it."""
    root = folder / "root"
    for name in ("bin", "dev", "proc", "sys", "tmp", "modules", "lib/packages", "usr/bin"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for module in _MODULES:
        for found in MODULES.rglob(f"{module}.ko"):
            shutil.copy(found, root / "modules")
    _copy_python(root)
    packages = root / "lib/packages"
    leave_out = shutil.ignore_patterns("__pycache__", "files")
    shutil.copytree(Path(abctl.__file__).parent, packages / "abctl", ignore=leave_out)
    shutil.copytree(Path(click.__file__).parent, packages / "click", ignore=leave_out)
    compile_all = (sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")
    subprocess.run([*compile_all, "-s", str(root), str(packages)], check=True)
    (root / "init").write_text(_INIT.format(modules=" ".join(_MODULES)))
    (root / "init").chmod(0o755)
    return _pack(root, folder / "initramfs")


def _copy_python(root: Path) -> None:
    """Copy the system's Python, with the libraries that it is linked to."""
    leave_out = shutil.ignore_patterns(*_NOT_NEEDED)
    shutil.copytree(_STDLIB, root / _STDLIB.relative_to("/"), ignore=leave_out, symlinks=False)
    shutil.copy(_PYTHON, root / "usr/bin/python3")
    linked = subprocess.run(["ldd", _PYTHON], capture_output=True, text=True, check=True).stdout
    for name in re.findall(r"(/\S+)", linked):
        target = root / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, target)


def _pack(root: Path, archive: Path) -> Path:
    """Pack a tree as the kernel reads it: cpio, in the form "newc"."""
    with archive.open("wb") as file:
        for number, path in enumerate(sorted(root.rglob("*")), 1):
            status = path.lstat()
            data = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            name = str(path.relative_to(root)).encode()
            file.write(_entry(number, status.st_mode, int(status.st_mtime), name, data))
        file.write(_entry(0, 0, 0, b"TRAILER!!!", b""))
    return archive


def _entry(number: int, mode: int, mtime: int, name: bytes, data: bytes) -> bytes:
    fields = (number, mode, 0, 0, 1, mtime, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(f"{field:08x}".encode() for field in fields) + name + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)
