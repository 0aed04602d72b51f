"""A private key as PKCS#8 PEM; encrypted by a key that scrypt makes of the passphrase (RFC 5958, 8018, 7914).

cryptography would use 2048 rounds of PBKDF2, through which a passphrase is soon guessed.
"""

import secrets
import textwrap
from base64 import b64encode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_COST, _BLOCK, _LANES = 1 << 14, 8, 1  # 16 MiB and some 50 ms; OpenSSL refuses to use more than 32 MiB
_KEY_BYTES, _SALT_BYTES = 32, 16
_BITS = 128  # of an AES block

_INTEGER, _OCTETS, _OBJECT, _SEQUENCE = 0x02, 0x04, 0x06, 0x30
_PBES2 = bytes.fromhex("2a864886f70d01050d")
_SCRYPT = bytes.fromhex("2b06010401da47040b")
_AES_256_CBC = bytes.fromhex("60864801650304012a")
_SHORT, _LONG = 0x80, 0x81  # lengths up to 127 bytes, and up to 255


def encode_plain(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def encode_encrypted(key: Ed25519PrivateKey, passphrase: str) -> bytes:
    """Return the key as an EncryptedPrivateKeyInfo."""
    salt, start = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_BITS // 8)
    secret = Scrypt(salt=salt, length=_KEY_BYTES, n=_COST, r=_BLOCK, p=_LANES).derive(passphrase.encode())
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    padder, encryptor = PKCS7(_BITS).padder(), Cipher(algorithms.AES(secret), modes.CBC(start)).encryptor()
    padded = padder.update(plain) + padder.finalize()
    encrypted = encryptor.update(padded) + encryptor.finalize()
    derivation = _join(_tag(_OCTETS, salt), *map(_integer, (_COST, _BLOCK, _LANES)))
    scheme = _join(
        _join(_tag(_OBJECT, _SCRYPT), derivation), _join(_tag(_OBJECT, _AES_256_CBC), _tag(_OCTETS, start))
    )
    der = _join(_join(_tag(_OBJECT, _PBES2), scheme), _tag(_OCTETS, encrypted))
    lines = textwrap.wrap(b64encode(der).decode(), 64)
    name = "ENCRYPTED PRIVATE KEY"
    return "\n".join([f"-----BEGIN {name}-----", *lines, f"-----END {name}-----", ""]).encode()


def _tag(tag: int, data: bytes) -> bytes:
    length = bytes([len(data)]) if len(data) < _SHORT else bytes([_LONG, len(data)])
    return bytes([tag]) + length + data


def _integer(value: int) -> bytes:
    return _tag(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1))


def _join(*parts: bytes) -> bytes:
    return _tag(_SEQUENCE, b"".join(parts))
