"""The releases of the lab: a good one, and those made from it that fail in one way each."""

from dataclasses import dataclass
from pathlib import Path

from abctl.core.envblock import make_block, parse_block
from abctl.core.slot import Part
from tests.lab.ext4 import Edit, Garble, Link, Put, Remove, edit_image, read_from_image
from tests.lab.places import LAB

FIRST = "1.0.0"  # of the disk that is built
VERSION_FILE = "/opt/ic/share/version.txt"
ARGUMENTS_FILE = "/arguments"  # on Boot: what GRUB adds to the kernel's command line
_ARGUMENTS_SIZE = 1024
_UNITS = "/etc/systemd/system"
_CHECKS = "/usr/lib/abctl/health.d/required"


@dataclass(frozen=True, slots=True)
class Variant:
    """How a release differs from the first one."""

    version: str
    boot: tuple[Edit, ...] = ()
    root: tuple[Edit, ...] = ()
    arguments: str = ""  # added to the kernel's
    has_root: bool = True  # without, its file system cannot be mounted

    def apply(self, images: dict[Part, Path]) -> None:
        """Change copies of the first release's images."""
        edit_image(images[Part.ROOT], Put(VERSION_FILE, f"{self.version}\n".encode()), *self.root)
        edit_image(images[Part.BOOT], Put("/release", f"{self.version}\n".encode()), *self.boot)
        if self.arguments:
            _add_arguments(images[Part.BOOT], self.arguments)
        if not self.has_root:
            _destroy(images[Part.ROOT])


def _add_arguments(image: Path, arguments: str) -> None:
    values = parse_block(read_from_image(image, ARGUMENTS_FILE)) or {}
    values["kernel_arguments"] = f"{values.get('kernel_arguments', '')} {arguments}".strip()
    edit_image(image, Put(ARGUMENTS_FILE, make_block(values, _ARGUMENTS_SIZE)))


def _destroy(image: Path) -> None:
    """Overwrite the head of the file system: superblock and group descriptors."""
    with image.open("r+b") as file:
        file.write(b"\xa5" * 64 * 1024)


def _unit(name: str, text: str, wanted_by: str = "multi-user.target") -> tuple[Edit, ...]:
    return (
        Put(f"{_UNITS}/{name}", text.encode()),
        Link(f"{_UNITS}/{wanted_by}.wants/{name}", f"../{name}"),
    )


def _check(name: str, script: str) -> tuple[Edit, ...]:
    return (Put(f"{_CHECKS}/{name}", f"#!/bin/sh\n{script}\n".encode(), 0o755),)


_HANGS = """[Unit]
Description=A job of this release that never ends
DefaultDependencies=no
After=systemd-journald.socket
Before=sysinit.target

[Service]
Type=oneshot
ExecStart=/bin/sleep infinity
"""
_REBOOTS = """[Unit]
Description=A fault of this release that resets the machine

[Service]
ExecStart=/bin/sh -c 'sleep 5; echo b >/proc/sysrq-trigger'
"""

_CONFIG = "/etc/abctl/config.toml"
_LAB_CONFIG = (LAB / f"overlay{_CONFIG}").read_text()


def with_deadline(seconds: int) -> Put:
    """Return config.toml by which a trial is given up so long after its boot, and not after four minutes."""
    return Put(_CONFIG, _LAB_CONFIG.replace("deadline = 240", f"deadline = {seconds}").encode())


FIREWALL = Put("/etc/abctl/firewall.toml", b'base = "hostos"\n')
WIDER_POLICY = """base = "hostos"
[[rules]]
direction = "input"
family = "ipv4"
protocol = "tcp"
ports = [9100]
from = ["rfc1918"]
description = "node_exporter"
"""
AGENT = Put("/etc/abctl/agent-enabled", b"")
PATIENT = with_deadline(1800)
GUEST_RULES = Put(_CONFIG, f'{_LAB_CONFIG}\n[agent]\nonly = {{ 4 = ["version"] }}\n'.encode())

GOOD = Variant("2.0.0")
BETTER = Variant("3.0.0")
NO_KERNEL = Variant("4.0.1", boot=(Remove("/vmlinuz"),))
BAD_INITRAMFS = Variant("4.0.2", boot=(Garble("/initrd.img"),))
PANICS = Variant("4.0.3", arguments="init=/bin/false")
NO_ROOT = Variant("4.0.4", has_root=False)
USERLAND_HANGS = Variant(
    "4.0.5", root=_unit("lab-hangs.service", _HANGS, "sysinit.target"), arguments="abctl.deadline=150"
)
CHECK_FAILS = Variant("4.0.6", root=_check("lab-guest", "echo 'the guest does not answer' >&2; exit 1"))
CHECK_HANGS = Variant("4.0.7", root=_check("lab-guest", "echo 'asking the guest'; sleep 100000"))
REBOOTS = Variant("4.0.8", root=_unit("lab-reboots.service", _REBOOTS))
SILENT = Variant("4.0.9", root=(Put("/usr/lib/lab/silent", b"#!/bin/sh\nexec sleep 100000\n", 0o755),),
                 arguments="init=/usr/lib/lab/silent")  # fmt: skip

# On trial until somebody ends it, with another firewall than the first release.
FIREWALLED = Variant("2.1.0", root=(
    Put("/etc/abctl/firewall.toml", WIDER_POLICY.encode()),
    PATIENT,
    *_check("lab-guest", "echo 'nobody said yet that it is healthy' >&2; exit 1"),
))  # fmt: skip
WITH_AGENT = Variant("2.2.0", root=(AGENT, PATIENT))

ALL = (GOOD, BETTER, FIREWALLED, WITH_AGENT, NO_KERNEL, BAD_INITRAMFS, PANICS, NO_ROOT, USERLAND_HANGS,
       CHECK_FAILS, CHECK_HANGS, REBOOTS, SILENT)  # fmt: skip
SIGNED = (GOOD, BETTER)  # in the repository; the others are put on a disk from outside
SHORT = (GOOD, NO_KERNEL, PANICS, CHECK_FAILS)  # what the short set boots
