"""What a host goes by, to the letter: addresses, names, the order of cards, and what GRUB says of a boot."""

from collections.abc import Callable

import pytest

from abctl.core.bootstate import Why
from abctl.core.command_line import GrubsWord, parse_command_line
from abctl.core.hostname import HostType, make_hostname, parse_node_id
from abctl.core.macs import (
    Family,
    Index,
    Mac,
    derive_mac,
    eui64_address,
    parse_deployment,
    parse_mac,
    parse_prefix,
)
from abctl.core.nics import Card, order_cards, parse_place
from abctl.core.slot import SlotName
from abctl.errors import BadIdentity
from tests.told import told

A, B = SlotName.A, SlotName.B
MAC = Mac("70:b5:e8:e8:25:de")


# --- addresses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "index", "mac"),
    [
        (Family.IPV4, Index.HOST, "4a:00:f8:87:a4:8a"),
        (Family.IPV6, Index.HOST, "6a:00:f8:87:a4:8a"),
        (Family.IPV6, Index.GUEST, "6a:01:f8:87:a4:8a"),
        (Family.IPV6, Index.BOUNDARY, "6a:02:f8:87:a4:8a"),
        (Family.IPV6, Index.UPGRADE_GUEST, "6a:03:f8:87:a4:8a"),
        (Family.IPV6, Index.SETUP, "6a:0f:f8:87:a4:8a"),
    ],
)
def test_each_machine_of_a_node_has_its_own_address(family: Family, index: Index, mac: str) -> None:
    assert derive_mac(MAC, "testnet", family, index) == mac


@pytest.mark.parametrize(
    ("mac", "address"),
    [
        ("6a:01:00:ec:bd:51", "2602:ffe4:801:17:6801:ff:feec:bd51"),
        ("68-01-00-EC-BD-51", "2602:ffe4:801:17:6a01:ff:feec:bd51"),
    ],
)
def test_an_ipv6_address_turns_one_bit_of_the_mac_over(mac: str, address: str) -> None:
    assert eui64_address("2602:ffe4:801:17", mac) == address


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("2602:ffe4:801:17", "2602:ffe4:801:17::/64"),
        (" 2602:ffe4:801:17::/64\n", "2602:ffe4:801:17::/64"),
        ("2602:FFE4:0801:0017::", "2602:ffe4:801:17::/64"),
        ("2602:ffe4:801:17/64", "2602:ffe4:801:17::/64"),
        ("fd00::", "fd00::/64"),
        ("2602:ffe4::", "2602:ffe4::/64"),
    ],
)
def test_a_prefix_is_understood_in_each_of_its_forms(text: str, prefix: str) -> None:
    assert parse_prefix(text) == prefix


NO_PREFIX = "is not an IPv6 prefix of 64 bits: give it as in 2602:ffe4:801:17::/64"
UNROUTED = "is a prefix that no host can be reached by: give one that is routed"
NO_MAC = "is not a MAC address: give six bytes, as in 70:b5:e8:e8:25:de"
NO_DEPLOYMENT = (
    "is not the name of a deployment: it has 1 to 64 letters, digits and ._-, and begins with a letter or "
    "digit"
)
NO_NODE_ID = (
    "is not a node-id: it has groups of small letters and digits with a dash between them, as in "
    "4wd4u-rgdfr, the first of 5 or more, and at most 63 characters"
)


@pytest.mark.parametrize(
    ("parse", "text", "said"),
    [
        (parse_mac, "70:b5:e8:e8:25", f"'70:b5:e8:e8:25' {NO_MAC}"),
        (parse_mac, "70:b5:e8:e8:25:de:00", f"'70:b5:e8:e8:25:de:00' {NO_MAC}"),
        (parse_mac, "x" * 41, f"'{'x' * 40}' {NO_MAC}"),
        (
            parse_mac,
            "01:00:5E:00:00:01",
            "01:00:5e:00:00:01 is the MAC address of a group of cards: give that of one card",
        ),
        (
            parse_mac,
            "00-00-00-00-00-00",
            "00:00:00:00:00:00 is the MAC address of no card: give that of the management interface",
        ),
        (parse_deployment, "", f"'' {NO_DEPLOYMENT}"),
        (parse_deployment, "-net", f"'-net' {NO_DEPLOYMENT}"),
        (parse_deployment, "x" * 66, f"'{'x' * 65}' {NO_DEPLOYMENT}"),
        (parse_prefix, "2602:ffe4:801", f"'2602:ffe4:801' {NO_PREFIX}"),
        (parse_prefix, "2602:ffe4:801:17::/48", f"'2602:ffe4:801:17::/48' {NO_PREFIX}"),
        (parse_prefix, "2602:ffe4:801:17::%eth0", f"'2602:ffe4:801:17::%eth0' {NO_PREFIX}"),
        (parse_prefix, "x" * 61, f"'{'x' * 60}' {NO_PREFIX}"),
        (parse_prefix, "ff02::", f"ff02::/64 {UNROUTED}"),
        (parse_prefix, "fe80::", f"fe80::/64 {UNROUTED}"),
        (parse_node_id, "4wd4", f"'4wd4' {NO_NODE_ID}"),
        (parse_node_id, "4wd4u-", f"'4wd4u-' {NO_NODE_ID}"),
        (parse_node_id, "x" * 65, f"'{'x' * 64}' {NO_NODE_ID}"),
    ],
)
def test_what_is_refused_is_repeated_as_far_as_it_tells_with_what_to_give(
    parse: Callable[[str], str], text: str, said: str
) -> None:
    assert told(BadIdentity, parse, text) == said


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_mac, "02:00:00:00:00:00"),
        (parse_mac, "00:00:00:00:00:01"),
        (parse_deployment, "x" * 64),
        (parse_deployment, "0a.b_c-"),
        (parse_node_id, "x" * 63),
        (parse_node_id, "4wd4u"),
        (parse_node_id, "4wd4u-r-x"),
    ],
)
def test_what_just_goes_is_taken_as_it_is(parse: Callable[[str], str], text: str) -> None:
    assert parse(text) == text


# --- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host_type", "node_id", "name"),
    [
        (HostType.HOST, None, "host-70b5e8e825de"),
        (HostType.REPLICA, "4wd4u-rgdfr", "replica-70b5e8e825de-4wd4u"),
        (HostType.BOUNDARY, "4wd", "boundary-70b5e8e825de-4wd"),
    ],
)
def test_a_host_is_called_by_its_type_its_mac_and_its_node_id(
    host_type: HostType, node_id: str | None, name: str
) -> None:
    assert make_hostname(host_type, MAC, node_id) == name


@pytest.mark.parametrize(
    ("mac", "node_id", "shown"),
    [
        (MAC, "4wd4-", "host-70b5e8e825de-4wd4-"),
        (MAC, "", "host-70b5e8e825de-"),
        ("x" * 60, None, f"host-{'x' * 59}"),
        ("x" * 59, None, f"host-{'x' * 59}"),
    ],
)
def test_what_no_host_can_be_called_is_refused(mac: str, node_id: str | None, shown: str) -> None:
    said = told(BadIdentity, make_hostname, HostType.HOST, Mac(mac), node_id)
    assert said == f"'{shown}' cannot be the name of a host (RFC 1123)"


def test_a_name_may_have_63_characters() -> None:
    assert make_hostname(HostType.HOST, Mac("x" * 58)) == "host-" + "x" * 58


# --- cards ------------------------------------------------------------------------------------------


def test_a_place_is_made_of_the_pci_addresses_on_the_way() -> None:
    path = "/sys/devices/pci0000:00/0000:00:1c.0/10000:0a:ff.7/net/eth0"
    assert parse_place(path) == ((0, 0, 28, 0), (65_536, 10, 255, 7))
    assert parse_place("/sys/devices/platform/000:00:1c.0/0000:00:1c.8") == ()


def card(name: str, path: str, port: int = 0) -> Card:
    return Card(name, MAC, f"/sys/devices/{path}", port)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (card("z", "0000:00:1c.0"), card("a", "0000:00:1d.0")),
        (card("z", "0000:09:00.0"), card("a", "0000:0a:00.0")),
        (card("z", "0000:00:1c.0", 1), card("a", "0000:00:1c.0", 2)),
        (card("a", "0000:00:1c.0", 1), card("z", "0000:00:1c.0", 1)),
        (card("z", "0000:00:1c.0"), card("a", "0000:00:1c.0/0000:01:00.0")),
        (card("z", "0000:ff:1c.0", 9), card("a", "platform/soc")),
        (card("z", "platform/soc"), card("a", "0000:00:1c.0/usb1/1-1")),
        (card("z", "0000:ff:1c.0/usb1/1-1"), card("a", "platform/usb1/1-1")),
    ],
)
def test_of_two_cards_this_one_is_first(first: Card, second: Card) -> None:
    assert order_cards([second, first]) == order_cards([first, second]) == (first, second)


# --- GRUB's word ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", GrubsWord()),
        (
            "BOOT_IMAGE=/vmlinuz dfinity.system=B abctl.why=trial abctl.generation=17 abctl.attempts=2\n",
            GrubsWord(B, Why.TRIAL, None, 17, 2),
        ),
        (
            "dfinity.system=A abctl.why=no_kernel abctl.passed_over=B abctl.generation=0 abctl.attempts=0",
            GrubsWord(A, Why.NO_KERNEL, B, 0, 0),
        ),
        # GRUB found no copy whole, and says so by saying nothing.
        ("abctl.generation= abctl.attempts= abctl.passed_over=", GrubsWord(generation=0)),
        ("abctl.attempts=3 abctl.generation=-1 abctl.why=moon dfinity.system=C", GrubsWord()),
        ("abctl.generation=1x abctl.attempts=02", GrubsWord()),
        ("abctl.generation=X1", GrubsWord()),
        ("abctl.why abctl.generation", GrubsWord(generation=0)),
        ("xabctl.generation=5 dfinity.system=A=B", GrubsWord()),
        # What is said twice counts as it is said last.
        ("dfinity.system=A dfinity.system=B", GrubsWord(B)),
    ],
)
def test_what_grub_said_is_read_from_the_command_line(text: str, word: GrubsWord) -> None:
    assert parse_command_line(text) == word
