"""A host without a machine: power-on is the real GRUB reading the whole disk image, in grub-emu.

GRUB finds its scripts on the grub partition, and the kernel of a slot set through the real LVM and ext4.
grub-emu has no kernel loader, so two script functions stand in for ``linux`` and ``initrd``; what would
run then is played by reading the health check out of the slot set's root file system.
"""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from abctl.core.bootenv import Why
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import MIB
from abctl.host.disk import DiskSlots, open_disk
from abctl.host.files import read_file

HEALTH_CHECK = "/etc/abctl/health.d/required/selftest"
_TIME_LIMIT = 60.0  # seconds; a boot takes 0.1
_PREAMBLE = """\
set root=(hd0,gpt2)
set prefix=(hd0,gpt2)
set timeout=0
export timeout
function linux {
    if [ -f "$1" ]; then
        set said="$*"
        if [ ! -f "$boot/initrd.img" ]; then initrd; fi
    else false
    fi
}
function initrd {
    echo "@@$said@@"
    reboot
}
configfile (hd0,gpt2)/grub.cfg
"""


@dataclass(frozen=True, slots=True)
class Boot:
    """What GRUB told the kernel at one power-on."""

    slot_set: SlotName
    why: Why
    command_line: str


class VirtualHost:
    """A disk image, and what runs from it."""

    def __init__(self, image: Path) -> None:
        self.image = image
        self.booted: SlotName | None = None

    def power_on(self) -> Boot:
        """Let GRUB boot a slot set; raise AssertionError where it ends without a kernel."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "grub.cfg").write_text(_PREAMBLE)
            (Path(folder) / "device.map").write_text(f"(hd0) {self.image.resolve()}\n")
            done = subprocess.run(
                ["grub-emu", "-d", folder, "-m", f"{folder}/device.map"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIME_LIMIT,
                env={**os.environ, "TERM": "dumb"},
                check=False,
            )
        # The terminal moves its cursor, and wraps long lines between words.
        said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stdout.decode("utf-8", "replace"))
        found = re.search(r"@@(.*?)@@", said, re.DOTALL)
        assert found, f"GRUB booted nothing: {said[-500:]}"
        words = dict(word.partition("=")[::2] for word in found[1].split())
        self.booted = SlotName(words["dfinity.system"])
        return Boot(self.booted, Why(words["abctl.why"]), found[1])

    def userland(self) -> str:
        """Run the health check of the slot set that runs, and return a sentence about it."""
        assert self.booted
        with DiskSlots(open_disk(self.image)).open_for_reading(Slot(self.booted, Part.ROOT)) as root:
            check = read_file(root, HEALTH_CHECK, MIB)
        assert check is not None, f"slot set {self.booted} has no {HEALTH_CHECK}"
        done = subprocess.run(["sh", "-c", check.decode()], capture_output=True, text=True, check=False)
        return f"not healthy: {done.stderr.strip()}" if done.returncode else "healthy"
