"""``slots.cfg`` on the grub partition: where GRUB and the kernel find this disk's slots."""

from abctl.core.layout import Layout, LogicalVolume, Partition
from abctl.core.slot import Part, Slot, SlotName

_HEAD = "# The slots of this disk, made from layout {}. Sourced by grub.cfg.\n"
# GRUB may count the disks differently at each start, but it read this file from the right one.
_FIND_DISK = """\
regexp --set=1:slots_disk '^\\(([^,()]+)' "$prefix"
"""


def make_slots_cfg(layout: Layout) -> str:
    """Return GRUB script that sets boot_A, boot_B (names for GRUB), root_A and root_B (names for Linux)."""
    lines = [_HEAD.format(layout.name)]
    if any(isinstance(layout.find_slot(Slot(name, Part.BOOT)), Partition) for name in SlotName):
        lines.append(_FIND_DISK)
    for name in SlotName:
        lines.append(f"set boot_{name}={_grub_name(layout, layout.find_slot(Slot(name, Part.BOOT)))}\n")
    for name in SlotName:
        lines.append(f"set root_{name}={_kernel_name(layout, layout.find_slot(Slot(name, Part.ROOT)))}\n")
    return "".join(lines)


def _grub_name(layout: Layout, volume: Partition | LogicalVolume) -> str:
    if isinstance(volume, Partition):
        return f'"($slots_disk,gpt{layout.number_of(volume)})"'
    return f"(lvm/{mapped_name(layout, volume)})"


def _kernel_name(layout: Layout, volume: Partition | LogicalVolume) -> str:
    return (
        f"PARTUUID={volume.uuid}"
        if isinstance(volume, Partition)
        else f"/dev/mapper/{mapped_name(layout, volume)}"
    )


def mapped_name(layout: Layout, volume: LogicalVolume) -> str:
    """Return the name that GRUB and the device mapper use for the volume: its own dashes are doubled."""
    assert layout.volume_group is not None
    return f"{layout.volume_group.name.replace('-', '--')}-{volume.name.replace('-', '--')}"
