"""What a host goes by: MAC and IPv6 addresses, names, the management MAC, and files of systemd-networkd."""

import configparser
import ipaddress
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abctl.cli.identity_host import calculate_identity
from abctl.core.hostname import HostType, make_hostname, parse_node_id
from abctl.core.macs import Family, Index, Mac, derive_mac, eui64_address, parse_mac, parse_prefix
from abctl.core.nics import Card, order_cards
from abctl.core.settings import Settings
from abctl.errors import BadIdentity, ToolFailed
from abctl.host.ipmi import parse_lan, read_controller_mac
from abctl.host.network_files import write_network_files
from abctl.host.nics import list_cards
from abctl.identity.identity import make_identity
from abctl.identity.management import Management, Source, find_management
from abctl.identity.networkd import PREFIX, make_network_files
from tests.test_cli import ABCTL, Said, run

MGMT = Mac("3c:ec:ef:6b:37:99")
CARD = Mac("52:54:00:00:00:01")
MACS = st.binary(min_size=6, max_size=6).map(lambda raw: bytes((raw[0] & 0xFE, *raw[1:])).hex(":"))
DEPLOYMENTS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)


def abctl(*arguments: str) -> Said:
    return run(ABCTL, *arguments)


# --- MAC and IPv6 addresses -------------------------------------------------------------------------


def test_the_mac_addresses_are_those_of_the_published_vectors() -> None:
    assert derive_mac("70:b5:e8:e8:25:de", "testnet", Family.IPV4, Index.HOST) == "4a:00:f8:87:a4:8a"
    assert derive_mac("b0:7b:25:c8:f6:c0", "mainnet", Family.IPV6, Index.GUEST) == "6a:01:00:ec:bd:51"


@pytest.mark.parametrize("prefix", ["2602:ffe4:801:17", "2602:ffe4:801:17::", "2602:FFE4:0801:0017::/64"])
def test_the_ipv6_address_is_that_of_the_published_vector(prefix: str) -> None:
    assert eui64_address(prefix, "6a:01:00:ec:bd:51") == "2602:ffe4:801:17:6801:ff:feec:bd51"


def test_a_mac_is_the_same_however_it_is_written() -> None:
    expected = derive_mac("70:b5:e8:e8:25:de", "testnet", Family.IPV4, Index.HOST)
    for text in ("70:B5:E8:E8:25:DE", "70-b5-e8-e8-25-de", " 70:b5:e8:e8:25:de\n"):
        assert derive_mac(text, "testnet", Family.IPV4, Index.HOST) == expected


@settings(max_examples=30)
@given(MACS, DEPLOYMENTS)
def test_the_macs_of_a_node_differ_and_are_local_addresses_of_one_card(mac: str, deployment: str) -> None:
    if not int(mac.replace(":", ""), 16):
        return
    found = [derive_mac(mac, deployment, family, index) for family in Family for index in Index]
    assert len(set(found)) == 10
    assert all(parse_mac(item) == item and int(item[:2], 16) & 3 == 2 for item in found)


@settings(max_examples=30)
@given(
    MACS.filter(lambda mac: int(mac.replace(":", ""), 16) != 0), st.integers(0x2000 << 48, (0x4000 << 48) - 1)
)
def test_an_address_is_in_its_prefix_and_gives_the_mac_back(mac: str, prefix: int) -> None:
    network = ipaddress.IPv6Network((prefix << 64, 64))
    address = ipaddress.IPv6Address(eui64_address(str(network), mac))
    assert address in network
    half = address.packed[8:]
    assert half[3:5] == b"\xff\xfe"
    assert bytes((half[0] ^ 2, *half[1:3], *half[5:])).hex(":") == mac


@pytest.mark.parametrize(
    ("parse", "text", "said"),
    [
        (parse_mac, "70:b5:e8:e8:25", "is not a MAC address: give six bytes, as in 70:b5:e8:e8:25:de"),
        (parse_mac, "70:b5:e8:e8:25:de\n70:b5:e8:e8:25:de", "is not a MAC address"),
        (parse_mac, "70:b5:e8:e8:25:dé", "is not a MAC address"),
        (parse_mac, "01:00:5e:00:00:01", "is the MAC address of a group of cards"),
        (parse_mac, "00:00:00:00:00:00", "is the MAC address of no card"),
        (parse_prefix, "2602:ffe4:801:17::/48", "is not an IPv6 prefix of 64 bits"),
        (parse_prefix, "2602:ffe4:801", "is not an IPv6 prefix of 64 bits"),
        (parse_prefix, "2602:ffe4:801:17:1::/64", "is not an IPv6 prefix of 64 bits"),
        (parse_prefix, "2602:ffe4:801:17::%eth0", "is not an IPv6 prefix of 64 bits"),
        (parse_prefix, "10.0.0.0/8", "is not an IPv6 prefix of 64 bits"),
        (parse_prefix, "ff02::/64", "is a prefix that no host can be reached by"),
        (parse_prefix, "fe80::/64", "is a prefix that no host can be reached by"),
        (parse_prefix, "::/64", "is a prefix that no host can be reached by"),
        (parse_node_id, "4wd", "is not a node-id"),
        (parse_node_id, "4WD4U-rgdfr", "is not a node-id"),
        (parse_node_id, "4wd4u-\nreboot", "is not a node-id"),
        (parse_node_id, "4wd4u.evil", "is not a node-id"),
        (parse_node_id, "../..", "is not a node-id"),
        (parse_node_id, "4wd4u" + "-aaaaa" * 12, "at most 63 characters"),
        (parse_node_id, "", "is not a node-id"),
    ],
)
def test_what_is_no_address_or_id_is_refused_in_a_sentence(
    parse: Callable[[str], str], text: str, said: str
) -> None:
    with pytest.raises(BadIdentity, match=re.escape(said)) as caught:
        parse(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("deployment", ["", "main\nnet", "main net", "-x", "a" * 65, "maïnnet"])
def test_what_is_no_deployment_is_never_hashed(deployment: str) -> None:
    with pytest.raises(BadIdentity, match="is not the name of a deployment"):
        derive_mac(MGMT, deployment, Family.IPV4, Index.HOST)


# --- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host_type", HostType)
def test_a_name_is_type_and_mac_and_the_start_of_the_node_id(host_type: HostType) -> None:
    assert make_hostname(host_type, MGMT) == f"{host_type}-3cecef6b3799"
    assert make_hostname(host_type, MGMT, "4wd4u-rgdfr-xyz") == f"{host_type}-3cecef6b3799-4wd4u"


@given(st.sampled_from(HostType), MACS, st.none() | st.text(max_size=80))
def test_whatever_the_node_id_a_name_is_a_label_of_rfc_1123(
    host_type: HostType, mac: str, node_id: str | None
) -> None:
    try:
        name = make_hostname(host_type, parse_mac(mac), node_id and parse_node_id(node_id))
    except BadIdentity:
        return
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name)


# --- the management MAC -----------------------------------------------------------------------------


def card(name: str, path: str, mac: str = "52:54:00:00:00:01", port: int = 0, *, own: bool = True) -> Card:
    return Card(name, Mac(mac), f"/sys/devices/{path}", port, own)


def test_the_first_card_is_the_lowest_on_pci_whatever_the_names() -> None:
    first = card("zz", "pci0000:00/0000:00:1c.0/0000:03:00.0", port=0)
    second = card("aa", "pci0000:00/0000:00:1c.0/0000:03:00.0", port=1)
    third = card("eth0", "pci0000:00/0000:00:1c.0/0000:03:00.1")
    far = card("eth1", "pci0000:80/0000:80:01.0/0000:81:00.0/virtio3")
    soc = card("end0", "platform/soc/ethernet")
    bmc = card("enx0", "pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0")
    assert order_cards([bmc, soc, far, third, second, first]) == (first, second, third, far, soc, bmc)


def add_card(root: Path, name: str, place: str, mac: str, **files: str) -> None:
    """Add a card to a /sys made of files."""
    device = root / "sys/devices" / place
    folder = device / "net" / name
    folder.mkdir(parents=True)
    for file, text in {"address": mac, "type": "1", "addr_assign_type": "0", **files}.items():
        (folder / file).write_text(f"{text}\n")
    if not place.startswith("virtual"):
        (folder / "device").symlink_to(device)
    links = root / "sys/class/net"
    links.mkdir(parents=True, exist_ok=True)
    (links / name).symlink_to(folder)


def test_only_physical_ethernet_cards_count(tmp_path: Path) -> None:
    add_card(tmp_path, "lo", "virtual", "00:00:00:00:00:00", type="772")
    add_card(tmp_path, "br6", "virtual/a", "52:54:00:00:00:0a", bridge="")
    add_card(tmp_path, "vnet0", "virtual/b", "52:54:00:00:00:0b")
    add_card(tmp_path, "wlan0", "pci0000:00/0000:01:00.0", "52:54:00:00:00:0c", phy80211="")
    add_card(tmp_path, "vf0", "pci0000:00/0000:02:00.2", "52:54:00:00:00:0d")
    (tmp_path / "sys/devices/pci0000:00/0000:02:00.2/physfn").mkdir()
    add_card(tmp_path, "ib0", "pci0000:00/0000:02:00.3", "52:54:00:00:00:0e", type="32")
    add_card(tmp_path, "broken", "pci0000:00/0000:02:00.4", "nonsense")
    add_card(tmp_path, "eth1", "pci0000:00/0000:04:00.0", "52:54:00:00:00:02", dev_port="0")
    add_card(tmp_path, "eth0", "pci0000:00/0000:03:00.0", "52:54:00:00:00:01", addr_assign_type="3")
    assert [(found.name, found.mac, found.is_own) for found in list_cards(tmp_path)] == [
        ("eth0", "52:54:00:00:00:01", False),
        ("eth1", "52:54:00:00:00:02", True),
    ]
    assert list_cards(tmp_path / "nowhere") == ()


LAN = """\
Set in Progress         : Set Complete
IP Address Source       : DHCP Address
IP Address              : 10.10.1.17
MAC Address             : 3c:ec:ef:6b:37:99
802.1q VLAN ID          : Disabled
"""


def test_the_management_controller_s_address_is_read_from_its_tool() -> None:
    assert parse_lan(LAN) == MGMT
    assert parse_lan(LAN.replace("3c:ec:ef:6b:37:99", "00:00:00:00:00:00")) is None
    assert parse_lan("Invalid channel: 1\n") is None
    assert read_controller_mac(lambda *_, **__: LAN, has_tool=True) == MGMT
    with pytest.raises(ToolFailed, match="names no MAC address"):
        read_controller_mac(lambda *_, **__: "", has_tool=True)


def test_what_an_admin_says_comes_before_what_is_kept_and_that_before_the_hardware() -> None:
    first = card("eth0", "pci0000:00/0000:03:00.0")

    def find(settings: Settings, ipmi: Mac | None = None) -> Management:
        return find_management(settings, ask_ipmi=lambda: ipmi, list_cards=lambda: [first])

    said, kept, ipmi = Mac("3c:00:00:00:00:01"), Mac("3c:00:00:00:00:02"), Mac("3c:00:00:00:00:03")
    assert find(Settings(management_mac=said, found_mac=kept), ipmi) == Management(said, Source.SETTINGS)
    assert find(Settings(found_mac=kept), ipmi) == Management(kept, Source.KEPT)
    assert find(Settings(), ipmi) == Management(ipmi, Source.IPMI, may_keep=True)
    assert find(Settings()) == Management(first.mac, Source.CARD, "eth0", may_keep=True)


def test_a_controller_that_does_not_answer_must_not_give_a_host_another_name_for_ever() -> None:
    def fail() -> Mac | None:
        raise ToolFailed("ipmitool failed with exit code 1: Could not open device at /dev/ipmi0")

    first = card("eth0", "pci0000:00/0000:03:00.0")
    found = find_management(Settings(), ask_ipmi=fail, list_cards=lambda: [first])
    assert (found.mac, found.may_keep) == (first.mac, False)
    assert found.warnings[0].startswith("the management controller did not tell its MAC address: ipmitool")


def test_a_host_without_any_card_says_what_to_do() -> None:
    found = find_management(Settings(), ask_ipmi=lambda: None, list_cards=lambda: [])
    assert found.mac is None
    assert found.warnings == (
        "no physical network card was found, so there is no management MAC: name one with "
        "'abctl identity set management_mac=MAC'",
    )


# --- systemd-networkd -------------------------------------------------------------------------------

# Sections and settings of systemd.netdev(5) and systemd.network(5) of systemd 252 that abctl uses.
KNOWN = {
    "netdev": {
        "NetDev": {"Name", "Kind", "MACAddress"},
        "Bridge": {"STP", "ForwardDelaySec"},
    },
    "network": {
        "Match": {"Name", "PermanentMACAddress", "Type"},
        "Network": {
            *("LinkLocalAddressing", "IPv6LinkLocalAddressGenerationMode", "IPv6PrivacyExtensions"),
            *("ConfigureWithoutCarrier", "IPv6AcceptRA", "Address", "Gateway", "Bridge"),
        },
        "IPv6AcceptRA": {"UseAutonomousPrefix"},
    },
}


def files_for(settings: Settings, uplink: Mac | None = CARD) -> dict[str, str]:
    host = make_identity(settings, Management(MGMT, Source.SETTINGS)).find(Index.HOST)
    assert host
    return make_network_files(host, settings.ipv6_gateway, uplink)


def read_unit(text: str) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


@pytest.mark.parametrize("prefix", [None, "2602:ffe4:801:17::/64"])
@pytest.mark.parametrize("gateway", [None, "fe80::1"])
@pytest.mark.parametrize("uplink", [None, Mac("52:54:00:00:00:01")])
def test_network_files_hold_only_sections_and_settings_that_systemd_knows(
    prefix: str | None, gateway: str | None, uplink: Mac | None
) -> None:
    settings = Settings(
        deployment="mainnet", ipv6_prefix=parse_prefix(prefix) if prefix else None, ipv6_gateway=gateway
    )
    files = files_for(settings, uplink)
    assert len(files) == (3 if uplink else 2)
    for name, text in files.items():
        kind = name.rpartition(".")[2]
        for section, values in read_unit(text).items():
            assert set(values) <= KNOWN[kind][section], name


def test_the_bridge_has_the_host_s_mac_and_address_and_the_card_goes_into_it() -> None:
    settings = Settings(
        deployment="mainnet", ipv6_prefix=parse_prefix("2602:ffe4:801:17"), ipv6_gateway="fe80::1"
    )
    files = {name: read_unit(text) for name, text in files_for(settings).items()}
    mac = derive_mac(MGMT, "mainnet", Family.IPV6, Index.HOST)
    assert files["70-abctl-bridge.netdev"]["NetDev"] == {"Name": "br6", "Kind": "bridge", "MACAddress": mac}
    network = files["70-abctl-bridge.network"]["Network"]
    assert network["Address"] == f"{eui64_address('2602:ffe4:801:17', mac)}/64"
    assert (network["Gateway"], network["IPv6AcceptRA"]) == ("fe80::1", "no")
    assert files["70-abctl-card.network"]["Match"]["PermanentMACAddress"] == "52:54:00:00:00:01"
    assert files["70-abctl-card.network"]["Network"]["Bridge"] == "br6"


def test_network_files_change_only_where_they_must_and_old_ones_go(tmp_path: Path) -> None:
    files = files_for(Settings(deployment="mainnet"))
    foreign = tmp_path / "run/systemd/network/10-lab.network"
    assert write_network_files(files, PREFIX, tmp_path) == tuple(files)
    foreign.write_text("[Match]\nName=eth0\n")
    assert write_network_files(files, PREFIX, tmp_path) == ()
    del files["70-abctl-card.network"]
    assert write_network_files(files, PREFIX, tmp_path) == ("70-abctl-card.network",)
    assert write_network_files({}, PREFIX, tmp_path) == tuple(sorted(files))
    assert [path.name for path in foreign.parent.iterdir()] == ["10-lab.network"]


# --- the command ------------------------------------------------------------------------------------


def test_show_calculates_for_any_host_on_any_machine() -> None:
    said = abctl("identity", "show", "--mgmt-mac", "70:B5:E8:E8:25:DE", "--deployment", "testnet", "--json")
    report = said.json("identity")
    assert (said.code, report["hostname"], report["warnings"]) == (0, "host-70b5e8e825de", [])
    assert report["machines"][0] == {
        "name": "host",
        "index": 0,
        "mac_ipv4": "4a:00:f8:87:a4:8a",
        "mac_ipv6": "6a:00:f8:87:a4:8a",
        "ipv6": None,
    }
    assert [item["index"] for item in report["machines"]] == [0, 1, 2, 3, 15]


def test_show_fits_into_80_columns_with_the_longest_values() -> None:
    options = "--prefix 2602:ffe4:8801:1117::/64 --node-id 4wd4u-rgdfr --type boundary --deployment"
    said = abctl("identity", "show", "--mgmt-mac", "70:b5:e8:e8:25:de", *options.split(), "d" * 64)
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= 80
    assert "boundary-70b5e8e825de-4wd4u" in said.out
    assert "2602:ffe4:8801:1117:68" in said.out


@pytest.mark.parametrize(
    ("mac", "values", "sentence"),
    [
        ("x", {}, "'x' is not a MAC address: give six bytes, as in 70:b5:e8:e8:25:de"),
        (
            MGMT,
            {"deployment": "main\nnet"},
            "deployment: 'main\\nnet' is not the name of a deployment: it has 1 to 64 letters, digits and "
            "._-, and begins with a letter or digit",
        ),
        (
            MGMT,
            {"node_id": "$(reboot)", "ipv6_prefix": "::/0"},
            "ipv6_prefix: '::/0' is not an IPv6 prefix of 64 bits: give it as in 2602:ffe4:801:17::/64; "
            "node_id: '$(reboot)' is not a node-id: it has groups of small letters and digits with a dash "
            "between them, as in 4wd4u-rgdfr, the first of 5 or more, and at most 63 characters",
        ),
    ],
)
def test_all_that_is_wrong_is_told_at_once(mac: str, values: dict[str, str | None], sentence: str) -> None:
    with pytest.raises(BadIdentity) as caught:
        calculate_identity(mac, values)
    assert str(caught.value) == sentence


def test_a_wrong_option_is_one_sentence_with_a_code_of_its_own() -> None:
    said = abctl("identity", "show", "--mgmt-mac", "01:00:5e:00:00:01")
    assert (said.code, said.out) == (66, "")
    assert said.err == (
        "abctl: error: 01:00:5e:00:00:01 is the MAC address of a group of cards: give that of one card\n"
    )


def test_options_of_another_host_are_no_settings_of_this_one() -> None:
    said = abctl("identity", "show", "--deployment", "mainnet")
    assert said.code == 2
    assert "go with --mgmt-mac" in said.err


def test_without_a_config_volume_nothing_can_be_kept_and_abctl_says_so() -> None:
    said = abctl("identity", "set", "deployment=mainnet")
    assert said.code == 50
    assert said.err == (
        "abctl: error: the config volume is not mounted on /boot/config, so nothing can be kept: mount it\n"
    )


def test_each_setting_is_explained() -> None:
    schema = json.loads((Path(__file__).parents[1] / "schemas/settings.schema.json").read_text())
    page = (Path(__file__).parents[1] / "docs/identity.md").read_text()
    assert [name for name in schema["properties"] if f"| `{name}` |" not in page] == []
