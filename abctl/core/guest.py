"""Values that the launcher of the guest and its adapters share: a domain, and what a machine has to give."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from xml.etree import ElementTree

from abctl.core.units import MIB

METADATA_URI = "urn:abctl:guest:1"  # says in a domain that abctl made it
METADATA_KEY = "abctl"
HUGEPAGE = 2 * MIB
_TAG_MAX = 4096  # characters of it that are looked at


class Power(StrEnum):
    """What a domain does."""

    RUNNING = "running"
    PAUSED = "paused"  # by an admin, or since the disk reported an error
    STOPPING = "stopping"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Tag:
    """What abctl notes in a domain that it makes: which start this is, and of which description."""

    run: str
    digest: str


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain as libvirt knows it; ``tag`` is None where abctl did not make it.

    ``detail`` says more of its power, such as why it is paused.
    """

    name: str
    uuid: str
    power: Power
    tag: Tag | None
    is_persistent: bool = False
    detail: str = ""

    @property
    def is_active(self) -> bool:
        """Whether it has a process."""
        return self.power is not Power.OFF


def make_tag(tag: Tag) -> ElementTree.Element:
    """Return the element that stands in the metadata of a domain."""
    return ElementTree.Element(f"{{{METADATA_URI}}}guest", {"run": tag.run, "description": tag.digest})


def parse_tag(text: str) -> Tag | None:
    """Return what stands in the metadata of a domain; None where abctl did not write it."""
    if len(text) > _TAG_MAX or "<!" in text:
        return None
    try:
        element = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
    run, digest = element.get("run"), element.get("description")
    # libvirt gives the element without its namespace.
    if element.tag.rpartition("}")[2] != "guest" or not run or not digest:
        return None
    return Tag(run, digest)


@dataclass(frozen=True, slots=True)
class Resources:
    """What a machine has to give to a guest; memory in bytes, ``hugepages`` of 2 MiB.

    ``threads`` is how many of each core; ``bridges`` are the network interfaces that are bridges. ``missing``
    are the files among those asked for that are not there, or cannot be used, with the reason.
    """

    cpus: int
    threads: int
    has_topoext: bool
    memory: int
    available: int
    hugepages: int
    free_hugepages: int
    bridges: frozenset[str]
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """A USB device of the host: what it is, and where it is plugged in."""

    vendor: int
    product: int
    bus: int
    device: int


def make_usb_xml(found: UsbDevice) -> str:
    """Return a USB device of the host as something to attach to a domain."""
    root = ElementTree.Element("hostdev", {"mode": "subsystem", "type": "usb", "managed": "yes"})
    source = ElementTree.SubElement(root, "source")
    ElementTree.SubElement(source, "vendor", {"id": f"0x{found.vendor:04x}"})
    ElementTree.SubElement(source, "product", {"id": f"0x{found.product:04x}"})
    ElementTree.SubElement(source, "address", {"bus": str(found.bus), "device": str(found.device)})
    return ElementTree.tostring(root, encoding="unicode")


def find_usb_xml(domain: str, vendor: int, product: int) -> str | None:
    """Return the device of this kind in the XML of a domain; None where it has none."""
    for element in ElementTree.fromstring(domain).iterfind("devices/hostdev[@type='usb']"):
        ids = (element.find("source/vendor"), element.find("source/product"))
        values = [int(item.get("id", "0"), 16) for item in ids if item is not None]
        if values == [vendor, product]:
            return ElementTree.tostring(element, encoding="unicode")
    return None
