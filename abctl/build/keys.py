"""Key files: an Ed25519 key as PKCS#8 PEM, encrypted by a passphrase, and its public half as JSON beside it.

FILE        -----BEGIN ENCRYPTED PRIVATE KEY-----, as 'openssl pkey' reads it
FILE.pub    {"keyid": "...", "keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "..."},
             "comment": "..."}
"""

import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, SSlibKey

from abctl.build.files import flush_folder, saying_what_failed
from abctl.build.pkcs8 import encode_encrypted, encode_plain
from abctl.core.problems import clean_text
from abctl.core.units import KIB
from abctl.errors import BadKey, SourceNotFound, WouldOverwrite

COMMENT_FIELD = "comment"
COMMENT_MAX = 100
_FILE_MAX = 64 * KIB


def public_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.pub")


def make_key(path: Path, passphrase: str | None, comment: str = "") -> SSlibKey:
    """Make a new key in ``path`` and ``path``.pub; raise WouldOverwrite, WriteFailed."""
    for taken in (path, public_path(path)):
        if os.path.lexists(taken):
            raise WouldOverwrite(f"{taken} is in the way: a key is never overwritten; take another name")
    private = Ed25519PrivateKey.generate()
    public = to_public(private.public_key(), comment)
    data = encode_plain(private) if passphrase is None else encode_encrypted(private, passphrase)
    _create(path, data, 0o600)
    _create(public_path(path), encode_public(public), 0o644)
    with saying_what_failed(path):
        flush_folder(path.parent)
    return public


def _create(path: Path, data: bytes, mode: int) -> None:
    """Make a file under its whole name only when all is in it."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with saying_what_failed(path):
        try:
            fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with open(fd, "wb") as file:  # noqa: PTH123 - it is open already
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(unfinished, path)
        except FileExistsError as error:
            raise WouldOverwrite(f"{path} came into being meanwhile: take another name") from error
        finally:
            unfinished.unlink(missing_ok=True)


def to_public(key: Ed25519PublicKey, comment: str = "") -> SSlibKey:
    """Return a public key as metadata has it."""
    public = SSlibKey.from_crypto(key)
    if comment:
        public.unrecognized_fields[COMMENT_FIELD] = comment
    return public


def comment_of(key: Any) -> str:
    comment = key.unrecognized_fields.get(COMMENT_FIELD)
    return clean_text(comment)[:COMMENT_MAX] if isinstance(comment, str) else ""


def encode_public(key: SSlibKey) -> bytes:
    return json.dumps({"keyid": key.keyid, **key.to_dict()}, indent=2).encode() + b"\n"


def read_public(path: Path) -> SSlibKey:
    """Return the public key in ``path``; raise SourceNotFound, BadKey."""
    data = _read(path)
    if b"PRIVATE KEY" in data:
        raise BadKey(f"{path} is a private key: give its public half, {public_path(path)}")
    try:
        said = json.loads(data)
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(said["keyval"]["public"]))
        public = to_public(key)
        public.unrecognized_fields[COMMENT_FIELD] = said.get(COMMENT_FIELD)
        public = to_public(key, comment_of(public))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadKey(f"{path} is no public key of 'abctl release keys new': give a .pub file") from error
    if said.get("keyid") != public.keyid:
        raise BadKey(f"{path} names another key id than its key has ({public.keyid[:12]}): it was changed")
    return public


def read_signer(path: Path, passphrases: Iterable[str]) -> CryptoSigner:
    """Return the private key in ``path``, by one of the passphrases; raise SourceNotFound, BadKey."""
    data = _read(path)
    tries: list[bytes | None] = [phrase.encode() for phrase in passphrases] if is_encrypted(data) else [None]
    for phrase in tries:
        try:
            private = load_pem_private_key(data, phrase)
        except ValueError as error:
            # A wrong passphrase leaves garbage, and one in some 200 looks decrypted then.
            if phrase is not None and _waits_for_passphrase(data):
                continue
            raise BadKey(
                f"{path} is no private key in PEM: give a file of 'abctl release keys new'"
            ) from error
        except (TypeError, UnsupportedAlgorithm) as error:
            raise BadKey(f"{path} is no key that abctl can use: {error}") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise BadKey(f"{path} is no Ed25519 key: make one with 'abctl release keys new'")
        return CryptoSigner(private, to_public(private.public_key()))
    what = "the passphrase is not that of" if tries else "a passphrase is needed for"
    raise BadKey(f"{what} {path}: give it with --passphrase-file or ABCTL_PASSPHRASE")


def needs_passphrase(path: Path) -> bool:
    """Whether a key file is encrypted; raise SourceNotFound."""
    return is_encrypted(_read(path))


def _waits_for_passphrase(data: bytes) -> bool:
    """Whether this is an encrypted key, whole as far as that can be seen without its passphrase."""
    try:
        load_pem_private_key(data, None)
    except TypeError:
        return True
    except ValueError:
        return False
    return False


def is_encrypted(data: bytes) -> bool:
    return b"ENCRYPTED" in data


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_MAX)
    except OSError as error:
        raise SourceNotFound(f"the key {path} cannot be read: {error.strerror}") from error
