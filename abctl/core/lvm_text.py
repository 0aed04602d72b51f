"""LVM's text metadata of a volume group, as ``lvm vgcfgbackup`` writes it."""

from abctl.core.found import SECTOR
from abctl.core.layout import LogicalVolume, VolumeGroup
from abctl.core.units import Bytes

# LVM notes who made a volume and when; both are fixed, so that the same layout gives the same bytes.
CREATOR = 'creation_host = "abctl"\ncreation_time = 0\n'


def make_group_text(group: VolumeGroup, pv_size: Bytes) -> str:
    """Return the metadata of ``group`` on one physical volume of ``pv_size`` bytes."""
    sectors = pv_size // SECTOR
    extents = (sectors - group.data_start_sector) // group.extent_sectors
    volumes = "\n".join(_volume_text(volume) for volume in group.volumes)
    # The group comes first, as on a disk: GRUB takes the first word for its name.
    return f"""\
{group.name} {{
id = "{group.uuid}"
seqno = 1
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = {group.extent_sectors}
max_lv = 0
max_pv = 0
metadata_copies = 0

physical_volumes {{

pv0 {{
id = "{group.pv_uuid}"
device = "/dev/disk"
status = ["ALLOCATABLE"]
flags = []
dev_size = {sectors}
pe_start = {group.data_start_sector}
pe_count = {extents}
}}
}}

logical_volumes {{

{volumes}}}
}}

contents = "Text Format Volume Group"
version = 1
description = ""
{CREATOR}"""


def _volume_text(volume: LogicalVolume) -> str:
    return f"""\
{volume.name} {{
id = "{volume.uuid}"
status = ["READ", "WRITE", "VISIBLE"]
flags = []
{CREATOR}segment_count = 1

segment1 {{
start_extent = 0
extent_count = {volume.extents}
type = "striped"
stripe_count = 1
stripes = [
"pv0", {volume.start_extent}
]
}}
}}
"""
