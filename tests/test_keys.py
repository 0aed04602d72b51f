"""Keys: their files and passphrases, the root that several owners sign, and new keys for every role."""

import json
import os
import pty
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from tuf.api.exceptions import UnsignedMetadataError

from abctl.build import pkcs8
from abctl.build.keys import read_public, read_signer
from abctl.build.roles import Role
from abctl.errors import BadKey
from tests.repositories import DAY, NOON, Key, Keys, client, make_repository, make_tiny_release
from tests.test_publish import Ran, run

pytestmark = pytest.mark.slow

ABCTL = Path(sys.executable).with_name("abctl")
NAMES = ("root-1", "root-2", "root-3", "root-4", "targets-1", "targets-2", "online-1", "online-2")


@dataclass(frozen=True)
class Desk:
    """A folder with key files, and a repository beside it."""

    folder: Path

    @property
    def repo(self) -> Path:
        return self.folder / "repo"

    def key(self, name: str) -> Path:
        return self.folder / name

    def pub(self, name: str) -> Path:
        return self.folder / f"{name}.pub"

    def keys(self, command: str, *arguments: str | Path) -> Ran:
        return run("keys", command, self.repo, *arguments)

    def init(self, *options: str | Path, root: tuple[str, ...] = ("root-1", "root-2", "root-3")) -> Ran:
        roots = [item for name in root for item in ("--root", self.pub(name))]
        usual = ("--targets", self.pub("targets-1"), "--online", self.pub("online-1"))
        return self.keys("init", *roots, *usual, *options)

    def sign(self, *names: str) -> Any:
        ran = self.keys("sign", *(item for name in names for item in ("--key", self.key(name))), "--json")
        assert ran.code == 0, ran.error
        return ran.report

    def rotate(self, role: str, add: str, remove: str) -> Ran:
        return self.keys("rotate", "--role", role, "--add", self.pub(add), "--remove", Key(remove).id[:8])

    def publish(self, version: str, *, key: str = "targets-1", online: str = "online-1") -> Ran:
        made = make_tiny_release(self.folder / version, version)
        signing = ("--key", self.key(key), "--online-key", self.key(online))
        return run("publish", self.repo, made, *signing)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    for name in NAMES:
        Key(name).write(tmp_path)
    return Desk(tmp_path)


# --- files ------------------------------------------------------------------------------------------


def test_a_new_key_is_encrypted_private_and_read_by_openssl(tmp_path: Path) -> None:
    made = run(
        "keys", "new", tmp_path / "k", "--comment", "Ada, Bern", "--json", ABCTL_PASSPHRASE="correct horse"
    )
    assert made.code == 0, made.error
    path = tmp_path / "k"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    public = json.loads((tmp_path / "k.pub").read_bytes())
    assert public["keyid"] == made.report["keyid"]
    assert (public["comment"], public["keytype"], made.report["encrypted"]) == ("Ada, Bern", "ed25519", True)
    assert read_public(tmp_path / "k.pub").keyid == read_signer(path, ["correct horse"]).public_key.keyid
    told = subprocess.run(
        ["openssl", "pkey", "-in", path, "-passin", "pass:correct horse", "-pubout", "-outform", "DER"],
        capture_output=True,
        check=True,
    )
    assert told.stdout[-32:].hex() == public["keyval"]["public"]
    shown = subprocess.run(["openssl", "asn1parse", "-in", path], capture_output=True, text=True, check=True)
    assert ":scrypt" in shown.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k", "k.pub"]


@pytest.mark.parametrize("taken", ["k", "k.pub"])
def test_a_key_is_never_overwritten(taken: str, tmp_path: Path) -> None:
    (tmp_path / taken).write_bytes(b"precious")
    ran = run("keys", "new", tmp_path / "k", "--no-passphrase")
    assert ran.code == 28
    assert f"{taken} is in the way" in ran.error
    assert (tmp_path / taken).read_bytes() == b"precious"


def test_a_key_without_a_passphrase_has_to_be_asked_for(tmp_path: Path) -> None:
    assert "is empty" in run("keys", "new", tmp_path / "k", ABCTL_PASSPHRASE="").error
    (tmp_path / "empty").write_bytes(b"\n")
    assert run("keys", "new", tmp_path / "k", "--passphrase-file", tmp_path / "empty").code == 63
    refused = run("keys", "new", tmp_path / "k")
    assert refused.code == 63
    assert "say --no-passphrase" in refused.error
    assert not (tmp_path / "k").exists()
    assert run("keys", "new", tmp_path / "k", "--no-passphrase").code == 0
    read_signer(tmp_path / "k", ())


def test_a_passphrase_is_asked_for_twice_on_a_terminal_and_never_shown(tmp_path: Path) -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [ABCTL, "release", "keys", "new", tmp_path / "k"],
        stdin=child, stdout=child, stderr=child, start_new_session=True,
    )  # fmt: skip
    os.close(child)
    said = b""
    for prompt in (b"Passphrase for", b"Repeat for confirmation"):
        while prompt not in said:
            said += os.read(parent, 1024)
        os.write(parent, b"correct horse\n")
    while True:
        try:
            more = os.read(parent, 1024)
        except OSError:
            break
        if not more:
            break
        said += more
    assert process.wait(20) == 0, said
    assert b"correct horse" not in said
    read_signer(tmp_path / "k", ["correct horse"])


def test_the_right_one_of_several_passphrases_opens_a_key(tmp_path: Path, desk: Desk) -> None:
    desk.init()
    for name, phrase in (("a", "one"), ("b", "two\r\n")):
        (tmp_path / f"{name}.pass").write_text(phrase)
    encrypted = tmp_path / "k"
    assert run("keys", "new", encrypted, "--passphrase-file", tmp_path / "b.pass").code == 0
    files = [item for name in ("a", "b") for item in ("--passphrase-file", tmp_path / f"{name}.pass")]
    wrong_role = desk.keys("sign", "--key", encrypted, *files)
    assert "is no root key" in wrong_role.error
    wrong = desk.keys("sign", "--key", encrypted, *files[:2])
    assert (wrong.code, "the passphrase is not that of" in wrong.error) == (63, True)
    none = desk.keys("sign", "--key", encrypted)
    assert (none.code, "passphrase" in none.error) == (63, True)
    gone = desk.keys("sign", "--key", encrypted, "--passphrase-file", tmp_path / "gone")
    assert (gone.code, "cannot be read" in gone.error) == (40, True)
    (tmp_path / "a.pass").write_bytes(b"\xff\xfe")
    assert desk.keys("sign", "--key", encrypted, *files[:2]).code == 63


def test_a_wrong_passphrase_that_leaves_what_looks_decrypted_is_one_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in some 200 leaves garbage with a padding that could be right: then the next one still counts."""
    monkeypatch.setattr(pkcs8, "_COST", 2)  # so that hundreds are tried at once
    encrypted = tmp_path / "k"
    encrypted.write_bytes(pkcs8.encode_encrypted(Ed25519PrivateKey.generate(), "right"))
    wrong = next(phrase for phrase in map(str, range(10_000)) if _looks_decrypted(encrypted, phrase))
    read_signer(encrypted, [wrong, "right"])
    with pytest.raises(BadKey, match="the passphrase is not that of"):
        read_signer(encrypted, [wrong])


def _looks_decrypted(path: Path, phrase: str) -> bool:
    try:
        load_pem_private_key(path.read_bytes(), phrase.encode())
    except ValueError as error:
        return "password" not in str(error).lower()
    return False


def make_ec_key(*, encrypted: bool) -> bytes:
    how = BestAvailableEncryption(b"secret") if encrypted else NoEncryption()
    return generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\xff" * 100,
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        make_ec_key(encrypted=False),
        make_ec_key(encrypted=True),
    ],
)
def test_a_file_that_is_no_key_is_one_sentence(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(data)
    with pytest.raises(BadKey, match=r"k is no |that of .*k"):
        read_signer(tmp_path / "k", ["secret"])
    with pytest.raises(BadKey):
        read_public(tmp_path / "k")


@pytest.mark.parametrize(
    "change",
    [
        {"keyid": "00"},
        {"keyval": {"public": "00"}},
        {"keyval": {"public": "zz"}},
        {"keyval": {"public": 5}},
        {"keyval": 5},
    ],
)
def test_a_public_key_that_was_changed_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = Key("root-1").write(tmp_path).with_name("root-1.pub")
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}))
    with pytest.raises(BadKey, match=r"root-1\.pub"):
        read_public(path)


# --- the first root ---------------------------------------------------------------------------------


def test_a_root_is_published_when_enough_of_its_owners_have_signed(desk: Desk) -> None:
    assert desk.init().code == 0
    assert not (desk.repo / "metadata").exists()
    first = desk.sign("root-1")
    missing = first["pending"]["missing"]
    assert (first["root"], [(item["root"], item["count"]) for item in missing]) == (None, [(1, 1)])
    assert missing[0]["keyids"] == sorted([Key("root-2").id, Key("root-3").id])
    assert desk.sign("root-1")["root"] is None  # the same owner again does not count
    assert desk.publish("1.0.0").code == 40
    last = desk.sign("root-3")
    assert (last["root"], last["pending"]) == (1, None)
    assert not (desk.repo / "pending/root.json").exists()
    assert desk.publish("1.0.0").code == 0
    repo = make_repository(desk.folder / "other")
    repo.folder = desk.repo
    assert client(repo, desk.folder / "reader").versions() == ["1.0.0"]


def test_the_lifetimes_that_root_says_are_those_of_all_roles(desk: Desk) -> None:
    options = ("--expires", "timestamp=12h", "--expires", "root=100d", "--expires", "targets=4w")
    assert desk.init(*options).code == 0
    desk.sign("root-1", "root-2")
    made = make_tiny_release(desk.folder / "1.0.0", "1.0.0")
    signing = ("--key", desk.key("targets-1"), "--online-key", desk.key("online-1"))
    dates = run("publish", desk.repo, made, *signing, "--json").report["dates"]
    assert {item["role"]: item["expires"] for item in dates} == {
        "root": "2027-04-25T08:00:00Z",
        "targets": "2027-02-12T08:00:00Z",
        "archive": "2027-02-12T08:00:00Z",
        "snapshot": "2027-01-29T08:00:00Z",
        "timestamp": "2027-01-15T20:00:00Z",
    }


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--root-threshold", "4"), 63, "root would need 4 signatures and have 3 keys"),
        (("--targets-threshold", "2"), 63, "targets would need 2 signatures and have 1 keys"),
        (("--root-threshold", "0"), 2, "0 is not in the range"),
        (("--expires", "timestamp"), 2, "not a duration"),
        (("--expires", "archive=3d"), 2, "'archive' is none of"),
        (("--expires", "root=0d"), 2, "expire at once"),
        (("--online", "{none}"), 40, "cannot be read"),
        (("--online", "{private}"), 63, "is a private key: give its public half"),
    ],
)
def test_a_wrong_root_is_not_made(options: tuple[str, ...], code: int, words: str, desk: Desk) -> None:
    places = {"{none}": str(desk.folder / "none.pub"), "{private}": str(desk.key("online-2"))}
    ran = desk.init(*(places.get(item, item) for item in options))
    assert ran.code == code, ran.error
    assert words in ran.error
    assert not (desk.repo / "pending/root.json").exists()


def test_a_root_in_the_making_or_published_is_not_made_anew(desk: Desk) -> None:
    assert desk.keys("show").code == 40
    assert desk.keys("rotate", "--role", "root").code == 40
    desk.init()
    again = desk.init()
    assert (again.code, "waits for signatures already" in again.error) == (28, True)
    desk.sign("root-1", "root-2")
    again = desk.init()
    assert (again.code, "keys rotate" in again.error) == (28, True)
    nothing = desk.keys("sign", "--key", desk.key("root-1"))
    assert (nothing.code, "no root waits" in nothing.error) == (29, True)


# --- new keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["root", "targets", "online", "snapshot", "timestamp"])
def test_each_role_gets_new_keys_and_old_and_new_hosts_follow(role: str, tmp_path: Path) -> None:
    keys = Keys(targets=[Key("targets-1"), Key("targets-2")])
    repo = make_repository(tmp_path / "repo", ["1.0.0", "2.0.0"], keys=keys, targets_threshold=2)
    hosts = [client(repo, tmp_path / "host")]
    for number in range(3):
        for host in hosts:
            assert host.versions() == ["1.0.0", "2.0.0"]
        repo.rotate(role)
        hosts.append(client(repo, tmp_path / f"host-{number}"))
    assert len(repo.state.roots) == 4
    repo.publish("3.0.0", keep=1)
    for host in hosts:
        assert host.versions() == ["3.0.0"]
        assert host.terms("1.0.0") is not None
    if role == "targets":
        published = repo.state.published
        assert published is not None
        assert published.targets.signed.delegations is not None
        assert set(published.targets.signed.delegations.keys) == {key.id for key in repo.keys.targets}


def test_a_root_that_changes_keys_waits_until_the_new_ones_have_signed_the_rest(desk: Desk) -> None:
    desk.init()
    desk.sign("root-1", "root-2")
    desk.publish("1.0.0")
    assert desk.rotate("online", "online-2", "online-1").code == 0
    waits = desk.sign("root-1", "root-2")
    assert (waits["root"], waits["pending"]["missing"]) == (1, [])
    assert (
        waits["advice"][0]["command"] == f"abctl release renew {desk.repo} --online-key OLD --online-key NEW"
    )
    # The timer with the old key goes on as if nothing were.
    assert run("renew", desk.repo, "--online-key", desk.key("online-1")).code == 0
    assert desk.publish("2.0.0").code == 0
    assert not (desk.repo / "metadata/2.root.json").exists()
    both = ("--online-key", desk.key("online-1"), "--online-key", desk.key("online-2"))
    renewed = run("renew", desk.repo, *both)
    assert "root version 2 is published" in renewed.out
    refused = run("renew", desk.repo, "--online-key", desk.key("online-1"))
    assert (refused.code, "none of the online keys of 2.root.json" in refused.error) == (63, True)
    assert run("renew", desk.repo, "--online-key", desk.key("online-2")).code == 0
    assert run("check", desk.repo).code == 0


def test_a_lost_online_key_is_replaced_without_it(desk: Desk) -> None:
    desk.init()
    desk.sign("root-1", "root-2")
    desk.publish("1.0.0")
    desk.rotate("online", "online-2", "online-1")
    desk.sign("root-2", "root-3")
    desk.key("online-1").unlink()
    assert run("renew", desk.repo, "--online-key", desk.key("online-2")).code == 0
    assert run("check", desk.repo).code == 0
    assert desk.publish("2.0.0", online="online-2").code == 0


def test_a_lost_targets_key_is_replaced_without_it(desk: Desk) -> None:
    desk.init()
    desk.sign("root-1", "root-2")
    desk.publish("1.0.0")
    desk.rotate("targets", "targets-2", "targets-1")
    desk.sign("root-2", "root-3")
    online = ("--online-key", desk.key("online-1"))
    assert run("renew", desk.repo, *online).code == 0
    assert not (desk.repo / "metadata/2.root.json").exists()
    assert desk.publish("2.0.0", key="targets-2").code == 0
    assert (desk.repo / "metadata/2.root.json").exists()
    assert run("check", desk.repo).code == 0


def test_a_new_root_needs_owners_of_the_old_one_and_of_the_new_one(desk: Desk) -> None:
    desk.init()
    desk.sign("root-1", "root-2")
    desk.rotate("root", "root-4", "root-1")
    waits = desk.sign("root-1", "root-4")
    assert [(item["root"], item["count"]) for item in waits["pending"]["missing"]] == [(1, 1), (2, 1)]
    assert desk.sign("root-3")["root"] == 2


def test_a_pending_root_can_be_changed_and_has_to_be_signed_anew(desk: Desk) -> None:
    desk.init()
    desk.sign("root-1", "root-2")
    desk.rotate("root", "root-4", "root-1")
    desk.sign("root-2")
    changed = desk.keys(
        "rotate", "--role", "root", "--threshold", "3", "--expires", "root=30d", "--json"
    ).report
    assert (changed["pending"]["version"], changed["pending"]["roles"][0]["threshold"]) == (2, 3)
    assert changed["pending"]["expires"] == "2027-02-14T08:00:00Z"
    assert [(item["root"], item["count"]) for item in changed["pending"]["missing"]] == [(1, 2), (2, 3)]
    wrong = desk.keys("rotate", "--role", "root", "--remove", "ffff")
    assert (wrong.code, "ffff is none of the root keys" in wrong.error) == (63, True)
    assert desk.sign("root-2", "root-3", "root-4")["root"] == 2


def test_the_same_root_gets_a_new_date(desk: Desk) -> None:
    desk.init()
    desk.sign("root-1", "root-2")
    late = NOON + 300 * DAY
    assert run("keys", "rotate", desk.repo, "--role", "root", now=late).code == 0
    desk.sign("root-1", "root-3")
    shown = run("keys", "show", desk.repo, "--json", now=late).report
    assert shown["dates"][0]["expires"] == "2028-11-10T08:00:00Z"


def test_a_signed_root_comes_back_from_a_machine_without_a_network(desk: Desk, tmp_path: Path) -> None:
    """Only pending/ and metadata/ travel; what was left behind is cleared up where it comes back."""
    desk.init()
    desk.sign("root-1", "root-2")
    desk.publish("1.0.0")
    desk.rotate("root", "root-4", "root-1")
    away = Desk(tmp_path / "away")
    away.folder.mkdir()
    for name in ("root-2", "root-3", "root-4"):
        Key(name).write(away.folder)
    subprocess.run(
        ["cp", "-r", "--parents", "pending", "metadata", str(_make(away.repo))], cwd=desk.repo, check=True
    )
    assert away.sign("root-2", "root-3")["root"] == 2
    subprocess.run(["cp", "-r", "pending", "metadata", str(desk.repo)], cwd=away.repo, check=True)
    assert run("check", desk.repo).code == 0
    assert desk.keys("show", "--json").report["pending"] is None
    assert desk.publish("2.0.0").code == 0


def _make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_hosts_take_no_root_that_too_few_signed(tmp_path: Path) -> None:
    """What abctl would never publish, a host refuses too."""
    repo = make_repository(tmp_path / "repo", ["1.0.0"])
    host = client(repo, tmp_path / "host")
    host.refresh()
    thief = make_repository(tmp_path / "thief", ["9.0.0"], keys=Keys(root=[Key("thief-1")]), root_threshold=1)
    thief.rotate("root")
    (repo.metadata / "2.root.json").write_bytes((thief.metadata / "2.root.json").read_bytes())
    with pytest.raises(UnsignedMetadataError):
        host.refresh()
    shown = run("keys", "show", repo.folder)
    assert (shown.code, "2.root.json is signed by 0 of the 2 root keys" in shown.error) == (35, True)


@pytest.mark.parametrize("command", ["new", "init", "sign", "rotate", "show"])
def test_each_command_on_keys_has_help_with_an_example(command: str) -> None:
    helped = run("keys", command, "--help")
    assert helped.code == 0
    assert f"abctl release keys {command} " in helped.out.partition("Example")[2]


def test_the_archive_has_the_keys_of_targets(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", ["1.0.0"])
    root, published = repo.state.root.signed, repo.state.published
    assert published is not None
    delegations = published.targets.signed.delegations
    assert delegations is not None
    assert delegations.roles is not None
    archive = delegations.roles[Role.ARCHIVE]
    assert archive.keyids == root.roles[Role.TARGETS].keyids
    assert archive.paths == ["*/manifest.json"]
    assert not archive.terminating
