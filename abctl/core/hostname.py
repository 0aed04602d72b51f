"""A host's name: ``TYPE-MAC``, and ``TYPE-MAC-xxxxx`` once its node-id is known.

MAC is the management MAC without colons, xxxxx the first five characters of the node-id.
"""

import re
from enum import StrEnum

from abctl.core.macs import Mac
from abctl.errors import BadIdentity

NODE_ID_MAX = 63  # characters, as long as the text of a principal may be
_SHORT = 5  # characters of the node-id in a name
_NODE_ID = re.compile(rf"[a-z0-9]{{{_SHORT},}}(-[a-z0-9]+)*")
_LABEL_MAX = 63  # RFC 1123, 2.1, with the lengths of RFC 1035
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


class HostType(StrEnum):
    """What kind of machine it is; the first part of its name."""

    HOST = "host"
    REPLICA = "replica"
    BOUNDARY = "boundary"


def parse_node_id(text: str) -> str:
    """Return a node-id such as ``4wd4u-rgdfr-...``; raise BadIdentity.

    It comes from a guest, and a part of it becomes the host's name.
    """
    if len(text) > NODE_ID_MAX or not _NODE_ID.fullmatch(text):
        raise BadIdentity(
            f"{text[: NODE_ID_MAX + 1]!r} is not a node-id: it has groups of small letters and digits with a "
            f"dash between them, as in 4wd4u-rgdfr, the first of {_SHORT} or more, and at most "
            f"{NODE_ID_MAX} characters"
        )
    return text


def make_hostname(host_type: HostType, mac: Mac, node_id: str | None = None) -> str:
    """Return the host's name, one label of RFC 1123."""
    name = f"{host_type}-{mac.replace(':', '')}"
    if node_id is not None:
        name += f"-{node_id[:_SHORT]}"
    if len(name) > _LABEL_MAX or not _LABEL.fullmatch(name):
        raise BadIdentity(f"{name[: _LABEL_MAX + 1]!r} cannot be the name of a host (RFC 1123)")
    return name
