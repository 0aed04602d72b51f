"""The settings that both slot sets share: what is kept, what is left out, and what a damage costs."""

import contextlib
import errno
import fcntl
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abctl.core.hostname import HostType
from abctl.core.settings import (
    Document,
    Settings,
    SettingsDamaged,
    change,
    encode,
    encode_values,
    parse_document,
    parse_machine_id,
)
from abctl.core.settings_place import SIZE_MAX
from abctl.errors import BadIdentity, Busy, WriteFailed
from abctl.host import settings_file
from abctl.host.layouts import read_layout
from abctl.host.settings_file import SettingsFile
from tests.fake_live import FakeHost

SOUND = {"version": 1, "deployment": "mainnet", "management_mac": "3c:ec:ef:6b:37:99"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=12,
)
UNKNOWN = st.dictionaries(st.text().filter(lambda name: name not in Settings.model_fields), JSON, max_size=6)


def dump(values: Any) -> bytes:
    return json.dumps(values).encode()


# --- what is kept -----------------------------------------------------------------------------------


@settings(max_examples=40)
@given(UNKNOWN, st.integers(1, 99))
def test_what_a_newer_abctl_wrote_survives_a_change_by_this_one(
    unknown: dict[str, Any], version: int
) -> None:
    newer = dump({**SOUND, "version": version, **unknown})
    document = change(parse_document(newer), {"node_id": "4wd4u-rgdfr", "management_mac": None})
    again = json.loads(encode(document))
    assert again == {"version": version, "deployment": "mainnet", "node_id": "4wd4u-rgdfr", **unknown}
    assert parse_document(encode(document)).settings == document.settings


def test_a_newer_file_is_read_for_what_is_known_of_it() -> None:
    document = parse_document(dump({**SOUND, "version": 7, "vlan": 12}))
    assert (document.settings.deployment, document.settings.version, document.problems) == ("mainnet", 7, ())


def test_a_value_that_only_a_newer_abctl_knows_costs_itself_and_stays_in_the_file() -> None:
    document = parse_document(dump({**SOUND, "host_type": "gateway", "ipv6_prefix": 5}))
    assert document.settings.host_type is HostType.HOST
    assert document.settings.deployment == "mainnet"
    assert document.problems == (
        "host_type: Input should be 'host', 'replica' or 'boundary'",
        "ipv6_prefix: Input should be a valid string",
    )
    changed = json.loads(encode(change(document, {"node_id": "4wd4u"})))
    assert (changed["host_type"], changed["ipv6_prefix"]) == ("gateway", 5)


def test_a_value_has_one_form_however_it_was_typed() -> None:
    document = change(
        Document.empty(), {"management_mac": "3C-EC-EF-6B-37-99", "ipv6_prefix": "2602:FFE4:801:17"}
    )
    assert document.values == {
        "version": 1,
        "management_mac": "3c:ec:ef:6b:37:99",
        "ipv6_prefix": "2602:ffe4:801:17::/64",
    }


def test_a_change_that_changes_nothing_is_none() -> None:
    document = parse_document(dump(SOUND))
    assert change(document, {"deployment": "mainnet", "node_id": None}) is document


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"deploymnet": "x"}, "there is no setting 'deploymnet': there are host_type, deployment"),
        ({"version": "2"}, "there is no setting 'version'"),
        ({"deployment": "main\nnet"}, "deployment: 'main\\nnet' is not the name of a deployment"),
        ({"node_id": "x" * 200}, "is not a node-id"),
        ({"host_type": "toaster"}, "host_type: Input should be 'host', 'replica' or 'boundary'"),
        ({"ipv6_gateway": "fe80::1%eth0"}, "is not the address of a router"),
        ({"ipv6_gateway": "ff02::1"}, "is not the address of a router"),
        ({"ipv6_gateway": "10.0.0.1"}, "is not an IPv6 address"),
        ({"machine_id": "0" * 32}, "is not a machine-id"),
        ({"machine_id": "uninitialized"}, "is not a machine-id"),
    ],
)
def test_a_wrong_change_is_refused_in_a_sentence(changes: dict[str, str], said: str) -> None:
    with pytest.raises(BadIdentity) as caught:
        change(Document.empty(), changes)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"\xff\xfe", "it is not UTF-8: invalid start byte at byte 0"),
        (b"[1]", "it is JSON, but no object with fields"),
        (b'{"version": 1, "deployment": "a"', "it is not JSON: Expecting ',' delimiter: line 1 column 33"),
        (
            b'{"deployment": "a", "deployment": "b"}',
            "it is not JSON: the field 'deployment' stands there twice",
        ),
        (b'{"x": NaN}', "it is not JSON: NaN is no number of JSON"),
        (b'{"x": 1e999}', "it holds a number that is too large"),
        (b'{"x": ' + b"[" * 5000, "it is nested too deep"),
        (b'{"x": ' + b"1" * 5000 + b"}", "it is not JSON: Exceeds the limit"),
        (b" " * (SIZE_MAX + 1), "it has more than 64 KiB: it is another file"),
    ],
)
def test_what_is_no_settings_file_is_told_by_why(data: bytes, said: str) -> None:
    with pytest.raises(SettingsDamaged) as caught:
        parse_document(data)
    assert str(caught.value).startswith(said)


# --- the file ---------------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path, read_layout("hostos"))


def folder_of(host: FakeHost) -> Path:
    return host.root / "boot/config/abctl"


def test_what_is_written_is_read_and_a_second_copy_is_there(host: FakeHost) -> None:
    file = SettingsFile(host.paths)
    assert file.read().settings == Settings()
    file.update({"deployment": "mainnet"})
    assert file.read().settings.deployment == "mainnet"
    assert sorted(path.name for path in folder_of(host).iterdir()) == ["settings.good.json", "settings.json"]
    assert (folder_of(host) / "settings.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("damage", [b"", b"{}garbage", b"\0" * 300])
def test_a_damaged_file_leaves_the_last_good_copy_and_a_warning(host: FakeHost, damage: bytes) -> None:
    file = SettingsFile(host.paths)
    file.update({"deployment": "mainnet"})
    file.path.write_bytes(damage)
    read = file.read()
    assert (read.settings.deployment, read.is_damaged) == ("mainnet", True)
    (warning,) = read.warnings
    assert warning.startswith(f"{file.path} cannot be used, for it is not JSON")
    assert warning.endswith(f"the last good copy counts, {folder_of(host)}/settings.good.json")


def test_what_was_damaged_is_kept_when_the_file_is_written_again(host: FakeHost) -> None:
    file = SettingsFile(host.paths)
    file.update({"deployment": "mainnet"})
    file.path.write_bytes(b"{ half of what an admin wrote")
    file.update({"node_id": "4wd4u"})
    assert file.read().settings == Settings(deployment="mainnet", node_id="4wd4u")
    assert file.read().warnings == ()
    assert (folder_of(host) / "settings.damaged").read_bytes() == b"{ half of what an admin wrote"


def test_saying_again_what_counts_anyhow_mends_a_damaged_file(host: FakeHost) -> None:
    file = SettingsFile(host.paths)
    file.update({"deployment": "mainnet"})
    file.path.write_bytes(b"{")
    file.update({"deployment": "mainnet"})
    assert file.read().warnings == ()


def test_a_file_that_is_gone_is_missed(host: FakeHost) -> None:
    file = SettingsFile(host.paths)
    file.update({"deployment": "mainnet"})
    file.path.unlink()
    assert file.read().settings.deployment == "mainnet"
    assert "is gone: the last good copy counts" in file.read().warnings[0]


def test_without_a_good_copy_a_damage_is_told_and_nothing_is_made_up(host: FakeHost) -> None:
    folder_of(host).mkdir()
    (folder_of(host) / "settings.json").write_bytes(b"{")
    read = SettingsFile(host.paths).read()
    assert read.settings == Settings()
    assert read.warnings[0].endswith("and there is no good copy: write it anew")


def test_a_link_in_the_place_of_the_file_is_not_followed(host: FakeHost) -> None:
    folder_of(host).mkdir()
    secret = host.root / "secret.json"
    secret.write_bytes(dump(SOUND))
    (folder_of(host) / "settings.json").symlink_to(secret)
    assert SettingsFile(host.paths).read().settings == Settings()


def test_a_file_that_an_admin_wrote_becomes_the_good_copy(host: FakeHost) -> None:
    file = SettingsFile(host.paths)
    folder_of(host).mkdir()
    file.path.write_bytes(dump(SOUND))
    file.keep_good_copy()
    file.path.write_bytes(b"{")
    file.keep_good_copy()
    assert file.read().settings.deployment == "mainnet"


def test_without_the_volume_nothing_is_written_into_the_folder_below_it(host: FakeHost) -> None:
    host.unmount("/boot/config")
    file = SettingsFile(host.paths)
    assert file.read().is_away
    assert "the host goes by what its hardware says" in file.read().warnings[0]
    with pytest.raises(
        WriteFailed, match=r"the config volume is not mounted on /boot/config, so nothing can be kept"
    ):
        file.update({"deployment": "mainnet"})
    assert list((host.root / "boot/config").iterdir()) == []


def test_a_full_volume_is_named_and_costs_nothing_that_was_there(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = SettingsFile(host.paths)
    file.update({"deployment": "mainnet"})

    def fail(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("abctl.host.replace.os.fsync", fail)
    with pytest.raises(WriteFailed) as caught:
        file.update({"node_id": "4wd4u"})
    assert str(caught.value) == (
        f"{file.path} cannot be written: No space left on device; nothing was changed. The config volume is "
        "full: remove from it what is not abctl's"
    )
    assert file.read().settings == Settings(deployment="mainnet")
    assert sorted(path.name for path in folder_of(host).iterdir()) == ["settings.good.json", "settings.json"]


def test_two_writers_at_once_lose_nothing(host: FakeHost) -> None:
    fields = {"deployment": "mainnet", "node_id": "4wd4u", "ipv6_gateway": "fe80::1", "host_type": "replica"}
    file = SettingsFile(host.paths)
    threads = [threading.Thread(target=file.update, args=({name: text},)) for name, text in fields.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: str(getattr(file.read().settings, name)) for name in fields} == fields


def test_a_writer_that_never_ends_is_named(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_file, "_LOCK_WAIT", 0.0)
    file = SettingsFile(host.paths)
    with file._lock(), pytest.raises(Busy, match="another program writes the settings"):
        file.update({"deployment": "mainnet"})


def test_who_can_only_read_the_settings_cannot_keep_others_from_writing_them(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_file, "_LOCK_WAIT", 0.0)
    file = SettingsFile(host.paths)
    file.update({"deployment": "mainnet"})
    readable = [
        path for path in (file.path.parent, *file.path.parent.iterdir()) if path.stat().st_mode & 0o004
    ]
    with contextlib.ExitStack() as stack:
        for path in readable:
            fd = os.open(path, os.O_RDONLY)
            stack.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX)
        file.update({"node_id": "4wd4u"})
    assert file.read().settings.node_id == "4wd4u"


def test_settings_that_are_too_large_or_too_deep_for_a_file_are_not_written() -> None:
    with pytest.raises(SettingsDamaged, match="more than"):
        encode_values({"note": "x" * SIZE_MAX})
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"deeper": deep}
    with pytest.raises(SettingsDamaged, match="nested too deep"):
        encode_values(deep)
    with pytest.raises(SettingsDamaged, match="number that is too large"):
        encode_values({"count": float("inf")})


@pytest.mark.parametrize("text", ["0" * 32, "A" * 32, "a" * 31, "a" * 33, "g" * 32, ""])
def test_a_machine_id_has_32_digits_and_is_not_zero(text: str) -> None:
    with pytest.raises(BadIdentity, match="is not a machine-id"):
        parse_machine_id(text)
    assert parse_machine_id("0" * 31 + "1") == "0" * 31 + "1"
