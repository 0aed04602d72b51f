"""What a host is told of itself: the settings that both slot sets share, and who may log in."""

import json

from hypothesis import strategies as st

from abctl.core.settings import Document, SettingsDamaged, change, encode, parse_document
from abctl.errors import BadIdentity
from abctl.identity.authorized_keys import KEYS_MAX, KeyList, encode_keys, parse_keys
from tests.fuzz.edits import changed_json
from tests.fuzz.target import Target
from tests.test_identity_keys import ED25519

_SETTINGS = {
    "version": 1,
    "host_type": "host",
    "deployment": "mainnet",
    "management_mac": "3c:ec:ef:6b:37:99",
    "ipv6_prefix": "2602:ffe4:801:17::/64",
    "ipv6_gateway": "fe80::1",
    "node_id": "4wd4u-rgdfr",
    "machine_id": "0123456789abcdef0123456789abcdef",
    "of a newer abctl": [1.5, {"a": None}],
}


@st.composite
def _made(draw: st.DrawFn) -> bytes:
    return draw(changed_json(json.dumps(_SETTINGS).encode()))


def _check_settings(data: bytes) -> None:
    """What is read can be changed and written, and what is not known stays in it."""
    try:
        document = parse_document(data)
    except SettingsDamaged as error:
        # As the target's own refusal it is held to be one line that a terminal can show.
        raise BadIdentity(str(error)) from error
    assert all(problem.isprintable() for problem in document.problems)
    try:
        changed = encode(change(document, {"node_id": "4wd4u"}))
    except SettingsDamaged:
        return  # it is as large as it may be already
    again = parse_document(changed)
    assert again.settings.node_id == "4wd4u"
    left_out = {"node_id", "version"}
    assert _without(again, left_out) == _without(document, left_out)


def _without(document: Document, names: set[str]) -> str:
    return json.dumps({name: value for name, value in document.values.items() if name not in names})


_KEY_LINES = [
    f"{ED25519} me@there\n".encode(),
    f'from="10.0.0.0/8",command="echo \\"a\\"",no-pty {ED25519} two words\n'.encode(),
    b"# nobody\n\nssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAgD/ x\n",
]


def _check_keys(data: bytes) -> None:
    found = parse_keys(data)
    assert len(found.keys) <= KEYS_MAX
    assert all(problem.isprintable() and len(problem) < 300 for problem in found.problems)
    assert all(key.line.isprintable() and key.name.isprintable() for key in found.keys)
    assert parse_keys(encode_keys(found.keys, "x")) == KeyList(found.keys)


TARGETS = (
    Target("settings", lambda: [json.dumps(_SETTINGS).encode(), b"{}"], _check_settings, _made(), cost=5),
    Target("ssh-keys", lambda: [*_KEY_LINES, b"".join(_KEY_LINES)], _check_keys),
)
