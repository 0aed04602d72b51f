"""The MAC address of the management controller, as IPMI's tool prints it."""

import re
import shutil
from collections.abc import Callable

from abctl.core.macs import Mac, parse_mac
from abctl.errors import BadIdentity, ToolFailed
from abctl.host.run import run

_TOOL = "ipmitool"
_TIME_LIMIT = 20.0  # seconds; a controller that is busy takes some
_LINE = re.compile(r"^MAC Address\s*:\s*(\S+)\s*$", re.MULTILINE)


def parse_lan(text: str) -> Mac | None:
    """Return the address in what ``ipmitool lan print`` prints; None where it names none of one card."""
    match = _LINE.search(text)
    try:
        return parse_mac(match[1]) if match else None
    except BadIdentity:
        return None


def read_controller_mac(run: Callable[..., str] = run, *, has_tool: bool | None = None) -> Mac | None:
    """Return the management controller's MAC; None where IPMI's tool is not installed. Raise ToolFailed."""
    if not (shutil.which(_TOOL) if has_tool is None else has_tool):
        return None
    mac = parse_lan(run(_TOOL, "lan", "print", timeout=_TIME_LIMIT))
    if mac is None:
        raise ToolFailed(f"{_TOOL} lan print names no MAC address")
    return mac
