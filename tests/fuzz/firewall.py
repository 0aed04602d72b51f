"""The firewall: policies, files of prefixes, sentences about packets, what nft lists, what is remembered."""

import json

from hypothesis import strategies as st

from abctl.errors import BadFirewall
from abctl.firewall.decide import decide
from abctl.firewall.form import parse_policy, parse_prefixes
from abctl.firewall.loaded import list_objects, parse_loaded
from abctl.firewall.packet import parse_packet
from abctl.firewall.policy import make_policy
from abctl.firewall.render import make_objects
from abctl.firewall.rules import Chain
from abctl.firewall.say import say_rule
from abctl.firewall.state import Memory, Wanted, decode, encode
from abctl.host.firewall_files import find_shipped, list_shipped
from tests.firewalls import hostos
from tests.fuzz.edits import changed_json
from tests.fuzz.target import Target

_OWN = b"""\
[widest]
ipv4 = 8
[sets.ours]
prefixes = ["10.1.0.0/16", "2001:db8::/64"]
[[rules]]
direction = "input"
protocol = "tcp"
ports = [22, "9100-9199"]
from = ["ours", "192.0.2.7"]
rate = "10/minute burst 20"
connections = 16
[[rules]]
direction = "output"
protocol = "icmpv6"
types = ["echo-request", 139]
to = ["any"]
"""
_SENTENCES = (
    b"tcp from 10.1.2.3 to port 22",
    b"udp to 2001:db8::1 port 53 out",
    b"icmpv6 nd-neighbor-solicit from fe80::1 on eth0",
    b"ping from 192.0.2.7 established in",
    b"udp from 10.0.0.1 port 67 to port 68",
)


def _check_policy(data: bytes) -> None:
    policy = make_policy(parse_policy(data.decode("utf-8", "replace"), "firewall.toml"), "firewall.toml")
    loaded = parse_loaded(make_objects(policy.rules))
    assert loaded is not None
    assert loaded.has_our_form
    for chain in Chain:
        rules = tuple(rule for rule in policy.rules if rule.chain is chain and rule.can_match)
        assert loaded.list_rules(chain) == rules
        assert all(say_rule(rule).isprintable() for rule in rules)
    assert all(remark.isprintable() for remark in policy.remarks)


def _check_prefixes(data: bytes) -> None:
    for network in parse_prefixes(data.decode("utf-8", "replace"), "a.prefixes"):
        assert parse_prefixes(str(network), "a.prefixes") == (network,)


def _check_sentence(data: bytes) -> None:
    try:
        packet = parse_packet(data.decode("utf-8", "replace"))
        decision = decide(hostos().rules, packet)
    except ValueError as error:
        # The command line makes a usage error of it.
        raise BadFirewall(str(error)) from error
    assert str(packet).isprintable()
    assert decision.rule.chain is packet.chain


def _check_listing(data: bytes) -> None:
    try:
        found = parse_loaded(list_objects(data.decode("utf-8", "replace")))
    except ValueError as error:
        raise BadFirewall("not what nft lists") from error
    if found is not None:
        for chain in Chain:
            assert all(item.rule for item in found.rules[chain])


def _check_memory(data: bytes) -> None:
    memory = decode(data)
    assert decode(encode(memory)) == memory


def _listing() -> bytes:
    return json.dumps({"nftables": make_objects(hostos().rules)[:12]}).encode()


def _memory() -> bytes:
    return encode(Memory(Wanted("hostos", make_objects(hostos().rules)[:5], {"/a": "b"})))


@st.composite
def _made_listing(draw: st.DrawFn) -> bytes:
    return draw(changed_json(_listing()))


@st.composite
def _made_memory(draw: st.DrawFn) -> bytes:
    return draw(changed_json(_memory()))


TARGETS = (
    Target(
        "firewall-policy",
        lambda: [_OWN, *(find_shipped(name).read_bytes() for name in list_shipped())],
        _check_policy,
        cost=5,
    ),
    Target(
        "firewall-prefixes",
        lambda: [b"# ours\n2001:db8::/64\n10.1.0.0/16 # lab\n\n192.0.2.7\n"],
        _check_prefixes,
    ),
    Target("firewall-packet", lambda: list(_SENTENCES), _check_sentence),
    Target("firewall-listing", lambda: [_listing()], _check_listing, _made_listing(), cost=2),
    Target("firewall-memory", lambda: [_memory()], _check_memory, _made_memory(), cost=2),
)
