"""A libvirt daemon of the tests' own, in a view of the file system of its own."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from abctl.host.libvirt import Libvirt

# /dev/kvm is hidden, for it may be there and not work: then libvirt's look at QEMU takes minutes.
_ROOM = r"""
set -e
mount --make-rprivate /
for folder in /run/libvirt /var/lib/libvirt /var/log/libvirt /etc/libvirt; do
    mkdir -p "$folder"
    mount -t tmpfs none "$folder"
done
mkdir -p /run/libvirt/qemu /var/lib/libvirt/qemu /var/log/libvirt/qemu
cat >/etc/libvirt/qemu.conf <<'END'
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "logd"
END
# libvirt looks for this user before it reads that it is to be root.
for file in passwd group; do
    cp "/etc/$file" "$1/$file"
    grep -q ^libvirt-qemu: "$1/$file" || case $file in
        passwd) echo libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin ;;
        group) echo libvirt-qemu:x:64055: ;;
    esac >>"$1/$file"
    mount --bind "$1/$file" "/etc/$file"
done
touch "$1/nokvm"
if [ -e /dev/kvm ]; then
    mount --bind "$1/nokvm" /dev/kvm
    mount -o remount,bind,ro /dev/kvm
fi
echo made >"$1/made"
exec virtlogd --pid-file /run/libvirt/virtlogd.pid
"""


class LibvirtDaemon:
    """libvirtd and virtlogd; ``restart`` is of libvirtd alone, as systemd does it with an update."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"qemu+unix:///system?socket={folder}/libvirt-sock"
        self._room = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", _ROOM, "room", folder], stderr=subprocess.DEVNULL
        )
        _wait((folder / "made").exists, "a room for libvirt")
        (folder / "libvirtd.conf").write_text(
            f'unix_sock_dir = "{folder}"\nauth_unix_rw = "none"\n'
            f'log_outputs = "2:file:{folder}/libvirtd.log"\n'
        )
        self._daemon: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        # Of the same room, in which QEMU and the log daemon go on.
        self._daemon = subprocess.Popen(
            [
                *("nsenter", "-m", "-t", str(self._room.pid)),
                *(
                    "libvirtd",
                    "--config",
                    self.folder / "libvirtd.conf",
                    "--pid-file",
                    self.folder / "libvirtd.pid",
                ),
            ],
            stderr=subprocess.DEVNULL,
        )
        _wait((self.folder / "libvirt-sock").exists, "libvirtd")

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait(30)
            self._daemon = None
        (self.folder / "libvirt-sock").unlink(missing_ok=True)

    def close(self) -> None:
        self.end_machines()
        self.stop()
        self._room.terminate()
        self._room.wait(30)

    def end_machines(self) -> None:
        """End the QEMUs of this room, and wait until libvirt knows of it."""
        for pid in self.find_machines():
            os.kill(pid, signal.SIGKILL)
        if self._daemon is None:
            return
        libvirt = Libvirt(self.uri)
        with contextlib.closing(libvirt):
            _wait(lambda: libvirt.find("guestos", "") is None, "the guest's end")

    def find_machines(self) -> list[int]:
        """Return the QEMUs that run in this room."""
        room = Path(f"/proc/{self._room.pid}/ns/mnt").readlink()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                is_ours = (process / "ns/mnt").readlink() == room
                is_machine = b"qemu-system" in (process / "cmdline").read_bytes().split(b"\0")[0]
            except OSError:
                continue
            if is_ours and is_machine:
                found.append(int(process.name))
        return found


def _wait(is_there: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not is_there():
        assert time.monotonic() < until, f"{what} did not come up"
        time.sleep(0.05)
