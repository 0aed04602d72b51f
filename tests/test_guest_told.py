"""How the guest stands: the file that others read, the sentence of its health check, its tag, its devices."""

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from abctl.core.guest import Tag, UsbDevice, find_usb_xml, make_tag, make_usb_xml, parse_tag
from abctl.core.guest_state import GuestState, Phase, decode, encode, judge_guest
from abctl.core.health import Verdict
from abctl.core.slot import SlotName
from abctl.core.space import Foreign, is_short, say_shortage
from abctl.core.units import Seconds

READY = GuestState(
    at=Seconds(1_800_000_000),
    beat=100.5,
    phase=Phase.READY,
    why="it said so",
    run="5f3a",
    since=Seconds(1_799_999_000),
    failed=2,
    slot_set=SlotName.B,
    version="2.0.0",
    on_trial=True,
    generation=9,
)
FILE = b"""{
 "at": 1800000000,
 "beat": 100.5,
 "phase": "ready",
 "why": "it said so",
 "run": "5f3a",
 "since": 1799999000,
 "failed": 2,
 "slot_set": "B",
 "version": "2.0.0",
 "on_trial": true,
 "generation": 9
}
"""
BARE = GuestState(Seconds(0), 1.0, Phase.HELD, "an admin")


# --- the file ---------------------------------------------------------------------------------------


def test_the_state_of_the_guest_is_this_file() -> None:
    assert encode(READY) == FILE
    assert decode(FILE) == READY


def test_what_is_not_known_of_the_guest_is_null() -> None:
    assert (BARE.run, BARE.since, BARE.failed, BARE.slot_set) == (None, None, 0, None)
    assert (BARE.version, BARE.on_trial, BARE.generation) == (None, False, None)
    assert decode(encode(BARE)) == BARE
    whole_second = FILE.replace(b"100.5", b"100")
    assert decode(whole_second) == replace(READY, beat=100.0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"1800000000", b"1800000000.0"),
        (b"1800000000", b"-1"),
        (b"100.5", b"true"),
        (b"100.5", b"-0.5"),
        (b'"ready"', b"null"),
        (b'"it said so"', b"null"),
        (b'"5f3a"', b'""' + b"7"),
        (b'"5f3a"', b'"\\u202e"'),
        (b"1799999000", b"1.5"),
        (b"2,", b'"2",'),
        (b"2,", b"-2,"),
        (b'"B"', b'"b"'),
        (b'"2.0.0"', b'["2.0.0"]'),
        (b"true", b"1"),
        (b": 9", b": 9.0"),
        (b"}", b"]"),
    ],
)
def test_a_file_with_something_else_in_a_field_is_none(old: bytes, new: bytes) -> None:
    assert old in FILE
    assert decode(FILE.replace(old, new)) is None


@pytest.mark.parametrize("field", ["run", "version"])
def test_a_text_has_400_characters_at_the_most(field: str) -> None:
    fits: dict[str, Any] = {field: "x" * 400}
    long: dict[str, Any] = {field: "x" * 401}
    assert decode(encode(replace(READY, **fits))) == replace(READY, **fits)
    assert decode(encode(replace(READY, **long))) is None


def test_the_reason_is_one_clean_line_of_400_characters() -> None:
    assert replace(BARE, why=" it\n fell \t over\x1b ").why == "it fell over?"
    assert replace(BARE, why="x" * 401).why == "x" * 400


# --- the health check -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "since_boot", "verdict", "said"),
    [
        (None, 5.0, Verdict.FAILED, "nothing watches over the guest: see 'systemctl status abctl-guest'"),
        (READY, 190.5, Verdict.PASSED, "the guest reports that it is healthy, in slot set B"),
        (
            READY,
            191.5,
            Verdict.FAILED,
            "nothing has watched over the guest for 91 s: see 'systemctl status abctl-guest'",
        ),
        (replace(READY, slot_set=None), 101.0, Verdict.PASSED, "the guest reports that it is healthy"),
        (BARE, 2.0, Verdict.PASSED, "the guest does not run: an admin"),
        (
            replace(READY, phase=Phase.STOPPED),
            103.5,
            Verdict.FAILED,
            "nothing has watched over the guest for 3 s: see 'systemctl status abctl-guest'",
        ),
        *(
            (replace(READY, phase=phase), 101.0, Verdict.FAILED, "the guest is not healthy: it said so")
            for phase in (
                Phase.STARTING,
                Phase.NOT_READY,
                Phase.PAUSED,
                Phase.STOPPING,
                Phase.WAITING,
                Phase.UNKNOWN,
            )
        ),
    ],
)
def test_the_health_check_of_the_guest_says_how_it_stands(
    state: GuestState | None, since_boot: float, verdict: Verdict, said: str
) -> None:
    result = judge_guest(state, since_boot=since_boot)
    assert (result.name, result.required, result.verdict, result.text) == ("guest-ready", True, verdict, said)


# --- in libvirt's XML -------------------------------------------------------------------------------


def test_a_tag_is_this_element_and_is_read_with_and_without_its_namespace() -> None:
    element = make_tag(Tag("5f3a", "c0ffee"))
    assert element.tag == "{urn:abctl:guest:1}guest"
    assert element.attrib == {"run": "5f3a", "description": "c0ffee"}
    text = ElementTree.tostring(element, encoding="unicode")
    assert parse_tag(text) == Tag("5f3a", "c0ffee")
    assert parse_tag('<guest run="5f3a" description="c0ffee"/>') == Tag("5f3a", "c0ffee")


@pytest.mark.parametrize(("length", "tag"), [(4_096, Tag("1", "2")), (4_097, None)])
def test_a_tag_of_any_length_is_not_looked_at(length: int, tag: Tag | None) -> None:
    assert parse_tag('<guest run="1" description="2"/>'.ljust(length)) == tag


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<guest",
        '<guest run="1"/>',
        '<guest description="2"/>',
        '<guest run="" description="2"/>',
        '<guest run="1" description=""/>',
        '<host run="1" description="2"/>',
        '<!DOCTYPE guest><guest run="1" description="2"/>',
        '<guest run="1" description="2"/><!-- -->',
    ],
)
def test_what_abctl_did_not_write_is_no_tag(text: str) -> None:
    assert parse_tag(text) is None


def usb(vendor: str, product: str, kind: str = "usb") -> str:
    ids = f'<vendor id="{vendor}" /><product id="{product}" />'
    return f'<hostdev type="{kind}"><source>{ids}</source></hostdev>'


def test_a_usb_device_is_attached_by_what_it_is_and_where_it_is() -> None:
    assert make_usb_xml(UsbDevice(0x20A0, 0x42, 1, 13)) == (
        '<hostdev mode="subsystem" type="usb" managed="yes"><source><vendor id="0x20a0" />'
        '<product id="0x0042" /><address bus="1" device="13" /></source></hostdev>'
    )


def test_a_usb_device_is_found_among_others_by_what_it_is() -> None:
    others = usb("0x20a0", "0x1", "pci") + usb("0x1", "0x20a0") + "<hostdev type='usb'><source/></hostdev>"
    no_id = '<hostdev type="usb"><source><vendor /><product id="0x1" /></source></hostdev>'
    domain = f"<domain><devices>{others}{no_id}{usb('0x20a0', '0x1')}</devices></domain>"
    assert find_usb_xml(domain, 0x20A0, 1) == usb("0x20a0", "0x1")
    assert find_usb_xml(domain, 0, 1) == no_id
    assert find_usb_xml(domain, 0x20A0, 2) is None
    assert find_usb_xml(f"<domain>{usb('0x20a0', '0x1')}</domain>", 0x20A0, 1) is None


# --- the config volume ------------------------------------------------------------------------------


class Volume:
    """What statvfs(3) says of a volume with so many blocks of 1 KiB, and of them so many free."""

    f_frsize = 1_024

    def __init__(self, free: int, blocks: int = 16_384) -> None:
        self.f_bavail = free
        self.f_blocks = blocks


@pytest.mark.parametrize(
    ("free", "blocks", "short"),
    [(0, 20, True), (1, 20, False), (819, 16_384, True), (820, 16_384, False), (16_384, 16_384, False)],
)
def test_a_config_volume_is_full_where_less_than_a_twentieth_is_free(
    free: int, blocks: int, short: bool
) -> None:
    assert is_short(Volume(free, blocks)) is short


def test_a_full_config_volume_is_told_with_what_takes_its_room() -> None:
    said = "the config volume is full: 10 KiB of 16 MiB are free; remove what is not abctl's from it"
    assert say_shortage(Volume(10)) == said
    assert say_shortage(Volume(10), Foreign("/core", 12 * 1_048_576)) == f"{said}; /core takes 12 MiB of it"
