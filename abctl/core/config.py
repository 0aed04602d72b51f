"""The host's configuration, ``config.toml``.

[repository]
mirrors = ["https://releases.example/hostos/", "https://mirror.example/hostos/"]
root = "root.json"          # the pinned root metadata, beside this file
ca_file = "ca.pem"          # who may vouch for the servers; default: the system's CAs
proxy = "http://proxy:3128" # default: as the environment says

[unsigned]
allow = "never"             # who may install what nobody signed, by its SHA-256: never, admin or anyone

[rollout]
host_id = "rack7-host12"    # decides when this host takes a release; default: made once, at random
place = 0.0                 # from 0 (always among the first) to 1 instead

[health]                    # when a trial is confirmed, and when it is given up; times in seconds
deadline = 600              # since the boot: what is not confirmed by then is given up
healthy_for = 30            # so long must all required checks pass without a break
check_timeout = 30          # a check that takes longer has failed
interval = 5                # between two rounds of checks
may_fail = ["smartd.service", "motd-*"]   # systemd units that may fail
min_free = "5%"             # of /var and of the config volume; or a size such as 200MiB

[agent]                     # what guests may ask over VSOCK
enabled = true
cids = ["3.."]              # who may ask: 3, or ranges such as 3..9 and 3..
commands = ["version", "upgrade", "jobs"]   # default: all, see docs/agent.md
only = { 7 = ["version"] }  # for one guest in place of commands
rate = 20                   # requests a second of each guest; burst = 40 of them at once
jobs_per_hour = 12          # upgrades that each guest may start
"""

from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from abctl.core.agent_rules import ALL_COMMANDS, AgentRules, Command, parse_cids
from abctl.core.health import HealthPolicy, parse_min_free
from abctl.core.toml_file import parse_toml
from abctl.errors import BadConfig

CONFIG_NAME = "config.toml"
_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)
_SCHEMES = ("http", "https", "file")


class Unsigned(StrEnum):
    """Who may install what nobody signed."""

    NEVER = "never"
    ADMIN = "admin"  # from the command line
    ANYONE = "anyone"  # also a guest, through the agent


def _check_mirror(url: str) -> str:
    try:
        parts = urlsplit(url)
        has_place = parts.scheme == "file" or bool(parts.hostname and parts.port != 0)
    except ValueError:  # a port that is no number, half an IPv6 address
        has_place = False
    if not has_place or parts.scheme not in _SCHEMES or not url.isprintable():
        raise ValueError(f"{url[:100]!r} is not a http, https or file URL")
    if parts.query or parts.fragment:
        raise ValueError(f"{url[:100]!r} has a query, to which no file can be joined")
    return url


class RepositoryConfig(BaseModel):
    """Where signed releases come from; all mirrors hold the same."""

    model_config = _STRICT

    mirrors: Annotated[
        tuple[Annotated[str, AfterValidator(_check_mirror)], ...], Field(max_length=16, strict=False)
    ] = ()
    root: str = "root.json"
    ca_file: str | None = None
    proxy: str | None = None

    @model_validator(mode="after")
    def _mirrors_are_alike(self) -> "RepositoryConfig":
        if len({urlsplit(mirror).scheme == "file" for mirror in self.mirrors}) > 1:
            raise ValueError("mirrors are either all files or all servers")
        return self


class UnsignedConfig(BaseModel):
    model_config = _STRICT

    allow: Annotated[Unsigned, Field(strict=False)] = Unsigned.NEVER


class RolloutConfig(BaseModel):
    model_config = _STRICT

    host_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    place: Annotated[float, Field(ge=0, lt=1)] | None = None


def _check_min_free(text: str) -> str:
    parse_min_free(text)
    return text


def _check_glob(text: str) -> str:
    if not text.isprintable() or not text or " " in text:
        raise ValueError(f"{text[:100]!r} is not the name of a systemd unit, or a pattern of it")
    return text


class HealthConfig(BaseModel):
    """When a trial is confirmed, and when it is given up; times in seconds."""

    model_config = _STRICT

    deadline: Annotated[int, Field(ge=60, le=24 * 3600)] = 600
    healthy_for: Annotated[int, Field(ge=1, le=12 * 3600)] = 30
    check_timeout: Annotated[int, Field(ge=1, le=600)] = 30
    interval: Annotated[int, Field(ge=1, le=300)] = 5
    may_fail: Annotated[
        tuple[Annotated[str, Field(max_length=256), AfterValidator(_check_glob)], ...],
        Field(max_length=64, strict=False),
    ] = ()
    min_free: Annotated[str, AfterValidator(_check_min_free)] = "5%"

    @model_validator(mode="after")
    def _all_fits_before_the_deadline(self) -> "HealthConfig":
        for name in ("healthy_for", "check_timeout", "interval"):
            if getattr(self, name) >= self.deadline:
                raise ValueError(
                    f"{name} ({getattr(self, name)} s) must be shorter than deadline ({self.deadline} s)"
                )
        return self

    @property
    def policy(self) -> HealthPolicy:
        return HealthPolicy(
            deadline=self.deadline,
            healthy_for=self.healthy_for,
            check_timeout=self.check_timeout,
            interval=self.interval,
            may_fail=self.may_fail,
            min_free=parse_min_free(self.min_free),
        )


def _check_cids(text: str) -> str:
    parse_cids(text)
    return text


_Commands = Annotated[tuple[Annotated[Command, Field(strict=False)], ...], Field(max_length=32, strict=False)]


class AgentConfig(BaseModel):
    """What guests may ask of this host over VSOCK."""

    model_config = _STRICT

    enabled: bool = True
    cids: Annotated[
        tuple[Annotated[str, Field(max_length=32), AfterValidator(_check_cids)], ...],
        Field(max_length=64, strict=False),
    ] = ("3..",)
    commands: _Commands = tuple(sorted(ALL_COMMANDS))
    only: Annotated[
        dict[Annotated[str, Field(pattern="^[1-9][0-9]{0,9}$"), AfterValidator(_check_cids)], _Commands],
        Field(max_length=64),
    ] = {}
    rate: Annotated[int, Field(ge=1, le=100_000)] = 20
    burst: Annotated[int, Field(ge=1, le=100_000)] = 40
    jobs_per_hour: Annotated[int, Field(ge=1, le=32)] = 12

    def make_rules(self, unsigned: Unsigned) -> AgentRules:
        return AgentRules(
            enabled=self.enabled,
            cids=tuple(parse_cids(text) for text in self.cids),
            commands=frozenset(self.commands),
            only={int(cid): frozenset(commands) for cid, commands in self.only.items()},
            rate=float(self.rate),
            burst=self.burst,
            jobs_per_hour=self.jobs_per_hour,
            unsigned=unsigned is Unsigned.ANYONE,
        )


class Config(BaseModel):
    """How this host is to be kept up to date."""

    model_config = _STRICT | {"title": "abctl host configuration"}

    repository: RepositoryConfig = RepositoryConfig()
    unsigned: UnsignedConfig = UnsignedConfig()
    rollout: RolloutConfig = RolloutConfig()
    health: HealthConfig = HealthConfig()
    agent: AgentConfig = AgentConfig()

    @property
    def agent_rules(self) -> AgentRules:
        """What guests may ask, and whether that is an upgrade to what nobody signed."""
        return self.agent.make_rules(self.unsigned.allow)


def parse_config(text: str, name: str) -> Config:
    """Return the configuration in ``text``; raise BadConfig, naming ``name`` and every wrong field."""
    return parse_toml(Config, text, name, BadConfig)
