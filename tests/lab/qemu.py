"""The command line of a machine: q35 with OVMF, emulated (never KVM), with no way out of its network."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.lab.places import LAB, SERVER_ADDRESS

_OVMF = Path("/usr/share/OVMF")
_CODE, _VARS = "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"
_SECURE_CODE, _SECURE_VARS = "OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a machine is made of; ``broken`` are offsets of sectors of its disk that cannot be written.

    ``forwards`` are ports here and the ports of the guest that they lead to; it sees its gateway ask.
    ``log`` is a file that takes down each write to the disk, after what it has; it is whole when QEMU ended
    by itself. ``vsock`` is the socket of a VSOCK device in user space.
    """

    secure_boot: bool = False
    watchdog: str | None = None  # a device; the cloud kernel knows none, and takes softdog
    cores: int = 1  # so that two machines do not take turns on two cores
    memory: int = 768  # MiB
    broken: tuple[int, ...] = ()
    forwards: tuple[tuple[int, int], ...] = ()
    log: Path | None = None
    vsock: Path | None = None

    @property
    def blank_vars(self) -> Path:
        """What the firmware remembers when it is new; with Microsoft's keys for Secure Boot."""
        return _OVMF / (_SECURE_VARS if self.secure_boot else _VARS)


@dataclass(frozen=True, slots=True)
class Lines:
    """File descriptors of the two serial lines and of the control channel."""

    console: int
    shell: int
    control: int


def command_line(hardware: Hardware, disk: Path, firmware: Path, lines: Lines, port: int | None) -> list[str]:
    """Return the command that starts the machine; ``port`` is where the release server listens."""
    return [
        # It dies with the test that started it, whatever becomes of that.
        "setpriv", "--pdeathsig", "KILL",
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
        "-accel", "tcg,thread=multi", "-no-reboot",
        *_machine(hardware, firmware),
        "-blockdev", json.dumps(_disk(hardware, disk)), "-device", "virtio-blk-pci,drive=disk,bootindex=0",
        "-device", "virtio-rng-pci", "-rtc", "base=utc",
        *_serial("console", lines.console), *_serial("shell", lines.shell),
        "-chardev", f"socket,id=control,fd={lines.control}", "-mon", "chardev=control,mode=control",
        *_network(port, hardware.forwards),
        *(("-device", hardware.watchdog, "-action", "watchdog=reset") if hardware.watchdog else ()),
        *_vsock(hardware),
    ]  # fmt: skip


def _machine(hardware: Hardware, firmware: Path) -> list[str]:
    code = _OVMF / (_SECURE_CODE if hardware.secure_boot else _CODE)
    secure = ["-global", "driver=cfi.pflash01,property=secure,value=on"] if hardware.secure_boot else []
    return [
        "-machine", f"q35,smm={'on' if hardware.secure_boot else 'off'}", *secure,
        "-cpu", "max", "-smp", str(hardware.cores), "-m", str(hardware.memory),
        "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}",
        "-drive", f"if=pflash,format=raw,unit=1,file={firmware}",
    ]  # fmt: skip


def _vsock(hardware: Hardware) -> list[str]:
    if hardware.vsock is None:
        return []
    memory = f"memory-backend-memfd,id=ram,size={hardware.memory}M,share=on"  # the device reads and writes it
    return [
        "-object", memory, "-machine", "memory-backend=ram",
        "-chardev", f"socket,id=vsock,path={hardware.vsock}", "-device", "vhost-user-vsock-pci,chardev=vsock",
    ]  # fmt: skip


def _disk(hardware: Hardware, disk: Path) -> dict[str, object]:
    file: dict[str, object] = {"driver": "file", "filename": str(disk), "discard": "unmap"}
    if hardware.broken:
        errors = [
            {"event": "pwritev", "iotype": "write", "errno": 5, "sector": offset // 512}
            for offset in hardware.broken
        ]
        file = {"driver": "blkdebug", "image": file, "inject-error": errors}
    if hardware.log:
        file = {
            "driver": "blklogwrites", "file": file,
            "log": {"driver": "file", "filename": str(hardware.log)},
            "log-append": hardware.log.stat().st_size > 0,
        }  # fmt: skip
    return {"driver": "raw", "node-name": "disk", "file": file, "discard": "unmap"}


def _serial(name: str, descriptor: int) -> list[str]:
    return ["-chardev", f"socket,id={name},fd={descriptor}", "-serial", f"chardev:{name}"]


def _network(port: int | None, forwards: Iterable[tuple[int, int]]) -> list[str]:
    """Return a network in which there is the release server, and nothing else; it leads nowhere."""
    relay = f"{sys.executable} -I -S {LAB / 'relay.py'} {port}"
    forward = f",guestfwd=tcp:{SERVER_ADDRESS}:80-cmd:{relay.replace(',', ',,')}" if port else ""
    forward += "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for here, there in forwards)
    # Without its ROM, the firmware does not try to boot from it.
    return [
        "-netdev", f"user,id=net,restrict=on{forward}", "-device", "virtio-net-pci,netdev=net,romfile=",
    ]  # fmt: skip
