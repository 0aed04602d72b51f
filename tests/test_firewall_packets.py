"""The rules in a real kernel, met by real packets: what it decides is what ``explain`` says.

Each test has a host and a world in network namespaces of their own, joined by a cable.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abctl.firewall.decide import decide
from abctl.firewall.drift import find_drift
from abctl.firewall.form import parse_policy
from abctl.firewall.loaded import Loaded, list_objects, parse_loaded
from abctl.firewall.packet import Packet, parse_packet
from abctl.firewall.policy import Filling, Policy, make_policy
from abctl.firewall.render import make_load, make_objects, make_restore
from abctl.firewall.rules import Action, Chain, Family, Protocol, State
from tests.firewalls import TABLE, hostos, packets, policies, read_shipped, with_own
from tests.packets import HOST_4, Link, link, make_packet, with_checksum, wrap

pytestmark = pytest.mark.slow

INPUT, OUTPUT = Chain.INPUT, Chain.OUTPUT


@pytest.fixture(scope="module")
def cable() -> Iterator[Link]:
    with link() as made:
        yield made


class Numbers:
    """Each packet gets an address of the host of its own, so that it begins a connection."""

    last = 0

    @classmethod
    def take(cls) -> int:
        cls.last = cls.last % 65000 + 1
        return cls.last


def load(cable: Link, policy: Policy) -> None:
    cable.load(make_load(make_objects(policy.rules), cable.read()))


def as_loaded(policy: Policy) -> Loaded:
    loaded = parse_loaded(make_objects(policy.rules))
    assert loaded
    return loaded


def expect(policy: Policy, sent: Sequence[Packet]) -> list[int]:
    """Return how many of the packets each rule of their chain decides, by the model."""
    chain = sent[0].chain
    counts = [0] * sum(rule.chain is chain and rule.can_match for rule in policy.rules)
    for packet in sent:
        counts[decide(policy.rules, packet).place - 1] += 1
    return counts


def assert_as_explained(cable: Link, policy: Policy, sent: Sequence[Packet]) -> None:
    """Send packets both ways and compare what the kernel does with what the model says."""
    own = [with_own(packet, Numbers.take()) for packet in sent]
    received = [packet for packet in own if packet.chain is INPUT]
    if received:
        assert cable.count_received([make_packet(packet) for packet in received]) == expect(policy, received)
    leaving = [packet for packet in own if packet.chain is OUTPUT]
    if leaving:
        let_out = cable.host.send([make_packet(packet) for packet in leaving])
        assert let_out == [decide(policy.rules, packet).action is Action.ACCEPT for packet in leaving]


# --- the table, row by row --------------------------------------------------------------------------

SOURCES = {
    (Family.IPV4, "rfc1918"): ("10.0.0.1", "10.255.255.254", "172.16.0.1", "172.31.255.254", "192.168.0.1"),
    (Family.IPV6, "ic-registry"): ("2001:db8:17::1", "2001:db8:17:0:ffff::1", "2001:db8:18::1"),
}
OUTSIDE = {
    Family.IPV4: ("11.0.0.1", "9.255.255.254", "172.15.255.254", "172.32.0.1", "192.169.0.1", "203.0.113.9"),
    Family.IPV6: ("2001:db8:16:ffff::1", "2001:db8:19::1", "fd00::1", "fe80::1", "2001:db8::1"),
}


def packet_of(family: Family, protocol: Protocol, port: int, chain: Chain, other: str) -> Packet:
    address = ip_address(other)
    return Packet(
        chain=chain,
        family=family,
        protocol=protocol,
        source=address if chain is INPUT else None,
        destination=address if chain is OUTPUT else None,
        port=port,
        source_port=40000,
        interface="eth0",
    )


def list_table() -> tuple[list[Packet], list[Packet]]:
    """Return packets of every row, and their neighbours: next port, other protocol, source or family."""
    inside, outside = [], []
    open_ports = {(row.chain, row.family, row.protocol, row.port) for row in TABLE}
    for row in TABLE:
        sources = SOURCES[row.family, row.source] if row.source else OUTSIDE[row.family]
        strangers = OUTSIDE[row.family] if row.source else ()
        other = Protocol.UDP if row.protocol is Protocol.TCP else Protocol.TCP
        inside += [packet_of(row.family, row.protocol, row.port, row.chain, item) for item in sources]
        outside += [packet_of(row.family, row.protocol, row.port, row.chain, item) for item in strangers]
        for protocol, port in ((row.protocol, row.port - 1), (row.protocol, row.port + 1), (other, row.port)):
            if (row.chain, row.family, protocol, port) not in open_ports:
                outside.append(packet_of(row.family, protocol, port, row.chain, sources[0]))
        flipped = Family.IPV6 if row.family is Family.IPV4 else Family.IPV4
        if (row.chain, flipped, row.protocol, row.port) not in open_ports:
            outside.append(packet_of(flipped, row.protocol, row.port, row.chain, OUTSIDE[flipped][-1]))
    return inside, outside


def test_the_table_of_hostos_row_by_row_and_the_neighbours_of_each(cable: Link) -> None:
    load(cable, hostos())
    inside, outside = list_table()
    assert len(inside) > 40
    assert len(outside) > 50
    assert {decide(hostos().rules, packet).action for packet in inside} == {Action.ACCEPT}
    assert {decide(hostos().rules, packet).action for packet in outside} == {Action.DROP}
    assert_as_explained(cable, hostos(), inside)
    assert_as_explained(cable, hostos(), outside)


def test_nothing_is_forwarded(cable: Link) -> None:
    load(cable, hostos())
    cable.host.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    try:
        before = cable.count(Chain.FORWARD)
        packet = replace(
            packet_of(Family.IPV4, Protocol.TCP, 22, INPUT, "10.1.2.3"), destination=ip_address("192.0.2.1")
        )
        cable.world.send([make_packet(packet)] * 3)
        while cable.count(Chain.FORWARD) == before:
            pass
        assert cable.count(Chain.FORWARD) == [before[0] + 3]
    finally:
        cable.host.run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")


# --- any policy, any packets ------------------------------------------------------------------------


@settings(max_examples=80)
@given(policies(), st.lists(st.one_of(packets(INPUT), packets(OUTPUT)), min_size=10, max_size=60))
def test_the_kernel_decides_as_the_model_does(cable: Link, policy: Policy, sent: list[Packet]) -> None:
    load(cable, policy)
    assert_as_explained(cable, policy, sent)


@settings(max_examples=25)
@given(policies(), policies())
def test_what_is_loaded_is_found_again_and_nothing_else_is(
    cable: Link, first: Policy, second: Policy
) -> None:
    for policy in (first, second, second):
        load(cable, policy)
        assert find_drift(as_loaded(policy), cable.read()) == ()
    other = as_loaded(first)
    assert bool(find_drift(other, cable.read())) == (other.rules != as_loaded(second).rules)


@settings(max_examples=15)
@given(policies(), policies())
def test_what_was_there_before_comes_back_from_its_listing(
    cable: Link, first: Policy, second: Policy
) -> None:
    load(cable, first)
    before = cable.host.run("nft", "-j", "list", "table", "inet", "abctl")
    wanted = parse_loaded(list_objects(before))
    assert wanted
    load(cable, second)
    cable.load(make_restore(before, cable.read()))
    assert find_drift(wanted, cable.read()) == ()


# --- the basics -------------------------------------------------------------------------------------


def sentence(text: str, number: int) -> Packet:
    return with_own(replace(parse_packet(text), interface="eth0"), number)


def test_types_that_begin_nothing_are_invalid_as_the_model_says(cable: Link) -> None:
    """Answers and errors that belong to nothing, and types that no connection begins with."""
    load(cable, hostos())
    said = [
        "icmp echo-reply from 10.1.2.3 invalid",
        "icmp destination-unreachable from 10.1.2.3 invalid",
        "icmp redirect from 10.1.2.3 invalid",
        "icmp router-advertisement from 10.1.2.3",
        "icmpv6 echo-reply from 2001:db8:17::1 invalid",
        "icmpv6 packet-too-big from 2001:db8:17::1 invalid",
        "icmpv6 router-renumbering from 2001:db8:17::1",
        "icmpv6 nd-redirect from 2001:db8:17::1 invalid",
        "icmpv6 ind-neighbor-solicit from 2001:db8:17::1",
    ]
    sent = [sentence(text, Numbers.take()) for text in said]
    assert {packet.state for packet in sent} == {State.INVALID}
    found = cable.count_received([make_packet(packet) for packet in sent])
    assert found == expect(hostos(), sent)
    assert found[1] == len(said)


def test_a_packet_too_big_about_a_connection_of_the_host_comes_through_and_others_do_not(cable: Link) -> None:
    load(cable, hostos())
    out = sentence("udp to 2001:db8:1::1 port 53 out", Numbers.take())
    other = sentence("udp to 2001:db8:1::2 port 53 out", Numbers.take())
    assert cable.host.send([make_packet(out)]) == [True]
    errors = [
        replace(
            parse_packet("icmpv6 packet-too-big in from 2001:db8:1::f"),
            destination=packet.source,
            source_port=1,
        )
        for packet in (out, other)
    ]
    about = [make_packet_too_big(error, quoted) for error, quoted in zip(errors, (out, other), strict=True)]
    expected = [errors[0], replace(errors[1], state=State.INVALID)]
    assert cable.count_received(about) == expect(hostos(), expected)


def make_packet_too_big(error: Packet, quoted: Packet) -> bytes:

    body = b"\x02\x00\x00\x00" + (1280).to_bytes(4) + make_packet(quoted)
    return wrap(error, with_checksum(error, body, 2))


def test_pings_beyond_the_limit_are_dropped(cable: Link) -> None:
    policy = make_policy(
        parse_policy('[basics]\necho_rate = "1/hour burst 3"\n', "few pings"),
        "few pings",
    )
    load(cable, policy)
    pings = [make_packet(sentence("ping from 10.1.2.3", Numbers.take())) for _ in range(10)]
    found = cable.count_received(pings)
    dropped = next(n for n, rule in enumerate(policy.rules) if "too many pings" in rule.name)
    answered = next(n for n, rule in enumerate(policy.rules) if rule.name == "basic: ping")
    assert found[dropped] + found[answered] == 10
    assert found[answered] in (3, 4)


@pytest.mark.parametrize(
    ("limit", "let_in"), [('rate = "1/hour burst 3"', (3, 4)), ("connections = 3", (3,))]
)
def test_new_connections_beyond_a_limit_are_dropped(cable: Link, limit: str, let_in: tuple[int, ...]) -> None:
    text = f"[[rules]]\n{SSH}family = 'ipv4'\nfrom = ['rfc1918']\n{limit}\n"
    policy = make_policy(parse_policy(text, "limited"), "limited")
    load(cable, policy)
    place = [rule.name for rule in policy.rules if rule.chain is INPUT].index("rule 1")
    syn = packet_of(Family.IPV4, Protocol.TCP, 22, INPUT, "10.1.2.3")
    # Half-open connections to somebody who listens count as connections.
    with listening(cable, 22):
        found = cable.count_received([make_packet(with_own(syn, Numbers.take())) for _ in range(8)])
    assert sum(found) == 8
    assert found[place] in let_in


SSH = 'direction = "input"\nprotocol = "tcp"\nports = [22]\n'


# --- connections ------------------------------------------------------------------------------------

_LISTEN = """
import socket, sys
with socket.create_server(("", int(sys.argv[1])), family=socket.AF_INET, backlog=64) as server:
    print("ready", flush=True)
    connection, _ = server.accept()
    while data := connection.recv(100):
        connection.sendall(data)
"""
_TALK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20) as connection:
    for line in sys.stdin:
        connection.sendall(line.encode())
        print(connection.recv(100).decode(), end="", flush=True)
"""


@contextmanager
def listening(cable: Link, port: int) -> Iterator[None]:
    """Somebody on the host who takes connections, and answers in the first of them with what he hears."""
    with cable.host.start(sys.executable, "-c", _LISTEN, str(port)) as server:
        try:
            assert server.stdout
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            server.kill()


def test_a_connection_that_was_there_before_the_firewall_lives_on(cable: Link) -> None:
    """Also one that the kernel has not tracked so far, as the session of whoever loads the first rules."""
    cable.host.run("nft", "flush", "ruleset")
    with listening(cable, 22), cable.world.start(sys.executable, "-c", _TALK, HOST_4, "22") as client:

        def say(text: str) -> str:
            assert client.stdin
            assert client.stdout
            client.stdin.write(f"{text}\n")
            client.stdin.flush()
            return client.stdout.readline()

        try:
            assert say("before") == "before\n"
            load(cable, hostos())
            assert say("after") == "after\n"
            load(cable, hostos())
            assert say("and again") == "and again\n"
        finally:
            client.kill()


# --- changing over ----------------------------------------------------------------------------------


_WATCH = """
table inet watch {
    chain input {
        type filter hook input priority 100; policy accept;
        udp dport 67 counter
        udp dport 9999 counter
    }
}
"""
_BEFORE = """
[[rules]]
direction = "input"
action = "drop"
protocol = "udp"
ports = [9999, "10000-10010"]
from = ["10.1.0.0/16", "10.3.0.0/16", "172.16.0.0/16"]
[[rules]]
direction = "input"
protocol = "udp"
ports = [67, 9999]
from = ["rfc1918"]
"""
_RELOAD = """
import subprocess, sys
for number in range(60):
    for text in {texts!r}:
        subprocess.run(["nft", "-j", "-f", "-"], input=text, text=True, check=True)
"""


def test_while_rules_are_replaced_nothing_is_open_that_is_closed_or_closed_that_is_open(cable: Link) -> None:
    """A second table counts what gets past them, while they are replaced more than a hundred times.

    Port 9999 is closed by the first policy because a rule drops it, and by the second because none admits it;
    both admit port 67.
    """
    first = make_policy(parse_policy(_BEFORE, "first"), "first")
    load(cable, first)
    cable.host.run("nft", "-f", "-", stdin=_WATCH)
    packets = [
        make_packet(with_own(packet_of(Family.IPV4, Protocol.UDP, port, INPUT, "10.1.2.3"), number))
        for number in range(1, 51)
        for port in (67, 9999)
    ]
    texts = [make_load(make_objects(policy.rules), cable.read()) for policy in (hostos(), first)]
    sent = 0
    with cable.host.start(sys.executable, "-c", _RELOAD.format(texts=texts)) as loader:
        while loader.poll() is None:
            cable.world.send(packets)
            sent += 50
        assert loader.returncode == 0
    assert sent > 1000
    listed = list_objects(cable.host.run("nft", "-j", "list", "table", "inet", "watch"))
    cable.host.run("nft", "delete", "table", "inet", "watch")
    counters = [item["rule"]["expr"][-1]["counter"]["packets"] for item in listed if "rule" in item]
    assert counters == [sent, 0]


# --- what somebody else does to the table ------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("insert rule inet abctl input tcp dport 23 accept", "input: accept tcp port 23"),
        ("insert rule inet abctl input log", "input: "),
        ("flush chain inet abctl output", "output: accept"),
        ("chain inet abctl input { policy accept; }", "the policy of chain input is accept, not drop"),
        ("add chain inet abctl extra", "chain extra is not abctl's"),
        ("add set inet abctl extra { type ipv4_addr; }", "set extra is not abctl's"),
        ("add table inet abctl { flags dormant; }", "the table has flags: it may be switched off"),
        ("delete table inet abctl", "no rules of abctl are loaded"),
        ("add rule inet abctl input accept", "input: accept everything"),
    ],
)
def test_what_was_changed_behind_abctls_back_is_found_and_mended(cable: Link, change: str, said: str) -> None:
    load(cable, hostos())
    wanted = as_loaded(hostos())
    cable.host.run("nft", change)
    drift = find_drift(wanted, cable.read())
    assert any(said in item.text for item in drift), drift
    load(cable, hostos())
    assert find_drift(wanted, cable.read()) == ()


def test_other_tables_are_left_alone(cable: Link) -> None:
    cable.host.run("nft", "add table ip mine; add chain ip mine keep")
    load(cable, hostos())
    load(cable, hostos())
    assert "keep" in cable.host.run("nft", "list", "table", "ip", "mine")
    cable.host.run("nft", "delete table ip mine")


def test_sets_of_thousands_of_prefixes_are_loaded_and_found_again(cable: Link) -> None:
    networks = tuple(ip_network(f"2001:db8:{number:x}::/64") for number in range(0, 8192, 2))
    policy = read_shipped("hostos", {"ic-registry": Filling(networks, "a test")})
    load(cable, policy)
    assert find_drift(as_loaded(policy), cable.read()) == ()
