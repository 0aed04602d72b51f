"""Options that say how a release is fetched."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abctl.cli.options import SizeType
from abctl.core.units import Bytes
from abctl.update.progress import OnProgress, Remark, ignore_progress

if TYPE_CHECKING:
    from abctl.host.fetching import Fetching


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """What the user said; ``limit_rate`` in bytes per second."""

    mirrors: tuple[str, ...] = ()
    limit_rate: Bytes | None = None
    proxy: str | None = None
    ca_file: Path | None = None

    def make_fetching(self, on_progress: OnProgress = ignore_progress) -> Fetching:
        """Return the settings for the adapter; setbacks are told as remarks."""
        from abctl.host.fetching import SYSTEM_CAS, Fetching  # noqa: PLC0415
        from abctl.host.throttle import RateLimit  # noqa: PLC0415

        return Fetching(
            mirrors=self.mirrors,
            rate_limit=RateLimit(self.limit_rate) if self.limit_rate else None,
            proxy=self.proxy,
            trusted=self.ca_file or SYSTEM_CAS,
            on_setback=lambda said, seconds: on_progress(Remark(_say_setback(said, seconds))),
        )


def _say_setback(said: str, seconds: float) -> str:
    return f"{said} in {seconds:.0f} s" if seconds >= 1 else said


def fetching_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --mirror, --limit-rate, --proxy and --ca-file, which become the one argument ``fetch``."""

    @click.option(
        "--mirror",
        "mirrors",
        multiple=True,
        metavar="URL",
        help="Where the same release is too, asked where SOURCE fails; may be given several times.",
    )
    @click.option("--limit-rate", type=SizeType(), help="Fetch at most so much a second, as in 5M.")
    @click.option("--proxy", metavar="URL", help="Go through this proxy (default: as the environment says).")
    @click.option(
        "--ca-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Certificates of the CAs that may vouch for a server (default: the system's).",
    )
    @functools.wraps(command)
    def with_fetch(
        *args: Any,
        mirrors: tuple[str, ...],
        limit_rate: Bytes | None,
        proxy: str | None,
        ca_file: Path | None,
        **others: Any,
    ) -> Any:
        return command(*args, fetch=FetchOptions(mirrors, limit_rate, proxy, ca_file), **others)

    return with_fetch
