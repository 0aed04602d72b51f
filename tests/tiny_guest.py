"""A guest that starts in seconds: a kernel, and an initramfs that does what its command line says."""

from collections.abc import Iterator
from pathlib import Path

KERNEL = Path(__file__).resolve().parents[1] / ".cache/kernel/vmlinuz"
BUSYBOX = Path("/bin/busybox")
# All that it needs of a processor, for guest.toml.
ONE_CORE = """\
[cpu]
model = "max"
sockets = 1
cores = 1
threads = 1
"""

_INIT = r"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /dev /sys
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
export PATH=/bin
exec </dev/console >/dev/console 2>&1
for word in $(cat /proc/cmdline); do
    case $word in play=*) play=${word#play=} ;; esac
done

obey() {
    insmod /button.ko
    insmod /evdev.ko
    for device in /dev/input/event*; do
        (head -c 1 $device >/dev/null && echo "the power button was pressed" && poweroff -f) &
    done
    wait
}

echo "tiny guest: $play"
case $play in
    ready) echo "GUESTOS BOOT SUCCESS"; obey ;;
    failure) echo "GUESTOS BOOT FAILURE"; obey ;;
    deaf) echo "GUESTOS BOOT SUCCESS"; while :; do sleep 60; done ;;
    shell) echo "GUESTOS BOOT SUCCESS"; sh ;;
    crash) echo c >/proc/sysrq-trigger ;;
    reboot) echo "GUESTOS BOOT SUCCESS"; sleep 1; reboot -f ;;
    *) obey ;;
esac
while :; do sleep 60; done
"""


def make_initramfs(path: Path) -> Path:
    """Write the initramfs: busybox, the script, a console, and what hears the power button."""
    entries = [
        _entry("dev", 0o040755),
        _entry("dev/console", 0o020600, device=(5, 1)),
        _entry("bin", 0o040755),
        _entry("bin/busybox", 0o100755, BUSYBOX.read_bytes()),
        *(_entry(name, 0o100644, _find_module(name).read_bytes()) for name in ("button.ko", "evdev.ko")),
        _entry("init", 0o100755, _INIT.encode()),
        _entry("TRAILER!!!", 0),
    ]
    path.write_bytes(b"".join(piece for entry in entries for piece in entry))
    return path


def _find_module(name: str) -> Path:
    found = next(KERNEL.parent.rglob(name), None)
    assert found is not None, f"{name} is missing: run 'make setup'"
    return found


def _entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> Iterator[bytes]:
    """Yield one entry of a cpio archive of the form newc."""
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    yield head.ljust(-(-len(head) // 4) * 4, b"\0")
    yield data.ljust(-(-len(data) // 4) * 4, b"\0")
