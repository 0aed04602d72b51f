"""What both slot sets know of their host: ``settings.json`` on the config volume.

    {
      "version": 1,
      "host_type": "host",
      "deployment": "mainnet",
      "management_mac": "3c:ec:ef:6b:37:99",
      "ipv6_prefix": "2602:ffe4:801:17::/64"
    }

It is JSON, so that whoever prepares a host can write it with any tool and read it with an editor. A newer
system reads what an older one wrote, and after a fallback the older one reads what the newer wrote. So a
field keeps its meaning for ever, a new one has a default, and what a reader does not know stays in the file
when it is written again. ``version`` says who wrote it last, and forbids nothing: for what could not be read
so, the file would get another name.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from abctl.core.hostname import HostType, parse_node_id
from abctl.core.macs import Mac, Prefix, parse_deployment, parse_mac, parse_prefix
from abctl.core.problems import clean_text, describe_problem, describe_problems
from abctl.core.settings_place import SIZE_MAX
from abctl.core.units import KIB
from abctl.errors import BadIdentity

VERSION = 1
_PROBLEM_MAX = 200  # characters
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")


class SettingsDamaged(ValueError):
    """A file that holds no settings; the message says why."""


def parse_machine_id(text: str) -> str:
    """Return a machine-id as of machine-id(5); raise BadIdentity."""
    if not _MACHINE_ID.fullmatch(text) or not int(text, 16):
        raise BadIdentity(f"{text[:40]!r} is not a machine-id: it has 32 hex digits in lower case")
    return text


def parse_gateway(text: str) -> str:
    """Return the IPv6 address of a router; raise BadIdentity."""
    try:
        address = IPv6Address(text.strip())
    except ValueError as error:
        raise BadIdentity(f"{text[:60]!r} is not an IPv6 address, as in fe80::1") from error
    if address.is_multicast or address.is_unspecified or address.is_loopback or address.scope_id:
        raise BadIdentity(f"{text[:60]!r} is not the address of a router: give one as in fe80::1")
    return str(address)


def _value(parse: Callable[[str], str]) -> AfterValidator:
    """Let pydantic understand what ``parse`` has against a value."""

    def check(text: str) -> str:
        try:
            return parse(text)
        except BadIdentity as error:
            raise ValueError(str(error)) from error

    return AfterValidator(check)


_Mac = Annotated[Mac, _value(parse_mac)]


class Settings(BaseModel):
    """What a host goes by. What nobody has said is null, and then found in the hardware where it can be."""

    # What is not known here is kept by ``Document``.
    model_config = ConfigDict(title="abctl host settings", extra="ignore", strict=True, frozen=True)

    version: Annotated[int, Field(ge=1, description="of the form that its last writer knew")] = VERSION
    host_type: Annotated[HostType, Field(strict=False, description="the first part of the host's name")] = (
        HostType.HOST
    )
    deployment: Annotated[
        Annotated[str, _value(parse_deployment)] | None,
        Field(description="for example mainnet; MAC addresses are calculated with it"),
    ] = None
    management_mac: Annotated[
        _Mac | None, Field(description="what an admin says; it counts more than what is found")
    ] = None
    found_mac: Annotated[
        _Mac | None, Field(description="the management MAC that abctl found at the first boot")
    ] = None
    ipv6_prefix: Annotated[
        Annotated[Prefix, _value(parse_prefix)] | None,
        Field(description="the first 64 bits of the host's and its guest's addresses"),
    ] = None
    ipv6_gateway: Annotated[
        Annotated[str, _value(parse_gateway)] | None,
        Field(description="the router; null: what router advertisements say"),
    ] = None
    node_id: Annotated[
        Annotated[str, _value(parse_node_id)] | None, Field(description="as the guest said it")
    ] = None
    machine_id: Annotated[
        Annotated[str, _value(parse_machine_id)] | None, Field(description="that of both slot sets")
    ] = None


FIELDS = tuple(name for name in Settings.model_fields if name != "version")


@dataclass(frozen=True, slots=True)
class Document:
    """A settings file: ``values`` as they stand in it, and ``settings``, what they mean here.

    ``problems`` names each field that is wrong, which is then as if it were not there.
    """

    values: Mapping[str, Any]
    settings: Settings
    problems: tuple[str, ...] = ()

    @classmethod
    def empty(cls) -> Self:
        return cls({}, Settings())


def parse_document(data: bytes) -> Document:
    """Return the settings in a file; raise SettingsDamaged where it is none as a whole.

    A field that is wrong costs itself only: a newer system may know more values than this one.
    """
    if len(data) > SIZE_MAX:
        raise SettingsDamaged(f"it has more than {SIZE_MAX // KIB} KiB: it is another file")
    try:
        values = json.loads(data.decode(), object_pairs_hook=_no_double, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise SettingsDamaged(f"it is not UTF-8: {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise SettingsDamaged("it is nested too deep") from error
    except ValueError as error:
        raise SettingsDamaged(f"it is not JSON: {clean_text(str(error))[:_PROBLEM_MAX]}") from error
    if not isinstance(values, dict):
        raise SettingsDamaged("it is JSON, but no object with fields")
    encode_values(values)  # what is read can be written again
    return _understand(values)


def _no_double(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {double[:40]!r} stands there twice")
    return values


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _understand(values: Mapping[str, Any]) -> Document:
    try:
        return Document(values, Settings.model_validate(values))
    except ValidationError as error:
        wrong = {str(item["loc"][0]) for item in error.errors()}
        problems = tuple(
            clean_text(describe_problem(item["loc"][:1], item["msg"]))[:_PROBLEM_MAX]
            for item in error.errors()
        )
        sound = {name: value for name, value in values.items() if name not in wrong}
        return Document(values, Settings.model_validate(sound), problems)


def change(document: Document, changes: Mapping[str, str | None]) -> Document:
    """Return the document with these fields changed, None taking one away; raise BadIdentity.

    All else stays as it is: what is not known here, and what is wrong.
    """
    unknown = [name for name in changes if name not in FIELDS]
    if unknown:
        raise BadIdentity(f"there is no setting {unknown[0][:40]!r}: there are {', '.join(FIELDS)}")
    try:
        # In the one form that each value has, whatever was typed.
        new = Settings.model_validate({name: value for name, value in changes.items() if value is not None})
    except ValidationError as error:
        raise BadIdentity(describe_problems(error)) from error
    kept = {name: value for name, value in document.values.items() if changes.get(name, "") is not None}
    said = {name: str(getattr(new, name)) for name, value in changes.items() if value is not None}
    made = _understand({**kept, **said, "version": max(VERSION, document.settings.version)})
    return document if made.values == document.values else made


def encode(document: Document) -> bytes:
    """Return the document as a file, its version first; raise SettingsDamaged where it gets too large."""
    values = {"version": VERSION, **document.values}
    return encode_values(values)


def encode_values(values: Mapping[str, Any]) -> bytes:
    try:
        data = json.dumps(values, indent=2, allow_nan=False).encode() + b"\n"
    except RecursionError as error:
        raise SettingsDamaged("it is nested too deep") from error
    except ValueError as error:  # 1e999
        raise SettingsDamaged("it holds a number that is too large") from error
    if len(data) > SIZE_MAX:
        raise SettingsDamaged(f"it would have more than {SIZE_MAX // KIB} KiB")
    return data
