"""A host of the lab with libvirt, QEMU and a guest: the recipe and overlay of the plain one, and more."""

import json
import shutil
import tomllib
from pathlib import Path

from tests import tiny_guest
from tests.lab.ext4 import Put
from tests.lab.places import LAB
from tests.lab.prepare import PLAIN, RECIPE, System
from tests.lab.qemu import Hardware
from tests.lab.variants import PATIENT, Variant, with_deadline

HARDWARE = Hardware(memory=1536)

_PACKAGES = ["libvirt-daemon-system", "python3-libvirt", "qemu-system-x86", "mtools"]
_NOT_WANTED = [
    # The emulated processor offers KVM, and libvirt would spend minutes on trying it.
    "/lib/modules/*/kernel/arch/x86/kvm/*",
    "/usr/bin/qemu-system-i386", "/usr/share/qemu/*.lid", "/usr/share/qemu/open*", "/usr/share/qemu/slof.bin",
]  # fmt: skip
_ROOT_SIZE = "704 MiB"

_KERNEL, _INITRAMFS = "/usr/lib/lab/guest/vmlinuz", "/usr/lib/lab/guest/initramfs"


def describe_guest(play: str, tries: int = 3) -> Put:
    """Return guest.toml of a tiny guest that does ``play``; its disk is the volume of the layout."""
    text = f"""\
accel = "tcg"

{tiny_guest.ONE_CORE}
[memory]
size = "128 MiB"

[boot]
firmware = "bios"
kernel = "{_KERNEL}"
initrd = "{_INITRAMFS}"
arguments = "console=ttyS0 quiet mitigations=off panic=-1 play={play}"

[network]
enabled = false

[vsock]
enabled = false

[life]
ready_within = 600
tries = {tries}
"""
    return Put("/etc/abctl/guest.toml", text.encode())


# The deadline leaves a guest in a guest the time to say that it failed.
GUEST_FAILS = Variant("5.0.1", root=(describe_guest("failure", tries=1), with_deadline(480)))


def _write_recipe(folder: Path) -> Path:
    values = tomllib.loads(RECIPE.read_text())
    values["packages"] += _PACKAGES
    values["exclude"] += _NOT_WANTED
    values["root_size"] = _ROOT_SIZE
    _write_overlay(LAB / values["overlay"], folder / values["overlay"])
    recipe = folder / RECIPE.name
    # Strings and lists of them are the same in TOML as in JSON.
    recipe.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
    return recipe


def _write_overlay(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True)
    for file in (describe_guest("ready"), PATIENT):
        (target / file.path.lstrip("/")).write_bytes(file.data)
    kernel, initramfs = (target / path.lstrip("/") for path in (_KERNEL, _INITRAMFS))
    kernel.parent.mkdir()
    shutil.copyfile(tiny_guest.KERNEL, kernel)
    tiny_guest.make_initramfs(initramfs)


HYPERVISOR = System(
    "hypervisor",
    (*PLAIN.sources, LAB / "hypervisor.py", Path(tiny_guest.__file__), tiny_guest.KERNEL),
    _write_recipe,
)
