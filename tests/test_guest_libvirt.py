"""What abctl asks of libvirt, by the real library and its driver for tests."""

import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from abctl.core.guest import Power, Tag
from abctl.errors import DeviceProblem, ForeignDomain, GuestNotRunning, NoHypervisor, ToolFailed
from abctl.host.libvirt import Libvirt, attach_usb, detach_usb
from abctl.vm.description import Description, parse_description
from abctl.vm.domain import Start, digest_of, make_xml
from abctl.vm.keeper import Keeper
from tests.fake_guest import FakeGuestHost

URI = "test:///default"
DESCRIPTION = parse_description('[boot]\nfirmware = "bios"\n[memory]\nsize = "64 MiB"\n', "guest.toml")


def for_tests(text: str) -> str:
    """Return the domain as the driver for tests takes it."""
    root = ElementTree.fromstring(text)
    root.set("type", "test")
    system = root.find("os/type")
    assert system is not None
    system.attrib.clear()
    return ElementTree.tostring(root, encoding="unicode")


def xml(run: str = "run-1") -> str:
    return for_tests(make_xml(DESCRIPTION, Start(run, None, hugepages=False, media=None)))


@pytest.fixture
def libvirt() -> Iterator[Libvirt]:
    libvirt = Libvirt(URI)
    yield libvirt
    domain = libvirt.find(DESCRIPTION.name, DESCRIPTION.uuid)
    if domain:
        libvirt.destroy(domain)
    libvirt.close()


def test_a_domain_is_started_found_by_name_and_uuid_and_ended(libvirt: Libvirt) -> None:
    assert libvirt.find("guestos", DESCRIPTION.uuid) is None
    libvirt.create(xml())
    found = libvirt.find("guestos", "")
    assert found is not None
    assert (found.power, found.tag, found.is_persistent) == (
        Power.RUNNING,
        Tag("run-1", digest_of(DESCRIPTION)),
        False,
    )
    assert libvirt.find("another-name", DESCRIPTION.uuid) == found
    libvirt.press_power_button(found)
    assert libvirt.find("guestos", DESCRIPTION.uuid) is None
    libvirt.press_power_button(found)
    libvirt.destroy(found)


def test_a_second_one_of_the_same_name_is_refused_in_a_sentence(libvirt: Libvirt) -> None:
    libvirt.create(xml())
    with pytest.raises(ToolFailed, match=r"libvirt does not start the guest: .*already"):
        libvirt.create(xml("run-2"))


def test_xml_that_is_wrong_is_refused_by_the_schema(libvirt: Libvirt) -> None:
    with pytest.raises(ToolFailed, match="libvirt does not start the guest"):
        libvirt.create(xml().replace("<vcpu", "<vcpus").replace("</vcpu>", "</vcpus>"))


def test_libvirts_own_example_is_nobody_of_ours(libvirt: Libvirt) -> None:
    found = libvirt.find("test", "")
    assert found is not None
    assert (found.tag, found.is_persistent) == (None, True)


class HostWithLibvirt(FakeGuestHost):
    """A host whose libvirt is the real library."""

    def __init__(self, libvirt: Libvirt, description: Description = DESCRIPTION) -> None:
        super().__init__(description=description)
        self.libvirt = libvirt

    @property
    def hypervisor(self) -> Libvirt:  # type: ignore[override]
        return self.libvirt

    def prepare(self, description: Description, run: str) -> str:
        return xml(run)


def test_a_life_of_the_guest_by_the_real_library(libvirt: Libvirt) -> None:
    host = HostWithLibvirt(libvirt)
    keeper = Keeper(host)
    assert keeper.start() is True
    assert Keeper(host).start() is False
    assert keeper.stop() is False
    assert keeper.stop() is None


def test_a_foreign_domain_is_refused(libvirt: Libvirt) -> None:
    foreign = DESCRIPTION.model_copy(update={"name": "test"})
    with pytest.raises(ForeignDomain, match=r"a domain test .* is there that abctl did not make"):
        Keeper(HostWithLibvirt(libvirt, foreign)).start()


def test_without_a_daemon_the_sentence_says_where_it_was_looked_for(tmp_path: Path) -> None:
    libvirt = Libvirt(f"qemu+unix:///system?socket={tmp_path}/none")
    with pytest.raises(NoHypervisor, match=f"does not answer at .*{tmp_path}/none"):
        libvirt.find("guestos", "")


def test_without_the_library_the_sentence_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(NoHypervisor, match="install the package python3-libvirt"):
        Libvirt(URI).find("guestos", "")


# --- USB devices ------------------------------------------------------------------------------------


def plug(root: Path, bus: int = 1, device: int = 9) -> None:
    folder = root / "sys/bus/usb/devices/1-4"
    folder.mkdir(parents=True)
    for name, value in {"idVendor": "20a0", "idProduct": "4230", "busnum": bus, "devnum": device}.items():
        (folder / name).write_text(f"{value}\n")


def test_a_usb_device_needs_a_guest_that_runs(tmp_path: Path) -> None:
    plug(tmp_path)
    with pytest.raises(GuestNotRunning, match="guestos does not run"):
        attach_usb("guestos", 0x20A0, 0x4230, uri=URI, root=tmp_path)
    with pytest.raises(GuestNotRunning, match="guestos does not run"):
        detach_usb("guestos", 0x20A0, 0x4230, uri=URI)


def test_a_usb_device_has_to_be_plugged_in(libvirt: Libvirt, tmp_path: Path) -> None:
    libvirt.create(xml())
    with pytest.raises(DeviceProblem, match="no USB device 20a0:4230 is plugged in"):
        attach_usb("guestos", 0x20A0, 0x4230, uri=URI, root=tmp_path)
    with pytest.raises(DeviceProblem, match="has no USB device 20a0:4230"):
        detach_usb("guestos", 0x20A0, 0x4230, uri=URI)
