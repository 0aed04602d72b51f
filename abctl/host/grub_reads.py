"""Whether GRUB itself can read the kernel of each slot set: its own drivers in grub-emu, on the real disk.

The disk is only read. What GRUB found comes out by a small image, as in ``grub_emu``.
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from abctl.core.envblock import make_block, parse_block
from abctl.core.slot import SlotName
from abctl.core.units import KIB
from abctl.errors import ToolFailed
from abctl.host.grub_emu import make_disk, make_stand_in, read_at, write_at
from abctl.host.run import run

_RESULT, _RESULT_SIZE = "result", 4 * KIB
_TIME_LIMIT = 60  # seconds; GRUB reads some 50 MiB, without the kernel's read-ahead
_SCRIPT = """\
set root=(hd0,gpt{number})
set prefix=(hd0,gpt{number})
if [ -f "$prefix/slots.cfg" ]; then
    source "$prefix/slots.cfg"
    set read_slots=yes
fi
for slot in A B; do
    if [ $slot = A ]; then set boot=$boot_A; else set boot=$boot_B; fi
    # Whole, and not only its name: what comes last may lie where nothing can be read.
    if crc "$boot/vmlinuz"; then
        if [ $slot = A ]; then set kernel_A=yes; else set kernel_B=yes; fi
    fi
done
save_env -f (hd1)/{result} read_slots kernel_A kernel_B
halt
"""


def read_kernels(disk: Path, grub_partition: int) -> Mapping[SlotName, bool]:
    """Return whose kernel GRUB reads from its first byte to the last; raise ToolFailed.

    ``grub_partition`` is its number; the slots are where its slots.cfg says.
    """
    folder = Path(tempfile.mkdtemp(prefix="abctl-grub-"))
    try:
        results = make_disk(folder / "results", {_RESULT: make_stand_in(_RESULT, _RESULT_SIZE)})
        write_at(results.image, results.offsets[_RESULT], make_block({}, _RESULT_SIZE))
        (folder / "grub.cfg").write_text(_SCRIPT.format(number=grub_partition, result=_RESULT))
        (folder / "device.map").write_text(f"(hd0) {disk.resolve()}\n(hd1) {results.image}\n")
        run("grub-emu", "-d", str(folder), "-m", f"{folder}/device.map", timeout=_TIME_LIMIT)
        values = parse_block(read_at(results.image, results.offsets[_RESULT], _RESULT_SIZE)) or {}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not values.get("read_slots"):
        raise ToolFailed("GRUB cannot read slots.cfg on the grub partition: run 'abctl adopt'")
    return {name: values.get(f"kernel_{name}") == "yes" for name in SlotName}
