"""How full the snapshots and thin pools of a running host are, by ``lvs``."""

import json
from typing import Any

from abctl.core.doctor_disk import VolumeUse
from abctl.errors import ToolFailed
from abctl.host.run import run
from abctl.host.systemd import Run


def read_volume_use(group: str, run: Run = run) -> tuple[VolumeUse, ...]:
    """Return the volumes of the group; raise ToolFailed."""
    columns = "lv_name,lv_attr,data_percent,metadata_percent"
    return parse_volume_use(run("lvs", "-a", "--reportformat", "json", "-o", columns, group))


def parse_volume_use(text: str) -> tuple[VolumeUse, ...]:
    """Return what ``lvs`` printed; raise ToolFailed where it is something else."""
    try:
        return tuple(_parse(item) for report in json.loads(text)["report"] for item in report["lv"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ToolFailed(f"lvs printed something that abctl does not understand: {error!r}") from error


def _parse(item: dict[str, Any]) -> VolumeUse:
    return VolumeUse(
        item["lv_name"].strip("[]"),
        item["lv_attr"],
        float(item["data_percent"]) if item["data_percent"] else None,
        float(item["metadata_percent"]) if item["metadata_percent"] else None,
    )
