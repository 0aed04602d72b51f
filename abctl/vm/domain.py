"""The guest as libvirt's XML. docs/guest.md has the table of devices."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from abctl.core.guest import HUGEPAGE, METADATA_URI, Tag, make_tag
from abctl.core.units import KIB
from abctl.vm.description import Accel, Description, Firmware


@dataclass(frozen=True, slots=True)
class Start:
    """What one start of the guest adds to its description.

    ``run`` names the start; ``mac`` is None without a network card, ``media`` the image of the medium CONFIG.
    """

    run: str
    mac: str | None
    hugepages: bool
    media: str | None


def digest_of(description: Description) -> str:
    """Return what tells this description from others."""
    return hashlib.sha256(description.model_dump_json().encode()).hexdigest()[:16]


def make_xml(description: Description, start: Start) -> str:
    """Return the domain; every text from outside is escaped."""
    root = ElementTree.Element("domain", {"type": "kvm" if description.accel is Accel.KVM else "qemu"})
    _add(root, "name", text=description.name)
    _add(root, "uuid", text=description.uuid)
    _add(root, "metadata").append(make_tag(Tag(start.run, digest_of(description))))
    _add_memory(root, description, hugepages=start.hugepages)
    _add(root, "vcpu", {"placement": "static"}, str(description.cpu.count))
    _add_boot(root, description)
    features = _add(root, "features")
    _add(features, "acpi")
    _add(features, "apic")
    _add_cpu(root, description)
    _add(root, "clock", {"offset": "utc"})
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        # Each start is abctl's, with a fresh medium and a look at the boot state.
        _add(root, event, text="destroy")
    suspend = _add(root, "pm")
    _add(suspend, "suspend-to-mem", {"enabled": "no"})
    _add(suspend, "suspend-to-disk", {"enabled": "no"})
    _add_devices(_add(root, "devices"), description, start)
    ElementTree.register_namespace("abctl", METADATA_URI)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add(
    parent: ElementTree.Element,
    name: str,
    attributes: Mapping[str, str] | None = None,
    text: str | None = None,
) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name, dict(attributes or {}))
    element.text = text
    return element


def _add_memory(root: ElementTree.Element, description: Description, *, hugepages: bool) -> None:
    size = str(description.memory.size // KIB)
    _add(root, "memory", {"unit": "KiB"}, size)
    _add(root, "currentMemory", {"unit": "KiB"}, size)
    if hugepages:
        pages = _add(_add(root, "memoryBacking"), "hugepages")
        _add(pages, "page", {"size": str(HUGEPAGE // KIB), "unit": "KiB"})


def _add_boot(root: ElementTree.Element, description: Description) -> None:
    boot = description.boot
    system = _add(root, "os")
    _add(system, "type", {"arch": "x86_64", "machine": "q35"}, "hvm")
    if boot.firmware is Firmware.UEFI:
        _add(system, "loader", {"readonly": "yes", "type": "pflash"}, boot.code)
        _add(system, "nvram", {"template": boot.vars})
    if boot.kernel:
        _add(system, "kernel", text=boot.kernel)
    if boot.initrd:
        _add(system, "initrd", text=boot.initrd)
    if boot.arguments:
        _add(system, "cmdline", text=boot.arguments)
    _add(system, "boot", {"dev": "hd"})


def _add_cpu(root: ElementTree.Element, description: Description) -> None:
    cpu = description.cpu
    if cpu.is_passthrough:
        element = _add(root, "cpu", {"mode": "host-passthrough", "migratable": "off"})
    elif cpu.model == "max":
        element = _add(root, "cpu", {"mode": "maximum"})
    else:
        element = _add(root, "cpu", {"mode": "custom", "match": "exact", "check": "none"})
        _add(element, "model", {"fallback": "forbid"}, cpu.model)
    shape = {"sockets": cpu.sockets, "cores": cpu.cores, "threads": cpu.threads}
    _add(element, "topology", {name: str(count) for name, count in shape.items()})
    if cpu.is_passthrough:
        _add(element, "cache", {"mode": "passthrough"})
        if cpu.topoext:
            _add(element, "feature", {"policy": "require", "name": "topoext"})


def _add_devices(devices: ElementTree.Element, description: Description, start: Start) -> None:
    _add_disk(devices, description)
    if start.media:
        _add_media(devices, start.media)
    _add(devices, "controller", {"type": "usb", "model": "qemu-xhci"})
    if start.mac:
        card = _add(devices, "interface", {"type": "bridge"})
        _add(card, "mac", {"address": start.mac})
        _add(card, "source", {"bridge": description.network.bridge})
        _add(card, "model", {"type": "virtio"})
    serial = _add(devices, "serial", {"type": "pty"})
    # Appended to, so that it can be cut short while it is open.
    _add(serial, "log", {"file": description.serial.log, "append": "on"})
    _add(serial, "target", {"type": "isa-serial", "port": "0"})
    console = _add(devices, "console", {"type": "pty"})
    _add(console, "target", {"type": "serial", "port": "0"})
    if description.devices.tpm:
        _add(_add(devices, "tpm", {"model": "tpm-crb"}), "backend", {"type": "emulator", "version": "2.0"})
    if description.devices.watchdog:
        _add(devices, "watchdog", {"model": "i6300esb", "action": "poweroff"})
    # Without a word on it, libvirt adds one.
    _add(devices, "memballoon", {"model": "virtio" if description.devices.balloon else "none"})
    if description.devices.rng:
        _add(_add(devices, "rng", {"model": "virtio"}), "backend", {"model": "random"}, "/dev/urandom")
    if description.vsock.enabled:
        socket = _add(devices, "vsock", {"model": "virtio"})
        _add(socket, "cid", {"auto": "no", "address": str(description.vsock.cid)})


def _add_disk(devices: ElementTree.Element, description: Description) -> None:
    is_device = description.disk.path.startswith("/dev/")
    disk = _add(devices, "disk", {"type": "block" if is_device else "file", "device": "disk"})
    _add(disk, "driver", {"name": "qemu", "type": "raw", "cache": description.disk.cache.value})
    _add(disk, "source", {"dev" if is_device else "file": description.disk.path})
    _add(disk, "target", {"dev": "vda", "bus": "virtio"})


def _add_media(devices: ElementTree.Element, media: str) -> None:
    disk = _add(devices, "disk", {"type": "file", "device": "disk"})
    _add(disk, "driver", {"name": "qemu", "type": "raw"})
    _add(disk, "source", {"file": media})
    _add(disk, "target", {"dev": "sda", "bus": "usb", "removable": "on"})
    _add(disk, "readonly")
