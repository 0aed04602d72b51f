"""What an admin writes of the guest, and what it says itself: its console, its boot state."""

from dataclasses import replace
from xml.etree import ElementTree

from hypothesis import strategies as st

from abctl.cli.guest_disk import look_at
from abctl.core.bootenv import BootEnv, EnvFiles, encode, encode_older
from abctl.core.bootstate import BLOCK_SIZE, OLDER_BLOCK_SIZE, SlotSet, SlotState, Trial
from abctl.core.envblock import make_block
from abctl.core.guest_state import GuestState, Phase, decode
from abctl.core.guest_state import encode as encode_state
from abctl.core.slot import SlotName
from abctl.core.units import Seconds, Version
from abctl.host.data import find_data
from abctl.vm.description import parse_description
from abctl.vm.domain import Start, make_xml
from abctl.vm.serial import Scanner, clean_lines
from tests.fuzz.edits import changed_json
from tests.fuzz.target import Target


def _descriptions() -> list[bytes]:
    shipped = find_data("layout/guest/guest.toml").read_bytes()
    return [shipped, b'accel = "tcg"\n[cpu]\nmodel = "max"\nsockets = 1\n[boot]\nkernel = "/vmlinuz"\n', b""]


def _check_description(data: bytes) -> None:
    description = parse_description(data.decode("utf-8", "surrogateescape"), "guest.toml")
    text = make_xml(description, Start("run", "6a:01:00:ec:bd:51", hugepages=True, media="/run/x"))
    root = ElementTree.fromstring(text)
    source = root.find("devices/disk/source")
    assert source is not None
    assert description.disk.path in source.attrib.values()
    assert root.findtext("name") == description.name


def _boot_states() -> list[bytes]:
    env = BootEnv(
        SlotName.A,
        Trial(SlotName.B, 2),
        {
            SlotName.A: SlotSet(SlotState.GOOD, Version("1.0.0")),
            SlotName.B: SlotSet(SlotState.UNTESTED, Version("2.0.0")),
        },
        generation=17,
    )
    first, second = encode(env), encode(replace(env, generation=16))
    older = [
        make_block({"boot_alternative": slot_set, "boot_cycle": cycle}, OLDER_BLOCK_SIZE)
        for slot_set in "AB"
        for cycle in ("install", "stable", "first_boot", "failsafe_check")
    ]
    own = [first + second + encode_older(env), first + bytes(BLOCK_SIZE) + older[0]]
    return own + [bytes(2 * BLOCK_SIZE) + block for block in older]


def _check_boot_state(data: bytes) -> None:
    first, second = data[:BLOCK_SIZE], data[BLOCK_SIZE : 2 * BLOCK_SIZE]
    older = data[2 * BLOCK_SIZE : 2 * BLOCK_SIZE + OLDER_BLOCK_SIZE]
    booting = look_at(EnvFiles(first or None, second or None, older or None), lambda _: None)
    if booting is not None:
        state = GuestState(
            Seconds(1),
            1.0,
            Phase.READY,
            "it runs",
            slot_set=booting.slot_set,
            version=booting.version,
            generation=booting.generation,
        )
        assert decode(encode_state(state)) == state


def _states() -> list[bytes]:
    state = GuestState(Seconds(5), 7.5, Phase.READY, "it said that it is healthy", "run", Seconds(4), 0)
    return [
        encode_state(state),
        encode_state(replace(state, slot_set=SlotName.B, version="2.0.0", on_trial=True, generation=7)),
    ]


@st.composite
def _made_state(draw: st.DrawFn) -> bytes:
    return draw(changed_json(_states()[1]))


def _check_state(data: bytes) -> None:
    state = decode(data)
    if state is not None:
        assert state.why.isprintable()
        assert decode(encode_state(state)) == state


def _check_console(data: bytes) -> None:
    scanner = Scanner()
    for at in range(0, len(data), 7):
        scanner.feed(data[at : at + 7])
    whole = Scanner()
    assert whole.feed(data) is scanner.found
    assert all(line.isprintable() and len(line) <= 200 for line in clean_lines(data, 20))


TARGETS = (
    Target("guest", _descriptions, _check_description),
    Target("guest-boot-state", _boot_states, _check_boot_state),
    Target("guest-state", _states, _check_state, _made_state()),
    Target("guest-console", lambda: [b"\x1b[2Jboot\r\nGUESTOS BOOT SUCCESS\r\n"], _check_console),
)
