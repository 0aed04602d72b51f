"""What a guest can say: the older system's messages, and our own, whose tag names their version.

An older message is the value of "message", as ``"attach-hsm"`` or ``{"notify": {...}}``; one of ours stands
one level deeper, as ``{"abctl-1": "boot-state"}`` or ``{"abctl-1": {"status": {...}}}``.
"""

from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from abctl.core.agent_rules import Command
from abctl.core.units import Digest, Version, parse_digest, parse_version

OURS = "abctl-1"  # the tag of our messages and answers; another form gets another number
JOB_ID_PATTERN = "^[0-9a-f]{16}$"
HISTORY_MAX = 50  # entries
_URL_MAX = 2048
_NODE_ID_MAX = 128
_VERSION_PATTERN = "^[A-Za-z0-9][A-Za-z0-9.+~_-]{0,63}$"


class Message(BaseModel):
    """One message; ``command`` is what has to be allowed for it, None where anybody may ask it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    command: ClassVar[Command | None] = None


def _check_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname and parts.port != 0)
    except ValueError:  # a port that is no number, half an IPv6 address
        is_url = False
    if not is_url or not text.isprintable() or " " in text:
        raise ValueError("not a http or https URL")
    return text


def _check_version(text: str) -> Version:
    return parse_version(text)


def _check_digest(text: str) -> Digest:
    return parse_digest(text)


JobId = Annotated[str, Field(pattern=JOB_ID_PATTERN)]

# --- the older system's -----------------------------------------------------------------------------


class AttachHsm(Message):
    """Give the guest the first HSM on the host's USB."""

    command = Command.ATTACH_HSM


class DetachHsm(Message):
    """Take the HSM from the guest."""

    command = Command.DETACH_HSM


class GetVsockProtocol(Message):
    """Which version of the older protocol the host speaks."""


class GetHostOsVersion(Message):
    """The version of the system that the host runs."""

    command = Command.VERSION


class UpgradeFromUrl(Message):
    """Install what is at a URL, and reboot; done only where what nobody signed is allowed."""

    command = Command.UPGRADE
    url: Annotated[str, Field(max_length=_URL_MAX), AfterValidator(_check_url)]
    target_hash: Annotated[
        str,
        Field(alias="target-hash", pattern="^[0-9a-fA-F]{64}$", description="SHA-256"),
        AfterValidator(_check_digest),
    ]


class Notify(Message):
    """Show a text on the host's first console, ``count`` times, 10 at most."""

    command = Command.NOTIFY
    count: Annotated[int, Field(ge=0, lt=2**64)]
    message: str


class SetNodeId(Message):
    """Tell the host the node's id, for its name."""

    command = Command.SET_NODE_ID
    node_id: Annotated[str, Field(alias="node-id", max_length=_NODE_ID_MAX)]


# --- ours -------------------------------------------------------------------------------------------


class StartUpgrade(Message):
    """Install a signed release, and reboot into it on trial; answered with the job that does it.

    The same request while that job is not done, or with the same ``key`` ever, is the same job.
    """

    command = Command.UPGRADE
    version: Annotated[
        Annotated[str, Field(pattern=_VERSION_PATTERN), AfterValidator(_check_version)] | None,
        Field(description="null: the newest that fits"),
    ] = None
    reboot: Annotated[bool, Field(description="false: the trial waits for the next reboot")] = True
    key: Annotated[str | None, Field(pattern="^[A-Za-z0-9._-]{1,64}$")] = None


class AskStatus(Message):
    """How a job stands."""

    command = Command.JOBS
    job: JobId


class AskProgress(Message):
    """How a job goes on, line by line until its end."""

    command = Command.JOBS
    job: JobId


class Cancel(Message):
    """End a job that is not done."""

    command = Command.CANCEL
    job: JobId


class ListJobs(Message):
    """All jobs that the guest asked for and the host still knows, the newest first."""

    command = Command.JOBS


class AskHistory(Message):
    """What happened to the host, newest first."""

    command = Command.HISTORY
    last: Annotated[int, Field(ge=1, le=HISTORY_MAX)] = 10


class AskBootState(Message):
    """Which slot set runs, what is on trial, and what the next power-on boots."""

    command = Command.BOOT_STATE


class AskVersion(Message):
    """Which versions the host's system, abctl and this protocol have."""

    command = Command.VERSION


OLDER_WORDS: dict[str, type[Message]] = {
    "attach-hsm": AttachHsm,
    "detach-hsm": DetachHsm,
    "GetVsockProtocol": GetVsockProtocol,
    "GetHostOSVersion": GetHostOsVersion,
}
OLDER_FORMS: dict[str, type[Message]] = {
    "upgrade": UpgradeFromUrl,
    "notify": Notify,
    "set-node-id": SetNodeId,
}
OUR_WORDS: dict[str, type[Message]] = {
    "version": AskVersion,
    "boot-state": AskBootState,
    "jobs": ListJobs,
}
OUR_FORMS: dict[str, type[Message]] = {
    "upgrade": StartUpgrade,
    "status": AskStatus,
    "progress": AskProgress,
    "cancel": Cancel,
    "history": AskHistory,
}
