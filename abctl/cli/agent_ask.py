"""The client: a message out of words, and answers as JSON lines. Works in a guest, which has no slot sets."""

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from abctl.agent.client import ask, make_request
from abctl.core.agent_rules import HOST_CID
from abctl.errors import AgentRefused
from abctl.host.vsock import connect_unix, connect_vsock, find_own_cid

OURS = "abctl-1"  # as agent.messages has it, which takes long to load
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 30.0  # an answer comes within 5 s, or of progress a first line
_OUR_WORDS = ("version", "boot-state", "jobs")
_OUR_FORMS = ("status", "progress", "cancel", "history")
_OLDER_WORDS = ("attach-hsm", "detach-hsm", "GetVsockProtocol", "GetHostOSVersion")
_OLDER_FORMS = ("notify", "set-node-id")
_NUMBERS, _TRUTHS = ("count", "last"), ("reboot",)


@dataclass(frozen=True, slots=True)
class Where:
    """Which agent is asked, and as whom; see the command's options."""

    path: Path | None
    cid: int
    port: int
    sender: int | None

    def connect(self) -> socket.socket:
        if self.path:
            return connect_unix(self.path, _CONNECT_SECONDS)
        return connect_vsock(self.cid, self.port, _CONNECT_SECONDS)

    def find_sender(self) -> int:
        if self.sender is not None:
            return self.sender
        return HOST_CID if self.path else find_own_cid()


def ask_agent(words: Sequence[str], where: Where, *, follow: bool) -> int:
    """Ask, and print each answer; raise AgentRefused where the agent refuses, SourceProblem without one."""
    message = make_message(words)
    answer = _ask(where, message)
    job = _find_job(answer)
    if follow and job:
        _ask(where, {OURS: {"progress": {"job": job}}})
    return 0


def _ask(where: Where, message: Any) -> dict[str, Any]:
    """Print what is answered as it comes, and return the last answer."""
    last: dict[str, Any] = {}
    with where.connect() as connection:
        request = make_request(where.find_sender(), message)
        connection.settimeout(_ANSWER_SECONDS if not _is_progress(message) else None)
        for last in ask(connection, request):
            if "Err" in last:
                raise AgentRefused(f"the agent refuses: {last['Err']}")
            click.echo(json.dumps(last))
    return last


def _is_progress(message: Any) -> bool:
    return isinstance(message, dict) and "progress" in message.get(OURS, ())


def _find_job(answer: dict[str, Any]) -> str | None:
    try:
        return str(answer["Ok"][OURS]["job"]["id"])
    except (KeyError, TypeError):
        return None


def make_message(words: Sequence[str]) -> Any:
    """Return the message that the words say, or raise UsageError."""
    name, *rest = words
    if name.lstrip().startswith(("{", '"')):
        if rest:
            raise click.UsageError("a message in JSON is one argument: put it in quotes")
        try:
            return json.loads(name)
        except (ValueError, RecursionError) as error:
            raise click.UsageError(f"the message is not JSON: {error}") from error
    fields = dict(_parse_field(word) for word in rest)
    if name in (*_OUR_WORDS, *_OLDER_WORDS):
        if fields:
            raise click.UsageError(f"{name} has no fields")
        return {OURS: name} if name in _OUR_WORDS else name
    if name in _OLDER_FORMS or (name == "upgrade" and "url" in fields):
        return {name: fields}
    if name in _OUR_FORMS or name == "upgrade":
        return {OURS: {name: fields}}
    known = ", ".join(sorted({*_OUR_WORDS, *_OUR_FORMS, *_OLDER_WORDS, *_OLDER_FORMS, "upgrade"}))
    raise click.UsageError(f"there is no message {name!r}; there are: {known}")


def _parse_field(word: str) -> tuple[str, Any]:
    name, found, value = word.partition("=")
    if not found or not name:
        raise click.UsageError(f"{word!r} is no field: write it as NAME=VALUE")
    if name in _NUMBERS:
        try:
            return name, int(value)
        except ValueError as error:
            raise click.UsageError(f"{name} is a number, not {value!r}") from error
    if name in _TRUTHS:
        if value not in ("true", "false"):
            raise click.UsageError(f"{name} is true or false, not {value!r}")
        return name, value == "true"
    return name, value
