"""What a firewall policy says, what is wrong with bad ones, and what becomes of packets, without a kernel."""

import json
import re
import tomllib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abctl.errors import BadFirewall
from abctl.firewall.basics import make_emergency
from abctl.firewall.decide import Decision, decide
from abctl.firewall.drift import Kind, find_drift
from abctl.firewall.form import parse_policy, parse_prefixes
from abctl.firewall.loaded import Foreign, Loaded, parse_loaded
from abctl.firewall.packet import EPHEMERAL, parse_packet
from abctl.firewall.policy import Filling, Policy, make_policy, make_policy_at_boot
from abctl.firewall.render import make_objects
from abctl.firewall.rules import Action, Chain, Family, Protocol, Rule, State
from abctl.host.firewall_files import find_shipped, list_shipped
from tests.firewalls import REGISTRY, TABLE, hostos, policies, read_shipped

ACCEPT, DROP = Action.ACCEPT, Action.DROP
SSH = 'direction = "input"\nprotocol = "tcp"\nports = [22]\nfrom = ["rfc1918"]\n'


def policy_of(text: str) -> Policy:
    return make_policy(parse_policy(text, "firewall.toml"), "firewall.toml")


def refusal_of(text: str) -> str:
    with pytest.raises(BadFirewall) as caught:
        policy_of(text)
    return str(caught.value)


def verdict(policy: Policy, sentence: str) -> tuple[Action, str]:
    decision = decide(policy.rules, parse_packet(sentence))
    return decision.action, decision.rule.name


# --- the policies that ship -------------------------------------------------------------------------


def test_hostos_opens_exactly_what_its_table_says() -> None:
    """The table of hostos.adoc, row by row, is all that the policy has beyond the basics."""
    own = [rule for rule in hostos().rules if rule.name.startswith("rule ")]
    found = [
        (
            rule.chain,
            rule.family,
            rule.protocol,
            rule.ports,
            rule.sources and rule.sources.label,
            rule.destinations and rule.destinations.label,
            rule.name.partition(": ")[2],
        )
        for rule in own
    ]
    # A rule stands once for each prefix of its set.
    assert list(dict.fromkeys(found)) == [
        (row.chain, row.family, row.protocol, ((row.port, row.port),), row.source, None, row.description)
        for row in TABLE
    ]
    assert {rule.action for rule in own} == {ACCEPT}


def test_each_shipped_policy_is_sound_and_admits_ssh_from_private_networks() -> None:
    assert list_shipped() == ["hostos", "hostos-wide"]
    for name in list_shipped():
        policy = read_shipped(name)
        assert verdict(policy, "tcp from 10.1.2.3 to port 22")[0] is ACCEPT
        assert not any("no rule admits SSH" in remark for remark in policy.remarks)


def test_the_wide_policy_adds_to_the_table_and_takes_nothing_away() -> None:
    wide, narrow = read_shipped("hostos-wide"), read_shipped("hostos")
    names = {replace(rule, name="") for rule in wide.rules}
    assert {replace(rule, name="") for rule in narrow.rules} <= names
    assert verdict(wide, "tcp to 192.0.2.1 port 443")[0] is ACCEPT
    assert verdict(narrow, "tcp to 192.0.2.1 port 443")[0] is DROP
    filled = read_shipped("hostos-wide", {"telemetry": REGISTRY})
    assert verdict(filled, "tcp from 2001:db8:17::1 to port 9100")[0] is ACCEPT
    assert verdict(filled, "tcp from 2001:db8:17::1 to port 22")[0] is DROP


def test_an_empty_registry_admits_nothing_over_ipv6_and_that_is_said() -> None:
    policy = read_shipped("hostos")
    assert verdict(policy, "tcp from 2001:db8:17::1 to port 22") == (DROP, "end: nothing admits it")
    (remark,) = policy.remarks
    assert remark.startswith("no IPv6 prefixes in ic-registry, so nothing matches rule 3: openssh, rule 4")


# --- bad policies -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            'direction = "input"\nports = [22]\nfrom = ["rfc1918"]',
            "ports but no protocol, so it would be for all",
        ),
        ('direction = "input"\nprotocol = "icmp"\nports = [22]\nfrom = ["rfc1918"]', "icmp has no ports"),
        (SSH.replace("rfc1918", "10.0.0.0/8"), "accepts from 10.0.0.0/8, which is wider than /16"),
        (SSH.replace("rfc1918", "2001:db8::/48"), "accepts from 2001:db8::/48, which is wider than /64"),
        (
            SSH.replace("rfc1918", "any"),
            "accepts from every ipv4 address: say from whom, or set widest.ipv4 to 0",
        ),
        ('direction = "input"\nprotocol = "tcp"\nports = [22]', "accepts from every ipv6 address"),
        (SSH.replace("rfc1918", "nobody"), "names the set nobody, which is not there; there are host-prefix"),
        (SSH.replace("rfc1918", "10.1.2.3/24"), "'10.1.2.3/24' is not a prefix: it has bits set behind"),
        (SSH.replace("rfc1918", "10.1.2.x"), "is not a prefix: write it as 2001:db8::/64"),
        (SSH.replace('["rfc1918"]', '["any", "rfc1918"]'), "from has 'any' beside others"),
        (SSH.replace("[22]", "[0]"), "0 is not a port from 1 to 65535"),
        (SSH.replace("[22]", '["30-20"]'), "'30-20' is not a port"),
        (SSH.replace("[22]", "[65536]"), "65536 is not a port"),
        (SSH.replace("tcp", "ipv6-icmp"), "Input should be 'tcp', 'udp', 'icmp' or 'icmpv6'"),
        (SSH + 'rate = "many"', "'many' is not a rate, as in '10/minute'"),
        (SSH + 'rate = "0/minute"', "is not a rate"),
        (SSH + 'action = "drop"\nrate = "1/minute"', "rate and connections go with what is accepted"),
        (SSH + "connections = 0", "greater than or equal to 1"),
        (SSH + 'family = "ipv4"\ntypes = [8]', "types go with the protocol icmp or icmpv6"),
        (SSH + 'family = "ipv6"\nunknown = 1', "rules.0.unknown: Extra inputs are not permitted"),
        (SSH.replace("rfc1918", "fd00::/64") + 'family = "ipv4"', "is for ipv4, and its prefixes are not"),
        ('direction = "output"\nprotocol = "icmpv6"\ntypes = ["ping"]', "'ping' is no type of icmpv6"),
        ('direction = "output"\nprotocol = "icmp"\nfamily = "ipv6"', "icmp is not carried by ipv6"),
        ('direction = "forward"', "Input should be 'input' or 'output'"),
        (SSH + 'description = "a\\nb"', "characters that cannot be shown"),
    ],
)
def test_a_bad_rule_gets_a_sentence_that_names_it(rule: str, said: str) -> None:
    found = refusal_of(f"[[rules]]\n{rule}")
    assert said in found
    assert found.startswith("firewall.toml is not sound: rule")
    assert found.isprintable()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules = [", "firewall.toml is not TOML: "),
        ("[sets.Upper]\n", "sets.Upper"),
        ('[sets.a]\nprefixes = ["::/129"]', "sets.a.prefixes.0: '::/129' is not a prefix"),
        ("[widest]\nipv4 = 33", "widest.ipv4"),
        ('[basics]\necho_rate = "often"', "basics.echo_rate: 'often' is not a rate"),
        ("speed = 1", "speed: Extra inputs"),
    ],
)
def test_a_bad_policy_gets_a_sentence(text: str, said: str) -> None:
    assert said in refusal_of(text)


def test_all_that_is_wrong_with_the_fields_is_said_at_once_and_so_is_all_that_is_too_wide() -> None:
    fields = refusal_of(f'[[rules]]\n{SSH}rate = "x"\n[[rules]]\n{SSH.replace("22", "0")}')
    assert "rules.0.rate" in fields
    assert "rules.1.ports.0" in fields
    wide = refusal_of(
        f"[[rules]]\n{SSH.replace('rfc1918', '10.0.0.0/8')}[[rules]]\n{SSH.replace('rfc1918', 'who')}"
    )
    assert "rule 1 accepts from 10.0.0.0/8" in wide
    assert "rule 2: from names the set who" in wide


def test_how_wide_an_accept_may_be_is_for_the_policy_to_say() -> None:
    wide = SSH.replace("rfc1918", "10.0.0.0/8")
    for text in (
        f"[widest]\nipv4 = 8\n[[rules]]\n{wide}",
        f"[widest]\nipv4 = 0\nipv6 = 0\n[[rules]]\n{SSH.replace('rfc1918', 'any')}",
        f'[[rules]]\n{wide}action = "drop"',
        f"[[rules]]\n{wide.replace('input', 'output').replace('from', 'to')}",
    ):
        assert len(policy_of(text).rules) > 20
    assert "in the set wide, which is wider" in refusal_of(
        f'[sets.wide]\nprefixes = ["10.0.0.0/8"]\n[[rules]]\n{SSH.replace("rfc1918", "wide")}'
    )
    assert "in the set rfc1918, which is wider" in refusal_of(
        f'[sets.rfc1918]\nprefixes = ["0.0.0.0/0"]\n[[rules]]\n{SSH}'
    )


# --- sets that the host fills -----------------------------------------------------------------------


def test_a_file_of_prefixes_is_one_a_line_with_comments_and_every_bad_line_is_named() -> None:
    found = parse_prefixes("# ours\n2001:db8:1::/64\n\n10.1.0.0/16 # lab\n192.0.2.7\n", "a.prefixes")
    assert [str(item) for item in found] == ["2001:db8:1::/64", "10.1.0.0/16", "192.0.2.7/32"]
    with pytest.raises(BadFirewall) as caught:
        parse_prefixes("10.1.0.0/16\n10.1.0.1/16\n\x1b[2J\n", "a.prefixes")
    assert str(caught.value).startswith("a.prefixes is not sound: line 2: '10.1.0.1/16' is not a prefix")
    assert "line 3" in str(caught.value)
    assert str(caught.value).isprintable()


def test_at_boot_a_file_that_does_not_go_with_the_policy_costs_itself_only() -> None:
    form = parse_policy(find_shipped("hostos").read_text(), "hostos")
    wide = Filling(parse_prefixes("2001:db8::/32", "w"), "wide.prefixes")
    other = Filling(parse_prefixes("10.1.0.0/16", "o"), "other.prefixes")
    policy, problems = make_policy_at_boot(form, "hostos", {"ic-registry": wide, "newer": other})
    assert verdict(policy, "tcp from 10.1.2.3 to port 22")[0] is ACCEPT
    assert verdict(policy, "tcp from 2001:db8::1 to port 22")[0] is DROP
    (problem,) = problems
    assert problem.startswith("wide.prefixes is left out: hostos is not sound: rule 3: openssh accepts from")
    assert "other.prefixes fills a set that the policy does not have" in policy.remarks


def test_a_host_without_a_usable_policy_can_be_reached_and_upgraded_and_no_more() -> None:
    policy = Policy("emergency", make_emergency(parse_prefixes("2001:db8:17::/64", "p")))
    assert verdict(policy, "tcp from 192.168.1.1 to port 22")[0] is ACCEPT
    assert verdict(policy, "tcp from 2001:db8:17::9 to port 22")[0] is ACCEPT
    assert verdict(policy, "tcp from 2001:db8:18::9 to port 22")[0] is DROP
    assert verdict(policy, "tcp from 192.168.1.1 to port 9100")[0] is DROP
    assert verdict(policy, "tcp to 2001:db8::1 port 443")[0] is ACCEPT
    assert verdict(policy, "tcp to 2001:db8::1 port 25")[0] is DROP
    bare = Policy("emergency", make_emergency())
    assert verdict(bare, "tcp from 2001:db8:17::9 to port 22")[0] is DROP


# --- remarks ----------------------------------------------------------------------------------------


def test_a_policy_without_ssh_is_warned_of() -> None:
    (remark,) = policy_of(f"[[rules]]\n{SSH.replace('22', '2222')}").remarks
    assert "no rule admits SSH" in remark
    assert policy_of(f"[[rules]]\n{SSH.replace('22', chr(34) + '20-30' + chr(34))}").remarks == ()
    assert "no rule admits SSH" in policy_of(f'[[rules]]\n{SSH}action = "drop"').remarks[0]


def test_a_rule_behind_one_that_has_all_its_packets_is_warned_of() -> None:
    both = f"[[rules]]\n{SSH}[[rules]]\n{SSH.replace('rfc1918', '10.1.0.0/16')}"
    assert (
        "rule 2 decides nothing, for rule 1 comes before it and has the same packets"
        in policy_of(both).remarks
    )
    limited = f'[[rules]]\n{SSH}rate = "1/minute"\n[[rules]]\n{SSH.replace("rfc1918", "10.1.0.0/16")}'
    assert policy_of(limited).remarks == ()


# --- sentences --------------------------------------------------------------------------------------


def test_a_sentence_says_a_packet_in_any_order_of_its_parts() -> None:
    found = parse_packet("tcp from 10.1.2.3 to port 22")
    assert (found.chain, found.family, found.protocol) == (Chain.INPUT, Family.IPV4, Protocol.TCP)
    assert (str(found.source), found.port, found.source_port) == ("10.1.2.3", 22, EPHEMERAL)
    assert (found.state, found.destination) == (State.NEW, None)
    assert parse_packet("to port 22 from 10.1.2.3 in TCP new") == found
    out = parse_packet("udp to 2001:db8::1 port 53 out")
    assert (out.chain, out.family, out.port) == (Chain.OUTPUT, Family.IPV6, 53)
    assert parse_packet("udp to 2001:db8::1 port 53") == out
    assert parse_packet("ping from 2001:db8::1").protocol is Protocol.ICMPV6
    assert parse_packet("udp from 10.1.2.3 port 67 to port 68").source_port == 67
    assert parse_packet("icmpv6 packet-too-big from 2001:db8::1").state is State.RELATED
    assert parse_packet("icmp from 10.1.2.3 type 8").type == 8


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("", "say 'in' or 'out'"),
        ("tcp from 10.1.2.3", "say the port that it goes to"),
        ("tcp to port 22", "say 'in' or 'out'"),
        ("tcp to port 22 in", "say an address"),
        ("from 10.1.2.3 to port 22", "say the protocol"),
        ("tcp from 10.1.2.3 to 10.1.2.4 port 22", "say 'in' or 'out'"),
        ("tcp from 10.1.2.3 to 2001:db8::1 port 22 in", "different versions of IP"),
        ("tcp from 10.1.2.300 to port 22", "'10.1.2.300' is not an IP address"),
        ("tcp from 10.1.2.3 to port 70000", "'70000' is not a port"),
        ("tcp from 10.1.2.3 to port ssh", "'ssh' is not a port"),
        ("icmp from 10.1.2.3", "say the type"),
        ("icmp from 10.1.2.3 type 8 to port 22", "icmp has no ports"),
        ("icmpv6 echo-request from 10.1.2.3", "icmpv6 is not carried by IPv4"),
        ("icmp nonsense from 10.1.2.3", "'nonsense' is no type of icmp"),
        ("tcp type 8 from 10.1.2.3 to port 22", "tcp has no types"),
        ("tcp from 10.1.2.3 to port 22 please", "'please' is not understood"),
        ("tcp " * 200, "at most 300 characters"),
    ],
)
def test_a_sentence_that_says_too_little_or_nonsense_is_told_so(sentence: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_packet(sentence)


def test_an_address_that_matters_and_is_not_said_is_asked_for() -> None:
    policy = policy_of(f'[[rules]]\n{SSH}to = ["10.9.9.9"]')
    with pytest.raises(ValueError, match=r"it depends on the destination .* add 'to ADDRESS'"):
        decide(policy.rules, parse_packet("tcp from 10.1.2.3 to port 22"))
    assert verdict(policy, "tcp from 10.1.2.3 to port 23")[0] is DROP
    assert verdict(policy, "tcp in from 10.1.2.3 to 10.9.9.9 port 22")[0] is ACCEPT


# --- decisions --------------------------------------------------------------------------------------


def explain(policy: Policy, sentence: str) -> Decision:
    return decide(policy.rules, parse_packet(sentence))


def test_the_first_rule_that_matches_decides() -> None:
    drop = f'[[rules]]\n{SSH.replace("rfc1918", "10.1.2.0/24")}action = "drop"\ndescription = "not the lab"\n'
    policy = policy_of(f"{drop}[[rules]]\n{SSH}")
    assert verdict(policy, "tcp from 10.1.2.3 to port 22") == (DROP, "rule 1: not the lab")
    assert verdict(policy, "tcp from 10.1.3.3 to port 22") == (ACCEPT, "rule 2")


def test_a_limit_is_told_with_what_is_beyond_it() -> None:
    decision = explain(policy_of(f'[[rules]]\n{SSH}rate = "10/minute"'), "tcp from 10.1.2.3 to port 22")
    assert decision.action is ACCEPT
    assert decision.beyond
    assert decision.beyond.action is DROP
    assert explain(hostos(), "ping from 192.0.2.7").unless[0].rate


def test_what_nearly_accepts_a_packet_is_told() -> None:
    decision = explain(hostos(), "tcp from 192.0.2.7 to port 22")
    assert decision.action is DROP
    assert [(miss.rule.name, miss.but) for miss in decision.misses] == [("rule 1: openssh", "source")]
    other = explain(hostos(), "tcp from 10.1.2.3 to port 23")
    assert [(miss.rule.name, miss.but) for miss in other.misses] == [("rule 1: openssh", "port")]


@pytest.mark.parametrize(
    ("sentence", "action"),
    [
        ("tcp from 192.0.2.7 to port 1 on lo", ACCEPT),
        ("tcp from 192.0.2.7 to port 1 established", ACCEPT),
        ("tcp from 10.1.2.3 to port 22 invalid", DROP),
        ("icmpv6 packet-too-big from 2001:db8::1", ACCEPT),
        ("icmpv6 packet-too-big from 2001:db8::1 invalid", DROP),
        ("icmpv6 nd-neighbor-solicit from fe80::1", ACCEPT),
        ("icmpv6 nd-redirect from fe80::1", DROP),
        ("icmp redirect from 10.1.2.3", DROP),
        ("icmp redirect from 10.1.2.3 invalid", DROP),
        ("ping from 192.0.2.7", ACCEPT),
        ("ping to 2001:db8::1", ACCEPT),
        ("udp from 10.0.0.1 port 67 to port 68", ACCEPT),
        ("udp from 10.0.0.1 port 66 to port 68", DROP),
        ("udp from fe80::1 port 547 to port 546", ACCEPT),
        ("udp from 2001:db8::1 port 547 to port 546", DROP),
        ("udp from fe80::1 port 546 to ff02::1:2 port 547 out", ACCEPT),
        ("tcp forward from 10.1.2.3 to 10.1.2.4 port 22", DROP),
    ],
)
def test_the_basics(sentence: str, action: Action) -> None:
    assert explain(hostos(), sentence).action is action


def test_the_basics_that_can_be_switched_off_are() -> None:
    policy = policy_of(f'[basics]\necho_rate = "never"\ndhcp = false\n[[rules]]\n{SSH}')
    assert explain(policy, "ping from 10.1.2.3").action is DROP
    assert explain(policy, "ping to 10.1.2.3").action is ACCEPT
    assert explain(policy, "udp from 10.0.0.1 port 67 to port 68").action is DROP


@given(
    policies(),
    st.sampled_from(["tcp", "udp"]),
    st.sampled_from(["10.1.2.3", "2001:db8:17::1", "203.0.113.9"]),
)
def test_more_rules_that_accept_never_close_what_was_open(policy: Policy, protocol: str, source: str) -> None:
    packet = parse_packet(f"{protocol} from {source} to port 22 in")
    try:
        before = decide(policy.rules, packet).action
    except ValueError:
        return
    extra = Rule(chain=Chain.INPUT, action=ACCEPT, protocol=Protocol.TCP)
    last = next(number for number, rule in enumerate(policy.rules) if rule.name.startswith("end: "))
    more = (*policy.rules[:last], extra, *policy.rules[last:])
    assert decide(more, packet).action is ACCEPT or before is decide(more, packet).action


# --- rules and their form for nft -------------------------------------------------------------------


def loaded(policy: Policy) -> Loaded:
    found = parse_loaded(make_objects(policy.rules))
    assert found
    return found


@given(policies())
def test_rules_come_out_of_their_form_for_nft_as_they_went_in(policy: Policy) -> None:
    found = loaded(policy)
    assert found.has_our_form
    for chain in Chain:
        assert found.list_rules(chain) == tuple(
            rule for rule in policy.rules if rule.chain is chain and rule.can_match
        )


def test_what_is_gone_extra_or_unknown_is_named() -> None:
    wanted = loaded(hostos())
    assert find_drift(wanted, wanted) == ()
    assert find_drift(wanted, None)[0].text.startswith("no rules of abctl are loaded")
    rules = list(wanted.rules[Chain.INPUT])
    strange = replace(rules[0], rule=Foreign('input: [{"log": null}]'))
    changed = Loaded(
        {**wanted.rules, Chain.INPUT: (*rules[:3], strange, *rules[4:])}, ("chain x is not abctl's",)
    )
    found = find_drift(wanted, changed)
    assert [item.kind for item in found] == [Kind.WRONG, Kind.MISSING, Kind.EXTRA]
    assert (found[1].chain, found[1].place) == (Chain.INPUT, 4)
    assert found[2].text == 'input: [{"log": null}]'


def test_an_order_that_differs_is_a_difference() -> None:
    wanted = loaded(hostos())
    rules = wanted.rules[Chain.INPUT]
    swapped = Loaded({**wanted.rules, Chain.INPUT: (*rules[:2], rules[3], rules[2], *rules[4:])})
    assert find_drift(wanted, swapped)


def test_the_shipped_policies_are_toml_with_comments_for_who_reads_them() -> None:
    for name in list_shipped():
        text = find_shipped(name).read_text()
        assert text.startswith("# ")
        assert tomllib.loads(text)["description"]


def test_rules_need_no_file_with_the_names_of_protocols() -> None:
    """A small host has no /etc/protocols, and nft would take no rule, not even those of an emergency."""
    rules = (*hostos().rules, *make_emergency(()))
    matches = re.findall(r'"l4proto"\}\}, "right": ([^}]+)\}', json.dumps(make_objects(rules)))
    assert set(matches) == {"1", "6", "17", "58"}
