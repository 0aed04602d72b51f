"""Deterministic MAC addresses, and the IPv6 addresses that follow from them.

A node's machines get MAC addresses that anybody can calculate from the management MAC of the host and the
name of the deployment: a locally administered unicast address of six bytes,

    4a or 6a   IPv4 or IPv6
    index      which machine: HostOS 00, GuestOS 01, ...
    4 bytes    the first of SHA-256("<management MAC><deployment>\\n")

Source: the network section of the HostOS that docs/identity.md names; its vectors are in the tests.
"""

import hashlib
import re
from enum import Enum, StrEnum
from ipaddress import AddressValueError, IPv6Address, IPv6Network, NetmaskValueError
from typing import NewType

from abctl.errors import BadIdentity

Mac = NewType("Mac", str)  # 70:b5:e8:e8:25:de
Prefix = NewType("Prefix", str)  # the first 64 bits as a network: 2602:ffe4:801:17::/64

DEPLOYMENT_MAX = 64  # characters
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_DEPLOYMENT = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{DEPLOYMENT_MAX - 1}}}")
_MULTICAST, _LOCAL = 0x01, 0x02  # bits of the first byte of a MAC
_HALF = 64  # bits of an IPv6 address that are the network's
_GROUPS = 4  # of 16 bits, in that half


class Family(StrEnum):
    """What a machine's MAC address is for."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


class Index(Enum):
    """Which of a node's machines: the value is the second byte of its MAC address."""

    HOST = 0x00
    GUEST = 0x01
    BOUNDARY = 0x02
    UPGRADE_GUEST = 0x03
    SETUP = 0x0F


_FIRST_BYTE = {Family.IPV4: 0x4A, Family.IPV6: 0x6A}


def parse_mac(text: str) -> Mac:
    """Return the address of one network card, in lower case with colons; raise BadIdentity.

    ``70-B5-E8-E8-25-DE`` is understood too. Zeros, and addresses of groups, belong to no card.
    """
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise BadIdentity(f"{text[:40]!r} is not a MAC address: give six bytes, as in 70:b5:e8:e8:25:de")
    if int(mac[:2], 16) & _MULTICAST:
        raise BadIdentity(f"{mac} is the MAC address of a group of cards: give that of one card")
    if not int(mac.replace(":", ""), 16):
        raise BadIdentity(f"{mac} is the MAC address of no card: give that of the management interface")
    return Mac(mac)


def parse_deployment(text: str) -> str:
    """Return the name of a deployment, such as ``mainnet``; raise BadIdentity.

    It is hashed with a newline after it, so what is hashed must not hold one.
    """
    if not _DEPLOYMENT.fullmatch(text):
        raise BadIdentity(
            f"{text[: DEPLOYMENT_MAX + 1]!r} is not the name of a deployment: it has 1 to {DEPLOYMENT_MAX} "
            "letters, digits and ._-, and begins with a letter or digit"
        )
    return text


def parse_prefix(text: str) -> Prefix:
    """Return 64 bits of an IPv6 network as ``2602:ffe4:801:17::/64``; raise BadIdentity.

    The first four groups alone, as in ``2602:ffe4:801:17``, and an address with ``::`` at its end are
    understood too.
    """
    address, _, length = text.strip().partition("/")
    if "::" not in address and address.count(":") == _GROUPS - 1:
        address += "::"
    try:
        network = IPv6Network(f"{address}/{length or _HALF}")
        is_sound = network.prefixlen == _HALF and "%" not in address
    except (AddressValueError, NetmaskValueError, ValueError):
        is_sound = False
    if not is_sound:
        raise BadIdentity(
            f"{text[:60]!r} is not an IPv6 prefix of {_HALF} bits: give it as in 2602:ffe4:801:17::/{_HALF}"
        )
    if network.is_multicast or network.network_address.is_unspecified or network.is_link_local:
        raise BadIdentity(f"{network} is a prefix that no host can be reached by: give one that is routed")
    return Prefix(str(network))


def derive_mac(management: str, deployment: str, family: Family, index: Index) -> Mac:
    """Return the MAC address of one of a node's machines, in lower case with colons.

    ``management`` is the MAC address of the host's management interface, ``deployment`` for example
    ``mainnet``. Raise BadIdentity where one of them cannot be one.
    """
    text = f"{parse_mac(management)}{parse_deployment(deployment)}\n"
    digest = hashlib.sha256(text.encode("ascii")).digest()
    return _format(bytes((_FIRST_BYTE[family], index.value)) + digest[:4])


def eui64_address(prefix: str, mac: str) -> str:
    """Return the IPv6 address that a machine with this MAC gives itself in the network ``prefix``.

    The lower half is the modified EUI-64 of RFC 4291, appendix A: ``ff:fe`` in the middle of the MAC, and the
    bit 02 of its first byte turned over. Raise BadIdentity.
    """
    network = int(IPv6Network(parse_prefix(prefix)).network_address)
    card = bytes.fromhex(parse_mac(mac).replace(":", ""))
    half = bytes((card[0] ^ _LOCAL,)) + card[1:3] + b"\xff\xfe" + card[3:]
    return str(IPv6Address(network | int.from_bytes(half, "big")))


def _format(card: bytes) -> Mac:
    return Mac(":".join(f"{byte:02x}" for byte in card))
