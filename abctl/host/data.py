"""Where the files that ship beside the package are."""

from pathlib import Path

from abctl.errors import ToolFailed

_PLACES = (Path(__file__).resolve().parents[2], Path("/usr/share/abctl"))


def find_data(name: str) -> Path:
    """Return the shipped file or folder ``name``, for example ``grub/select.cfg``."""
    for place in _PLACES:
        if (place / name).exists():
            return place / name
    raise ToolFailed(f"{name} is missing from this installation of abctl: install it again")
