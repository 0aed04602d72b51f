"""The guest's description, its XML, and what a machine must have for it."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from abctl.core.guest import HUGEPAGE, Resources, Tag, UsbDevice, find_usb_xml, make_usb_xml, parse_tag
from abctl.core.units import GIB, MIB
from abctl.errors import BadGuest, GuestUnfit, WriteFailed
from abctl.host.config_media import make_media, read_folder
from abctl.host.data import find_data
from abctl.host.guest_file import release
from abctl.host.resources import read_resources
from abctl.host.serial_log import SerialLog
from abctl.host.usb import find_usb
from abctl.vm.description import Description, parse_description
from abctl.vm.domain import Start, digest_of, make_xml
from abctl.vm.fitness import choose_hugepages, find_problems, list_files
from abctl.vm.serial import Scanner, Word, clean_lines
from tests.disks import run

RNG = Path("/usr/share/libvirt/schemas/domain.rng")
MAC = "6a:01:00:ec:bd:51"
START = Start("5f3a", MAC, hugepages=True, media="/run/abctl/guest-config.img")


def parse(text: str) -> Description:
    return parse_description(text, "guest.toml")


def xml_of(description: Description, start: Start = START) -> ElementTree.Element:
    return ElementTree.fromstring(make_xml(description, start))


# --- guest.toml -------------------------------------------------------------------------------------


def test_the_shipped_description_is_what_an_empty_one_means() -> None:
    shipped = find_data("layout/guest/guest.toml").read_text()
    assert parse(shipped) == parse("") == Description()


def test_all_wrong_fields_are_named_at_once() -> None:
    text = """
        name = "guest os"
        colour = "red"
        [cpu]
        sockets = 0
        [memory]
        size = "3 MiB"
        [network]
        mac = "01:00:5e:00:00:01"
        bridge = "a-name-that-is-too-long"
        [vsock]
        cid = 2
        [disk]
        path = "guest.img"
    """
    with pytest.raises(BadGuest) as caught:
        parse(text)
    for field in (
        "name",
        "colour",
        "cpu.sockets",
        "memory.size",
        "network.mac",
        "network.bridge",
        "vsock.cid",
    ):
        assert f"{field}: " in str(caught.value)
    assert "disk.path: 'guest.img' is not an absolute path" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[cpu", "guest.toml is not TOML"),
        ("[cpu]\nsockets = 64\ncores = 64", "are 8192 processors: no guest has more than 1024"),
        ("[memory]\nsize = 3000000000", "multiple of 2097152"),
        ('accel = "tcg"', "with tcg name a model, such as max"),
        ('[boot]\narguments = "quiet"', "initrd and arguments go with a kernel"),
        ('uri = "qemu+ssh://other/system"', "uri: "),
        ('uuid = "00000000-0000-0000-0000-000000000000"', "make one with uuidgen"),
        ('[disk]\npath = "/dev/../etc/shadow"', "is not an absolute path"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(BadGuest, match=said.replace("(", r"\(")):
        parse(text)


# --- libvirt's XML ----------------------------------------------------------------------------------


def test_the_default_guest_is_that_of_the_specification() -> None:
    """docs/guest.md has the same table in words."""
    root = xml_of(Description())
    texts = {
        "name": "guestos",
        "uuid": "fd897da5-8017-41c8-8575-a706dba30766",
        "memory": str(486 * 1024 * 1024),
        "vcpu": "64",
        "os/type": "hvm",
        "on_poweroff": "destroy",
        "on_reboot": "destroy",
        "on_crash": "destroy",
        "devices/rng/backend": "/dev/urandom",
    }
    assert {path: root.findtext(path) for path in texts} == texts
    attributes: dict[str, dict[str, str]] = {
        ".": {"type": "kvm"},
        "memory": {"unit": "KiB"},
        "memoryBacking/hugepages/page": {"size": "2048", "unit": "KiB"},
        "os/type": {"arch": "x86_64", "machine": "q35"},
        "os/loader": {"readonly": "yes", "type": "pflash"},
        "cpu": {"mode": "host-passthrough", "migratable": "off"},
        "cpu/cache": {"mode": "passthrough"},
        "cpu/topology": {"sockets": "2", "cores": "16", "threads": "2"},
        "cpu/feature": {"policy": "require", "name": "topoext"},
        "devices/disk[1]": {"type": "block", "device": "disk"},
        "devices/disk[1]/driver": {"name": "qemu", "type": "raw", "cache": "none"},
        "devices/disk[1]/source": {"dev": "/dev/hostlvm/guestos"},
        "devices/disk[1]/target": {"dev": "vda", "bus": "virtio"},
        "devices/disk[2]/target": {"dev": "sda", "bus": "usb", "removable": "on"},
        "devices/interface": {"type": "bridge"},
        "devices/interface/mac": {"address": MAC},
        "devices/interface/source": {"bridge": "br6"},
        "devices/interface/model": {"type": "virtio"},
        "devices/vsock/cid": {"auto": "no", "address": "3"},
        "devices/serial/target": {"type": "isa-serial", "port": "0"},
        "devices/serial/log": {"file": "/var/log/libvirt/qemu/guestos-serial.log", "append": "on"},
        "devices/console/target": {"type": "serial", "port": "0"},
        "devices/memballoon": {"model": "virtio"},
        "devices/rng": {"model": "virtio"},
        "devices/watchdog": {"model": "i6300esb", "action": "poweroff"},
    }
    found = {path: root.find(path) for path in attributes}
    assert {path: None if item is None else item.attrib for path, item in found.items()} == attributes
    assert root.find("devices/tpm") is None


def test_what_is_switched_off_is_not_there() -> None:
    text = "[media]\nenabled=false\n[network]\nenabled=false\n[vsock]\nenabled=false\n"
    text += "[devices]\nballoon=false\nrng=false\nwatchdog=false\ntpm=true\n"
    root = xml_of(parse(text), Start("x", None, hugepages=False, media=None))
    for path in ("disk[2]", "interface", "vsock", "rng", "watchdog"):
        assert root.find(f"devices/{path}") is None
    assert root.find("memoryBacking") is None
    assert root.find("devices/memballoon[@model='none']") is not None
    assert root.find("devices/tpm[@model='tpm-crb']/backend[@type='emulator']") is not None


def test_each_start_is_told_from_others_by_its_tag() -> None:
    description = Description()
    metadata = xml_of(description).find("metadata")
    assert metadata is not None
    (element,) = metadata
    tag = parse_tag(ElementTree.tostring(element, encoding="unicode"))
    assert tag == Tag("5f3a", digest_of(description))
    assert digest_of(description) != digest_of(parse("[vsock]\ncid = 4"))
    # So libvirt gives it back.
    assert parse_tag('<guest run="5f3a" description="d1"/>') == Tag("5f3a", "d1")


@pytest.mark.parametrize(
    "text", ["", "<guest/>", "<other run='1' description='2'/>", "<!DOCTYPE x><guest/>", "<"]
)
def test_other_metadata_is_no_tag(text: str) -> None:
    assert parse_tag(text) is None


@cache
def schema() -> etree.RelaxNG:
    assert RNG.exists(), f"{RNG} is missing: run 'make setup'"
    return etree.RelaxNG(etree.parse(RNG))


_paths = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x2FF, exclude_categories=("C", "Z")),
    min_size=1,
    max_size=20,
)


@st.composite
def descriptions(draw: st.DrawFn) -> Description:
    def a_path() -> str:
        return "/" + draw(_paths).replace("..", "-")

    kernel = draw(st.booleans())
    return Description.model_validate(
        {
            "accel": draw(st.sampled_from(["kvm", "tcg"])),
            "cpu": {
                "model": draw(st.sampled_from(["max", "EPYC-Milan"])),
                "sockets": draw(st.integers(1, 4)),
                "cores": draw(st.integers(1, 32)),
                "threads": draw(st.integers(1, 2)),
            },
            "memory": {"size": draw(st.integers(32, 2**18)) * HUGEPAGE},
            "boot": {
                "firmware": draw(st.sampled_from(["uefi", "bios"])),
                "code": a_path(),
                "vars": a_path(),
                **({"kernel": a_path(), "initrd": a_path(), "arguments": draw(_paths)} if kernel else {}),
            },
            "disk": {"path": a_path(), "cache": draw(st.sampled_from(["none", "writethrough"]))},
            "serial": {"log": a_path()},
            "vsock": {"enabled": draw(st.booleans()), "cid": draw(st.integers(3, 2**32 - 2))},
            "devices": {name: draw(st.booleans()) for name in ("balloon", "rng", "watchdog", "tpm")},
        }
    )


@given(
    description=descriptions(),
    hugepages=st.booleans(),
    mac=st.none() | st.just(MAC),
    media=st.none() | _paths,
)
@settings(max_examples=60)
def test_libvirt_takes_the_xml_of_any_description(
    description: Description, hugepages: bool, mac: str | None, media: str | None
) -> None:
    text = make_xml(description, Start("5f3a", mac, hugepages, f"/{media}" if media else None))
    schema().assertValid(etree.fromstring(text.encode()))
    root = ElementTree.fromstring(text)
    source = root.find("devices/disk[1]/source")
    assert source is not None
    assert list(source.attrib.values()) == [description.disk.path]
    assert (root.findtext("os/cmdline") or "") == description.boot.arguments


# --- the machine ------------------------------------------------------------------------------------

ENOUGH = Resources(
    cpus=64,
    threads=2,
    has_topoext=True,
    memory=512 * GIB,
    available=500 * GIB,
    hugepages=0,
    free_hugepages=0,
    bridges=frozenset({"br6"}),
    missing={},
)


def problems(description: Description, **changes: Any) -> list[str]:
    return list(find_problems(description, replace(ENOUGH, **changes)))


def test_a_machine_that_has_all_has_no_problem() -> None:
    assert problems(Description()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cpus": 32}, "2 x 16 x 2 are 64 processors, and the machine has 32"),
        ({"threads": 1}, "cpu.threads is 2, and a core of this machine has 1"),
        ({"has_topoext": False}, "say cpu.topoext = false"),
        ({"memory": 256 * GIB}, "is to have 486 GiB of memory, and the machine has 256 GiB"),
        ({"bridges": frozenset({"virbr0"})}, "there is no bridge br6 (there are virbr0)"),
        ({"bridges": frozenset()}, "there is no bridge br6 (there is none)"),
        (
            {"missing": {"/dev/hostlvm/guestos": "does not exist"}},
            "/dev/hostlvm/guestos does not exist: mend disk.path",
        ),
        ({"missing": {"/dev/kvm": "does not exist"}}, "/dev/kvm does not exist: switch virtualization on"),
        ({"missing": {"/dev/vhost-vsock": "does not exist"}}, "'modprobe vhost_vsock'"),
        ({"missing": {"/usr/share/OVMF/OVMF_CODE_4M.fd": "does not exist"}}, "mend boot.code"),
    ],
)
def test_what_a_machine_lacks_is_said_with_the_remedy(changes: dict[str, Any], said: str) -> None:
    (problem,) = problems(Description(), **changes)
    assert said in problem


def test_all_that_a_machine_lacks_is_said_at_once() -> None:
    missing = dict.fromkeys(list_files(Description()), "does not exist")
    found = problems(Description(), cpus=4, memory=GIB, bridges=frozenset(), missing=missing)
    assert len(found) == 8


def test_huge_pages_are_taken_if_enough_are_free() -> None:
    pages = 486 * GIB // HUGEPAGE
    some = replace(ENOUGH, hugepages=pages, free_hugepages=pages)
    assert choose_hugepages(Description(), some) is True
    assert choose_hugepages(Description(), replace(some, free_hugepages=pages - 1)) is False
    assert choose_hugepages(parse('[memory]\nhugepages = "never"'), some) is False
    with pytest.raises(GuestUnfit, match=f"{pages} huge pages of 2 MiB are needed, and {pages - 1} are free"):
        choose_hugepages(parse('[memory]\nhugepages = "require"'), replace(some, free_hugepages=pages - 1))


def test_memory_that_is_taken_by_others_is_not_there() -> None:
    with pytest.raises(
        GuestUnfit, match="486 GiB of memory are needed, and 100 GiB are free beside 300 GiB in huge"
    ):
        choose_hugepages(
            Description(),
            replace(ENOUGH, available=100 * GIB, hugepages=150 * 1024, free_hugepages=150 * 1024),
        )


def test_the_machine_is_read_from_the_kernels_files(tmp_path: Path) -> None:
    files = {
        "sys/devices/system/cpu/online": "0-3,8-11\n",
        "sys/devices/system/cpu/cpu0/topology/thread_siblings_list": "0,8\n",
        "proc/cpuinfo": "processor : 0\nflags\t\t: fpu topoext svm\n",
        "proc/meminfo": "MemTotal:  1024 kB\nMemFree: 5 kB\nMemAvailable:   512 kB\nHugePages_Total:  7\n",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "7\n",
        "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "6\n",
        "sys/class/net/br6/bridge/bridge_id": "x\n",
        "sys/class/net/eth0/address": "x\n",
        "there": "",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert read_resources(["/there", "/not/there"], tmp_path) == Resources(
        8, 2, True, 1024 * 1024, 512 * 1024, 7, 6, frozenset({"br6"}), {"/not/there": "does not exist"}
    )


def test_on_a_machine_that_tells_nothing_nothing_is_there(tmp_path: Path) -> None:
    assert read_resources([], tmp_path) == Resources(0, 1, False, 0, 0, 0, 0, frozenset(), {})


# --- its medium, its console, its USB devices -------------------------------------------------------


def test_the_medium_holds_the_files_and_is_labelled_config(tmp_path: Path) -> None:
    folder, image = tmp_path / "files", tmp_path / "run/config.img"
    (folder / "ssh_authorized_keys").mkdir(parents=True)
    (folder / "network.conf").write_text("ipv6_prefix=2602:ffe4:801:17\n")
    (folder / "ssh_authorized_keys/admin").write_text("ssh-ed25519 AAAA\n" * 5000)
    make_media(image, read_folder(folder))
    assert image.stat().st_mode & 0o777 == 0o600
    assert "CONFIG" in run("mlabel", "-s", "-i", image, "::")
    assert run("mtype", "-i", image, "::network.conf") == "ipv6_prefix=2602:ffe4:801:17\n"
    assert run("mtype", "-i", image, "::ssh_authorized_keys/admin") == "ssh-ed25519 AAAA\n" * 5000
    make_media(image, {})
    assert run("mdir", "-b", "-i", image, "::").strip() == ""


def test_a_link_does_not_get_onto_the_medium(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to("/etc/shadow")
    with pytest.raises(BadGuest, match="key is not a file"):
        read_folder(tmp_path)
    assert read_folder(tmp_path / "missing") == {}


def feed(*pieces: bytes) -> Word | None:
    scanner = Scanner()
    for piece in pieces:
        scanner.feed(piece)
    return scanner.found


@given(st.binary(max_size=15), st.integers(0, 60), st.sampled_from(Word))
@settings(max_examples=40)
def test_a_word_is_found_however_it_is_cut(noise: bytes, cut: int, word: Word) -> None:
    data = noise + word.value + noise
    assert feed(data[:cut], data[cut:]) is word
    assert feed(*(data[at : at + 1] for at in range(len(data)))) is word


def test_the_first_word_counts() -> None:
    assert feed(b"GUESTOS BOOT FAILURE\nGUESTOS BOOT SUCCESS") is Word.FAILURE
    assert feed(b"GUESTOS BOOT SUCCES", b"") is None


@given(st.binary(max_size=400))
def test_lines_of_the_console_are_fit_for_a_terminal(data: bytes) -> None:
    for line in clean_lines(data, 10):
        assert line.isprintable()
        assert len(line) <= 200


def test_colours_and_what_was_overwritten_do_not_hide_a_line() -> None:
    data = b"\x1b[2J\x1b[1;31mfirst\x1b[0m\r\n10%\r20%\r\n\r\n\x1b]0;title\x07last\xff\r\n"
    assert clean_lines(data, 9) == ("first", "10%", "20%", "last\N{REPLACEMENT CHARACTER}")
    assert clean_lines(data, 1) == ("last\N{REPLACEMENT CHARACTER}",)


def test_the_log_is_followed_when_it_is_turned_over_and_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "logs/serial.log"
    log = SerialLog(path)
    log.begin()
    assert log.read() == b""
    path.write_bytes(b"one")
    assert (log.read(), log.read()) == (b"one", b"")
    with path.open("ab") as file:
        file.write(b"two")
    path.rename(path.with_name("serial.log.0"))  # as libvirt's log daemon does
    path.write_bytes(b"three")
    assert log.read() == b"twothree"
    path.write_bytes(b"x")
    assert log.read() == b"x"
    log.close()


def test_the_logs_of_the_last_starts_are_kept_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "serial.log"
    log = SerialLog(path)
    for number in range(6):
        log.begin()
        path.write_text(str(number))
    assert {item.name: item.read_text() for item in tmp_path.iterdir()} == {
        "serial.log": "5",
        "serial-1.log": "4",
        "serial-2.log": "3",
        "serial-3.log": "2",
    }


def test_a_guest_that_never_stops_talking_does_not_fill_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "serial.log"
    log = SerialLog(path)
    with path.open("ab", buffering=0) as guest:
        for _ in range(12):
            guest.write(b"x" * MIB)
            log.read()
        guest.write(b"the end")
    assert path.stat().st_size <= 8 * MIB
    assert log.read().endswith(b"the end")
    log.close()


def test_a_log_that_is_a_link_or_not_there_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root:secret")
    path = tmp_path / "serial.log"
    log = SerialLog(path)
    assert (log.read(), log.tail(100)) == (b"", b"")
    path.symlink_to(tmp_path / "secret")
    assert log.read() == b""
    log.close()


def test_a_log_that_cannot_be_put_aside_or_read_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("")
    log = SerialLog(tmp_path / "taken/serial.log")
    with pytest.raises(WriteFailed, match=r"serial\.log cannot be put aside: File exists"):
        log.begin()
    log = SerialLog(tmp_path)  # a folder opens, and cannot be read
    assert log.read() == b""
    assert f"{tmp_path} cannot be read: Is a directory" in caplog.text
    log.close()


def test_a_hold_that_cannot_be_taken_back_is_named(tmp_path: Path) -> None:
    (tmp_path / "run/abctl/guest-hold").mkdir(parents=True)
    with pytest.raises(WriteFailed, match="guest-hold cannot be removed: Is a directory"):
        release(tmp_path)


def test_the_first_device_of_a_kind_is_found_by_its_place(tmp_path: Path) -> None:
    def plug(name: str, vendor: str, product: str, bus: int, device: int) -> None:
        folder = tmp_path / "sys/bus/usb/devices" / name
        folder.mkdir(parents=True)
        for key, value in {"idVendor": vendor, "idProduct": product, "busnum": bus, "devnum": device}.items():
            (folder / key).write_text(f"{value}\n")

    plug("2-1", "20a0", "4230", 2, 3)
    plug("1-4", "20a0", "4230", 1, 9)
    plug("1-3", "1d6b", "0002", 1, 1)
    (tmp_path / "sys/bus/usb/devices/1-3:1.0").mkdir()
    assert find_usb(0x20A0, 0x4230, tmp_path) == UsbDevice(0x20A0, 0x4230, 1, 9)
    assert find_usb(0x20A0, 0x4231, tmp_path) is None


def test_a_usb_device_is_found_again_in_a_domain() -> None:
    device = make_usb_xml(UsbDevice(0x20A0, 0x4230, 1, 9))
    schema().assertValid(
        etree.fromstring(make_xml(Description(), START).replace("</devices>", f"{device}</devices>").encode())
    )
    domain = f"<domain><devices><hostdev type='usb'/>{device}</devices></domain>"
    assert find_usb_xml(domain, 0x20A0, 0x4230) == device
    assert find_usb_xml(domain, 0x20A0, 0x4231) is None
    assert find_usb_xml("<domain/>", 1, 2) is None
