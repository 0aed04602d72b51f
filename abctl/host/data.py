"""Where the files that ship beside the package are."""

import sys
from pathlib import Path

from abctl.errors import ToolFailed

_CHECKOUT = Path(__file__).resolve().parents[2]
# An installed package looks only below its Python: beside it lie packages of others, with names of their own.
_PLACE = _CHECKOUT if (_CHECKOUT / "pyproject.toml").is_file() else Path(sys.prefix, "share/abctl")


def find_data(name: str) -> Path:
    """Return the shipped file or folder ``name``, for example ``grub/select.cfg``."""
    if not (_PLACE / name).exists():
        raise ToolFailed(f"{name} is missing from this installation of abctl: install it again")
    return _PLACE / name
