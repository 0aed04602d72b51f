"""SSH keys: which lines count, and that a user's home cannot lead the replacing astray."""

import base64
import errno
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from abctl.errors import WriteFailed
from abctl.host.key_files import User, find_user, read_source, replace_keys
from abctl.identity.authorized_keys import KEYS_MAX, Key, encode_keys, parse_keys

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJLCbDn8xD0hnrBQ8q7hJAoq6wCKZyF1nkK0sJ3CJAbg"
WRONG_SIZE = "the key is not as long as one of its kind is"


def keys_of(*lines: str) -> tuple[Key, ...]:
    found = parse_keys("\n".join(lines).encode())
    assert found.problems == ()
    return found.keys


def problem_of(line: str | bytes) -> str:
    found = parse_keys(line if isinstance(line, bytes) else line.encode())
    assert found.keys == ()
    (problem,) = found.problems
    assert problem.isprintable()
    return problem.removeprefix("line 1: ")


# --- lines ------------------------------------------------------------------------------------------


MADE: dict[str, Callable[[], ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey]] = {
    "ssh-ed25519": ed25519.Ed25519PrivateKey.generate,
    "ssh-rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ecdsa-sha2-nistp256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-sha2-nistp384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ecdsa-sha2-nistp521": lambda: ec.generate_private_key(ec.SECP521R1()),
}


@pytest.mark.parametrize("kind", MADE)
def test_each_kind_of_key_is_taken_with_the_fingerprint_that_others_give_it(kind: str) -> None:
    public = MADE[kind]().public_key()
    text = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    (key,) = keys_of(f"{text} an admin")
    digest = serialization.ssh_key_fingerprint(public, hashes.SHA256())
    assert key == Key(kind, text.split()[1], comment="an admin")
    assert key.fingerprint == f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def test_a_key_on_a_hardware_token_is_taken() -> None:
    fields = (b"sk-ssh-ed25519@openssh.com", b"\1" * 32, b"ssh:")
    blob = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    (key,) = keys_of(f"sk-ssh-ed25519@openssh.com {base64.b64encode(blob).decode()} token")
    assert key.comment == "token"
    assert problem_of(key.line.replace(key.text, base64.b64encode(blob[:-8]).decode())) == WRONG_SIZE


def test_comments_blank_lines_and_line_ends_of_other_systems_are_no_problem() -> None:
    (key,) = keys_of("# mine", "", "   ", f"\t {ED25519}\tme@there\r", "#")
    assert key.line == f"{ED25519} me@there"


def test_options_stay_before_their_key() -> None:
    options = 'from="10.0.0.0/8,!10.1.1.1",command="echo \\"a b\\" # ssh-rsa",no-pty,restrict'
    (key,) = keys_of(f"{options} {ED25519} me")
    assert (key.options, key.kind, key.comment) == (options, "ssh-ed25519", "me")
    assert keys_of(key.line) == (key,)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hello world", "'hello' is no kind of key and no option"),
        ("ssh-ed25519", "what follows is no key of the kind ssh-ed25519"),
        (f"{ED25519[:61]} me", "the key is not whole: it is no base64"),
        (f"{ED25519[:-8]} me", "the key is cut off"),
        (ED25519.replace("ssh-ed25519", "ssh-rsa", 1), "what follows is no key of the kind ssh-rsa"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "no sshd takes ssh-dss here: give the key itself, of another kind"),
        (
            "ssh-ed25519-cert-v01@openssh.com AAAA",
            "no sshd takes ssh-ed25519-cert-v01@openssh.com here: give the key itself, of another kind",
        ),
        ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAgD/", "an RSA key of 8 bits is too short: 2048 are the least"),
        (f'command="reboot {ED25519}', "a quotation mark is never closed"),
        (f"no-pty;restrict {ED25519}", "';restrict' follows an option without a comma"),
        (f"no-pty, {ED25519}", "'' is no kind of key and no option"),
        (f"no-pty='x' {ED25519}", "\"='x'\" follows an option without a comma"),
        (f"no-such-option {ED25519}", "'no-such-option' is no kind of key and no option"),
        (f"command {ED25519}", "'command' is no kind of key and no option"),
        (f'command="gr\u00fc\u00df" {ED25519}', "its options hold other characters than ASCII"),
        (f"no-pty ssh-foo {ED25519}", "'ssh-foo' is no kind of key, such as ssh-ed25519, ssh-rsa"),
        (b"ssh-ed25519 \x00AAAA", "it holds control characters"),
        (b"ssh-ed25519 \x1b[31mAAAA", "it holds control characters"),
        (b"x" * 9000, "it has more than 8192 bytes"),
    ],
)
def test_a_line_that_is_no_key_is_told_by_number_and_reason(line: str | bytes, said: str) -> None:
    assert problem_of(line).startswith(said)


def test_bad_lines_do_not_hide_good_ones_and_a_key_counts_once() -> None:
    found = parse_keys(f"nonsense\n{ED25519} a\n{ED25519} b\n".encode())
    assert [key.comment for key in found.keys] == ["a"]
    assert found.problems[1] == "line 3: the key stands further up already"
    assert found.is_sound


def test_a_file_of_nothing_but_damage_is_not_the_truth_and_an_empty_one_is() -> None:
    assert not parse_keys(b"\x00\xff\x00\nnonsense").is_sound
    assert parse_keys(b"# nobody\n").is_sound


def test_a_comment_cannot_reach_the_terminal_or_another_line() -> None:
    (key,) = keys_of(f"{ED25519} evil\u202e\u2028ssh-rsa {'x' * 200}")
    assert key.line.isprintable()
    assert len(key.comment) == 100


def test_there_are_not_more_keys_than_anybody_needs() -> None:

    def line(number: int) -> str:
        body = base64.b64decode(ED25519.split()[1])[:-32] + number.to_bytes(32, "big")
        return f"ssh-ed25519 {base64.b64encode(body).decode()}"

    found = parse_keys("\n".join(map(line, range(KEYS_MAX + 2))).encode())
    assert (len(found.keys), len(found.problems)) == (KEYS_MAX, 2)


@given(st.lists(st.binary(max_size=80) | st.sampled_from([ED25519.encode(), b"no-pty", b'"', b"\\", b","])))
def test_whatever_a_file_holds_what_is_written_for_sshd_reads_the_same(words: list[bytes]) -> None:
    found = parse_keys(b" ".join(words))
    assert parse_keys(encode_keys(found.keys, "x")) == type(found)(found.keys)


# --- homes ------------------------------------------------------------------------------------------


@pytest.fixture
def user(tmp_path: Path) -> User:
    """A user whose home is below ``tmp_path``, as who runs the tests."""
    (tmp_path / "var/lib/admin").mkdir(parents=True, mode=0o755)
    return User("admin", os.getuid(), os.getgid(), "/var/lib/admin", "/bin/bash")


def home_of(root: Path) -> Path:
    return root / "var/lib/admin"


DATA = encode_keys(keys_of(ED25519), "x")


def modes_of(root: Path) -> tuple[int, int]:
    ssh = home_of(root) / ".ssh"
    return stat.S_IMODE(ssh.stat().st_mode), stat.S_IMODE((ssh / "authorized_keys").stat().st_mode)


def test_keys_are_written_with_the_modes_that_sshd_wants_and_then_left_alone(
    tmp_path: Path, user: User
) -> None:
    assert replace_keys(user, DATA, tmp_path).changed
    assert (home_of(tmp_path) / ".ssh/authorized_keys").read_bytes() == DATA
    assert modes_of(tmp_path) == (0o700, 0o600)
    number = (home_of(tmp_path) / ".ssh/authorized_keys").stat().st_ino
    assert not replace_keys(user, DATA, tmp_path).changed
    assert (home_of(tmp_path) / ".ssh/authorized_keys").stat().st_ino == number
    assert [path.name for path in (home_of(tmp_path) / ".ssh").iterdir()] == ["authorized_keys"]


def test_a_home_that_is_missing_or_open_is_no_matter_where_no_keys_are_wanted(
    tmp_path: Path, user: User
) -> None:
    home_of(tmp_path).chmod(0o777)
    assert not replace_keys(user, b"", tmp_path).changed
    home_of(tmp_path).rmdir()
    assert not replace_keys(user, b"", tmp_path).changed
    assert not home_of(tmp_path).exists()


def test_modes_that_somebody_changed_are_put_right(tmp_path: Path, user: User) -> None:
    replace_keys(user, DATA, tmp_path)
    (home_of(tmp_path) / ".ssh/authorized_keys").chmod(0o666)
    (home_of(tmp_path) / ".ssh").chmod(0o777)
    assert replace_keys(user, DATA, tmp_path).changed
    assert modes_of(tmp_path) == (0o700, 0o600)


def test_no_source_means_no_key_also_not_in_the_second_file_that_sshd_reads(
    tmp_path: Path, user: User
) -> None:
    assert not replace_keys(user, b"", tmp_path).changed
    assert list(home_of(tmp_path).iterdir()) == []
    replace_keys(user, DATA, tmp_path)
    (home_of(tmp_path) / ".ssh/authorized_keys2").write_bytes(DATA)
    done = replace_keys(user, b"", tmp_path)
    assert done.notes == ("authorized_keys2 of admin was removed, which sshd would read too",)
    assert list((home_of(tmp_path) / ".ssh").iterdir()) == []


@pytest.mark.parametrize("data", [DATA, b""])
@pytest.mark.parametrize("trick", ["link", "dangling", "folder", "pipe", "hard link"])
def test_a_trick_in_place_of_the_file_touches_nothing_else(
    tmp_path: Path, user: User, trick: str, data: bytes
) -> None:
    target = tmp_path / "shadow"
    target.write_text("root:secret\n")
    target.chmod(0o640)
    ssh = home_of(tmp_path) / ".ssh"
    ssh.mkdir(mode=0o700)
    keys = ssh / "authorized_keys"
    match trick:
        case "link":
            keys.symlink_to(target)
        case "dangling":
            keys.symlink_to(tmp_path / "cron.d/job")
        case "folder":
            (keys / "full").mkdir(parents=True)
        case "pipe":
            os.mkfifo(keys)
        case "hard link":
            keys.hardlink_to(target)
    replace_keys(user, data, tmp_path)
    assert (target.read_text(), stat.S_IMODE(target.stat().st_mode)) == ("root:secret\n", 0o640)
    assert not (tmp_path / "cron.d").exists()
    assert (keys.read_bytes() if keys.exists() else b"") == data
    assert not keys.is_symlink()


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_trick_in_place_of_the_folder_is_removed(tmp_path: Path, user: User, kind: str) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    ssh = home_of(tmp_path) / ".ssh"
    if kind == "link":
        ssh.symlink_to(etc)
    else:
        ssh.write_text("x")
    done = replace_keys(user, DATA, tmp_path)
    assert done.notes == (f"{ssh} was no folder, and was removed",)
    assert list(etc.iterdir()) == []
    assert modes_of(tmp_path) == (0o700, 0o600)


def test_a_home_that_is_a_link_or_open_to_others_is_refused(tmp_path: Path, user: User) -> None:
    home_of(tmp_path).chmod(0o777)
    with pytest.raises(WriteFailed, match=r"others than admin may write to .*: 'chmod go-w "):
        replace_keys(user, DATA, tmp_path)
    home_of(tmp_path).rmdir()
    with pytest.raises(WriteFailed, match=r"\.ssh cannot be written: No such file or directory"):
        replace_keys(user, DATA, tmp_path)
    home_of(tmp_path).symlink_to(tmp_path)
    with pytest.raises(WriteFailed, match=r"cannot be written: (Not a directory|Too many levels)"):
        replace_keys(user, DATA, tmp_path)
    assert not (tmp_path / ".ssh").exists()


def give_away(path: Path, user: User) -> User:
    """Make a folder that of somebody else than the user whom this returns, whoever runs the tests."""
    if os.getuid() == 0:
        os.chown(path, 12345, 12345)
        return user
    return replace(user, uid=user.uid + 1)


def test_a_home_of_somebody_else_is_refused(tmp_path: Path, user: User) -> None:
    user = give_away(home_of(tmp_path), user)
    with pytest.raises(WriteFailed, match=r"belongs to user \d+ and not to admin: 'chown admin "):
        replace_keys(user, DATA, tmp_path)
    assert list(home_of(tmp_path).iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder in somebody's home away")
def test_keys_of_somebody_else_in_the_users_home_are_refused(tmp_path: Path, user: User) -> None:
    ssh = home_of(tmp_path) / ".ssh"
    ssh.mkdir(mode=0o700)
    give_away(ssh, user)
    with pytest.raises(WriteFailed, match=r"\.ssh belongs to user 12345 and not to admin: move it away"):
        replace_keys(user, DATA, tmp_path)
    assert list(ssh.iterdir()) == []


def test_keys_that_cannot_be_put_in_place_leave_those_before_and_nothing_else(
    tmp_path: Path, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_keys(user, DATA, tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(WriteFailed, match="cannot be written: No space left on device"):
        replace_keys(user, DATA + DATA, tmp_path)
    (keys,) = (home_of(tmp_path) / ".ssh").iterdir()
    assert keys.read_bytes() == DATA


def test_users_are_found_by_name() -> None:
    root = find_user("root")
    assert root is not None
    assert (root.uid, root.home) == (0, "/root")
    assert find_user("nobody-has-this-name") is None


def test_a_source_that_cannot_be_read_whole_is_no_truth(tmp_path: Path) -> None:
    assert read_source(tmp_path / "none") is None
    large = tmp_path / "large"
    large.write_bytes(b"#" * (256 * 1024 + 1))
    with pytest.raises(WriteFailed, match="has more than 256 KiB; the keys stay as they are"):
        read_source(large)
    (tmp_path / "link").symlink_to(large)
    for place in ("link", "."):
        with pytest.raises(WriteFailed, match=r"cannot be read: .*; the keys stay as they are"):
            read_source(tmp_path / place)
