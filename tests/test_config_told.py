"""What an admin is told of the configuration or the settings that he wrote, and what counts without."""

from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from abctl.core.agent_rules import AgentRules, CidRange, Command, parse_cids
from abctl.core.config import Config, Unsigned, parse_config
from abctl.core.fields import checked, checked_number
from abctl.core.health import HealthPolicy, MinFree
from abctl.core.problems import clean_text, describe_problem, describe_problems
from abctl.core.settings import Document, SettingsDamaged, change, encode, encode_values, parse_document
from abctl.core.settings_place import DAMAGED_PATH, GOOD_PATH, PATH, SIZE_MAX, may_be_sound
from abctl.core.toml_file import parse_toml
from abctl.errors import BadConfig, BadGuest, BadIdentity
from tests.told import told

LONG = "x" * 300


def config_of(text: str) -> Config:
    return parse_config(text, "config.toml")


# --- config.toml ------------------------------------------------------------------------------------


def test_an_empty_configuration_is_what_the_pages_say() -> None:
    config = config_of("")
    assert (config.repository.mirrors, config.repository.root) == ((), "root.json")
    assert (config.repository.ca_file, config.repository.proxy) == (None, None)
    assert config.unsigned.allow is Unsigned.NEVER
    assert (config.rollout.host_id, config.rollout.place) == (None, None)
    assert config.health.policy == HealthPolicy(
        deadline=600, healthy_for=30, check_timeout=30, interval=5, may_fail=(), min_free=MinFree(share=0.05)
    )
    assert config.agent_rules == AgentRules(
        enabled=True,
        cids=(CidRange(3, 4_294_967_294),),
        commands=frozenset(Command),
        only={},
        rate=20.0,
        burst=40,
        jobs_per_hour=12,
        unsigned=False,
    )


def test_what_an_admin_says_of_the_agent_and_the_health_is_what_counts() -> None:
    config = config_of(
        '[unsigned]\nallow = "anyone"\n[agent]\nenabled = false\ncids = ["4", "6..9"]\ncommands = ["jobs"]\n'
        'only = { 7 = ["version", "cancel"] }\nrate = 3\nburst = 5\njobs_per_hour = 32\n'
        '[health]\ndeadline = 60\nhealthy_for = 59\ncheck_timeout = 58\ninterval = 57\nmin_free = "1 MiB"\n'
        'may_fail = ["motd-*"]\n'
    )
    rules = config.agent_rules
    assert (rules.enabled, rules.cids) == (False, (CidRange(4, 4), CidRange(6, 9)))
    assert (rules.rate, rules.burst, rules.jobs_per_hour, rules.unsigned) == (3.0, 5, 32, True)
    assert isinstance(rules.rate, float)
    assert [rules.is_guest(cid) for cid in (3, 4, 5, 6, 9, 10)] == [False, True, False, True, True, False]
    assert rules.commands_of(7) == {Command.VERSION, Command.CANCEL}
    assert rules.commands_of(4) == {Command.JOBS}
    assert config.health.policy == HealthPolicy(
        deadline=60,
        healthy_for=59,
        check_timeout=58,
        interval=57,
        may_fail=("motd-*",),
        min_free=MinFree(size=1_048_576),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = = 1", "is not TOML: Invalid value (at line 1, column 5)"),
        (
            f'[repository]\nmirrors = ["ftp://{LONG}"]',
            f"is not sound: repository.mirrors.0: 'ftp://{'x' * 94}' is not a http, https or file URL",
        ),
        (
            f'[repository]\nmirrors = ["http://a/?{LONG}"]',
            f"is not sound: repository.mirrors.0: 'http://a/?{'x' * 90}' has a query, to which no file "
            "can be joined",
        ),
        (
            '[repository]\nmirrors = ["http://a/", "file:///x"]',
            "is not sound: repository: mirrors are either all files or all servers",
        ),
        (
            '[unsigned]\nallow = "all"',
            "is not sound: unsigned.allow: Input should be 'never', 'admin' or 'anyone'",
        ),
        ("[rollout]\nplace = 1.0", "is not sound: rollout.place: Input should be less than 1"),
        (
            f'[health]\nmay_fail = ["{"a b " * 40}"]',
            f"is not sound: health.may_fail.0: '{'a b ' * 25}' is not the name of a systemd unit, or a "
            "pattern of it",
        ),
        (
            '[health]\nmay_fail = [""]',
            "is not sound: health.may_fail.0: '' is not the name of a systemd unit, or a pattern of it",
        ),
        (
            '[health]\nmay_fail = ["a\\u0007"]',
            r"is not sound: health.may_fail.0: 'a\x07' is not the name of a systemd unit, or a pattern of it",
        ),
        (
            "[health]\ndeadline = 60\nhealthy_for = 60",
            "is not sound: health: healthy_for (60 s) must be shorter than deadline (60 s)",
        ),
        (
            "[health]\ndeadline = 60\nhealthy_for = 1\ncheck_timeout = 61\ninterval = 62",
            "is not sound: health: check_timeout (61 s) must be shorter than deadline (60 s)",
        ),
        (
            '[agent]\ncids = ["all"]\nonly = { 2 = [] }\nrate = 0',
            "is not sound: agent.cids.0: 'all' is not a CID such as 3, nor a range such as 3..9 or 3..; "
            "agent.only.2.[key]: '2': guests have CIDs from 3 to 4294967294, in this order; "
            "agent.rate: Input should be greater than or equal to 1",
        ),
    ],
)
def test_a_wrong_configuration_is_told_with_each_field(text: str, said: str) -> None:
    assert told(BadConfig, config_of, text) == f"config.toml {said}"


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("3", 3, 3),
        ("3..", 3, 4_294_967_294),
        ("5..5", 5, 5),
        ("4..9", 4, 9),
        ("4294967294", 4_294_967_294, 4_294_967_294),
    ],
)
def test_guests_are_named_by_a_cid_or_a_range(text: str, first: int, last: int) -> None:
    cids = parse_cids(text)
    assert cids == CidRange(first, last)
    assert (first in cids, last in cids, first - 1 in cids, last + 1 in cids) == (True, True, False, False)


@pytest.mark.parametrize("text", ["2", "2..9", "9..8", "4294967295", "3..4294967295", "0"])
def test_what_is_no_guest_is_told_with_the_cids_that_guests_have(text: str) -> None:
    assert told(ValueError, parse_cids, text) == (
        f"'{text}': guests have CIDs from 3 to 4294967294, in this order"
    )


@pytest.mark.parametrize("text", ["", "..", "..9", "3-9", "3..9..12", "12345678901", "x" * 50])
def test_what_is_no_cid_is_told_by_an_example(text: str) -> None:
    assert told(ValueError, parse_cids, text) == (
        f"{text[:40]!r} is not a CID such as 3, nor a range such as 3..9 or 3.."
    )


# --- problems and fields ----------------------------------------------------------------------------


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    size: Annotated[int, Field(gt=0)] = 1


def problems_of(values: object) -> str:
    with pytest.raises(ValidationError) as caught:
        Form.model_validate(values)
    return describe_problems(caught.value)


def test_eight_problems_are_told_and_the_rest_is_counted() -> None:
    def extra(count: int) -> dict[str, int]:
        return {f"f{number}": number for number in range(count)}

    eight = "; ".join(f"f{number}: Extra inputs are not permitted" for number in range(8))
    assert problems_of(extra(8)) == eight
    assert problems_of(extra(9)) == f"{eight}; and 1 more"
    assert problems_of(extra(20)) == f"{eight}; and 12 more"


def test_a_problem_is_one_clean_line_of_200_characters() -> None:
    assert problems_of({"\x1b[2J\n" + LONG: 1}) == f"?[2J?{'x' * 195}"
    assert problems_of(7).startswith("Input should be a valid dictionary")
    assert describe_problem(("images", 0, "part"), "Value error, it is wrong") == "images.0.part: it is wrong"
    assert describe_problem((), "Value error, it is wrong") == "it is wrong"
    assert clean_text("a\tb\u202ec\u00e9 d") == "a?b?c\u00e9 d"


def test_a_toml_file_is_told_by_its_name_in_the_error_of_its_kind() -> None:
    assert parse_toml(Form, "size = 7", "x.toml", BadGuest).size == 7
    assert told(BadGuest, parse_toml, Form, "size = 0", "x.toml", BadGuest) == (
        "x.toml is not sound: size: Input should be greater than 0"
    )
    twice = f"[{LONG}]\n[{LONG}]"
    said = told(BadGuest, parse_toml, Form, twice, "x.toml", BadGuest)
    assert said == f"x.toml is not TOML: Cannot declare ('{'x' * 183}"
    deep = told(BadGuest, parse_toml, Form, "x = " + "[" * 5_000, "x.toml", BadGuest)
    assert deep.startswith("x.toml is not TOML: ")


@pytest.mark.parametrize("value", [0, 1, 253_402_300_799])
def test_a_number_that_a_program_wrote_lies_before_the_year_10000(value: int) -> None:
    assert checked_number(value) == checked(value, int, float) == checked(float(value), int, float) == value


@pytest.mark.parametrize("value", [-1, 253_402_300_800, True, "1", None, 1.0])
def test_what_is_no_such_number_is_told(value: object) -> None:
    assert told(ValueError, checked_number, value) == f"cannot be {value!r}"


def test_a_number_with_a_point_is_looked_at_as_well() -> None:
    for value in (-0.5, 253_402_300_800.0, float("nan"), float("inf")):
        assert told(ValueError, checked, value, int, float) == f"cannot be {value!r}"
    assert checked("text", str) == "text"
    assert told(ValueError, checked, True, int, float) == "cannot be True"


# --- the settings -----------------------------------------------------------------------------------


def test_settings_stand_where_both_slot_sets_find_them() -> None:
    assert (PATH, GOOD_PATH, DAMAGED_PATH) == (
        "abctl/settings.json", "abctl/settings.good.json", "abctl/settings.damaged",
    )  # fmt: skip
    assert SIZE_MAX == 65_536


def test_settings_are_written_with_their_version_first() -> None:
    document = change(Document.empty(), {"deployment": "mainnet"})
    assert encode(document) == b'{\n  "version": 1,\n  "deployment": "mainnet"\n}\n'
    assert encode(parse_document(b'{"x": 1, "version": 9}')) == b'{\n  "version": 9,\n  "x": 1\n}\n'


@pytest.mark.parametrize(
    ("data", "is_sound"),
    [
        (b"{}", True),
        (b"{}" + b" " * 65_534, True),
        (b"{}" + b" " * 65_535, False),
        (b"[]", False),
        (b'"text"', False),
        (b"{", False),
        (b"\xff", False),
        (b"[" * 9_999, False),
    ],
)
def test_what_may_be_settings_is_json_with_fields_of_64_kib_at_the_most(data: bytes, is_sound: bool) -> None:
    assert may_be_sound(data) is is_sound


def test_settings_are_read_and_written_up_to_64_kib() -> None:
    whole = b'{"version": 1}'
    assert parse_document(whole + b" " * (65_536 - len(whole))).values == {"version": 1}
    said = told(SettingsDamaged, parse_document, whole + b" " * (65_537 - len(whole)))
    assert said == "it has more than 64 KiB: it is another file"
    # Braces, a name, quotes and line ends take 17 bytes.
    assert len(encode_values({"note": "x" * 65_519})) == 65_536
    assert told(SettingsDamaged, encode_values, {"note": "x" * 65_520}) == "it would have more than 64 KiB"
    assert told(SettingsDamaged, encode_values, {"x": float("inf")}) == "it holds a number that is too large"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"x" * 50: "1"},
            f"there is no setting '{'x' * 40}': there are host_type, deployment, management_mac, found_mac, "
            "ipv6_prefix, ipv6_gateway, node_id, machine_id",
        ),
        (
            {"machine_id": "g" * 50},
            f"machine_id: '{'g' * 40}' is not a machine-id: it has 32 hex digits in lower case",
        ),
        (
            {"ipv6_gateway": "x" * 70},
            f"ipv6_gateway: '{'x' * 60}' is not an IPv6 address, as in fe80::1",
        ),
        *(
            (
                {"ipv6_gateway": text},
                f"ipv6_gateway: '{text}' is not the address of a router: give one as in fe80::1",
            )
            for text in ("::1", "::", "ff02::1", "fe80::1%eth0")
        ),
        (
            {"deployment": "", "management_mac": "zz"},
            "deployment: '' is not the name of a deployment: it has 1 to 64 letters, digits and ._-, and "
            "begins with a letter or digit; management_mac: 'zz' is not a MAC address: give six bytes, as in "
            "70:b5:e8:e8:25:de",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_told(changes: dict[str, str], said: str) -> None:
    assert told(BadIdentity, change, Document.empty(), changes) == said


@pytest.mark.parametrize("text", ["0123456789abcdef" * 2, "f" * 32, "0" * 31 + "1"])
def test_a_machine_id_may_have_any_digits_but_zeros_alone(text: str) -> None:
    assert change(Document.empty(), {"machine_id": text}).settings.machine_id == text


def test_the_address_of_a_router_has_one_form() -> None:
    assert change(Document.empty(), {"ipv6_gateway": " FE80::0:1 "}).settings.ipv6_gateway == "fe80::1"
