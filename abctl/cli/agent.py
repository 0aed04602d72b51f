"""abctl agent: answer guests over VSOCK, ask such an agent, and list the upgrades that were asked for."""

from pathlib import Path
from typing import Any

import click

from abctl.cli.lazy import LazyGroup
from abctl.cli.options import json_option
from abctl.cli.wiring import Target

PORT = 19090  # as agent.protocol has it, which takes long to load


@click.group(
    cls=LazyGroup,
    places={
        "serve": "abctl.cli.agent:serve",
        "ask": "abctl.cli.agent:ask",
        "jobs": "abctl.cli.agent:jobs",
        "run-job": "abctl.cli.agent:run_job",
    },
    short_help="Answer guests, and ask an agent.",
)
def agent() -> None:
    """What a guest may ask of its host over VSOCK: upgrades, versions, its HSM, a name, a notice.

    'serve' is the service on the host, 'ask' is what guests and admins call.

    \b
    Examples:
      abctl agent ask version
      abctl agent ask upgrade version=2.0.0 --follow
      abctl agent jobs
    """


class _GuestSocket(click.ParamType):  # type: ignore[type-arg]
    """``CID=PATH``."""

    name = "CID=PATH"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, Path]:
        cid, found, path = str(value).partition("=")
        if not found or not path or not cid.isascii() or not cid.isdecimal() or int(cid) < 3:  # noqa: PLR2004
            self.fail(
                f"{value!r} is not a guest's CID (3 and more) and a path, as in 3=/run/guest.sock", param
            )
        return int(cid), Path(path)


@click.command(short_help="Answer guests; the service abctl-agent.")
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    help="Answer root on this Unix socket (default: /run/abctl/agent.sock; with --disk: none).",
)
@click.option(
    "--guest-socket",
    "guest_sockets",
    type=_GuestSocket(),
    multiple=True,
    help="Answer the guest with this CID on a Unix socket too, as user-space VSOCK devices connect to.",
)
@click.option("--port", type=click.IntRange(0, 2**32 - 2), default=PORT, show_default=True)
@click.option("--no-vsock", is_flag=True, help="Answer on Unix sockets only.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="The folder for what jobs say; they are children of this process then (default: /run/abctl/jobs, "
    "and systemd runs them).",
)
@click.pass_obj
def serve(target: Target, /, **options: Any) -> None:
    """Answer what guests ask, as [agent] of config.toml allows; docs/agent.md tells what there is.

    A guest is known by the CID that the kernel says it has. An admin asks over a Unix socket that only root
    can use.

    \b
    Examples:
      abctl agent serve
      abctl --disk host.img --config ./etc agent serve --no-vsock --socket ./agent.sock --state ./jobs
    """
    from abctl.cli.agent_serve import Places, serve_target  # noqa: PLC0415

    serve_target(target, Places(**options))


@click.command(short_help="Ask an agent.")
@click.argument("message", nargs=-1, required=True)
@click.option("--socket", "path", type=click.Path(path_type=Path), help="Ask on this Unix socket.")
@click.option("--cid", type=click.IntRange(0, 2**32 - 2), default=2, show_default=True, help="Ask this one.")
@click.option("--port", type=click.IntRange(0, 2**32 - 2), default=PORT, show_default=True)
@click.option(
    "--sender",
    type=click.IntRange(0, 2**32 - 1),
    help="The CID to ask as (default: the one this machine has; on a Unix socket the host's own, 2).",
)
@click.option("--follow", is_flag=True, help="With upgrade: show its progress until it has ended.")
def ask(message: tuple[str, ...], **options: Any) -> int:
    """Ask MESSAGE, which is a name and its fields as NAME=VALUE, or JSON; print the answer as JSON.

    Names: version, boot-state, history, upgrade, jobs, status, progress, cancel; and the older
    system's attach-hsm, detach-hsm, notify, set-node-id, GetVsockProtocol, GetHostOSVersion, and upgrade with
    url= and target-hash=. Exit code 68 where the agent refuses.

    \b
    Examples:
      abctl agent ask boot-state
      abctl agent ask notify count=1 message="back in a minute"
      abctl agent ask upgrade version=2.0.0 reboot=false key=maintenance-7
      abctl agent ask progress job=0123456789abcdef
      abctl agent ask --socket /run/abctl/agent.sock '{"abctl-1": "jobs"}'
    """
    from abctl.cli.agent_ask import Where, ask_agent  # noqa: PLC0415

    follow = options.pop("follow")
    return ask_agent(message, Where(**options), follow=follow)


@click.command(short_help="List the upgrades that guests asked for.")
@click.option(
    "--state", type=click.Path(path_type=Path), help="The folder for what jobs say, as given to the agent."
)
@json_option
@click.pass_obj
def jobs(target: Target, state: Path | None, as_json: bool) -> None:
    """List the upgrades that guests and admins asked the agent for, the newest first.

    \b
    Examples:
      abctl agent jobs
      abctl --disk host.img agent jobs --json
    """
    from abctl.cli.agent_jobs import describe_jobs, render_jobs  # noqa: PLC0415
    from abctl.cli.show import show  # noqa: PLC0415

    show(describe_jobs(target, state), render_jobs, as_json=as_json)


@click.command("run-job", short_help="Do what a job asks for; the service abctl-job@.")
@click.argument("job")
@click.option("--state", type=click.Path(path_type=Path), help="The folder for what it says.")
@click.pass_obj
def run_job(target: Target, job: str, state: Path | None) -> None:
    """Install what JOB asks for, as 'abctl upgrade' does, and note how that went. Called by the agent.

    \b
    Example:
      abctl agent run-job 0123456789abcdef
    """
    from abctl.cli.agent_job import run_job as run_it  # noqa: PLC0415

    run_it(target, job, state)
