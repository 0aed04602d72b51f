"""Where the settings are on the config volume, for those who only look whether they are there and whole."""

import json

from abctl.core.units import KIB

PATH = "abctl/settings.json"  # on the config volume
GOOD_PATH = "abctl/settings.good.json"  # what was last read and written whole
DAMAGED_PATH = "abctl/settings.damaged"  # what could not be read, when it was written again
SIZE_MAX = 64 * KIB


def may_be_sound(data: bytes) -> bool:
    """Whether ``data`` is JSON with fields; what the fields say is not looked at."""
    try:
        return len(data) <= SIZE_MAX and isinstance(json.loads(data.decode()), dict)
    except (ValueError, RecursionError):
        return False
