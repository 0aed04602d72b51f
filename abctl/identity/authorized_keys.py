"""Public SSH keys as sshd(8) reads them: which lines of a file count, and what is wrong with the others.

A line that sshd would pass over in silence is named here, so that nobody finds out at the locked door.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from abctl.core.problems import clean_text

LINE_MAX = 8192  # bytes, of which sshd reads no more
KEYS_MAX = 256
_COMMENT_MAX = 100
_SHOWN_MAX = 40
_FLAGS = (
    *("agent-forwarding", "cert-authority", "no-agent-forwarding", "no-port-forwarding", "no-pty"),
    *("no-touch-required", "no-user-rc", "no-x11-forwarding", "port-forwarding", "pty", "restrict"),
    *("user-rc", "verify-required", "x11-forwarding"),
)
_SETTINGS = (
    *("command", "environment", "expiry-time", "from", "permitlisten", "permitopen", "principals", "tunnel"),
)
_OPTION = re.compile(r'([A-Za-z0-9-]+)(?:=("(?:\\"|[^"\\]|\\(?!"))*"))?')
_ED25519 = 32  # bytes
_POINTS = {"nistp256": 65, "nistp384": 97, "nistp521": 133}  # bytes of an uncompressed point
_RSA_MIN = 2048  # bits
_WRONG_SIZE = "the key is not as long as one of its kind is"


class _Unusable(ValueError):
    """Why a line is no key; the message is for people."""


@dataclass(frozen=True, slots=True)
class Key:
    """One public key; ``text`` is its base64, ``options`` what stands before it."""

    kind: str
    text: str
    options: str = ""
    comment: str = ""

    @property
    def line(self) -> str:
        return " ".join(word for word in (self.options, self.kind, self.text, self.comment) if word)

    @property
    def fingerprint(self) -> str:
        """The same as ``ssh-keygen -l`` prints."""
        digest = hashlib.sha256(base64.b64decode(self.text)).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    @property
    def name(self) -> str:
        """What people know it by."""
        return f"{self.fingerprint} ({self.comment})" if self.comment else self.fingerprint


@dataclass(frozen=True, slots=True)
class KeyList:
    """The keys in a file, and a sentence for each line that is none."""

    keys: tuple[Key, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether it can be the truth: a file with nothing but damage must lock nobody out."""
        return bool(self.keys) or not self.problems


def parse_keys(data: bytes) -> KeyList:
    """Return the keys in a file, each once, and what is wrong with its other lines."""
    keys: dict[str, Key] = {}
    problems = []
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            key = _parse_line(line)
            if key is None:
                continue
            if key.text in keys:
                raise _Unusable("the key stands further up already")
            if len(keys) == KEYS_MAX:
                raise _Unusable(f"there are {KEYS_MAX} keys already")
            keys[key.text] = key
        except _Unusable as error:
            problems.append(f"line {number}: {error}")
    return KeyList(tuple(keys.values()), tuple(problems))


def encode_keys(keys: Iterable[Key], source: str) -> bytes:
    """Return the file for sshd; ``source`` is named in it."""
    head = f"# Written by abctl from {source}; what is changed here is lost.\n"
    return (head + "".join(f"{key.line}\n" for key in keys)).encode()


def _parse_line(line: bytes) -> Key | None:
    if len(line) > LINE_MAX:
        raise _Unusable(f"it has more than {LINE_MAX} bytes")
    text = line.decode("utf-8", "replace").replace("\t", " ").strip(" \r")
    if not text or text.startswith("#"):
        return None
    if any(char < " " for char in text):
        raise _Unusable("it holds control characters")
    options, rest = _split_options(text)
    kind, _, rest = rest.partition(" ")
    blob, _, comment = rest.strip(" ").partition(" ")
    _check_kind(kind)
    return Key(
        kind, _check_blob(kind, blob), options, " ".join(clean_text(comment).split())[:_COMMENT_MAX].rstrip()
    )


def _split_options(text: str) -> tuple[str, str]:
    """Return the options of a line, empty where it has none, and the rest; raise _Unusable."""
    first = text.partition(" ")[0]
    if first in _CHECKS or _is_refused(first):
        return "", text
    end = _end_of_options(text)
    _check_options(text[:end])
    return text[:end], text[end:].strip(" ")


def _end_of_options(text: str) -> int:
    """Return where the first space stands that is not between quotes, as sshd looks for it."""
    quoted, at = False, 0
    while at < len(text) and (quoted or text[at] != " "):
        if text.startswith('\\"', at):
            at += 1
        elif text[at] == '"':
            quoted = not quoted
        at += 1
    if quoted:
        raise _Unusable("a quotation mark is never closed")
    return at


def _check_options(options: str) -> None:
    if not options.isascii():
        raise _Unusable("its options hold other characters than ASCII")
    at = 0
    while True:
        match = _OPTION.match(options, at)
        name = match[1].lower() if match else ""
        if match is None or name not in (_FLAGS if match[2] is None else _SETTINGS):
            raise _Unusable(f"{clean_text(options[at : at + _SHOWN_MAX])!r} is no kind of key and no option")
        at = match.end()
        if at == len(options):
            return
        if options[at] != ",":
            raise _Unusable(
                f"{clean_text(options[at : at + _SHOWN_MAX])!r} follows an option without a comma"
            )
        at += 1


# --- kinds of keys ----------------------------------------------------------------------------------


def _is_refused(kind: str) -> bool:
    return kind == "ssh-dss" or "-cert-v0" in kind


def _check_kind(kind: str) -> None:
    if _is_refused(kind):
        raise _Unusable(
            f"no sshd takes {clean_text(kind[:_SHOWN_MAX])} here: give the key itself, of another kind"
        )
    if kind not in _CHECKS:
        known = "ssh-ed25519, ssh-rsa or ecdsa-sha2-nistp256"
        raise _Unusable(f"{clean_text(kind[:_SHOWN_MAX])!r} is no kind of key, such as {known}")


def _check_blob(kind: str, text: str) -> str:
    """Return the base64 of a key in its one form, or raise _Unusable."""
    try:
        blob = base64.b64decode(text, validate=True)
    except ValueError as error:  # also what binascii raises
        raise _Unusable("the key is not whole: it is no base64") from error
    fields = _split_blob(blob)
    if not fields or fields[0] != kind.encode():
        raise _Unusable(f"what follows is no key of the kind {kind}")
    _CHECKS[kind](kind, fields[1:])
    return base64.b64encode(blob).decode()


def _split_blob(blob: bytes) -> list[bytes]:
    """Return the strings of RFC 4251, 5, that a key consists of."""
    fields, at = [], 0
    while at < len(blob):
        length = int.from_bytes(blob[at : at + 4], "big")
        at += 4
        if at + length > len(blob):
            raise _Unusable("the key is cut off")
        fields.append(blob[at : at + length])
        at += length
    return fields


def _check_ed25519(_kind: str, fields: list[bytes]) -> None:
    if len(fields) != 1 or len(fields[0]) != _ED25519:
        raise _Unusable(_WRONG_SIZE)


def _check_ecdsa(kind: str, fields: list[bytes]) -> None:
    curve = kind.partition("@")[0].rpartition("-")[2]
    if len(fields) != 2 or fields[0] != curve.encode() or len(fields[1]) != _POINTS[curve]:  # noqa: PLR2004
        raise _Unusable(_WRONG_SIZE)


def _check_rsa(_kind: str, fields: list[bytes]) -> None:
    if len(fields) != 2:  # noqa: PLR2004 - exponent and modulus
        raise _Unusable(_WRONG_SIZE)
    bits = int.from_bytes(fields[1], "big").bit_length()
    if bits < _RSA_MIN:
        raise _Unusable(f"an RSA key of {bits} bits is too short: {_RSA_MIN} are the least")


def _on_token(check: Callable[[str, list[bytes]], None]) -> Callable[[str, list[bytes]], None]:
    """A key on a hardware token has what it is for as its last field."""
    return lambda kind, fields: check(kind, fields[:-1])


_CHECKS: dict[str, Callable[[str, list[bytes]], None]] = {
    "ssh-ed25519": _check_ed25519,
    "ssh-rsa": _check_rsa,
    **{f"ecdsa-sha2-{curve}": _check_ecdsa for curve in _POINTS},
    "sk-ssh-ed25519@openssh.com": _on_token(_check_ed25519),
    "sk-ecdsa-sha2-nistp256@openssh.com": _on_token(_check_ecdsa),
}
