"""The running host as its identity is found and applied; what other commands need of it is here too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from abctl.core.hostname import parse_node_id
from abctl.core.macs import Family, Index, Mac, parse_mac
from abctl.core.settings import Document, change
from abctl.errors import AbctlError, BadIdentity, WriteFailed
from abctl.host.hostname import ask_service, is_set, set_hostname
from abctl.host.ipmi import read_controller_mac
from abctl.host.key_files import User, find_user
from abctl.host.live import LivePaths
from abctl.host.nics import list_cards
from abctl.host.run import run
from abctl.host.settings_file import Read, SettingsFile
from abctl.identity.identity import Identity, make_identity
from abctl.identity.management import Management, Source, find_management

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from abctl.core.nics import Card

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Around:
    """What an identity is found in and applied to; tests give it other paths, programs and users."""

    paths: LivePaths = field(default_factory=LivePaths)
    run: Callable[..., str] = run
    find_user: Callable[[str], User | None] = find_user
    has_ipmi: bool | None = None

    def list_cards(self) -> Sequence[Card]:
        """Return the network cards, after udev has found them all."""
        try:
            self.run("udevadm", "settle", "--timeout=30", timeout=40)
        except AbctlError as error:
            log.info("%s", error)
        return list_cards(self.paths.root)

    def ask_ipmi(self) -> Mac | None:
        return read_controller_mac(self.run, has_tool=self.has_ipmi)


def find_identity(around: Around, read: Read) -> Identity:
    """Return what the running host goes by, with the settings that were read."""
    management = find_management(read.settings, ask_ipmi=around.ask_ipmi, list_cards=around.list_cards)
    return make_identity(read.settings, management)


def store_node_id(node_id: str, around: Around | None = None) -> None:
    """Keep the node-id in the settings, and let the host's name have it at once.

    Raise BadIdentity for what is no node-id, WriteFailed or Busy where it cannot be kept: then the name stays
    what it is. A program without the right to set the name has systemd do it.
    """
    around = around or Around()
    parse_node_id(node_id)
    settings = SettingsFile(around.paths)
    document = settings.update({"node_id": node_id})
    hostname = find_identity(around, Read(document)).hostname
    if hostname is None:
        raise BadIdentity("the node-id is kept, but the host has no management MAC to make a name with")
    if is_set(hostname, around.paths.root):
        return
    try:
        set_hostname(hostname, around.paths.root, around.run)
    except WriteFailed as error:
        log.info("%s: systemd is asked to do it", error)
        ask_service(around.run)


def find_guest_mac(family: Family = Family.IPV6, around: Around | None = None) -> Mac:
    """Return the MAC address of this host's guest; raise BadIdentity where it cannot be calculated."""
    around = around or Around()
    read = SettingsFile(around.paths).read()
    identity = find_identity(around, read)
    guest = identity.find(Index.GUEST)
    if guest is None:
        why = (*read.warnings, *identity.warnings)
        raise BadIdentity(f"the guest's MAC address cannot be calculated: {'; '.join(why)}")
    return guest.mac_ipv6 if family is Family.IPV6 else guest.mac_ipv4


def calculate_identity(management_mac: str, values: Mapping[str, str | None]) -> Identity:
    """Return what a host goes by that is somewhere else; raise BadIdentity."""
    given = parse_mac(management_mac)
    settings = change(Document.empty(), {name: value for name, value in values.items() if value}).settings
    return make_identity(settings, Management(given, Source.GIVEN))
