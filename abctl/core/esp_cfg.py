"""``EFI/debian/grub.cfg``, which the signed GRUB reads first: it finds the grub partition."""

from abctl.core.layout import Layout, Role

_SCRIPT = """\
# Made from layout {name}. Finds the grub partition: on the disk that GRUB itself came from, else by its name.
regexp --set=1:abctl_disk '^\\(([^,()]+)' "$cmdpath"
set abctl_found=
if [ -f "($abctl_disk,gpt{number})/grub.cfg" -a -f "($abctl_disk,gpt{number})/slots.cfg" ]; then
    set abctl_found=$abctl_disk,gpt{number}
else
    search --no-floppy --fs-uuid --set=abctl_found {serial}
fi
if [ -n "$abctl_found" ]; then
    set root=$abctl_found
    set prefix=($abctl_found)
    configfile "$prefix/grub.cfg"
fi
echo "abctl: no grub partition can be read; trying again in 60 seconds."
sleep 60
reboot
"""


def make_esp_cfg(layout: Layout) -> str:
    """Return the script for a disk with this layout; every layout has one grub partition."""
    partition = next(partition for partition in layout.partitions if partition.role is Role.GRUB)
    serial = partition.uuid.replace("-", "")[:8]
    return _SCRIPT.format(
        name=layout.name, number=layout.number_of(partition), serial=f"{serial[:4]}-{serial[4:]}"
    )
