"""Who may ask what, and how often; and what of a notice gets to a console."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abctl.agent import messages, protocol
from abctl.agent.messages import (
    AttachHsm,
    GetHostOsVersion,
    GetVsockProtocol,
    Message,
    StartUpgrade,
    UpgradeFromUrl,
)
from abctl.agent.notices import COUNT_MAX, TEXT_MAX, make_notice, plan_notice
from abctl.agent.policy import WRONG_SENDER, Bucket, Gate
from abctl.cli import agent, agent_ask
from abctl.core.agent_rules import ALL_GUESTS, HOST_CID, AgentRules, CidRange, Command, parse_cids
from abctl.core.config import parse_config
from abctl.errors import BadConfig

FROM_URL = UpgradeFromUrl.model_validate({"url": "https://x.example/i.tar.zst", "target-hash": "4f" * 32})


def judge(rules: AgentRules, message: Message, cid: int = 3, sender: int | None = None) -> str | None:
    return Gate(rules).judge(cid, cid if sender is None else sender, message)


# --- who and what -----------------------------------------------------------------------------------


def test_a_guest_may_ask_for_what_is_signed_and_not_for_what_is_not() -> None:
    rules = AgentRules()
    assert judge(rules, StartUpgrade()) is None
    assert "nobody signed" in (judge(rules, FROM_URL) or "")
    assert judge(AgentRules(unsigned=True), FROM_URL) is None


def test_who_claims_to_be_another_guest_is_refused_in_the_older_system_s_words() -> None:
    said = "The actual sender CID did not match the sender CID in the request object"
    assert judge(AgentRules(), AttachHsm(), cid=3, sender=4) == WRONG_SENDER == said
    assert judge(AgentRules(), AttachHsm(), cid=HOST_CID, sender=3) == said


def test_a_guest_that_is_not_listed_may_ask_nothing_at_all() -> None:
    rules = AgentRules(cids=(CidRange(3, 4),))
    for message in (AttachHsm(), GetVsockProtocol()):
        assert judge(rules, message, cid=4) is None
        assert "answers no requests from CID 5" in (judge(rules, message, cid=5) or "")


@pytest.mark.parametrize("cid", [0, 1])
def test_processes_of_the_host_are_no_guests(cid: int) -> None:
    assert "answers no requests" in (judge(AgentRules(), GetHostOsVersion(), cid=cid) or "")


def test_a_single_guest_may_be_allowed_less_or_more() -> None:
    rules = AgentRules(commands=frozenset({Command.VERSION}), only={7: frozenset({Command.ATTACH_HSM})})
    assert judge(rules, GetHostOsVersion()) is None
    assert "attach-hsm is not allowed to CID 3" in (judge(rules, AttachHsm()) or "")
    assert judge(rules, AttachHsm(), cid=7) is None
    assert judge(rules, GetHostOsVersion(), cid=7) is not None
    assert judge(rules, GetVsockProtocol(), cid=7) is None


def test_an_admin_may_ask_for_everything() -> None:
    rules = AgentRules(commands=frozenset())
    assert judge(rules, FROM_URL, cid=HOST_CID) is None


# --- how often --------------------------------------------------------------------------------------


def test_a_guest_that_asks_too_often_waits_and_others_do_not() -> None:
    gate = Gate(AgentRules(rate=10, burst=3))
    assert [gate.count(3, 100.0) for _ in range(4)] == [0, 0, 0, pytest.approx(0.1)]
    assert gate.count(4, 100.0) == 0
    assert gate.count(HOST_CID, 100.0) == 0
    assert gate.count(3, 100.11) == 0
    assert gate.count(3, 100.11) > 0


def test_a_clock_that_goes_back_neither_gives_nor_takes() -> None:
    bucket = Bucket(1.0, 2.0, seen=100.0)
    assert bucket.take(100.0) == 0
    assert bucket.take(50.0) == 0
    assert bucket.take(50.5) == pytest.approx(0.5)
    assert bucket.take(51.0) == 0


@given(st.lists(st.floats(0, 5), max_size=200))
def test_over_any_time_a_guest_gets_no_more_than_its_rate_and_burst(pauses: list[float]) -> None:
    gate, now, let_in = Gate(AgentRules(rate=5, burst=10)), 0.0, 0
    for pause in pauses:
        now += pause
        let_in += gate.count(3, now) == 0
    assert let_in <= 10 + 5 * now + 1e-6


def test_the_number_of_guests_that_are_counted_is_bounded() -> None:
    gate = Gate(AgentRules(rate=1, burst=1))
    for cid in range(3, 1500):
        assert gate.count(cid, 1.0) == 0
    assert len(gate._buckets) <= 1024


# --- the configuration ------------------------------------------------------------------------------


def test_the_configuration_says_the_rules() -> None:
    text = """
        [unsigned]
        allow = "anyone"
        [agent]
        cids = ["3..9", "12"]
        commands = ["version", "jobs"]
        only = { 12 = ["notify"] }
        rate = 7
        burst = 9
        jobs_per_hour = 2
    """
    rules = parse_config(text, "config.toml").agent_rules
    assert rules == AgentRules(
        cids=(CidRange(3, 9), CidRange(12, 12)),
        commands=frozenset({Command.VERSION, Command.JOBS}),
        only={12: frozenset({Command.NOTIFY})},
        rate=7,
        burst=9,
        jobs_per_hour=2,
        unsigned=True,
    )


def test_by_default_every_guest_may_ask_for_all_that_is_signed() -> None:
    rules = parse_config("", "config.toml").agent_rules
    assert rules == AgentRules(cids=(ALL_GUESTS,))
    assert not rules.unsigned
    assert not parse_config('[unsigned]\nallow = "admin"', "config.toml").agent_rules.unsigned


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('cids = ["2"]', "agent.cids.0: '2': guests have CIDs from 3"),
        ('cids = ["9..3"]', "agent.cids.0"),
        ('cids = ["all"]', "'all' is not a CID such as 3"),
        ("cids = [3]", "agent.cids.0"),
        ('commands = ["reboot"]', "agent.commands.0"),
        ('only = { 1 = ["version"] }', "agent.only"),
        ("rate = 0", "agent.rate"),
        ("jobs_per_hour = 1000", "agent.jobs_per_hour"),
        ("port = 1", "agent.port"),
    ],
)
def test_a_wrong_field_is_named(text: str, words: str) -> None:
    with pytest.raises(BadConfig, match=r"config\.toml") as error:
        parse_config(f"[agent]\n{text}\n", "config.toml")
    assert words in str(error.value)


def test_a_range_may_have_no_end() -> None:
    assert parse_cids("3..") == ALL_GUESTS
    assert 2 not in ALL_GUESTS
    assert "3" not in ALL_GUESTS


# --- notices ----------------------------------------------------------------------------------------


@given(st.text(max_size=300), st.integers(0, 2**64))
def test_whatever_a_guest_sends_is_one_harmless_line_for_a_console(text: str, count: int) -> None:
    lines = plan_notice(3, count, text)
    assert len(lines) == min(count, COUNT_MAX)
    for line in lines[:1]:
        assert line.startswith("guest 3: ")
        assert line.isprintable()
        assert len(line) <= TEXT_MAX + 20
        assert not {unicodedata.bidirectional(char) for char in line} & {
            "RLO",
            "LRO",
            "RLE",
            "LRE",
            "RLI",
            "LRI",
        }


def test_what_would_move_the_cursor_or_turn_the_text_is_not_shown() -> None:
    text = "line\nfeed\r\x1b]0;title\x07\x1b[2J \u202eevil\u2066 \u200bzero \x9b31m"
    assert make_notice(3, text) == "guest 3: line feed ?]0;title??[2J ?evil? ?zero ?31m"


def test_letters_are_not_buried_under_marks() -> None:
    assert make_notice(3, "e" + "\u0301" * 50) == "guest 3: \u00e9" + "\u0301" * 4


def test_a_long_text_is_cut() -> None:
    assert len(make_notice(3, "x" * 10**6)) == len("guest 3: ") + TEXT_MAX


def test_the_command_line_and_the_protocol_agree() -> None:
    assert agent.PORT == protocol.PORT
    assert agent_ask.OURS == messages.OURS
    assert set(agent_ask._OUR_WORDS) == set(messages.OUR_WORDS)
    assert {*agent_ask._OUR_FORMS, "upgrade"} == set(messages.OUR_FORMS)
    assert set(agent_ask._OLDER_WORDS) == set(messages.OLDER_WORDS)
    assert {*agent_ask._OLDER_FORMS, "upgrade"} == set(messages.OLDER_FORMS)
