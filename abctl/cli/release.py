"""release: build what is published, and publish it signed."""

import click

from abctl.cli.lazy import LazyGroup

_COMMANDS = {
    "build": "abctl.cli.release_build:build",
    "keys": "abctl.cli.release_keys:keys",
    "publish": "abctl.cli.release_publish:publish",
    "renew": "abctl.cli.release_publish:renew",
    "rollout": "abctl.cli.release_change:rollout",
    "floor": "abctl.cli.release_change:floor",
    "revoke": "abctl.cli.release_change:revoke",
    "list": "abctl.cli.release_look:list_releases",
    "show": "abctl.cli.release_look:show_release",
    "check": "abctl.cli.release_look:check",
}


@click.group(cls=LazyGroup, places=_COMMANDS)
def release() -> None:
    """Build what 'abctl upgrade' installs, and publish it in a signed repository.

    \b
    Example:
      abctl release build ./2.0.0 --version 2.0.0 --layout hostos \\
        --boot boot.img --root root.img --from ./1.9.0
      abctl release publish ./repo ./2.0.0 --key targets.key --online-key online.key \\
        --rollout 1%,10%@1d,100%@3d
    """
