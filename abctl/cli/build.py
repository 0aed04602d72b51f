"""build: make what a host boots."""

import click

from abctl.cli.lazy import LazyGroup

_COMMANDS = {"image": "abctl.cli.image_build:image"}


@click.group(cls=LazyGroup, places=_COMMANDS)
def build() -> None:
    """Make the images of a host, and a disk that starts.

    \b
    Example:
      abctl build image --recipe host.toml --version 1.0.0 --layout hostos --output ./1.0.0 --disk host.img
    """
